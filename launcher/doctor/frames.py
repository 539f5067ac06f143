"""The frames of IPv4 that `doctor` sends, and what their answers say: ARP, ICMP echo, a DHCP client's questions. Pure.

Addresses are bytes in network order, as in `dhcp.wire.addresses`; frames are whole Ethernet frames without a checksum.
"""

from __future__ import annotations

from struct import Struct

from dhcp.lean.frozen import Frozen
from dhcp.wire import arp
from dhcp.wire.addresses import ANY, BROADCAST, BROADCAST_MAC
from dhcp.wire.dhcp4 import (
    BOOTREPLY,
    BOOTREQUEST,
    BROADCAST_FLAG,
    COOKIE,
    ETHERNET,
    HEADER,
    HEADER_OCTETS,
    MAC_OCTETS,
    SHORTEST_MESSAGE,
)
from dhcp.wire.ipv4 import (
    CLIENT_PORT,
    DONT_FRAGMENT,
    ETHERNET_OCTETS,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    IPV4_OCTETS,
    IPV4_UDP_OCTETS,
    SERVER_PORT,
    UDP,
    UDP_HEADER,
    Unusable,
    checksum,
    encode_datagram,
    encode_packet,
)
from dhcp.wire.option_codes import END, MESSAGE_TYPE, PARAMETER_LIST, ROUTER, SERVER_ID, SUBNET_MASK
from dhcp.wire.options4 import decode_options, encode_option

PROTOCOL_ICMP = 1

ICMP = Struct("!BBHHH")
"""Type, code, checksum; of an echo message identifier and sequence number too (RFC 792, RFC 4443)."""

_ECHO_REPLY, _ECHO_REQUEST = 0, 8
# Destination unreachable, redirect, time exceeded, parameter problem: each quotes the packet it is about (RFC 792).
_QUOTING = frozenset((3, 5, 11, 12))
_FRAGMENTATION_NEEDED = (3, 4)


class Claim(Frozen):
    """A sender's claim that an address is at a MAC."""

    mac: bytes
    address: bytes
    is_answer: bool
    """Whether it answers a question."""


class EchoAnswer(Frozen):
    """What came back for an echo request: its reply, or an ICMP error that quotes it."""

    identifier: int
    sequence: int
    is_reply: bool
    is_too_big: bool = False
    """Whether the error is that the packet needs fragmentation somewhere on its way (RFC 1191, RFC 8201)."""


class Ping(Frozen):
    """An echo request to be made."""

    destination: bytes
    identifier: int
    sequence: int
    octets: int
    """Of the whole packet, which must not be fragmented."""
    ttl: int


class DHCPAnswer(Frozen):
    """A DHCP server's message to a client."""

    xid: int
    server: bytes
    """Option 54, or the source address where that is missing."""
    mac: bytes
    offered: bytes = bytes(4)
    """The address that it gives; 0.0.0.0 where it gives none, as an answer to an INFORM."""


def encode_arp_request(source_mac: bytes, sender_mac: bytes, sender: bytes, target: bytes) -> bytes:
    """A broadcast question for `target`; with sender 0.0.0.0 it is a probe (RFC 5227 §2.1.1)."""
    return arp.encode_arp(source_mac, BROADCAST_MAC, arp.ARPPacket(arp.ARP_REQUEST, sender_mac, sender, target))


def decode_arp(frame: bytes) -> Claim | None:
    """What the ARP packet in a frame contains; None for anything else."""
    if frame[12:14] != ETHERTYPE_ARP.to_bytes(2, "big"):
        return None
    try:
        packet = arp.decode_arp(frame)
    except Unusable:
        return None
    return Claim(packet.sender_mac, packet.sender, packet.operation == arp.ARP_REPLY)


def encode_echo_request(source_mac: bytes, destination_mac: bytes, source: bytes, ping: Ping) -> bytes:
    """A ping (RFC 792)."""
    body = echo_message(_ECHO_REQUEST, ping, ping.octets - IPV4_OCTETS)
    body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    return encode_packet(
        source_mac,
        destination_mac,
        source,
        ping.destination,
        PROTOCOL_ICMP,
        body,
        fragment=DONT_FRAGMENT,
        ttl=ping.ttl,
    )


def echo_message(kind: int, ping: Ping, octets: int) -> bytes:
    """The ICMP message of a ping, its checksum (octets 2 and 3) 0 so far."""
    data = bytes(range(256)) * (octets // 256 + 1)
    return (ICMP.pack(kind, 0, 0, ping.identifier, ping.sequence) + data)[:octets]


def decode_echo_answer(frame: bytes) -> EchoAnswer | None:
    """The echo request that a frame answers, by a reply or by an error about it; None when it is something else."""
    at = _icmp_at(frame, ETHERNET_OCTETS) if frame[12:14] == ETHERTYPE_IPV4.to_bytes(2, "big") else 0
    if not at:
        return None
    kind, code, _, identifier, sequence = ICMP.unpack_from(frame, at)
    if kind == _ECHO_REPLY:
        return EchoAnswer(identifier, sequence, is_reply=True)
    quoted = _icmp_at(frame, at + ICMP.size) if kind in _QUOTING else 0
    if not quoted:
        return None
    is_too_big = (kind, code) == _FRAGMENTATION_NEEDED
    kind, _, _, identifier, sequence = ICMP.unpack_from(frame, quoted)
    return EchoAnswer(identifier, sequence, False, is_too_big) if kind == _ECHO_REQUEST else None


def encode_dhcp_request(kind: int, mac: bytes, address: bytes, xid: int) -> bytes:
    """A client's broadcast DISCOVER, or INFORM when it has the `address` already (RFC 2131 §4.4.1, §4.4.3)."""
    options = encode_option(MESSAGE_TYPE, bytes((kind,)))
    options += encode_option(PARAMETER_LIST, bytes((SUBNET_MASK, ROUTER, SERVER_ID))) + bytes((END,))
    start = (BOOTREQUEST, ETHERNET, MAC_OCTETS, 0)
    header = HEADER.pack(*start, xid, 0, BROADCAST_FLAG, address, ANY, ANY, ANY, mac, b"", b"", COOKIE)
    payload = (header + options).ljust(SHORTEST_MESSAGE, b"\0")
    return encode_datagram(
        mac,
        BROADCAST_MAC,
        address,
        BROADCAST,
        payload,
        ports=(CLIENT_PORT, SERVER_PORT),
        fragment=DONT_FRAGMENT,
    )


def decode_dhcp_answer(frame: bytes) -> DHCPAnswer | None:
    """A server's message in a frame; None when it is something else."""
    at = ETHERNET_OCTETS
    if len(frame) < at + IPV4_UDP_OCTETS + HEADER_OCTETS or frame[12:15] != b"\x08\x00\x45":
        return None
    if frame[at + 9] != UDP or UDP_HEADER.unpack_from(frame, at + IPV4_OCTETS)[0] != SERVER_PORT:
        return None
    op, _, _, _, xid, _, _, _, offered, *_, sname, file, cookie = HEADER.unpack_from(frame, at + IPV4_UDP_OCTETS)
    if op != BOOTREPLY or cookie != COOKIE:
        return None
    options = decode_options(frame[at + IPV4_UDP_OCTETS + HEADER_OCTETS :], file, sname)
    server = options.get(SERVER_ID, b"")
    return DHCPAnswer(xid, server if len(server) == 4 else frame[at + 12 : at + 16], frame[6:12], offered)


def _icmp_at(frame: bytes, at: int) -> int:
    """Where the ICMP header is behind an IPv4 header at `at`; 0 when none is, or only part of it."""
    if len(frame) < at + IPV4_OCTETS or frame[at] >> 4 != 4 or frame[at + 9] != PROTOCOL_ICMP:
        return 0
    start = at + (frame[at] & 0x0F) * 4
    return start if len(frame) >= start + ICMP.size else 0
