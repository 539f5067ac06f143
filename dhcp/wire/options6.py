"""DHCPv6 options: numbers, decoding and encoding (RFC 8415 §21, RFC 3646). Pure."""

from __future__ import annotations

from _struct import Struct

from dhcp.lean.text import fault_of_lines
from dhcp.wire.ipv4 import Unusable

CLIENT_ID = 1
SERVER_ID = 2
IA_NA = 3
IA_TA = 4
IA_ADDRESS = 5
OPTION_REQUEST = 6
PREFERENCE = 7
STATUS_CODE = 13
RAPID_COMMIT = 14
DNS_SERVERS = 23
DOMAIN_LIST = 24
IA_PD = 25
INFORMATION_REFRESH_TIME = 32
SOL_MAX_RT = 82
INF_MAX_RT = 83

SUCCESS, NO_ADDRS_AVAIL, NO_BINDING, NOT_ON_LINK, NO_PREFIX_AVAIL = 0, 2, 3, 4, 6

# What the protocol itself sets, or a field of the configuration; a configured value would contradict it.
_TAKEN = frozenset((*range(1, 21), DNS_SERVERS, DOMAIN_LIST, IA_PD, 26))
# Four octets, with the smallest and the largest value: RFC 8415 §21.23 to §21.25.
_SECONDS = {
    INFORMATION_REFRESH_TIME: (600, 0xFFFFFFFF),
    SOL_MAX_RT: (60, 86_400),
    INF_MAX_RT: (60, 86_400),
}
# A value longer than this fits no reply on the smallest link.
LONGEST_VALUE6 = 512

_HEADER = Struct("!HH")
_ASSOCIATION = Struct("!4sII")
_ADDRESS = Struct("!16sII")


def decode_options6(field: bytes) -> list[tuple[int, bytes]]:
    """(number, value) of each option in order; raises Unusable for one that runs past the end."""
    options: list[tuple[int, bytes]] = []
    at, end = 0, len(field)
    while at < end:
        if at + 4 > end:
            raise Unusable("truncated", "an option's header runs past the end")
        code, length = _HEADER.unpack_from(field, at)
        at += 4
        if at + length > end:
            raise Unusable("truncated", f"option {code} runs past the end")
        options.append((code, field[at : at + length]))
        at += length
    return options


def encode_option6(code: int, value: bytes) -> bytes:
    return _HEADER.pack(code, len(value)) + value


def encode_association(code: int, iaid: bytes, t1: int, t2: int, options: bytes) -> bytes:
    """An IA_NA or IA_PD (RFC 8415 §21.4, §21.21); times in seconds."""
    return encode_option6(code, _ASSOCIATION.pack(iaid, t1, t2) + options)


def encode_address(address: bytes, preferred: int, valid: int) -> bytes:
    """An IA Address option (RFC 8415 §21.6)."""
    return encode_option6(IA_ADDRESS, _ADDRESS.pack(address, preferred, valid))


def encode_status(code: int, text: str) -> bytes:
    """A Status Code option (RFC 8415 §21.13)."""
    return encode_option6(STATUS_CODE, code.to_bytes(2, "big") + text.encode())


def parse_option6(code: int, text: str) -> bytes:
    """The value of option `code` from decimal seconds (32, 82, 83), text, or hex when it starts with `0x`.

    Raises ValueError with the reason when the option cannot have that value.
    """
    if not 0 < code < 0xFFFF:
        raise ValueError("option numbers are 1 to 65534")
    if code in _TAKEN:
        raise ValueError("this option belongs to the protocol or has a field of its own")
    if text[:2] in ("0x", "0X"):
        try:
            value = bytes.fromhex(text[2:])
        except ValueError:
            raise ValueError("0x must be followed by pairs of hex digits") from None
    elif code in _SECONDS:
        if not (text.isascii() and text.isdigit()) or len(text) > 10:
            raise ValueError(f"{text!r} is not a decimal number of seconds")
        value = min(int(text), 0xFFFFFFFF).to_bytes(4, "big")
    elif fault := fault_of_lines(text):
        raise ValueError(fault)
    else:
        value = text.encode()
    if not value:
        raise ValueError("the value is empty")
    if len(value) > LONGEST_VALUE6:
        raise ValueError(f"{len(value)} octets are more than fit into a reply (at most {LONGEST_VALUE6})")
    if code in _SECONDS:
        smallest, largest = _SECONDS[code]
        if len(value) != 4 or not smallest <= int.from_bytes(value, "big") <= largest:
            raise ValueError(f"must be {smallest} to {largest} seconds in four octets")
    return value
