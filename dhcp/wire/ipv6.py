"""Ethernet, IPv6, UDP and ICMPv6 around what is served over IPv6 (RFC 2464, RFC 8200, RFC 768, RFC 4443). Pure."""

from __future__ import annotations

from _struct import Struct

from dhcp.lean.frozen import Frozen
from dhcp.wire.ipv4 import ETHERNET_OCTETS, ETHERTYPE_IPV6, UDP, UDP_HEADER, UDP_OCTETS, Unusable, checksum, encode_udp

IPV6_OCTETS = 40
ICMPV6 = 58
SERVER_PORT6 = 547
CLIENT_PORT6 = 546
# Neighbour discovery from farther away than this link arrives with less (RFC 4861 §6.1.1, §7.1.1).
ND_HOP_LIMIT = 255

_DHCP_HOP_LIMIT = 64
_VERSION = 6 << 28
_IPV6 = Struct("!IHBB16s16s")
_PSEUDO = Struct("!16s16sII")


class Packet6(Frozen):
    """One IPv6 packet without extension headers."""

    source_mac: bytes
    source: bytes
    destination: bytes
    hop_limit: int
    protocol: int
    """UDP or ICMPV6."""
    payload: bytes
    """From the upper layer's header on."""


def decode_packet6(frame: bytes) -> Packet6:
    """The packet in an untagged Ethernet frame; raises Unusable.

    Nothing that is served here is sent with extension headers: neighbour discovery must not be fragmented
    (RFC 6980 §5), and a DHCPv6 client that fragments has a message larger than any answer could be.
    """
    at = ETHERNET_OCTETS
    if len(frame) < at + IPV6_OCTETS:
        raise Unusable("truncated", "frame too short for an IPv6 header")
    version, length, protocol, hop_limit, source, destination = _IPV6.unpack_from(frame, at)
    if version >> 28 != 6:
        raise Unusable("ip-header", "not IPv6")
    if protocol not in (UDP, ICMPV6):
        raise Unusable("next-header", f"next header {protocol} is neither UDP nor ICMPv6")
    at += IPV6_OCTETS
    if at + length > len(frame):
        raise Unusable("truncated", "IPv6 payload length exceeds the frame")
    return Packet6(frame[6:12], source, destination, hop_limit, protocol, frame[at : at + length])


def decode_datagram6(packet: Packet6) -> bytes:
    """The payload of a UDP datagram to port 547; raises Unusable.

    The checksum is not looked at: one from a kernel's socket is partial until a NIC completes it.
    """
    if len(packet.payload) < UDP_OCTETS:
        raise Unusable("truncated", "packet too short for a UDP header")
    _, port, length, _ = UDP_HEADER.unpack_from(packet.payload)
    if port != SERVER_PORT6:
        raise Unusable("not-dhcp", "not sent to port 547")
    if not UDP_OCTETS <= length <= len(packet.payload):
        raise Unusable("truncated", "UDP length does not match the packet")
    return packet.payload[UDP_OCTETS:length]


def encode_datagram6(
    source_mac: bytes,
    destination_mac: bytes,
    source: bytes,
    destination: bytes,
    payload: bytes,
    *,
    ports: tuple[int, int] = (SERVER_PORT6, CLIENT_PORT6),
    hop_limit: int = _DHCP_HOP_LIMIT,
) -> bytes:
    """The complete frame, of the server's to a client by default, with a valid checksum (RFC 8415 §7.2)."""
    segment = encode_udp(source, destination, ports, payload)
    return _frame(source_mac, destination_mac, source, destination, UDP, hop_limit, segment)


def encode_icmp6(source_mac: bytes, destination_mac: bytes, source: bytes, destination: bytes, message: bytes) -> bytes:
    """The complete frame of a neighbour-discovery message, whose checksum field (octets 2 and 3) is 0 so far."""
    total = checksum(_PSEUDO.pack(source, destination, len(message), ICMPV6) + message)
    message = message[:2] + total.to_bytes(2, "big") + message[4:]
    return _frame(source_mac, destination_mac, source, destination, ICMPV6, ND_HOP_LIMIT, message)


def require_valid_icmp6(packet: Packet6) -> None:
    """Raises Unusable unless the checksum is right, as RFC 4861 §6.1.1 and §7.1.1 want it.

    A kernel completes that of neighbour discovery itself and leaves it to no NIC.
    """
    message = packet.payload
    if checksum(_PSEUDO.pack(packet.source, packet.destination, len(message), ICMPV6) + message):
        raise Unusable("checksum", "ICMPv6 checksum is wrong")


def _frame(
    source_mac: bytes,
    destination_mac: bytes,
    source: bytes,
    destination: bytes,
    protocol: int,
    hop_limit: int,
    payload: bytes,
) -> bytes:
    header = _IPV6.pack(_VERSION, len(payload), protocol, hop_limit, source, destination)
    return destination_mac + source_mac + ETHERTYPE_IPV6.to_bytes(2, "big") + header + payload
