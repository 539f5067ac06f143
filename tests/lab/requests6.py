"""Builds DHCPv6 and neighbour-discovery messages, valid or invalid in any field, without the server's code."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address

from lab.requests import CLIENT_MAC, mac_octets

SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE, RECONFIGURE = range(1, 11)
INFORMATION_REQUEST, RELAY_FORWARD, RELAY_REPLY = 11, 12, 13
CLIENT_ID, SERVER_ID, IA_NA, IA_TA, IA_ADDRESS, ORO, PREFERENCE, STATUS, RAPID_COMMIT = 1, 2, 3, 4, 5, 6, 7, 13, 14
RELAYED = 9
DNS, DOMAINS, IA_PD = 23, 24, 25

CLIENT6 = "fd00:10:244:1::5"
OTHER6 = "fd00:10:244:1::6"
FOREIGN6 = "2001:db8:9::7"
CLIENT_LINK_LOCAL = "fe80::5054:ff:fe0a:2"
ROUTER_LINK_LOCAL = "fe80::ecee:eeff:feee:eeee"
ROUTER_MAC = "ee:ee:ee:ee:ee:ee"
ALL_AGENTS, ALL_ROUTERS = "ff02::1:2", "ff02::2"
XID6 = b"\x39\x03\xf3"
IAID = b"\x0a\x00\x00\x02"
DUID = bytes.fromhex("0001 0001 2a3b4c5d 5254000a0002")
USUAL_ORO = (DNS, DOMAINS)

Options = Sequence[tuple[int, bytes]]


def packed6(address: str) -> bytes:
    return IPv6Address(address).packed


def tlv6(options: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(struct.pack("!HH", code, len(value)) + value for code, value in options)


def ia_na(*addresses: str, iaid: bytes = IAID) -> tuple[int, bytes]:
    """An IA_NA with addresses that the client has or requests."""
    inner = [(IA_ADDRESS, packed6(address) + struct.pack("!II", 300, 600)) for address in addresses]
    return IA_NA, iaid + struct.pack("!II", 0, 0) + tlv6(inner)


def message6(
    kind: int,
    options: Options = (),
    *,
    duid: bytes | None = DUID,
    server: bytes | None = None,
    oro: Sequence[int] | None = USUAL_ORO,
    xid: bytes = XID6,
) -> bytes:
    """A message: Client-ID (unless None), Server-ID (if given), `options`, ORO."""
    listed = [] if duid is None else [(CLIENT_ID, duid)]
    if server is not None:
        listed.append((SERVER_ID, server))
    listed += options
    if oro is not None:
        listed.append((ORO, b"".join(code.to_bytes(2) for code in oro)))
    return bytes((kind,)) + xid + tlv6(listed)


def relayed6(message: bytes | None, hops: int = 0) -> bytes:
    """A Relay-forward (RFC 8415 §9), with or without a message of the client."""
    inner = [] if message is None else [(RELAYED, message)]
    return bytes((RELAY_FORWARD, hops)) + packed6("2001:db8::1") + packed6(CLIENT_LINK_LOCAL) + tlv6(inner)


def datagram6(
    message: bytes,
    *,
    source: str = CLIENT_LINK_LOCAL,
    destination: str = ALL_AGENTS,
    source_mac: str = CLIENT_MAC,
    source_port: int = 546,
    port: int = 547,
    **fields: int,
) -> bytes:
    """Ethernet, IPv6 and UDP around a message; the UDP checksum is wrong, as a partial one is."""
    udp = struct.pack("!4H", source_port, port, 8 + len(message), 0x1234) + message
    return packet6(udp, 17, source=source, destination=destination, source_mac=source_mac, **fields)


def packet6(
    content: bytes,
    protocol: int,
    *,
    source: str = CLIENT_LINK_LOCAL,
    destination: str = ALL_AGENTS,
    source_mac: str = CLIENT_MAC,
    hop_limit: int = 1,
    length: int | None = None,
    version: int = 6,
    ethertype: int = 0x86DD,
) -> bytes:
    to = packed6(destination)
    destination_mac = b"\x33\x33" + to[12:] if to[0] == 0xFF else mac_octets("02:00:00:00:00:01")
    size = len(content) if length is None else length
    header = struct.pack("!IHBB", version << 28, size, protocol, hop_limit) + packed6(source) + to
    return destination_mac + mac_octets(source_mac) + ethertype.to_bytes(2) + header + content


def icmp6(message: bytes, *, source: str, destination: str, checksum: int | None = None, **fields: object) -> bytes:
    """Ethernet and IPv6 with hop limit 255 around an ICMPv6 message, with its checksum filled in."""
    pseudo = packed6(source) + packed6(destination) + struct.pack("!II", len(message), 58)
    octets = pseudo + message + b"\0" * (len(message) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    value = ~total & 0xFFFF if checksum is None else checksum
    fields.setdefault("hop_limit", 255)
    message = message[:2] + value.to_bytes(2) + message[4:]
    return packet6(message, 58, source=source, destination=destination, **fields)  # type: ignore[arg-type]


def solicit(options: Options | None = None, **fields: object) -> bytes:
    """Solicit, by default with one IA_NA."""
    wanted = [ia_na()] if options is None else options
    return datagram6(message6(SOLICIT, wanted, **fields))  # type: ignore[arg-type]


def router_solicitation(
    *, source: str = CLIENT_LINK_LOCAL, options: bytes | None = None, kind: int = 133, code: int = 0, **fields: object
) -> bytes:
    """RS, by default with the option source link-layer address."""
    if options is None:
        options = b"" if source == "::" else b"\1\1" + mac_octets(CLIENT_MAC)
    fields.setdefault("destination", ALL_ROUTERS)
    return icmp6(bytes((kind, code, 0, 0, 0, 0, 0, 0)) + options, source=source, **fields)  # type: ignore[arg-type]


def neighbour_solicitation(
    target: str, *, source: str = CLIENT_LINK_LOCAL, options: bytes | None = None, code: int = 0, **fields: object
) -> bytes:
    """NS to the solicited-node address; with source `::` a duplicate-address probe."""
    if options is None:
        options = b"" if source == "::" else b"\1\1" + mac_octets(CLIENT_MAC)
    group = IPv6Address("ff02::1:ff00:0") + int(IPv6Address(target)) % (1 << 24)
    fields.setdefault("destination", str(group))
    body = bytes((135, code, 0, 0, 0, 0, 0, 0)) + packed6(target) + options
    return icmp6(body, source=source, **fields)  # type: ignore[arg-type]
