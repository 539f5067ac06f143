"""ARP replies for addresses that no host on the guest's link answers for (RFC 826). Pure."""

from __future__ import annotations

from dhcp.decision import Decision
from dhcp.v4.lease import ServedLease
from dhcp.wire.addresses import ANY, ipv4_text, mac_text
from dhcp.wire.arp import ARP_REPLY, ARP_REQUEST, ARPPacket, decode_arp, encode_arp
from dhcp.wire.ipv4 import Unusable

_SHORTEST_FRAME = 60
_LINK_LOCAL = b"\xa9\xfe"
"""169.254.0.0/16 (RFC 3927), which a guest configures itself before it has a lease: nothing to renew."""


def answer_arp(frame: bytes, lease: ServedLease) -> Decision:
    """Answer a request for a permanent neighbour with its MAC, and for the server's own address with the port's.

    Where the server identifier is the router's address, the router answers for it, unless isolation drops the guest's
    request, which then reaches only us: its source is the address of its last lease, and the pod has another by
    now. The guest renews by unicast, for which it must resolve us; without an answer it would not get a NAK before T2.

    Nothing else is answered: a duplicate-address probe of the guest for its own address must meet silence
    (RFC 5227 §2.1.1), and so must its announcements.
    """
    try:
        packet = decode_arp(frame)
    except Unusable as error:
        return Decision(error.reason, cause=error.cause)
    sender_mac, sender, target = packet.sender_mac, packet.sender, packet.target
    if packet.operation != ARP_REQUEST:
        return Decision("not an ARP request for an IPv4 address", cause="arp-not-a-request")
    mac = lease.arp.get(target)
    if mac is None:
        return Decision("not an address that is answered for here", cause="arp-other-address")
    reaches_router = sender == ANY or sender in lease.config.allowed_sources or sender[:2] == _LINK_LOCAL
    if target == lease.config.router and mac == lease.mac and reaches_router:
        return Decision("the router itself answers that", cause="arp-router")
    if sender == target:
        return Decision("an announcement, not a question (RFC 5227 §3)", cause="arp-announcement")
    if sender_mac[0] & 1 or sender_mac == mac:
        return Decision("sender's MAC is not a host's own", cause="arp-sender")
    reply = encode_arp(mac, sender_mac, ARPPacket(ARP_REPLY, mac, target, sender, sender_mac))
    return Decision(
        f"{ipv4_text(target)} is at {mac_text(mac)}" + (" (the sender is probing it)" if sender == ANY else ""),
        frames=(reply.ljust(_SHORTEST_FRAME, b"\0"),),
        message="ARP",
        answer="ARP-REPLY",
        client=sender_mac,
    )
