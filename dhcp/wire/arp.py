"""ARP for IPv4 on Ethernet: frame ↔ packet (RFC 826). Pure."""

from __future__ import annotations

from _struct import Struct

from dhcp.lean.frozen import Frozen
from dhcp.wire.ipv4 import ETHERNET_OCTETS, ETHERTYPE_ARP, ETHERTYPE_IPV4, Unusable

ARP_REQUEST, ARP_REPLY = 1, 2
_PACKET = Struct("!HHBBH6s4s6s4s")
_ETHERNET_IPV4 = (1, ETHERTYPE_IPV4, 6, 4)


class ARPPacket(Frozen):
    """A question or an answer about an IPv4 address."""

    operation: int
    sender_mac: bytes
    sender: bytes
    target: bytes
    target_mac: bytes = bytes(6)
    """Unknown in a question."""


def decode_arp(frame: bytes) -> ARPPacket:
    """The packet in a frame that is known to be ARP; raises Unusable."""
    if len(frame) < ETHERNET_OCTETS + _PACKET.size:
        raise Unusable("truncated", "ARP packet too short")
    *types, operation, sender_mac, sender, target_mac, target = _PACKET.unpack_from(frame, ETHERNET_OCTETS)
    if tuple(types) != _ETHERNET_IPV4:
        raise Unusable("arp-not-a-request", "not an ARP request for an IPv4 address")
    return ARPPacket(operation, sender_mac, sender, target, target_mac)


def encode_arp(source_mac: bytes, destination_mac: bytes, packet: ARPPacket) -> bytes:
    """The frame with a packet, not padded."""
    return (
        destination_mac
        + source_mac
        + ETHERTYPE_ARP.to_bytes(2, "big")
        + _PACKET.pack(
            *_ETHERNET_IPV4, packet.operation, packet.sender_mac, packet.sender, packet.target_mac, packet.target
        )
    )
