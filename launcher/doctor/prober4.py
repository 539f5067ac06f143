"""The questions about a network's IPv4: ARP, ICMP echo, and a DHCP client's. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from dhcp.wire.addresses import ANY, ipv4_text, mac_text, parse_ipv4
from dhcp.wire.dhcp4 import DISCOVER, INFORM
from launcher.dhcpconfig.ipv4 import NoServerAddress, free_server_address
from launcher.doctor import frames
from launcher.doctor.frames import Claim, EchoAnswer, Ping
from launcher.doctor.prober import Inquiry
from launcher.doctor.targets import Family
from netsetup.model.pod_interface import PodInterface
from netsetup.model.vm_network import VMNetwork


class Inquiry4(Inquiry):
    """All questions about a network's IPv4."""

    def __init__(self, network: VMNetwork, family: Family, port_mac: str) -> None:
        super().__init__(network, family, port_mac)
        self._nobody = _nobodys_address(network.pod)

    def _who_else(self) -> bytes:
        return frames.encode_arp_request(self._outer_mac, self._outer_mac, ANY, self._outer_address)

    def _who_serves(self) -> Iterator[bytes]:
        # Answered at once also by a server that pings an address before it offers it, and does nothing else then.
        yield frames.encode_dhcp_request(INFORM, self._mac, self._address, self._xid)
        yield frames.encode_dhcp_request(DISCOVER, self._mac, ANY, self._xid)

    def _where_is_gateway(self) -> bytes:
        return frames.encode_arp_request(self._outer_mac, self._outer_mac, self._outer_address, self._gateway)

    def _where_is_guest(self) -> Iterator[bytes]:
        # The guest's own MAC as sender: not another host's probe, which would make the guest decline its address
        # (RFC 5227 §2.1.1). Linux answers that whatever routes it has; others want a sender of another MAC, and
        # that one claims nobody's address.
        yield frames.encode_arp_request(self._port_mac, self._mac, ANY, self._address)
        if self._nobody:
            yield frames.encode_arp_request(self._port_mac, self._port_mac, self._nobody, self._address)

    def _asked_by_gateway(self, gateway_mac: bytes) -> bytes:
        return frames.encode_arp_request(gateway_mac, gateway_mac, self._gateway, self._address)

    def _echo_request(self, gateway_mac: bytes, ping: Ping) -> bytes:
        return frames.encode_echo_request(self._outer_mac, gateway_mac, self._outer_address, ping)

    def _claim(self, frame: bytes) -> Claim | None:
        return frames.decode_arp(frame)

    def _echo_answer(self, frame: bytes) -> EchoAnswer | None:
        return frames.decode_echo_answer(frame)

    def _record_server(self, frame: bytes) -> None:
        if (dhcp := frames.decode_dhcp_answer(frame)) and dhcp.xid == self._xid:
            is_own = dhcp.offered == self._outer_address
            self._note_server(ipv4_text(dhcp.server), mac_text(dhcp.mac), is_own=is_own)


def _nobodys_address(pod: PodInterface) -> bytes:
    try:
        return parse_ipv4(free_server_address(pod))
    except NoServerAddress:
        return b""
