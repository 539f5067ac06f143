"""IPv6 addresses as bytes in network order, their text, and what is derived from them (RFC 4291)."""

from __future__ import annotations

from _socket import AF_INET6, inet_ntop, inet_pton

UNSPECIFIED = bytes(16)
ALL_NODES = b"\xff\x02" + bytes(13) + b"\x01"
ALL_ROUTERS = b"\xff\x02" + bytes(13) + b"\x02"
ALL_DHCP_AGENTS = b"\xff\x02" + bytes(11) + b"\x01\x00\x02"
"""All_DHCP_Relay_Agents_and_Servers, ff02::1:2 (RFC 8415 §7.1)."""
_SOLICITED_NODE = b"\xff\x02" + bytes(9) + b"\x01\xff"


def parse_ipv6(text: str) -> bytes:
    """Sixteen bytes of an address without a zone; raises ValueError."""
    try:
        return inet_pton(AF_INET6, text)
    except (OSError, ValueError):
        raise ValueError(f"{text!r} is not an IPv6 address") from None


def parse_network6(text: str) -> tuple[bytes, int]:
    """Address and prefix length of `a:b::c/len`; raises ValueError."""
    address, slash, length = text.partition("/")
    if not slash or not (length.isascii() and length.isdigit()) or len(length) > 3 or int(length) > 128:
        raise ValueError(f"{text!r} is not an IPv6 address with a prefix length (a:b::c/len)")
    return parse_ipv6(address), int(length)


def network6(address: bytes, length: int) -> bytes:
    """The address with its host bits cleared."""
    return (int.from_bytes(address, "big") >> 128 - length << 128 - length).to_bytes(16, "big")


def is_multicast(address: bytes) -> bool:
    return address[0] == 0xFF


def is_link_local(address: bytes) -> bool:
    """Whether it is of fe80::/10."""
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def is_host(address: bytes) -> bool:
    """Whether a host can have this address: neither multicast, nor unspecified, nor loopback (RFC 4291 §2.5)."""
    return not is_multicast(address) and any(address[:15]) | (address[15] > 1)


def solicited_node(address: bytes) -> bytes:
    """The multicast address at which neighbour solicitations for an address arrive (RFC 4291 §2.7.1)."""
    return _SOLICITED_NODE + address[13:]


def multicast_mac(address: bytes) -> bytes:
    """The Ethernet address of an IPv6 multicast address (RFC 2464 §7)."""
    return b"\x33\x33" + address[12:]


def ipv6_text(address: bytes) -> str:
    """`fd00::1`, in the form of RFC 5952."""
    return inet_ntop(AF_INET6, address)
