"""IPv6 addresses as bytes in network order, their text, and what is derived from them (RFC 4291). Pure."""

from __future__ import annotations

from dhcp.wire.addresses import ipv4_text, parse_ipv4, parse_prefix

UNSPECIFIED = bytes(16)
ALL_NODES = b"\xff\x02" + bytes(13) + b"\x01"
ALL_ROUTERS = b"\xff\x02" + bytes(13) + b"\x02"
ALL_DHCP_AGENTS = b"\xff\x02" + bytes(11) + b"\x01\x00\x02"
"""All_DHCP_Relay_Agents_and_Servers, ff02::1:2 (RFC 8415 §7.1)."""
_HEX = frozenset("0123456789abcdefABCDEF")
_SOLICITED_NODE = b"\xff\x02" + bytes(9) + b"\x01\xff"


def parse_ipv6(text: str) -> bytes:
    """Sixteen bytes of an address without a zone (RFC 4291 §2.2); raises ValueError."""
    try:
        before, gap, after = text.partition("::")
        head, tail = _groups(before, not gap), _groups(after, True)
        missing = 16 - len(head) - len(tail)
        if missing != 0 if not gap else missing < 2:
            raise ValueError
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv6 address") from None
    return head + bytes(missing) + tail


def _groups(text: str, is_last: bool) -> bytes:
    """The octets of groups of hex digits; the last ones of an address may be a dotted quad."""
    octets = b""
    groups = text.split(":") if text else []
    for number, group in enumerate(groups, 1):
        if "." in group and is_last and number == len(groups):
            octets += parse_ipv4(group)
        elif 0 < len(group) <= 4 and _HEX.issuperset(group):
            octets += int(group, 16).to_bytes(2, "big")
        else:
            raise ValueError
    return octets


def parse_network6(text: str) -> tuple[bytes, int]:
    """Address and prefix length of `a:b::c/len`; raises ValueError."""
    return parse_prefix(text, parse_ipv6, "IPv6", "a:b::c/len")


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
    """`fd00::1`, in the form of RFC 5952: the first longest run of zero groups, of two at least, is `::`."""
    groups = [f"{address[at] << 8 | address[at + 1]:x}" for at in range(0, 16, 2)]
    begin, length = 0, 1
    for at in range(8):
        run = next((end for end in range(at, 8) if groups[end] != "0"), 8) - at
        if run > length:
            begin, length = at, run
    if begin == 0 and (length == 6 or (length == 5 and groups[5] == "ffff")):  # holds an IPv4 address (§5)
        groups[6:] = [ipv4_text(address[12:])]
    if length == 1:
        return ":".join(groups)
    return f"{':'.join(groups[:begin])}::{':'.join(groups[begin + length :])}"
