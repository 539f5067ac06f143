"""How the value of a DHCPv4 option that is configured by its number becomes bytes (RFC 2132 and its successors)."""

from __future__ import annotations

from dhcp.address import parse_ipv4
from dhcp.optioncodes import (
    BROADCAST_ADDRESS,
    CLASSLESS_ROUTES,
    CLIENT_ID,
    DOMAIN_NAME,
    DOMAIN_NAME_SERVER,
    DOMAIN_SEARCH,
    END,
    HOST_NAME,
    INTERFACE_MTU,
    IPV6_ONLY_PREFERRED,
    LEASE_TIME,
    MAX_MESSAGE_SIZE,
    PAD,
    PARAMETER_LIST,
    RAPID_COMMIT,
    REBINDING_TIME,
    RELAY_AGENT_INFORMATION,
    RENEWAL_TIME,
    REQUESTED_ADDRESS,
    ROUTER,
    SUBNET_MASK,
)

# What the protocol itself sets; a configured value would break the exchange.
_PROTOCOL = frozenset((PAD, REQUESTED_ADDRESS, *range(LEASE_TIME, PARAMETER_LIST + 1), MAX_MESSAGE_SIZE))
_PROTOCOL |= {RENEWAL_TIME, REBINDING_TIME, CLIENT_ID, RAPID_COMMIT, RELAY_AGENT_INFORMATION, END}
# What has a field of its own in the configuration.
_FIELDS = {
    SUBNET_MASK: "client_address",
    ROUTER: "router",
    DOMAIN_NAME_SERVER: "dns",
    HOST_NAME: "hostname",
    DOMAIN_NAME: "domain",
    INTERFACE_MTU: "mtu",
    BROADCAST_ADDRESS: "client_address",
    DOMAIN_SEARCH: "search",
    CLASSLESS_ROUTES: "routes",
}
_ADDRESS = frozenset((16, 32, 118))
_ADDRESS_LISTS = frozenset((4, 5, 7, 8, 9, 10, 11, 41, 42, 44, 45, 48, 49, 65, *range(69, 77), 85, 150))
_ADDRESS_LISTS_OR_EMPTY = frozenset((68,))  # mobile IP home agents, RFC 2132 §8.13: may be empty
_ADDRESS_PAIRS = frozenset((21, 33))
_FLAGS = frozenset((19, 20, 27, 29, 30, 31, 34, 36, 39, 116))
# Number → octets, smallest and largest value.
_INTEGERS = {
    2: (4, -(2**31), 2**31 - 1),
    13: (2, 0, 0xFFFF),
    22: (2, 576, 0xFFFF),
    23: (1, 1, 255),
    24: (4, 0, 2**32 - 1),
    35: (4, 0, 2**32 - 1),
    37: (1, 1, 255),
    38: (4, 0, 2**32 - 1),
    46: (1, 1, 8),
    IPV6_ONLY_PREFERRED: (4, 300, 2**32 - 1),  # RFC 8925 §3.4: MIN_V6ONLY_WAIT
}
# A value longer than this fits no reply on an Ethernet.
LONGEST_VALUE = 1024


def parse_option(code: int, text: str) -> bytes:
    """The value of option `code` from text, or from hex when the text starts with `0x`.

    Addresses are dotted quads separated by commas or blanks, integers and flags are decimal, all else is
    taken as the text that it is. Raises ValueError with the reason when the option cannot have that value.
    """
    if not 0 < code < 255:
        raise ValueError("option numbers are 1 to 254")
    if code in _PROTOCOL:
        raise ValueError("this option belongs to the protocol and cannot be configured")
    if code in _FIELDS:
        raise ValueError(f"this option is set by the field {_FIELDS[code]!r}")
    value = _from_hex(code, text[2:]) if text[:2] in ("0x", "0X") else _from_text(code, text)
    if not value and code not in _ADDRESS_LISTS_OR_EMPTY:
        raise ValueError("the value is empty")
    if len(value) > LONGEST_VALUE:
        raise ValueError(f"{len(value)} octets are more than fit into a reply (at most {LONGEST_VALUE})")
    return value


def _from_hex(code: int, digits: str) -> bytes:
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        raise ValueError("0x must be followed by pairs of hex digits") from None
    length = len(value)
    if code in _ADDRESS and length != 4:
        raise ValueError(f"an address is 4 octets, not {length}")
    if code in _ADDRESS_LISTS | _ADDRESS_LISTS_OR_EMPTY and length % 4:
        raise ValueError(f"a list of addresses is a multiple of 4 octets, not {length}")
    if code in _ADDRESS_PAIRS and length % 8:
        raise ValueError(f"a list of address pairs is a multiple of 8 octets, not {length}")
    if code in _FLAGS and value not in (b"\0", b"\1"):
        raise ValueError("a flag is one octet, 00 or 01")
    if code in _INTEGERS:
        octets, smallest, _ = _INTEGERS[code]
        if length != octets:
            raise ValueError(f"the value is {octets} octets, not {length}")
        _check_range(code, int.from_bytes(value, "big", signed=smallest < 0))
    return value


def _from_text(code: int, text: str) -> bytes:
    if code in _ADDRESS:
        return parse_ipv4(text)
    if code in _ADDRESS_LISTS | _ADDRESS_LISTS_OR_EMPTY | _ADDRESS_PAIRS:
        addresses = [parse_ipv4(word) for word in text.replace(",", " ").split()]
        if code in _ADDRESS_PAIRS and len(addresses) % 2:
            raise ValueError("addresses come in pairs here")
        return b"".join(addresses)
    if code in _FLAGS:
        if text not in ("0", "1"):
            raise ValueError("a flag is 0 or 1")
        return bytes((int(text),))
    if code in _INTEGERS:
        octets, smallest, _ = _INTEGERS[code]
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 10:
            raise ValueError(f"{text!r} is not a decimal number")
        number = int(text)
        _check_range(code, number)
        return number.to_bytes(octets, "big", signed=smallest < 0)
    if "\0" in text:
        raise ValueError("text cannot contain NUL")
    return text.encode()


def _check_range(code: int, number: int) -> None:
    _, smallest, largest = _INTEGERS[code]
    if not smallest <= number <= largest:
        raise ValueError(f"{number} is not in {smallest} to {largest}")
