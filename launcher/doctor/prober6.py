"""The questions about a network's IPv6: neighbour and router discovery, ICMPv6 echo, and a DHCPv6 client's. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from dhcp.wire.addresses import mac_text
from dhcp.wire.addresses6 import ipv6_text
from dhcp.wire.dhcp6 import INFORMATION_REQUEST, SOLICIT
from dhcp.wire.ndp import encode_neighbour_solicitation
from launcher.doctor.frames import Claim, EchoAnswer, Ping
from launcher.doctor.frames6 import (
    decode_dhcp6_answer,
    decode_echo_answer6,
    decode_neighbour,
    decode_router,
    encode_dhcp6_request,
    encode_echo_request6,
    encode_router_solicitation,
    link_local,
)
from launcher.doctor.prober import Inquiry
from launcher.doctor.targets import Family
from netsetup.model.vm_network import VMNetwork


class Inquiry6(Inquiry):
    """All questions about a network's IPv6.

    The VM's MAC makes the link-local address that questions in its name come from where its own address will not do:
    the guest need not have made that one, and nobody else has it.
    """

    def __init__(self, network: VMNetwork, family: Family, port_mac: str, *, is_guarded: bool) -> None:
        """`is_guarded` says that a router's advertisement, which has no transaction id, is kept from the guest."""
        super().__init__(network, family, port_mac)
        self._is_guarded = is_guarded

    def _who_else(self) -> bytes:
        # Not from "::", as the guest's own detection asks: a node that reflects frames would make the guest take it
        # for another host's, and give its address up (RFC 4862 §5.4.3).
        return encode_neighbour_solicitation(self._outer_mac, link_local(self._outer_mac), self._outer_address)

    def _who_serves(self) -> Iterator[bytes]:
        for kind in (SOLICIT, INFORMATION_REQUEST):
            yield encode_dhcp6_request(kind, self._mac, self._xid)
        if self._is_guarded:
            yield encode_router_solicitation(self._mac)

    def _where_is_gateway(self) -> bytes:
        return encode_neighbour_solicitation(self._outer_mac, self._outer_address, self._gateway)

    def _where_is_guest(self) -> Iterator[bytes]:
        # A guest that is just looking for another holder of its address ignores it (RFC 4862 §5.4.3).
        yield encode_neighbour_solicitation(self._port_mac, link_local(self._port_mac), self._address)

    def _asked_by_gateway(self, gateway_mac: bytes) -> bytes:
        return encode_neighbour_solicitation(gateway_mac, self._gateway, self._address)

    def _echo_request(self, gateway_mac: bytes, ping: Ping) -> bytes:
        return encode_echo_request6(self._outer_mac, gateway_mac, self._outer_address, ping)

    def _claim(self, frame: bytes) -> Claim | None:
        return decode_neighbour(frame)

    def _echo_answer(self, frame: bytes) -> EchoAnswer | None:
        return decode_echo_answer6(frame)

    def _record_server(self, frame: bytes) -> None:
        if (dhcp := decode_dhcp6_answer(frame)) and dhcp.xid == self._xid:
            is_own = self._outer_address in dhcp.addresses
            self._note_server(ipv6_text(dhcp.source), mac_text(dhcp.mac), is_own=is_own)
        elif (router := decode_router(frame)) and router.mac != self._outer_mac:
            self.answers.routers.add((ipv6_text(router.source), mac_text(router.mac)))
