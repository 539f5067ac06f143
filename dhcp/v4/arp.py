"""ARP for addresses that nobody on the guest's link answers for (RFC 826). Pure."""

from __future__ import annotations

from struct import Struct

from dhcp.decision import Decision
from dhcp.v4.lease import Port
from dhcp.wire.addresses import ANY, ipv4_text, mac_text
from dhcp.wire.ipv4 import ETHERNET_OCTETS, ETHERTYPE_ARP, ETHERTYPE_IPV4

ARP_REQUEST, ARP_REPLY = 1, 2
_PACKET = Struct("!HHBBH6s4s6s4s")
_ETHERNET_IPV4 = (1, ETHERTYPE_IPV4, 6, 4)
_SHORTEST_FRAME = 60
_LINK_LOCAL = b"\xa9\xfe"
"""169.254.0.0/16 (RFC 3927), which a guest gives itself before it has an address: nothing to renew."""


def answer_arp(frame: bytes, port: Port) -> Decision:
    """Answer a request for a permanent neighbour with its MAC, and for our own address with the port's.

    Where the server calls itself by the router's address, the router answers for it, unless the guest asks with an
    address with which nobody but us hears it: the one of its last lease, when the pod has another by now. It renews by
    unicast, for which it must resolve us; without an answer it would not be told before T2.

    Nothing else is answered: a duplicate-address probe of the guest for its own address must meet silence
    (RFC 5227 §2.1.1), and so must its announcements.
    """
    if len(frame) < ETHERNET_OCTETS + _PACKET.size:
        return Decision("ARP packet too short", cause="truncated")
    *types, operation, sender_mac, sender, _, target = _PACKET.unpack_from(frame, ETHERNET_OCTETS)
    if tuple(types) != _ETHERNET_IPV4 or operation != ARP_REQUEST:
        return Decision("not an ARP request for an IPv4 address", cause="arp-not-a-request")
    mac = port.arp.get(target)
    if mac is None:
        return Decision("nobody's address that is answered for here", cause="arp-other-address")
    is_heard = sender == ANY or sender in port.config.heard or sender[:2] == _LINK_LOCAL
    if target == port.config.router and mac == port.mac and is_heard:
        return Decision("the router itself answers that", cause="arp-router")
    if sender == target:
        return Decision("an announcement, not a question (RFC 5227 §3)", cause="arp-announcement")
    if sender_mac[0] & 1 or sender_mac == mac:
        return Decision("sender's MAC is not a host's own", cause="arp-sender")
    reply = (
        sender_mac
        + mac
        + ETHERTYPE_ARP.to_bytes(2, "big")
        + _PACKET.pack(*_ETHERNET_IPV4, ARP_REPLY, mac, target, sender_mac, sender)
    ).ljust(_SHORTEST_FRAME, b"\0")
    return Decision(
        f"{ipv4_text(target)} is at {mac_text(mac)}" + (" (the sender is probing it)" if sender == ANY else ""),
        frames=(reply,),
        message="ARP",
        answer="ARP-REPLY",
        client=sender_mac,
    )
