"""Ethernet, IPv4 and UDP around a DHCP message (RFC 894, RFC 791, RFC 768). Pure."""

from __future__ import annotations

from _struct import Struct

from dhcp.lean.frozen import Frozen

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD
ETHERTYPE_VLAN = 0x8100
ETHERTYPE_QINQ = 0x88A8
ETHERNET_OCTETS = 14
SERVER_PORT = 67
CLIENT_PORT = 68
# What the headers of one datagram take, IPv4 without options.
IPV4_OCTETS = 20
UDP_OCTETS = 8
IPV4_UDP_OCTETS = IPV4_OCTETS + UDP_OCTETS
# Where fields are in such a frame.
IPV4_LENGTH_AT = ETHERNET_OCTETS + 2
IPV4_ID_AT = ETHERNET_OCTETS + 4
IPV4_FRAGMENT_AT = ETHERNET_OCTETS + 6
IPV4_PROTOCOL_AT = ETHERNET_OCTETS + 9
IPV4_CHECKSUM_AT = ETHERNET_OCTETS + 10
UDP_LENGTH_AT = ETHERNET_OCTETS + 24
UDP_CHECKSUM_AT = ETHERNET_OCTETS + 26
MESSAGE_AT = ETHERNET_OCTETS + IPV4_UDP_OCTETS

UDP = 17
_IPV4 = Struct("!BBHHHBBH4s4s")
UDP_HEADER = Struct("!HHHH")
"""Source port, destination port, length, checksum."""

DONT_FRAGMENT = 0x4000
_PSEUDO = Struct("!HH")


class Unusable(Exception):
    """A frame that gets no answer: `cause` is the counter it belongs to, the text the rule it breaks."""

    def __init__(self, cause: str, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason


class Datagram(Frozen):
    """One UDP datagram that was sent to the DHCP server port."""

    source: bytes
    destination: bytes
    payload: bytes


def decode_datagram(frame: bytes) -> Datagram:
    """The UDP datagram to port 67 in an untagged Ethernet frame with IPv4; raises Unusable.

    Neither checksum is looked at: the UDP one of a frame from a kernel's socket is partial until a NIC
    completes it, and this link has no NIC. The source port does not matter either.
    """
    at = ETHERNET_OCTETS
    if len(frame) < at + IPV4_UDP_OCTETS:
        raise Unusable("truncated", "frame too short for IPv4 and UDP headers")
    first, _, total, _, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(frame, at)
    if first != 0x45:
        raise Unusable("ip-header", "not IPv4 with a header of 20 octets")
    if fragment & 0x3FFF:
        raise Unusable("fragment", "fragmented datagram")
    if protocol != UDP:
        raise Unusable("not-dhcp", "not UDP")
    if total < IPV4_UDP_OCTETS or at + total > len(frame):
        raise Unusable("truncated", "IPv4 total length does not match the frame")
    _, port, length, _ = UDP_HEADER.unpack_from(frame, at + IPV4_OCTETS)
    if port != SERVER_PORT:
        raise Unusable("not-dhcp", "not sent to port 67")
    if not UDP_OCTETS <= length <= total - IPV4_OCTETS:
        raise Unusable("truncated", "UDP length does not match the datagram")
    return Datagram(source, destination, frame[at + IPV4_UDP_OCTETS : at + IPV4_OCTETS + length])


def encode_datagram(
    source_mac: bytes,
    destination_mac: bytes,
    source: bytes,
    destination: bytes,
    payload: bytes,
    *,
    ports: tuple[int, int] = (SERVER_PORT, CLIENT_PORT),
    fragment: int = 0,
) -> bytes:
    """The complete frame, of the server's to a client by default, both checksums valid (RFC 2131 §4.1)."""
    segment = encode_udp(source, destination, ports, payload)
    return encode_packet(source_mac, destination_mac, source, destination, UDP, segment, fragment=fragment)


def encode_packet(
    source_mac: bytes,
    destination_mac: bytes,
    source: bytes,
    destination: bytes,
    protocol: int,
    payload: bytes,
    *,
    fragment: int = 0,
    ttl: int = 64,
) -> bytes:
    """The complete frame of a packet without IPv4 options; `fragment` is DONT_FRAGMENT or 0."""
    header = _IPV4.pack(0x45, 0, IPV4_OCTETS + len(payload), 0, fragment, ttl, protocol, 0, source, destination)
    return (
        destination_mac
        + source_mac
        + ETHERTYPE_IPV4.to_bytes(2, "big")
        + header[:10]
        + checksum(header).to_bytes(2, "big")
        + header[12:]
        + payload
    )


def encode_udp(source: bytes, destination: bytes, ports: tuple[int, int], payload: bytes) -> bytes:
    """The UDP header and payload of a datagram from the first port to the second, between addresses of either family.

    The pseudo headers of both families are the same 16-bit words but for zeros (RFC 768, RFC 8200 §8.1).
    """
    length = UDP_OCTETS + len(payload)
    header = UDP_HEADER.pack(*ports, length, 0)
    pseudo = source + destination + _PSEUDO.pack(UDP, length)
    total = checksum(pseudo + header + payload) or 0xFFFF  # 0 is "no checksum", which IPv6 does not allow
    return header[:6] + total.to_bytes(2, "big") + payload


def checksum(octets: bytes) -> int:
    """The Internet checksum (RFC 1071) of octets that are not all zero.

    A ones' complement sum of 16-bit words is the number modulo 2^16 - 1, because 2^16 is 1 there.
    """
    if len(octets) & 1:
        octets += b"\0"
    return -int.from_bytes(octets, "big") % 0xFFFF
