"""What `doctor` asks on the wire about one network, and what the answers mean. Pure: frames in, frames out.

On the pod's interface questions are asked as the VM would ask them, with its MAC and address (in the masquerade binding
as the pod would, with its own), so that the node sees nobody new. On the guest's port they are asked so that no answer
of theirs changes what the guest knows.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_network

from dhcp.address import ANY, ipv4_text, mac_text, parse_ipv4, parse_mac
from dhcp.message import DISCOVER, INFORM
from launcher.frames import (
    ARP_REPLY,
    EchoAnswer,
    decode_arp,
    decode_dhcp_answer,
    decode_echo_answer,
    encode_arp_request,
    encode_dhcp_request,
    encode_echo_request,
)
from launcher.lease import NoServerAddress, free_server_address, routes_of
from netsetup.model import AF_INET, PodInterface
from netsetup.network import VMNetwork

ROUND_SECONDS = 0.25
ROUNDS = 6
"""Questions without an answer are asked again in each round, and after the last there is no waiting."""
SILENCE_ROUNDS = 4
"""How long nobody may have said anything before it counts as nobody being there; a DHCP server may ping first."""
PROBE_ROUNDS = 3
"""RFC 5227 §1.1: PROBE_NUM."""

SMALL_PING = 84
BEYOND = "198.51.100.1"
"""TEST-NET-2 (RFC 5737): nobody's, hence a destination of which the first router alone can tell something."""


class Side(Enum):
    """The two ends of a pod's bridge."""

    NODE = "pod interface"
    GUEST = "guest port"


class Target(Enum):
    """What is asked for an IP answer."""

    GATEWAY = 0
    BEYOND = 1
    """An address behind the gateway, with a time to live that ends at the gateway."""


@dataclass(slots=True)
class Answers:
    """What was heard; MACs and addresses are text."""

    holders: set[str] = field(default_factory=set)
    """MACs on the node's side that claim the VM's address."""
    servers: set[tuple[str, str]] = field(default_factory=set)
    """(server identifier, MAC) of DHCP servers on the node's side."""
    gateway_mac: str = ""
    guests: set[str] = field(default_factory=set)
    """MACs on the guest's side that answer for the VM's address."""
    strangers: set[str] = field(default_factory=set)
    """Other MACs than the VM's that the guest sent from."""
    vm_heard: bool = False
    """Whether a frame with the VM's MAC came from the guest."""
    returned: set[Target] = field(default_factory=set)
    """For what an IP packet came back, be it an error."""
    large: bool = False
    """Whether a packet as large as the VM's MTU got to the gateway."""
    small: bool = False
    """Whether a small one got there."""
    echoed: bool = False
    """Whether the gateway itself replies to ping."""
    crosses: dict[Side, bool] = field(default_factory=dict)
    """Whether frames that came in on a side left by the other; a side is missing when there were none to tell by."""


def pod_address(network: VMNetwork) -> str:
    """The IPv4 address by which the node knows the VM, in either binding; empty where there is none."""
    return next((address.address for address in network.pod.global_addresses(AF_INET)), "")


def gateway_of(pod: PodInterface) -> tuple[str, str]:
    """The VM's gateway, that of its default route if there is one, and an address behind it; empty without one."""
    via = next((route for route in reversed(routes_of(pod)) if route.gateway), None)
    if via is None:
        return "", ""
    network = ip_network(via.destination)
    return via.gateway, BEYOND if via.is_default else str(network[min(1, network.num_addresses - 1)])


def permanent_mac(pod: PodInterface, address: str) -> str:
    """The MAC of a permanent neighbour, empty where the address is none's."""
    return next((n.mac for n in pod.neighbours if n.family == AF_INET and n.address == address), "")


class Inquiry:
    """All questions about one network; `questions` and `take` are called by whoever has the sockets."""

    def __init__(self, network: VMNetwork, port_mac: str) -> None:
        """`port_mac` is the guest port's own MAC."""
        self.answers = Answers()
        self._routed = network.masquerade is not None
        self._mac = parse_mac(network.mac)
        self._address = _packed(network.address4.address if network.address4 else "")
        self._port_mac = parse_mac(port_mac)
        self._outer_mac = parse_mac(network.pod.link.mac) if self._routed else self._mac
        self._outer_address = _packed(pod_address(network))
        self._mtu = network.mtu
        gateway, beyond = gateway_of(network.pod) if self._address else ("", "")
        self._gateway, self._beyond = _packed(gateway), _packed(beyond)
        self.answers.gateway_mac = permanent_mac(network.pod, gateway)
        self._nobody = _nobodys_address(network.pod)
        self._xid = secrets.randbits(32)
        self._identifier = secrets.randbits(16)
        self._has_pinged = False
        self._came_in: dict[Side, set[bytes]] = {side: set() for side in Side}
        self._went_out: dict[Side, set[bytes]] = {side: set() for side in Side}

    def is_answered(self, number: int) -> bool:
        """Whether another round, of this number, would tell nothing new."""
        answers = self.answers
        crosses = self._routed or all(answers.crosses.get(side) for side in Side)
        complete = answers.large and answers.guests and crosses
        return number >= SILENCE_ROUNDS and bool(complete or not self._gateway)

    def questions(self, number: int) -> Iterator[tuple[Side, bytes]]:
        """What to send in a round, counted from 0."""
        if not self._address:
            return
        yield from ((Side.NODE, frame) for frame in self._to_node(number))
        yield from ((Side.GUEST, frame) for frame in self._to_guest())

    def _to_node(self, number: int) -> Iterator[bytes]:
        mac, address = self._outer_mac, self._outer_address
        if number < PROBE_ROUNDS:
            yield encode_arp_request(mac, mac, ANY, address)
        if number in (0, 2) and not self._routed:
            # Answered at once also by a server that pings an address before it offers it, and does nothing else then.
            yield encode_dhcp_request(INFORM, mac, address, self._xid)
            yield encode_dhcp_request(DISCOVER, mac, ANY, self._xid)
        if not self._gateway:
            return
        if not self.answers.gateway_mac:
            yield encode_arp_request(mac, mac, address, self._gateway)
        elif not self.answers.large or not (self._routed or self.answers.crosses.get(Side.NODE)):
            yield from self._pings(Target.GATEWAY, self._gateway, number)
            if self._has_pinged and not self.answers.echoed:
                yield from self._pings(Target.BEYOND, self._beyond, number)
            self._has_pinged = True

    def _pings(self, target: Target, destination: bytes, number: int) -> Iterator[bytes]:
        """The large one first: when the small one after it is answered, the rate of answers was no hindrance."""
        gateway = parse_mac(self.answers.gateway_mac)
        for is_large in (True, False):
            yield encode_echo_request(
                self._outer_mac,
                gateway,
                self._outer_address,
                destination,
                self._identifier,
                number << 2 | target.value << 1 | is_large,
                octets=self._mtu if is_large else min(SMALL_PING, self._mtu),
                ttl=1 if target is Target.BEYOND else 64,
            )

    def _to_guest(self) -> Iterator[bytes]:
        answers = self.answers
        if not answers.guests:
            # The guest's own MAC as sender: not another host's probe, which would make the guest decline its address
            # (RFC 5227 §2.1.1). Linux answers that whatever routes it has; others want a sender of another MAC, and
            # that one claims nobody's address.
            yield encode_arp_request(self._port_mac, self._mac, ANY, self._address)
            if self._nobody:
                yield encode_arp_request(self._port_mac, self._port_mac, self._nobody, self._address)
        if answers.gateway_mac and not self._routed and not answers.crosses.get(Side.GUEST):
            # What the gateway would ask; the answer has to cross the bridge.
            gateway = parse_mac(answers.gateway_mac)
            yield encode_arp_request(gateway, gateway, self._gateway, self._address)

    def take(self, side: Side, frame: bytes, outgoing: bool) -> None:
        """Note what a frame tells that was seen on one side."""
        if outgoing:
            if decode_arp(frame) or self._is_ours(decode_echo_answer(frame)):
                self._went_out[side].add(frame)
        elif side is Side.NODE:
            self._from_node(frame)
        else:
            self._from_guest(frame)
        for came, left in ((Side.NODE, Side.GUEST), (Side.GUEST, Side.NODE)):
            if self._came_in[came]:
                self.answers.crosses[came] = not self._came_in[came].isdisjoint(self._went_out[left])

    def _from_node(self, frame: bytes) -> None:
        answers = self.answers
        must_cross = False
        if arp := decode_arp(frame):
            if arp.sender == self._outer_address and arp.sender_mac != self._outer_mac:
                answers.holders.add(mac_text(arp.sender_mac))
            if arp.operation == ARP_REPLY and arp.sender == self._gateway:
                answers.gateway_mac = answers.gateway_mac or mac_text(arp.sender_mac)
                must_cross = True
        elif (echo := decode_echo_answer(frame)) and self._is_ours(echo):
            self._returned(echo)
            must_cross = True
        elif (dhcp := decode_dhcp_answer(frame)) and dhcp.xid == self._xid:
            answers.servers.add((ipv4_text(dhcp.server), mac_text(dhcp.mac)))
        if must_cross and not self._routed and frame[:6] == self._mac:
            self._came_in[Side.NODE].add(frame)

    def _returned(self, echo: EchoAnswer) -> None:
        answers = self.answers
        target = Target(echo.sequence >> 1 & 1)
        answers.returned.add(target)
        answers.echoed |= echo.is_reply and target is Target.GATEWAY
        # A gateway's address that is nobody's may be forwarded: what does not fit is then a link farther on.
        answers.large |= bool(echo.sequence & 1) and not echo.is_too_big
        answers.small |= not echo.sequence & 1

    def _is_ours(self, echo: EchoAnswer | None) -> bool:
        return echo is not None and echo.identifier == self._identifier

    def _from_guest(self, frame: bytes) -> None:
        answers = self.answers
        source = frame[6:12]
        if source == self._mac:
            answers.vm_heard = True
        else:
            answers.strangers.add(mac_text(source))
        arp = decode_arp(frame)
        if arp is None or not self._address or arp.sender != self._address:
            return
        answers.guests.add(mac_text(arp.sender_mac))
        if not self._routed and source == arp.sender_mac == self._mac and mac_text(frame[:6]) == answers.gateway_mac:
            self._came_in[Side.GUEST].add(frame)


def _packed(address: str) -> bytes:
    return parse_ipv4(address) if address else b""


def _nobodys_address(pod: PodInterface) -> bytes:
    try:
        return parse_ipv4(free_server_address(pod))
    except NoServerAddress:
        return b""
