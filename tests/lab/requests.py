"""Builds DHCPv4 requests, valid or invalid in any field, without the server's code."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
CLIENT_MAC = "52:54:00:0a:00:02"
CLIENT = "10.0.0.2"
SERVER = "10.0.0.1"
BROADCAST = "255.255.255.255"
UNSPECIFIED = "0.0.0.0"
COOKIE = b"\x63\x82\x53\x63"
XID = 0x3903F326
USUAL_PARAMETERS = (1, 3, 6, 12, 15, 26, 28, 42, 51, 54, 58, 59, 119, 121)

Options = Sequence[tuple[int, bytes]]


def packed(address: str) -> bytes:
    """Four octets of an IPv4 address."""
    return IPv4Address(address).packed


def mac_octets(mac: str) -> bytes:
    """Six octets of a MAC address."""
    return bytes.fromhex(mac.replace(":", ""))


def tlv(options: Iterable[tuple[int, bytes]]) -> bytes:
    """Options as number, length, value; without END."""
    return b"".join(bytes((code, len(value))) + value for code, value in options)


def payload(
    kind: int | None,
    options: Options = (),
    *,
    parameters: Sequence[int] | None = USUAL_PARAMETERS,
    op: int = 1,
    htype: int = 1,
    hlen: int = 6,
    hops: int = 0,
    xid: int = XID,
    secs: int = 0,
    flags: int = 0,
    ciaddr: str = UNSPECIFIED,
    yiaddr: str = UNSPECIFIED,
    siaddr: str = UNSPECIFIED,
    giaddr: str = UNSPECIFIED,
    chaddr: bytes | str = CLIENT_MAC,
    sname: bytes = b"",
    file: bytes = b"",
    cookie: bytes = COOKIE,
    field: bytes | None = None,
    size: int = 300,
) -> bytes:
    """A message: option 53 (unless `kind` is None), `options`, 55, END; padded to `size` octets.

    `field` replaces all that follows the cookie.
    """
    if isinstance(chaddr, str):
        chaddr = mac_octets(chaddr)
    header = struct.pack("!4BIHH", op, htype, hlen, hops, xid, secs, flags)
    header += packed(ciaddr) + packed(yiaddr) + packed(siaddr) + packed(giaddr)
    header += chaddr.ljust(16, b"\0") + sname.ljust(64, b"\0") + file.ljust(128, b"\0")
    if field is None:
        listed = [] if kind is None else [(53, bytes((kind,)))]
        listed += options
        if parameters is not None:
            listed.append((55, bytes(parameters)))
        field = tlv(listed) + b"\xff"
    return (header + cookie + field).ljust(size, b"\0")


def frame(
    message: bytes,
    *,
    source: str = UNSPECIFIED,
    destination: str = BROADCAST,
    source_mac: str = CLIENT_MAC,
    destination_mac: str = "ff:ff:ff:ff:ff:ff",
    source_port: int = 68,
    port: int = 67,
    udp_checksum: int = 0,
    fragment: int = 0,
    protocol: int = 17,
    ethertype: int = 0x0800,
    ip_options: bytes = b"",
) -> bytes:
    """Ethernet, IPv4 and UDP around a message."""
    udp = struct.pack("!4H", source_port, port, 8 + len(message), udp_checksum) + message
    ihl = 5 + len(ip_options) // 4
    addresses = packed(source) + packed(destination) + ip_options
    header = struct.pack("!BBHHHBBH", 0x40 | ihl, 0, 4 * ihl + len(udp), 7, fragment, 64, protocol, 0) + addresses
    total = sum(struct.unpack(f"!{2 * ihl}H", header))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    header = header[:10] + checksum.to_bytes(2) + header[12:]
    ethernet = mac_octets(destination_mac) + mac_octets(source_mac) + ethertype.to_bytes(2)
    return ethernet + header + udp


def discover(options: Options = (), **fields: object) -> bytes:
    """DISCOVER as a frame; `fields` are those of `payload`."""
    return frame(payload(DISCOVER, options, **fields))  # type: ignore[arg-type]


def selecting(address: str = CLIENT, server: str = SERVER, options: Options = (), **fields: object) -> bytes:
    """REQUEST in SELECTING (RFC 2131 §4.3.2)."""
    chosen = [(54, packed(server)), (50, packed(address)), *options]
    return frame(payload(REQUEST, chosen, **fields))  # type: ignore[arg-type]


def reboot(address: str, options: Options = (), **fields: object) -> bytes:
    """REQUEST in INIT-REBOOT."""
    return frame(payload(REQUEST, [(50, packed(address)), *options], **fields))  # type: ignore[arg-type]


def renewing(address: str, options: Options = (), *, server: str = SERVER, **fields: object) -> bytes:
    """REQUEST in RENEWING, unicast to the server; with `server=BROADCAST` in REBINDING."""
    message = payload(REQUEST, options, ciaddr=address, **fields)  # type: ignore[arg-type]
    to = "ff:ff:ff:ff:ff:ff" if server == BROADCAST else "02:00:00:00:00:01"
    return frame(message, source=address, destination=server, destination_mac=to)


def inform(address: str, options: Options = (), *, source: str = "", **fields: object) -> bytes:
    """INFORM from `source`, by default `address`, the value of `ciaddr`."""
    message = payload(INFORM, options, ciaddr=address, **fields)  # type: ignore[arg-type]
    return frame(message, source=source or address)


def arp(
    operation: int,
    target: str,
    *,
    sender: str = CLIENT,
    sender_mac: str = CLIENT_MAC,
    target_mac: str = "00:00:00:00:00:00",
    hardware: int = 1,
    protocol: int = 0x0800,
) -> bytes:
    """An ARP packet, broadcast, padded to the shortest frame."""
    body = struct.pack("!HHBBH", hardware, protocol, 6, 4, operation)
    body += mac_octets(sender_mac) + packed(sender) + mac_octets(target_mac) + packed(target)
    return (b"\xff" * 6 + mac_octets(sender_mac) + b"\x08\x06" + body).ljust(60, b"\0")
