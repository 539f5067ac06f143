"""What each DHCPv4 option can be that is configured by its number: all 254, as the RFCs name them."""

from __future__ import annotations

import pytest

from dhcp.config_options import parse_option

ADDRESS = (16, 32, 118)
"""Swap server (RFC 2132 §3.18), router solicitation address (§5.7), subnet selection (RFC 3011)."""
ADDRESS_LISTS = (
    *(4, 5, 7, 8, 9, 10, 11, 41, 42, 44, 45, 48, 49, 65),  # RFC 2132 §3, §8
    *(68, 69, 70, 71, 72, 73, 74, 75, 76),  # §8.13 to §8.21
    *(85, 112, 136, 138, 142, 150),  # RFC 2241, NetInfo, RFC 5192, 5417, 5678, 5859
)
ADDRESS_PAIRS = (21, 33)
FLAGS = (19, 20, 27, 29, 30, 31, 34, 36, 39, 116)
WORDS = {25: 68, 93: 0, 117: 0}
"""Smallest of the words."""
STRUCTURES = {
    78: (5, 253), 81: (3, 255), 94: (3, 3), 97: (17, 17), 120: (2, 1024), 124: (5, 1024), 125: (5, 1024),
    159: (4, 4), 208: (4, 4), 212: (22, 1024),
}  # fmt: skip
"""Fewest and most octets."""
INTEGERS = {
    2: (4, -(2**31), 2**31 - 1), 13: (2, 0, 65535), 22: (2, 576, 65535), 23: (1, 1, 255), 24: (4, 0, 2**32 - 1),
    35: (4, 0, 2**32 - 1), 37: (1, 1, 255), 38: (4, 0, 2**32 - 1), 46: (1, 1, 8), 108: (4, 300, 2**32 - 1),
    211: (4, 0, 2**32 - 1),
}  # fmt: skip
"""Octets, smallest and largest value."""
PROTOCOL = (50, 51, 52, 53, 54, 55, 57, 58, 59, 61, 80, 82)
FIELDS = {
    1: "client_address", 3: "router", 6: "dns", 12: "hostname", 15: "domain", 26: "mtu", 28: "client_address",
    119: "search", 121: "routes",
}  # fmt: skip
KINDS = (*ADDRESS, *ADDRESS_LISTS, *ADDRESS_PAIRS, *FLAGS, *WORDS, *STRUCTURES, *INTEGERS, *PROTOCOL, *FIELDS)
TEXTS = tuple(code for code in range(1, 255) if code not in KINDS)


def octets_of(code: int, text: str) -> str:
    """The value in hex, or the reason why there is none."""
    try:
        return parse_option(code, text).hex()
    except ValueError as error:
        return f"refused: {error}"


def refuses(code: int, *texts: str) -> bool:
    return all(octets_of(code, text).startswith("refused") for text in texts)


def hexed(length: int) -> str:
    return "0x" + "0a" * length


@pytest.mark.parametrize("code", ADDRESS)
def test_an_address(code: int) -> None:
    assert octets_of(code, "10.0.0.9") == octets_of(code, "0x0a000009") == "0a000009"
    assert refuses(code, "10.0.0.9 10.0.0.8", "x", "", hexed(3), hexed(5), hexed(8))


@pytest.mark.parametrize("code", ADDRESS_LISTS)
def test_addresses(code: int) -> None:
    assert octets_of(code, "10.0.0.9") == "0a000009"
    assert octets_of(code, "10.0.0.9,10.0.0.8 10.0.0.7") == "0a0000090a0000080a000007"
    assert octets_of(code, hexed(8)) == "0a" * 8
    assert refuses(code, "x", hexed(3), hexed(6))
    assert octets_of(code, "") == ("" if code == 68 else "refused: the value is empty"), "RFC 2132 §8.13"


@pytest.mark.parametrize("code", ADDRESS_PAIRS)
def test_pairs_of_addresses(code: int) -> None:
    assert octets_of(code, "10.0.0.9 10.0.0.8") == "0a0000090a000008"
    assert octets_of(code, hexed(16)) == "0a" * 16
    assert refuses(code, "10.0.0.9", "10.0.0.9 10.0.0.8 10.0.0.7", "", hexed(4), hexed(12))


@pytest.mark.parametrize("code", FLAGS)
def test_a_flag(code: int) -> None:
    assert [octets_of(code, text) for text in ("0", "1", "0x00", "0x01")] == ["00", "01", "00", "01"]
    assert refuses(code, "2", "-1", "01", "", "0x02", "0x0001", "0x")


@pytest.mark.parametrize("code", WORDS)
def test_a_list_of_words(code: int) -> None:
    least = WORDS[code]
    assert octets_of(code, f"{least} 65535") == octets_of(code, f"0x{least:04x}ffff") == f"{least:04x}ffff"
    assert refuses(code, f"{least - 1}", "65536", "0 065535", "x", "1 ٣", "", "0x00", "0x004400")
    assert refuses(code, "0x0043") == refuses(code, "0x0043ffff") == (least == 68)


@pytest.mark.parametrize("code", STRUCTURES)
def test_octets_of_a_structure(code: int) -> None:
    fewest, most = STRUCTURES[code]
    for length in (fewest, most):
        assert octets_of(code, hexed(length)) == "0a" * length
    assert refuses(code, "text", hexed(fewest - 1), hexed(most + 1))


@pytest.mark.parametrize("code", INTEGERS)
def test_an_integer(code: int) -> None:
    octets, smallest, largest = INTEGERS[code]
    for number in (smallest, largest):
        value = number.to_bytes(octets, signed=smallest < 0).hex()
        assert octets_of(code, str(number)) == octets_of(code, f"0x{value}") == value
        assert octets_of(code, f"0X{value.upper()}") == value
    assert refuses(code, str(smallest - 1), str(largest + 1), "x", "", "--1", "٣", "0" * 11)
    assert refuses(code, hexed(octets - 1), hexed(octets + 1))
    if smallest > 0:
        assert refuses(code, "0x" + (smallest - 1).to_bytes(octets).hex())
    if largest < 256**octets - 1 and smallest >= 0:
        assert refuses(code, "0x" + (largest + 1).to_bytes(octets).hex())


@pytest.mark.parametrize("code", TEXTS)
def test_any_text_or_octets(code: int) -> None:
    assert octets_of(code, "ü 1") == "c3bc2031"
    for length in (1, 2, 3, 4, 255, 1024):
        assert octets_of(code, hexed(length)) == "0a" * length
        assert octets_of(code, "x" * length) == "78" * length
    assert refuses(code, "", "0x", "0X", "0x0", "a\0", hexed(1025), "x" * 1025)


def test_what_the_protocol_sets_is_not_configured() -> None:
    for code in PROTOCOL:
        assert octets_of(code, "0x00") == "refused: this option belongs to the protocol and cannot be configured"
    for code in (-1, 0, 255, 256):
        assert octets_of(code, "0x00") == "refused: option numbers are 1 to 254"


@pytest.mark.parametrize("code", FIELDS)
def test_what_has_a_field_of_its_own_names_it(code: int) -> None:
    assert octets_of(code, "0x00") == f"refused: this option is set by the field {FIELDS[code]!r}"


def test_each_option_is_of_one_kind() -> None:
    assert len(set(KINDS)) == len(KINDS)
