"""The frames of IPv6 that `doctor` sends, and what their answers say. Pure.

Addresses are bytes in network order; frames are whole Ethernet frames without a checksum.
"""

from __future__ import annotations

from dhcp.lean.frozen import Frozen
from dhcp.wire.addresses6 import ALL_DHCP_AGENTS, ALL_ROUTERS, is_link_local, multicast_mac
from dhcp.wire.dhcp6 import ADVERTISE, REPLY, SOLICIT
from dhcp.wire.ipv4 import ETHERTYPE_IPV6, UDP, UDP_HEADER, UDP_OCTETS, Unusable
from dhcp.wire.ipv6 import (
    CLIENT_PORT6,
    ICMPV6,
    IPV6_OCTETS,
    ND_HOP_LIMIT,
    SERVER_PORT6,
    Packet6,
    decode_packet6,
    encode_datagram6,
    encode_icmp6,
)
from dhcp.wire.ndp import (
    ADVERTISEMENT,
    NEIGHBOUR_ADVERTISEMENT,
    ROUTER_ADVERTISEMENT,
    ROUTER_SOLICITATION,
    SOURCE_LINK_LAYER,
    decode_neighbour_advertisement,
)
from dhcp.wire.options6 import (
    CLIENT_ID,
    DNS_SERVERS,
    DOMAIN_LIST,
    IA_ADDRESS,
    IA_NA,
    OPTION_REQUEST,
    decode_options6,
    encode_association,
    encode_option6,
)
from launcher.doctor.frames import ICMP, Claim, EchoAnswer, Ping, echo_message

ELAPSED_TIME = 8

_HOP_LIMIT_AT = 21
_ECHO_REQUEST, _ECHO_REPLY = 128, 129
# Destination unreachable, packet too big, time exceeded, parameter problem: each quotes the packet (RFC 4443 §3).
_QUOTING = frozenset((1, 2, 3, 4))
_TOO_BIG = 2


class DHCP6Answer(Frozen):
    """A DHCPv6 server's message to a client."""

    kind: int
    xid: int
    source: bytes
    mac: bytes
    addresses: tuple[bytes, ...] = ()
    """Those of its IA_NAs."""


class Router(Frozen):
    """Who sends a router advertisement."""

    source: bytes
    """Its link-local address."""
    mac: bytes
    lifetime: int
    """Seconds for which it is a default router; 0 is none."""


def link_local(mac: bytes) -> bytes:
    """The link-local address that a MAC makes (RFC 4291 appendix A)."""
    return b"\xfe\x80" + bytes(6) + bytes((mac[0] ^ 0x02,)) + mac[1:3] + b"\xff\xfe" + mac[3:]


def decode_neighbour(frame: bytes) -> Claim | None:
    """What a neighbour advertisement contains; None for one that is not valid, and for all else."""
    packet = _icmp6(frame, NEIGHBOUR_ADVERTISEMENT)
    if packet is None:
        return None
    try:
        address, mac = decode_neighbour_advertisement(packet)
    except Unusable:
        return None
    return Claim(mac, address, is_answer=True)


def encode_router_solicitation(mac: bytes) -> bytes:
    """A host's question for routers (RFC 4861 §4.1)."""
    message = bytes((ROUTER_SOLICITATION, *bytes(7), SOURCE_LINK_LAYER, 1)) + mac
    return encode_icmp6(mac, multicast_mac(ALL_ROUTERS), link_local(mac), ALL_ROUTERS, message)


def decode_router(frame: bytes) -> Router | None:
    """Who sends a router advertisement; None for what no host would believe (RFC 4861 §6.1.2), and for all else."""
    packet = _icmp6(frame, ROUTER_ADVERTISEMENT)
    if packet is None or packet.hop_limit != ND_HOP_LIMIT or not is_link_local(packet.source):
        return None
    if len(packet.payload) < ADVERTISEMENT.size:
        return None
    lifetime: int = ADVERTISEMENT.unpack_from(packet.payload)[5]
    return Router(packet.source, packet.source_mac, lifetime)


def encode_dhcp6_request(kind: int, mac: bytes, xid: int) -> bytes:
    """A client's SOLICIT or INFORMATION_REQUEST to all servers; the identifier is of its MAC (RFC 8415 §11.4)."""
    message = bytes((kind,)) + xid.to_bytes(3, "big")
    message += encode_option6(CLIENT_ID, b"\x00\x03\x00\x01" + mac) + encode_option6(ELAPSED_TIME, bytes(2))
    message += encode_option6(OPTION_REQUEST, bytes((0, DNS_SERVERS, 0, DOMAIN_LIST)))
    if kind == SOLICIT:
        message += encode_association(IA_NA, mac[2:], 0, 0, b"")
    return encode_datagram6(
        mac,
        multicast_mac(ALL_DHCP_AGENTS),
        link_local(mac),
        ALL_DHCP_AGENTS,
        message,
        ports=(CLIENT_PORT6, SERVER_PORT6),
        hop_limit=1,
    )


def decode_dhcp6_answer(frame: bytes) -> DHCP6Answer | None:
    """A server's ADVERTISE or REPLY; None for all else."""
    packet = _packet(frame, UDP)
    if packet is None or len(packet.payload) < UDP_OCTETS + 4:
        return None
    source_port, port, *_ = UDP_HEADER.unpack_from(packet.payload)
    message = packet.payload[UDP_OCTETS:]
    if (source_port, port) != (SERVER_PORT6, CLIENT_PORT6) or message[0] not in (ADVERTISE, REPLY):
        return None
    try:
        given = [value[12:] for code, value in decode_options6(message[4:]) if code == IA_NA]
        inner = [option for options in given for option in decode_options6(options)]
    except Unusable:
        inner = []
    addresses = tuple(value[:16] for code, value in inner if code == IA_ADDRESS)
    return DHCP6Answer(message[0], int.from_bytes(message[1:4], "big"), packet.source, packet.source_mac, addresses)


def encode_echo_request6(source_mac: bytes, destination_mac: bytes, source: bytes, ping: Ping) -> bytes:
    """A ping (RFC 4443 §4.1). Routers do not fragment IPv6."""
    message = echo_message(_ECHO_REQUEST, ping, ping.octets - IPV6_OCTETS)
    frame = encode_icmp6(source_mac, destination_mac, source, ping.destination, message)
    return frame[:_HOP_LIMIT_AT] + bytes((ping.ttl,)) + frame[_HOP_LIMIT_AT + 1 :]


def decode_echo_answer6(frame: bytes) -> EchoAnswer | None:
    """The echo request that a frame answers, by a reply or by an error about it; None for all else."""
    packet = _packet(frame, ICMPV6)
    if packet is None or len(packet.payload) < ICMP.size:
        return None
    kind, _, _, identifier, sequence = ICMP.unpack_from(packet.payload)
    if kind == _ECHO_REPLY:
        return EchoAnswer(identifier, sequence, is_reply=True)
    at = ICMP.size + IPV6_OCTETS
    if kind not in _QUOTING or len(packet.payload) < at + ICMP.size or packet.payload[ICMP.size + 6] != ICMPV6:
        return None
    is_too_big = kind == _TOO_BIG
    kind, _, _, identifier, sequence = ICMP.unpack_from(packet.payload, at)
    return EchoAnswer(identifier, sequence, False, is_too_big) if kind == _ECHO_REQUEST else None


def _icmp6(frame: bytes, kind: int) -> Packet6 | None:
    packet = _packet(frame, ICMPV6)
    return packet if packet and packet.payload[:1] == bytes((kind,)) else None


def _packet(frame: bytes, protocol: int) -> Packet6 | None:
    if frame[12:14] != ETHERTYPE_IPV6.to_bytes(2, "big"):
        return None
    try:
        packet = decode_packet6(frame)
    except Unusable:
        return None
    return packet if packet.protocol == protocol else None
