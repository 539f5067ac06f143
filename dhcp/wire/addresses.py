"""IPv4 and MAC addresses as bytes in network order, and their text."""

from __future__ import annotations

from _socket import AF_INET, inet_pton

ANY = bytes(4)
BROADCAST = b"\xff\xff\xff\xff"
BROADCAST_MAC = b"\xff\xff\xff\xff\xff\xff"
_HEX = frozenset("0123456789abcdefABCDEF")


def parse_ipv4(text: str) -> bytes:
    """Four bytes of a dotted quad; raises ValueError for anything else (no shorthand, no octal)."""
    try:
        return inet_pton(AF_INET, text)
    except (OSError, ValueError):
        raise ValueError(f"{text!r} is not an IPv4 address") from None


def parse_network(text: str) -> tuple[bytes, int]:
    """Address and prefix length of `a.b.c.d/len`; raises ValueError."""
    address, slash, length = text.partition("/")
    if not slash or not (length.isascii() and length.isdigit()) or len(length) > 2 or int(length) > 32:
        raise ValueError(f"{text!r} is not an IPv4 address with a prefix length (a.b.c.d/len)")
    return parse_ipv4(address), int(length)


def parse_mac(text: str) -> bytes:
    """Six bytes of `aa:bb:cc:dd:ee:ff`; raises ValueError for anything but a usable unicast address."""
    octets = text.split(":")
    if len(octets) != 6 or not all(len(octet) == 2 and _HEX.issuperset(octet) for octet in octets):
        raise ValueError(f"{text!r} is not a MAC address (aa:bb:cc:dd:ee:ff)")
    mac = bytes.fromhex("".join(octets))
    if mac[0] & 1:
        raise ValueError(f"{text!r} is a multicast MAC address; an interface has a unicast one")
    if not any(mac):
        raise ValueError(f"{text!r} is no interface's MAC address")
    return mac


def netmask(length: int) -> bytes:
    """The four bytes of a prefix length of 0 to 32."""
    return (0xFFFFFFFF << (32 - length) & 0xFFFFFFFF).to_bytes(4, "big")


def network(address: bytes, length: int) -> bytes:
    """The address with its host bits cleared."""
    return bytes(a & m for a, m in zip(address, netmask(length), strict=True))


def directed_broadcast(address: bytes, length: int) -> bytes:
    """The address with its host bits set."""
    return bytes(a | ~m & 0xFF for a, m in zip(address, netmask(length), strict=True))


def is_unicast(address: bytes) -> bool:
    """Whether a host can have this address (RFC 1122 §3.2.1.3, RFC 6890): not 0/8, 127/8, 224/3."""
    return 0 < address[0] < 224 and address[0] != 127


def ipv4_text(address: bytes) -> str:
    """`10.0.0.1`."""
    return f"{address[0]}.{address[1]}.{address[2]}.{address[3]}"


def mac_text(mac: bytes) -> str:
    """`aa:bb:cc:dd:ee:ff`."""
    return mac.hex(":")
