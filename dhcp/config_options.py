"""Text → value of a DHCPv4 option that is configured by its number (RFC 2132 and its successors). Pure."""

from __future__ import annotations

from dhcp.lean.text import fault_of_lines
from dhcp.wire.addresses import parse_ipv4
from dhcp.wire.option_codes import (
    BROADCAST_ADDRESS,
    CLASSLESS_ROUTES,
    CLIENT_FQDN,
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

# A value longer than this fits no reply on an Ethernet.
LONGEST_VALUE = 1024
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
_ADDRESS_LISTS = frozenset((4, 5, 7, 8, 9, 10, 11, 41, 42, 44, 45, 48, 49, 65, *range(69, 77), 85))
_ADDRESS_LISTS |= {112, 136, 138, 142, 150}
_ADDRESS_LISTS_OR_EMPTY = frozenset((68,))  # mobile IP home agents, RFC 2132 §8.13: may be empty
_ADDRESS_PAIRS = frozenset((21, 33))
_FLAGS = frozenset((19, 20, 27, 29, 30, 31, 34, 36, 39, 116))
# Lists of integers of two octets: path MTU plateaus (RFC 2132 §4.7), client architectures (RFC 4578 §2.1), name
# services (RFC 2937 §3). Number → smallest of them.
_WORD_LISTS = {25: 68, 93: 0, 117: 0}
# What has a structure of its own, which only its octets can give. Number → fewest and most of them.
_STRUCTURES = {
    78: (5, 253),  # RFC 2610 §3: a flag and addresses
    CLIENT_FQDN: (3, 255),  # RFC 4702 §2
    94: (3, 3),  # RFC 4578 §2.2
    97: (17, 17),  # RFC 4578 §2.3
    120: (2, LONGEST_VALUE),  # RFC 3361 §3
    124: (5, LONGEST_VALUE),  # RFC 3925 §3
    125: (5, LONGEST_VALUE),  # RFC 3925 §4
    159: (4, 4),  # RFC 7618 §9
    208: (4, 4),  # RFC 5071 §3
    212: (22, LONGEST_VALUE),  # RFC 5969 §7.1.1
}
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
    211: (4, 0, 2**32 - 1),
}


def parse_option(code: int, text: str) -> bytes:
    """The value of option `code` from text, or from hex when the text starts with `0x`.

    Addresses are dotted quads separated by commas or blanks, integers and flags are decimal, all else that has
    no structure of its own is taken as the text that it is. Raises ValueError with the reason when the option
    cannot have that value.
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
    if code in _WORD_LISTS:
        if length % 2:
            raise ValueError(f"a list of integers is a multiple of 2 octets, not {length}")
        _check_words(code, [int.from_bytes(value[at : at + 2], "big") for at in range(0, length, 2)])
    if code in _STRUCTURES:
        fewest, most = _STRUCTURES[code]
        if not fewest <= length <= most:
            raise ValueError(f"the value is {fewest} to {most} octets, not {length}")
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
    if code in _WORD_LISTS:
        numbers = text.replace(",", " ").split()
        if not all(number.isascii() and number.isdigit() and len(number) < 6 for number in numbers):
            raise ValueError(f"{text!r} is not a list of decimal numbers")
        words = [int(number) for number in numbers]
        _check_words(code, words)
        return b"".join(word.to_bytes(2, "big") for word in words)
    if code in _STRUCTURES:
        raise ValueError("this option is no text; its octets are given as 0x and hex digits")
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
    if fault := fault_of_lines(text):
        raise ValueError(fault)
    return text.encode()


def _check_words(code: int, words: list[int]) -> None:
    for word in words:
        if not _WORD_LISTS[code] <= word <= 0xFFFF:
            raise ValueError(f"{word} is not in {_WORD_LISTS[code]} to 65535")


def _check_range(code: int, number: int) -> None:
    _, smallest, largest = _INTEGERS[code]
    if not smallest <= number <= largest:
        raise ValueError(f"{number} is not in {smallest} to {largest}")
