"""Neighbour discovery messages: what makes them valid, encoding and decoding them (RFC 4861). Pure."""

from __future__ import annotations

from _struct import Struct

from dhcp.wire.addresses6 import ALL_NODES, multicast_mac, solicited_node
from dhcp.wire.ipv4 import Unusable
from dhcp.wire.ipv6 import ICMPV6, ND_HOP_LIMIT, Packet6, encode_icmp6, require_valid_icmp6

ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT = 133, 134
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136
SOURCE_LINK_LAYER, TARGET_LINK_LAYER = 1, 2
ROUTER, SOLICITED, OVERRIDE = 0x80, 0x40, 0x20
# The fixed parts of a router solicitation, and of a neighbour solicitation and advertisement.
ROUTER_SOLICITATION_OCTETS = 8
NEIGHBOUR_OCTETS = 24
ADVERTISEMENT = Struct("!BBHBBHII")
"""A router's: type, code, checksum, hop limit, flags, lifetime, reachable time, retransmission timer (§4.2)."""

_TARGET = slice(8, 24)


def decode_nd_options(packet: Packet6, fixed: int) -> dict[int, bytes]:
    """The first option of each type after `fixed` octets of a message; raises Unusable for one that is not valid.

    The rules that RFC 4861 §6.1.1, §7.1.1 and §7.1.2 have in common.
    """
    message = packet.payload
    if packet.hop_limit != ND_HOP_LIMIT:
        raise Unusable("hop-limit", f"hop limit {packet.hop_limit}: not from this link")
    if len(message) < fixed:
        raise Unusable("truncated", "solicitation shorter than its fixed part")
    if message[1] != 0:
        raise Unusable("icmp-code", f"ICMPv6 code {message[1]}")
    require_valid_icmp6(packet)
    options: dict[int, bytes] = {}
    at = fixed
    while at < len(message):
        length = message[at + 1] * 8 if at + 1 < len(message) else 0
        if not length or at + length > len(message):
            raise Unusable("nd-options", "an option has no length or runs past the end")
        options.setdefault(message[at], message[at + 2 : at + length])
        at += length
    return options


def decode_target(packet: Packet6) -> bytes:
    """The address that a Neighbour Solicitation or Advertisement is about."""
    return packet.payload[_TARGET]


def decode_flags(packet: Packet6) -> int:
    """The flags of a neighbour advertisement that has been decoded: ROUTER, SOLICITED, OVERRIDE (§4.4)."""
    return packet.payload[4]


def decode_neighbour_advertisement(packet: Packet6) -> tuple[bytes, bytes]:
    """The address that a Neighbour Advertisement is about, and its MAC; raises Unusable (RFC 4861 §7.1.2, §7.2.5).

    One without the MAC in an option has nothing new: it answers a node that has it already.
    """
    if packet.protocol != ICMPV6 or packet.payload[:1] != bytes((NEIGHBOUR_ADVERTISEMENT,)):
        raise Unusable("icmp-type", "not a neighbour advertisement")
    options = decode_nd_options(packet, NEIGHBOUR_OCTETS)
    if TARGET_LINK_LAYER not in options:
        raise Unusable("nd-options", "no target link-layer address")
    mac = options[TARGET_LINK_LAYER][:6]
    if mac[0] & 1 or not any(mac):
        raise Unusable("nd-sender", "no host has this MAC")
    return decode_target(packet), mac


def encode_neighbour_solicitation(source_mac: bytes, source: bytes, target: bytes) -> bytes:
    """The multicast frame that solicits a neighbour's MAC (RFC 4861 §4.3)."""
    group = solicited_node(target)
    message = _message(NEIGHBOUR_SOLICITATION, 0, target, SOURCE_LINK_LAYER, source_mac)
    return encode_icmp6(source_mac, multicast_mac(group), source, group, message)


def encode_neighbour_advertisement(
    target: bytes,
    mac: bytes,
    flags: int,
    destination: bytes = ALL_NODES,
    destination_mac: bytes = multicast_mac(ALL_NODES),
) -> bytes:
    """The frame with the MAC of an address, to all nodes by default (RFC 4861 §4.4, §7.2.6)."""
    message = _message(NEIGHBOUR_ADVERTISEMENT, flags, target, TARGET_LINK_LAYER, mac)
    return encode_icmp6(mac, destination_mac, target, destination, message)


def _message(kind: int, flags: int, target: bytes, option: int, mac: bytes) -> bytes:
    """A neighbour message, its checksum 0, with the sender's MAC in an option."""
    return bytes((kind, 0, 0, 0, flags, 0, 0, 0)) + target + bytes((option, 1)) + mac
