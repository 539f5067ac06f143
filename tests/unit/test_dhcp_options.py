"""The options field: reading what clients send, laying out what they get."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.rawclient import _domain_names
from lab.requests import packed, tlv

from dhcp.config import Route
from dhcp.v4.layout import lay_out
from dhcp.wire.options4 import decode_options, encode_classless_routes, encode_option, split_classless_routes
from dhcp.wire.search_list import encode_search_list

NO_FILE, NO_SNAME = bytes(128), bytes(64)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        (b"", {}),
        (b"\xff", {}),
        (b"\0\0\x35\1\1\0\0\x32\4abcd\0\xff", {53: b"\1", 50: b"abcd"}),
        (b"\x35\1\1", {53: b"\1"}),  # no END
        (b"\x35\1\1\xff\x36\4abcd", {53: b"\1"}),  # nothing after END counts
        (b"\x35\1\1\x36\x20abcd", {53: b"\1"}),  # runs past the end
        (b"\x35\1\1\x36", {53: b"\1"}),  # no length
        (b"\x35\1\1\x50\0\xff", {53: b"\1", 80: b""}),
        (b"\x3d\2ab\x0c\1h\x3d\2cd\xff", {61: b"abcd", 12: b"h"}),  # RFC 3396
    ],
)
def test_decoding(field: bytes, options: dict[int, bytes]) -> None:
    assert decode_options(field, NO_FILE, NO_SNAME) == options


@pytest.mark.parametrize(
    ("overload", "options"),
    [
        (b"\x34\1\1", {53: b"\1", 12: b"file"}),
        (b"\x34\1\2", {53: b"\1", 12: b"name"}),
        (b"\x34\1\3", {53: b"\1", 12: b"filename"}),
        (b"\x34\1\0", {53: b"\1"}),
        (b"\x34\1\4", {53: b"\1"}),
        (b"\x34\2\1\1", {53: b"\1"}),
    ],
)
def test_overloaded_fields_follow_in_order(overload: bytes, options: dict[int, bytes]) -> None:
    file, sname = (b"\x0c\4file\xff").ljust(128, b"\0"), (b"\x0c\4name\x34\1\3\xff").ljust(64, b"\0")
    assert decode_options(b"\x35\1\1" + overload + b"\xff", file, sname) == options


@given(st.binary(max_size=400), st.binary(max_size=128), st.binary(max_size=64))
def test_decoding_never_fails(field: bytes, file: bytes, sname: bytes) -> None:
    for value in decode_options(field, file, sname).values():
        assert len(value) <= len(field) + len(file) + len(sname)


@given(st.integers(1, 254).filter(lambda code: code not in (52, 119)), st.binary(max_size=1200))
def test_a_long_value_splits_and_joins(code: int, value: bytes) -> None:
    assert decode_options(encode_option(code, value), NO_FILE, NO_SNAME) == {code: value}


def test_split_instances_are_full_but_the_last() -> None:
    encoded = encode_option(121, b"x" * 600)
    assert [encoded[0], encoded[1], encoded[257], encoded[258], encoded[514], encoded[515]] == [
        *(121, 255),
        *(121, 255),
        *(121, 90),
    ]


LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=63)
NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join).filter(lambda name: len(name) <= 253)


@given(st.lists(NAME, min_size=4, max_size=40))
def test_a_long_search_list_splits_and_joins(names: list[str]) -> None:
    value = encode_search_list(names)
    assert decode_options(encode_option(119, value), NO_FILE, NO_SNAME) == {119: value}


@pytest.mark.parametrize("shared", ["", ".svc.cluster.local"], ids=["apart", "shared"])
@pytest.mark.parametrize("octets", [5, 19, 30, 47, 48, 49, 50, 51, 60])
@pytest.mark.parametrize("count", [5, 6, 7, 12, 25])
def test_the_first_names_of_a_long_search_list_reach_a_client_that_does_not_join(
    count: int, octets: int, shared: str
) -> None:
    """As systemd-networkd, which takes the last of the instances that is a list by itself."""
    names = [f"a{number:02}".ljust(octets, "x") + shared for number in range(count)]
    encoded = encode_option(119, encode_search_list(names))
    instances = []
    while encoded:
        instances.append(encoded[2 : 2 + encoded[1]])
        encoded = encoded[2 + encoded[1] :]
    first, *rest = instances
    taken = list(_domain_names(first))
    assert taken == names[: len(taken)]
    assert len(rest) == 0 or 255 - octets - len(shared) - 2 < len(first) <= 255
    assert [part for part in rest if is_list(part)] == []


def is_list(value: bytes) -> bool:
    """Whether these are names from the first octet to the last, each pointing backwards at most."""
    at = 0
    while at < len(value):
        length = value[at]
        if length >= 0xC0:
            if at + 2 > len(value) or (length & 0x3F) << 8 | value[at + 1] >= at:
                return False
            at += 2
        elif length >= 0x40:
            return False
        else:
            at += 1 + length
    return at == len(value)


def test_all_that_fits_stays_in_order() -> None:
    layout = lay_out([(53, b"\2"), (1, b"abcd"), (54, b"efgh")], 308, ())
    assert layout.field == tlv([(53, b"\2"), (1, b"abcd"), (54, b"efgh")]) + b"\xff"
    assert (layout.file, layout.sname, layout.dropped) == (b"", b"", ())


def test_a_field_may_be_filled_to_the_last_octet() -> None:
    exact = lay_out([(53, b"\2"), (224, b"x" * 20)], 3 + 22 + 1, ())
    assert len(exact.field) == 26
    assert exact.file == b""
    assert lay_out([(53, b"\2"), (224, b"x" * 20)], 25, ()).file != b""


def test_over_budget_goes_into_file_and_sname() -> None:
    options = [(53, b"\2"), (224, b"a" * 40), (225, b"b" * 100), (226, b"c" * 50)]
    layout = lay_out(options, 60, ())
    assert layout.dropped == ()
    assert len(layout.field) <= 60
    assert layout.field.endswith(b"\x34\1\3\xff")
    assert (len(layout.file), len(layout.sname)) == (128, 64)
    assert decode_options(layout.field, layout.file, layout.sname) == dict(options)


def test_a_search_list_is_spread_over_all_fields() -> None:
    """It need not fit whole into any one of them: who knows option 119 joins its parts (RFC 3397 §2)."""
    options = [(53, b"\2"), (1, b"abcd"), (119, b"n" * 200), (54, b"efgh")]
    layout = lay_out(options, 60, ())
    assert layout.dropped == ()
    assert len(layout.field) <= 60
    assert decode_options(layout.field, layout.file, layout.sname) == dict(options)
    assert lay_out([(53, b"\2"), (224, b"n" * 200)], 60, (224,)).dropped == (224,)


def test_what_is_expendable_goes_first() -> None:
    options = [(53, b"\2"), (1, b"abcd"), (224, b"a" * 200), (225, b"b" * 10)]
    layout = lay_out(options, 60, (225, 224, 1))
    assert layout.dropped == (225, 224)
    assert decode_options(layout.field, layout.file, layout.sname) == {53: b"\2", 1: b"abcd"}


def test_a_search_list_loses_names_before_it_goes() -> None:
    names = [f"domain-{i}.example-{i}.test-{i}" for i in range(30)]
    layout = lay_out([(53, b"\2"), (119, encode_search_list(names))], 100, (119,), names)
    assert layout.dropped == (119,)
    kept = list(_domain_names(decode_options(layout.field, layout.file, layout.sname)[119]))
    assert 1 <= len(kept) < 30
    assert kept == names[: len(kept)]


@given(
    st.lists(st.tuples(st.integers(1, 254), st.binary(max_size=300)), max_size=12, unique_by=lambda o: o[0]),
    st.integers(64, 1200),
)
def test_a_layout_is_within_its_room_and_loses_only_what_it_says(options: list[tuple[int, bytes]], room: int) -> None:
    options = [(code, value) for code, value in options if code != 52]
    layout = lay_out(options, room, [code for code, _ in options])
    assert len(layout.field) <= room
    assert len(layout.file) in (0, 128)
    assert len(layout.sname) in (0, 64)
    decoded = decode_options(layout.field, layout.file, layout.sname)
    assert decoded == {code: value for code, value in options if code not in layout.dropped}


def test_routes_are_encoded_as_in_the_table_of_rfc_3442() -> None:
    destinations = {
        "0.0.0.0/0": "00",
        "10.0.0.0/8": "080a",
        "10.0.0.0/24": "180a0000",
        "10.17.0.0/16": "100a11",
        "10.27.129.0/24": "180a1b81",
        "10.229.0.128/25": "190a e500 80",
        "10.198.122.47/32": "200ac6 7a2f",
    }
    for text, encoded in destinations.items():
        address, length = text.split("/")
        route = Route(packed(address), int(length), packed("192.0.2.1"))
        assert encode_classless_routes([route]) == bytes.fromhex(encoded) + packed("192.0.2.1")


def test_search_list_of_rfc_3397() -> None:
    value = encode_search_list(["eng.apple.com", "marketing.apple.com"])
    assert value == b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04"


LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20)
NAME = st.lists(LABEL, min_size=1, max_size=6).map(".".join)


@given(st.lists(NAME, max_size=12))
def test_search_lists_decode_to_themselves(names: list[str]) -> None:
    assert list(_domain_names(encode_search_list(names))) == names


def routes_of(seed: int) -> bytes:
    """The value of an option 121 that is longer than 255 octets."""
    chance = random.Random(seed)
    value = b""
    for _ in range(chance.randint(52, 150)):
        length = chance.randint(0, 32)
        value += bytes((length,)) + chance.randbytes((length + 7) // 8 + 4)
    return value


ROUTES = st.integers(0).map(routes_of)


def parsed_alone(value: bytes) -> list[bytes] | None:
    """The routes of one instance of option 121; None where it is no list of whole routes."""
    found = []
    while value:
        octets = 1 + (value[0] + 7) // 8 + 4
        if value[0] > 32 or octets > len(value):
            return None
        found.append(value[:octets])
        value = value[octets:]
    return found


@given(ROUTES)
def test_each_part_of_a_long_list_of_routes_is_a_list(value: bytes) -> None:
    """Clients join the parts (RFC 3396); systemd-networkd reads each by itself."""
    parts = split_classless_routes(value)
    assert all(0 < len(part) <= 255 for part in parts)
    assert [route for part in parts for route in parsed_alone(part) or []] == parsed_alone(value)


@given(ROUTES, st.integers(120, 600))
def test_routes_are_whole_wherever_they_are_laid_out(value: bytes, room: int) -> None:
    layout = lay_out([(53, b"\2"), (12, b"host"), (121, value)], room, (12, 121))
    parts = [part for field in (layout.field, layout.file, layout.sname) for part in instances(field, 121)]
    routes = [route for part in parts for route in parsed_alone(part) or []]
    assert routes == (parsed_alone(value) or [])[: len(routes)]
    assert b"".join(parts) == b"".join(routes)
    assert routes


def instances(field: bytes, code: int) -> list[bytes]:
    """The values of each instance of an option in a field of options."""
    found = []
    while field and field[0] != 255:
        if field[0]:
            if field[0] == code:
                found.append(field[2 : 2 + field[1]])
            field = field[2 + field[1] :]
        else:
            field = field[1:]
    return found


def test_of_routes_that_do_not_fit_the_first_are_kept() -> None:
    value = b"".join(bytes((32, 10, 0, n // 256, n % 256, 192, 0, 2, 1)) for n in range(100))
    layout = lay_out([(53, b"\2"), (121, value)], 300, (121,))
    assert layout.dropped == (121,)
    kept = decode_options(layout.field, layout.file, layout.sname)[121]
    assert value.startswith(kept)
    assert len(kept) % 9 == 0
    assert len(kept) > 9 * 40, "in the options field, file and sname"
