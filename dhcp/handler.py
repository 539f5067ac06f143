"""The entry point of the protocols: a frame from the guest in, a decision out. Pure."""

from __future__ import annotations

from dhcp.decision import Decision
from dhcp.v4.lease import ServedLease
from dhcp.v4.server import answer_v4
from dhcp.wire.ipv4 import (
    ETHERNET_OCTETS,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ETHERTYPE_QINQ,
    ETHERTYPE_VLAN,
)


def handle(frame: bytes, lease: ServedLease) -> Decision:
    """Decide about one Ethernet frame that came in on a guest lease. Never raises, whatever the octets are."""
    if len(frame) < ETHERNET_OCTETS:
        return Decision("frame shorter than an Ethernet header", cause="truncated")
    ethertype = frame[12] << 8 | frame[13]
    if ethertype == ETHERTYPE_IPV4:
        return answer_v4(frame, lease)
    if ethertype == ETHERTYPE_ARP:
        from dhcp.v4.arp import answer_arp

        return answer_arp(frame, lease)
    if ethertype == ETHERTYPE_IPV6:
        if lease.ipv6 is None:
            return Decision("no IPv6 is served here", cause="ipv6")
        from dhcp.v6.dispatch import answer_ipv6

        return answer_ipv6(frame, lease.ipv6)
    if ethertype in (ETHERTYPE_VLAN, ETHERTYPE_QINQ):
        return Decision("VLAN-tagged frame: not of this network", cause="vlan")
    return Decision(f"ethertype {ethertype:#06x} is not served", cause="ethertype")
