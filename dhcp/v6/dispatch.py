"""Dispatches an IPv6 frame to DHCPv6, router or neighbour discovery. Pure."""

from __future__ import annotations

from dhcp.decision import Decision
from dhcp.v6.neighbour import answer_neighbour_solicitation, answer_router_solicitation
from dhcp.v6.server import answer_dhcp6
from dhcp.wire.dhcp4 import FOREIGN_MAC
from dhcp.wire.ipv4 import UDP, Unusable
from dhcp.wire.ipv6 import decode_packet6
from dhcp.wire.ndp import NEIGHBOUR_SOLICITATION, ROUTER_SOLICITATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dhcp.v6.lease import ServedLease6


def answer_ipv6(frame: bytes, lease: ServedLease6) -> Decision:
    """Decide about one IPv6 frame."""
    client = b""
    try:
        packet = decode_packet6(frame)
        client = packet.source_mac
        if packet.protocol == UDP:
            return answer_dhcp6(packet, lease)
        kind = packet.payload[0] if packet.payload else 0
        if kind == ROUTER_SOLICITATION:
            return answer_router_solicitation(packet, lease)
        if kind == NEIGHBOUR_SOLICITATION:
            return answer_neighbour_solicitation(packet, lease)
        # A router advertisement of the guest's among them
        return Decision(f"ICMPv6 type {kind} is not served", cause="icmp-type")
    except Unusable as unusable:
        return Decision(unusable.reason, cause=unusable.cause, client=client if unusable.cause == FOREIGN_MAC else b"")
