"""IPv4 and MAC addresses as bytes in network order, and their text. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ANY = bytes(4)
BROADCAST = b"\xff\xff\xff\xff"
BROADCAST_MAC = b"\xff\xff\xff\xff\xff\xff"
_NO_HOST = frozenset((0, 127, *range(224, 240)))
_HEX = frozenset("0123456789abcdefABCDEF")


def parse_ipv4(text: str) -> bytes:
    """Four bytes of a dotted quad; raises ValueError for anything else (no shorthand, no octal)."""
    parts = text.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts):
        raise ValueError(f"{text!r} is not an IPv4 address")
    numbers = [int(part) for part in parts]
    if max(numbers) > 255 or ".".join(map(str, numbers)) != text:
        raise ValueError(f"{text!r} is not an IPv4 address")
    return bytes(numbers)


def parse_network(text: str) -> tuple[bytes, int]:
    """Address and prefix length of `a.b.c.d/len`; raises ValueError."""
    return parse_prefix(text, parse_ipv4, "IPv4", "a.b.c.d/len")


def parse_prefix(text: str, parse: Callable[[str], bytes], family: str, form: str) -> tuple[bytes, int]:
    """Address and prefix length of either family; raises ValueError."""
    address, slash, length = text.partition("/")
    if slash and length.isascii() and length.isdigit() and len(length) < 4:
        parsed = parse(address)
        if int(length) <= len(parsed) * 8:
            return parsed, int(length)
    raise ValueError(f"{text!r} is not an {family} address with a prefix length ({form})")


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
    """Whether a host can have this address: not 0/8, 127/8, 224/4 and the limited broadcast (RFC 1122 §3.2.1.3).

    Linux takes the reserved 240/4 for any other network, and clouds give pods of it.
    """
    return address[0] not in _NO_HOST and address != BROADCAST


def ipv4_text(address: bytes) -> str:
    """`10.0.0.1`."""
    return f"{address[0]}.{address[1]}.{address[2]}.{address[3]}"


def mac_text(mac: bytes) -> str:
    """`aa:bb:cc:dd:ee:ff`."""
    return mac.hex(":")
