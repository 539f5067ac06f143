"""Messages and their options as octets: each limit from both sides, and what is left out from the end of a list."""

from __future__ import annotations

import struct

import pytest
from lab.rawclient import _domain_names
from lab.requests import CLIENT_MAC, COOKIE, mac_octets, packed, payload
from lab.requests6 import DUID, IAID, ia_na, message6, packed6, tlv6

from dhcp.v4.fqdn import answer_fqdn
from dhcp.v4.layout import lay_out
from dhcp.wire import dhcp4, dhcp6, options4, options6, search_list
from dhcp.wire.ipv4 import Unusable

MAC = mac_octets(CLIENT_MAC)


def cause(decode: object, *arguments: object) -> str:
    """Why this is not decoded, as the name of a counter; empty when it is."""
    try:
        decode(*arguments)  # type: ignore[operator]
    except Unusable as error:
        return error.cause
    return ""


# --- DHCPv4 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (payload(1), ""),
        (payload(1)[:239], "truncated"),
        (payload(1)[:240], "no-message-type"),
        (payload(1)[:243], ""),
        (payload(None), "no-message-type"),
        (payload(None, [(53, b"")]), "no-message-type"),
        (payload(None, [(53, b"\1\1")]), "no-message-type"),
        *((payload(kind), "") for kind in (1, 3, 4, 7, 8)),
        *((payload(kind), "message-type") for kind in (0, 2, 5, 6, 9, 10, 255)),
        (payload(1, op=0), "not-a-request"),
        (payload(1, op=2), "not-a-request"),
        (payload(1, htype=0), "hardware-type"),
        (payload(1, htype=6), "hardware-type"),
        (payload(1, hlen=5), "hardware-type"),
        (payload(1, hlen=16), "hardware-type"),
        (payload(1, giaddr="0.0.0.1"), "relayed"),
        (payload(1, chaddr="52:54:00:0a:00:03"), "foreign-mac"),
        (payload(1, chaddr=MAC + b"\1"), ""),
        (payload(1, cookie=b"\x63\x82\x53\x62"), "cookie"),
    ],
)
def test_which_messages_are_read(octets: bytes, why: str) -> None:
    assert cause(dhcp4.decode_message, octets, MAC) == why


def test_the_fields_of_a_message_and_of_its_reply() -> None:
    """RFC 2131 table 3: what a reply copies, and what it sets to 0."""
    request = payload(3, xid=0x01020304, secs=5, flags=0x8001, ciaddr="10.0.0.9", hops=3, chaddr=MAC + bytes(range(10)))
    message = dhcp4.decode_message(request, MAC)
    assert (message.kind, message.xid, message.flags) == (3, 0x01020304, 0x8001)
    assert (message.client_address, message.hardware_address) == (packed("10.0.0.9"), MAC + bytes(range(10)))
    layout = options4.Layout(b"\x35\1\5\xff", b"", b"", ())
    reply = dhcp4.encode_reply(
        message, layout, ciaddr=packed("10.0.0.1"), yiaddr=packed("10.0.0.2"), siaddr=packed("10.0.0.3"), file=b"boot"
    )
    head = struct.pack("!4BIHH", 2, 1, 6, 0, 0x01020304, 0, 0x8001)
    addresses = packed("10.0.0.1") + packed("10.0.0.2") + packed("10.0.0.3") + bytes(4)
    names = bytes(64) + b"boot".ljust(128, b"\0")
    whole = head + addresses + MAC + bytes(range(10)) + names + COOKIE + b"\x35\1\5\xff"
    assert reply == whole.ljust(300, b"\0")
    overloaded = dhcp4.encode_reply(message, options4.Layout(b"f" * 60, b"F", b"S", ()), file=b"boot")
    assert overloaded[12:28] == bytes(16)
    assert overloaded[44:236] == b"S".ljust(64, b"\0") + b"F".ljust(128, b"\0")
    assert overloaded[240:] == b"f" * 60
    assert len(dhcp4.encode_reply(message, options4.Layout(b"f" * 61, b"", b"", ()))) == 301


NAME = b"\2vm\7example\0"


@pytest.mark.parametrize(
    ("value", "answered"),
    [
        (b"\0\0\0vm", b"\x08\xff\xffvm"),
        (b"\1\0\0vm", b"\x0a\xff\xffvm"),  # S=1 is overridden (RFC 4702 §2.1)
        (b"\x08\0\0vm", b"\x08\xff\xffvm"),
        (b"\x0b\1\2vm", b"\x0a\xff\xffvm"),
        (b"\xf0\0\0vm", b"\x08\xff\xffvm"),
        (b"\4\0\0" + NAME, b"\x0c\xff\xff" + NAME),
        (b"\5\0\0" + NAME[:-1], b"\x0e\xff\xff" + NAME[:-1]),
        (b"\4\0\0\1a\0", b"\x0c\xff\xff\1a\0"),
        (b"\4\0\0" + b"\x3f" + b"a" * 63, b"\x0c\xff\xff" + b"\x3f" + b"a" * 63),
        (b"\4\0\0" + b"\x40" + b"a" * 64, None),
        (b"\4\0\0\3vm", None),
        (b"\4\0\0\2vm\0\0", None),
        (b"\4\0\0\2vm\0\1a", None),
        (b"\0\0\0", b"\x08\xff\xff"),
        (b"\4\0\0", b"\x0c\xff\xff"),
        (b"\4\0\0\0", b"\x0c\xff\xff\0"),
        (b"\0\0", None),
        (b"\0\0\0" + b"a" * 252, b"\x08\xff\xff" + b"a" * 252),
        (b"\0\0\0" + b"a" * 253, None),
    ],
)
def test_the_clients_name(value: bytes, answered: bytes | None) -> None:
    """RFC 4702 §4: N=1, S=0, O=1 where the client's S is overridden, E as it was; both codes 255."""
    assert answer_fqdn(value) == ([] if answered is None else [(81, answered)])


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 254, 255, 256, 509, 510, 511])
def test_a_long_value_is_full_instances_and_the_rest(length: int) -> None:
    """RFC 3396 §5."""
    value = bytes(n % 251 for n in range(length))
    parts = [value[at : at + 255] for at in range(0, length, 255)] or [b""]
    assert options4.encode_option(224, value) == b"".join(bytes((224, len(part))) + part for part in parts)


@pytest.mark.parametrize("code", [121, 249])
def test_a_long_list_of_routes_is_instances_of_whole_routes(code: int) -> None:
    routes = [bytes((24, 10, n, 0, 192, 0, 2, 1)) for n in range(40)]
    value = b"".join(routes)
    parts = [b"".join(routes[:31]), b"".join(routes[31:])]  # 31 of 8 octets are 248
    assert options4.encode_option(code, value) == b"".join(bytes((code, len(part))) + part for part in parts)
    full = b"".join(bytes((0, 192, 0, 2, n)) for n in range(52))
    assert options4.split_classless_routes(full) == [full[:255], full[255:]], "51 of 5 octets are 255"
    assert options4.encode_option(code, full[:255]) == bytes((code, 255)) + full[:255]


@pytest.mark.parametrize(
    ("value", "ends"),
    [
        (b"", []),
        (bytes(5), [5]),
        (bytes(4), []),
        (b"\1" + bytes(5), [6]),
        (b"\x08" + bytes(5), [6]),
        (b"\x09" + bytes(6), [7]),
        (b"\x20" + bytes(8), [9]),
        (b"\x20" + bytes(7), []),
        (b"\x21" + bytes(9), []),
        (bytes(5) + b"\x20" + bytes(8) + bytes(5), [5, 14, 19]),
        (bytes(5) + b"\x21" + bytes(20), [5]),
    ],
)
def test_where_routes_end(value: bytes, ends: list[int]) -> None:
    assert options4.classless_route_ends(value) == ends


def test_what_is_no_list_of_routes_is_split_all_the_same() -> None:
    assert options4.split_classless_routes(b"\x21" * 300) == [b"\x21" * 255, b"\x21" * 45]
    assert options4.split_classless_routes(b"") == []


@pytest.mark.parametrize(
    ("names", "value"),
    [
        (["a.b", "c.b"], b"\1a\1b\0\1c\xc0\2"),
        (["a.b", "A.B"], b"\1a\1b\0\xc0\0"),
        (["Ab.c", "x.aB.C"], b"\2Ab\1c\0\1x\xc0\0"),
        (["b", "a.b", "a.b.c"], b"\1b\0\1a\xc0\0\1a\1b\1c\0"),
        ([], b""),
    ],
)
def test_names_point_to_what_came_before(names: list[str], value: bytes) -> None:
    assert search_list.encode_search_list(names) == value


def test_a_long_search_list_of_digits_has_no_empty_instance() -> None:
    """Nothing in it can be cut within, so the second instance has all the rest."""
    value = search_list.encode_search_list([f"{n:030}" for n in range(9)])  # of 32 octets each
    assert search_list.split_search_list(value) == [value[:224], value[224:]]


def test_a_pointer_reaches_the_first_16_kbytes() -> None:
    """RFC 1035 §4.1.4: an offset has 14 bits."""
    filling = [f"{n:04}{'x' * 57}" for n in range(260)]  # of 63 octets each
    value = search_list.encode_search_list([*filling, f"{259:04}{'x' * 57}"])
    assert value[260 * 63 :] == (0xC000 | 259 * 63).to_bytes(2)
    value = search_list.encode_search_list([*filling, "a", "last", "last"])
    assert value[0x3FFF:] == b"\4last\0\xff\xff"
    value = search_list.encode_search_list([*filling, "ab", "last", "last"])
    assert value[0x4000:] == b"\4last\0\4last\0"


@pytest.mark.parametrize(("room", "count"), [(0, 0), (4, 0), (5, 1), (6, 1), (10, 1), (11, 2), (13, 2), (14, 3)])
def test_as_many_names_as_there_is_room_for(room: int, count: int) -> None:
    names = ["a.b", "cd.e", "g"]
    whole = [b"\1a\1b\0", b"\2cd\1e\0", b"\1g\0"]
    assert search_list.encode_names(names) == b"".join(whole)
    assert search_list.encode_first_names(names, room) == b"".join(whole[:count])


# --- the layout of options that are too many --------------------------------------------------------------------------


def kept(layout: options4.Layout) -> dict[int, bytes]:
    return options4.decode_options(layout.field, layout.file, layout.sname)


@pytest.mark.parametrize(
    ("sizes", "room", "fields", "dropped"),
    [
        ((20,), 3 + 22 + 1, (True, False, False), ()),
        ((20,), 3 + 22, (True, True, False), ()),
        ((20, 125), 3 + 3 + 22 + 1, (True, True, False), ()),  # 127 octets and END fill `file`
        ((20, 126), 3 + 3 + 22 + 1, (True, False, False), (225,)),
        ((20, 125, 61), 3 + 3 + 22 + 1, (True, True, True), ()),  # 63 octets and END fill `sname`
        ((20, 125, 62), 3 + 3 + 22 + 1, (True, True, False), (226,)),
        ((20, 126, 61), 3 + 3 + 22 + 1, (True, True, False), (226, 225)),
        ((20, 125), 3 + 3 + 22, (True, True, True), (225,)),
    ],
)
def test_each_field_may_be_filled_to_the_last_octet(
    sizes: tuple[int, ...], room: int, fields: tuple[bool, ...], dropped: tuple[int, ...]
) -> None:
    options = [(53, b"\2"), *((224 + n, bytes((65 + n,)) * size) for n, size in enumerate(sizes))]
    layout = lay_out(options, room, [226, 225, 224])
    if layout.dropped:
        fields = tuple(bool(part) for part in (layout.field, layout.file, layout.sname))
    assert (bool(layout.field), bool(layout.file), bool(layout.sname)) == fields
    assert layout.dropped == dropped
    assert len(layout.field) <= room
    assert kept(layout) == {code: value for code, value in options if code not in dropped}


def test_exact_octets_of_an_overloaded_reply() -> None:
    options = [(53, b"\2"), (224, b"a" * 20), (225, b"b" * 100), (226, b"c" * 50)]
    layout = lay_out(options, 3 + 22 + 3 + 1, ())
    assert layout.field == b"\x35\1\2\xe0\x14" + b"a" * 20 + b"\x34\1\3\xff"
    assert layout.file == (b"\xe1\x64" + b"b" * 100 + b"\xff").ljust(128, b"\0")
    assert layout.sname == (b"\xe2\x32" + b"c" * 50 + b"\xff").ljust(64, b"\0")


@pytest.mark.parametrize(("first", "second", "use"), [(100, 20, 1), (100, 40, 3), (130, 40, None)])
def test_option_52_says_which_fields_are_in_use(first: int, second: int, use: int | None) -> None:
    layout = lay_out([(53, b"\2"), (224, b"a" * first), (225, b"b" * second)], 20, [])
    assert (b"\x34\1" + bytes((use,)) in layout.field) if use else layout.dropped


def test_file_and_sname_are_filled_to_the_last_octet() -> None:
    layout = lay_out([(53, b"\2"), (224, b"a" * 200), (225, b"b" * 125), (226, b"c" * 61)], 220, [])
    assert layout.field.endswith(b"\x34\1\3\xff")
    assert layout.dropped == ()
    assert (layout.file, layout.sname) == (b"\xe1\x7d" + b"b" * 125 + b"\xff", b"\xe2\x3d" + b"c" * 61 + b"\xff")


def test_what_is_not_expendable_goes_last_from_the_end() -> None:
    options = [(53, b"\2"), (54, b"abcd"), (224, b"a" * 250), (225, b"b" * 250)]
    assert lay_out(options, 60, []).dropped == (225, 224)
    assert lay_out(options, 60, [224]).dropped == (224, 225)
    assert lay_out(options, 60, [7, 54, 224]).dropped == (54, 224, 225)


@pytest.mark.parametrize("room", [*range(20, 120, 9), 150, 151, 152, 153, 200, 300])
def test_as_many_names_stay_as_fit(room: int) -> None:
    names = [f"d{n}.x{n % 3}{'y' * (n % 7)}.test" for n in range(40)]
    options = [(53, b"\2"), (224, b"q" * 9), (119, search_list.encode_search_list(names))]
    layout = lay_out(options, room, (119,), names)
    fitting = [
        count
        for count in range(1, len(names) + 1)
        if not lay_out([*options[:2], (119, search_list.encode_search_list(names[:count]))], room, (), ()).dropped
    ]
    found = list(_domain_names(kept(layout).get(119, b"")))
    assert found == names[: max(fitting, default=0)]
    assert layout.dropped == (() if len(found) == len(names) else (119,))


@pytest.mark.parametrize("code", [121, 249])
@pytest.mark.parametrize("room", [*range(20, 130, 9), 200, 300])
def test_as_many_routes_stay_as_fit(code: int, room: int) -> None:
    routes = [bytes((8 * (n % 4 + 1), *range(10, 11 + n % 4), 192, 0, 2, n)) for n in range(60)]
    layout = lay_out([(53, b"\2"), (code, b"".join(routes))], room, (code,))

    def fits(count: int) -> bool:
        return not lay_out([(53, b"\2"), (code, b"".join(routes[:count]))], room, ()).dropped

    most = max(count for count in range(len(routes) + 1) if count == 0 or fits(count))
    assert kept(layout).get(code, b"") == b"".join(routes[:most])
    assert layout.dropped == (() if most == len(routes) else (code,))


def test_one_name_or_route_that_does_not_fit_goes_with_its_option() -> None:
    long = ".".join(["x" * 60] * 4)
    layout = lay_out(
        [(53, b"\2"), (224, b"q" * 90), (119, search_list.encode_search_list([long, "a"]))], 60, (119,), [long, "a"]
    )
    assert (119 in kept(layout), layout.dropped) == (False, (119,))


# --- DHCPv6 -----------------------------------------------------------------------------------------------------------


def parse6(code: int, text: str) -> str:
    try:
        return options6.parse_option6(code, text).hex()
    except ValueError as error:
        return f"refused: {error}"


def test_which_dhcpv6_options_can_be_configured() -> None:
    taken = {code for code in range(-1, 100) if parse6(code, "0x0000ea60").startswith("refused")}
    assert taken == {-1, 0, *range(1, 21), 23, 24, 25, 26}
    assert parse6(65534, "x") == "78"
    assert parse6(65535, "x").startswith("refused: option numbers")
    assert parse6(0, "x").startswith("refused: option numbers")
    assert parse6(1, "x").startswith("refused: this option belongs")


@pytest.mark.parametrize(("code", "smallest", "largest"), [(32, 600, 0xFFFFFFFF), (82, 60, 86_400), (83, 60, 86_400)])
def test_seconds(code: int, smallest: int, largest: int) -> None:
    """RFC 8415 §21.23 to §21.25."""
    for number in (smallest, largest):
        assert parse6(code, str(number)) == parse6(code, f"0x{number:08x}") == f"{number:08x}"
    assert parse6(code, str(smallest - 1)).startswith("refused: must be")
    assert parse6(code, f"0x{smallest - 1:08x}").startswith("refused: must be")
    assert parse6(code, "9999999999") == (
        "ffffffff" if code == 32 else "refused: must be 60 to 86400 seconds in four octets"
    )
    for text in ("00000003600", "x", "-1", "٣", "", "0x0e10", "0x000000ea60", "0x"):
        assert parse6(code, text).startswith("refused")


@pytest.mark.parametrize("text", ["x" * 512, "0x" + "61" * 512, "0X61"])
def test_octets_and_text(text: str) -> None:
    expected = text[2:] if text[:2] in ("0x", "0X") else text.encode().hex()
    assert parse6(59, text) == expected
    for wrong in ("x" * 513, "0x" + "61" * 513, "0x6", "0xzz"):
        assert parse6(59, wrong).startswith("refused")


def test_dhcpv6_options_as_octets() -> None:
    assert options6.encode_option6(0x1234, b"ab") == b"\x12\x34\0\2ab"
    address = packed6("fd00::5")
    assert options6.encode_address(address, 0x01020304, 0x05060708) == (b"\0\5\0\x18" + address + b"\1\2\3\4\5\6\7\x08")
    assert options6.encode_association(3, b"iaid", 1, 2, b"") == b"\0\3\0\x0ciaid\0\0\0\1\0\0\0\2"
    assert options6.encode_status(2, "no") == b"\0\x0d\0\4\0\2no"
    assert options6.decode_options6(b"\0\1\0\0\0\2\0\1x") == [(1, b""), (2, b"x")]
    for cut in (1, 2, 3, 5, 6, 7, 8):
        assert cause(options6.decode_options6, b"\0\1\0\0\0\2\0\1x"[:cut]) == "truncated"
    assert (options6.SUCCESS, options6.NO_ADDRS_AVAIL, options6.NO_BINDING) == (0, 2, 3)
    assert (options6.NOT_ON_LINK, options6.NO_PREFIX_AVAIL) == (4, 6)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (message6(1), ""),
        (b"\1abc", ""),
        (b"\1ab", "truncated"),
        *((message6(kind), "") for kind in (1, 3, 4, 5, 6, 8, 9, 11)),
        *((message6(kind), "message-type") for kind in (0, 2, 7, 10, 12, 13, 14, 255)),
        (message6(1, duid=b"12"), "client-id"),
        (message6(1, duid=b"123"), ""),
        (message6(1, duid=b"1" * 130), ""),
        (message6(1, duid=b"1" * 131), "client-id"),
        (message6(1, duid=None), ""),
        (message6(1, server=b""), "server-id"),
        (message6(1, server=b"x"), ""),
        (b"\1abc" + tlv6([(6, b"\0\1\0")]), "option-length"),
        (b"\1abc" + tlv6([(3, bytes(11))]), "option-length"),
        (b"\1abc" + tlv6([(3, bytes(12))]), ""),
        (b"\1abc" + tlv6([(25, bytes(11))]), "option-length"),
        (b"\1abc" + tlv6([(4, bytes(3))]), ""),
        (b"\1abc" + tlv6([(3, bytes(12) + tlv6([(5, bytes(23))]))]), "option-length"),
        (b"\1abc" + tlv6([(3, bytes(12) + tlv6([(5, bytes(24))]))]), ""),
        (b"\1abc" + tlv6([(25, bytes(12) + tlv6([(5, bytes(23))]))]), ""),
        (b"\1abc" + tlv6([(25, bytes(12) + b"\0")]), "truncated"),
    ],
)
def test_which_dhcpv6_messages_are_read(octets: bytes, why: str) -> None:
    assert cause(dhcp6.decode_message6, octets) == why


def test_the_fields_of_a_dhcpv6_message() -> None:
    options = [ia_na("fd00::5", "fd00::6"), (25, b"pdpd" + bytes(8)), (14, b""), (1, b"second")]
    message = dhcp6.decode_message6(message6(5, options, server=b"server", oro=[23, 0x1234], xid=b"xyz"))
    assert (message.kind, message.xid, message.client_id, message.server_id) == (5, b"xyz", DUID, b"server")
    assert (message.requested, message.has_associations, message.rapid_commit) == ((23, 0x1234), True, True)
    first, second = message.associations
    assert (first.code, first.iaid, first.addresses) == (3, IAID, (packed6("fd00::5"), packed6("fd00::6")))
    assert (second.code, second.iaid, second.addresses) == (25, b"pdpd", ())
    bare = dhcp6.decode_message6(b"\1abc")
    assert (bare.requested, bare.associations, bare.has_associations, bare.rapid_commit) == ((), (), False, False)
    for code in (3, 4, 25):
        assert dhcp6.decode_message6(b"\1abc" + tlv6([(code, bytes(12))])).has_associations


def test_associations_and_addresses_are_limited() -> None:
    many = [ia_na(*(f"fd00::{n}:{k}" for k in range(3)), iaid=bytes((0, 0, 0, n))) for n in range(1, 12)]
    associations = dhcp6.decode_message6(message6(5, many)).associations
    assert [association.iaid[3] for association in associations] == list(range(1, 9))
    assert [len(association.addresses) for association in associations] == [3, 3, 3, 3, 3, 1, 0, 0]
