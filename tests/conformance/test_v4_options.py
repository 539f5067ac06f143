"""RFC checklist V4-46 … V4-68: options (RFC 2132 and its successors)."""

from __future__ import annotations

import time

import pytest
from exchange import Exchange
from lab.requests import (
    ACK,
    CLIENT,
    DISCOVER,
    OFFER,
    SERVER,
    discover,
    frame,
    inform,
    payload,
    reboot,
    renewing,
    selecting,
    tlv,
)

GATEWAY = "169.254.1.1"
UNASKED = {53, 54, 51, 58, 59, 1, 3, 6, 26}


@pytest.mark.parametrize("parameters", [(3, 1), (3,), (6, 3, 12, 1), (1, 3)])
def test_v4_46_mask_precedes_router(server: Exchange, parameters: tuple[int, ...]) -> None:
    codes = server.reply(discover(parameters=parameters)).codes
    assert codes.index(1) < codes.index(3)


@pytest.mark.parametrize(
    ("address", "mask", "broadcast"),
    [
        ("10.0.0.2/24", "255.255.255.0", "10.0.0.255"),
        ("10.0.0.2/8", "255.0.0.0", "10.255.255.255"),
        ("10.0.0.2/30", "255.255.255.252", "10.0.0.3"),
        ("10.0.0.2/31", "255.255.255.254", "255.255.255.255"),
        ("10.0.0.2/32", "255.255.255.255", None),
    ],
)
def test_v4_46_mask_and_broadcast_address_match(
    server: Exchange, address: str, mask: str, broadcast: str | None
) -> None:
    server.serve(client_address=address)
    reply = server.reply(discover(parameters=(28, 1)))
    assert (reply.address(1), reply.address(28)) == (mask, broadcast)


@pytest.mark.parametrize(
    ("parameters", "start"),
    [
        ((6, 1, 3), (53, 6, 1, 3)),
        ((51, 54, 6), (53, 51, 54, 6)),
        ((26, 26, 6, 26, 0, 255, 6, 53, 50), (53, 26, 6)),
        ((15, 12, 6), (53, 6)),
    ],
)
def test_v4_47_order_of_the_parameter_list(
    server: Exchange, parameters: tuple[int, ...], start: tuple[int, ...]
) -> None:
    codes = server.reply(discover(parameters=parameters)).codes
    assert codes[: len(start)] == start
    assert len(set(codes)) == len(codes)


def test_v4_48_asked_and_configured_or_absent(server: Exchange) -> None:
    assert not {12, 15, 42, 66, 67, 119, 121} & set(server.reply(discover(parameters=range(1, 255))).codes)
    server.serve(
        hostname="vm",
        domain="example",
        ntp=["10.0.0.3"],
        tftp_server="boot.example",
        boot_file="linux.0",
        search=["a.example"],
    )
    reply = server.reply(discover(parameters=(12, 15, 42, 66, 67, 119)))
    assert [reply.option(code) for code in (12, 15, 66, 67)] == [b"vm", b"example", b"boot.example", b"linux.0"]
    assert reply.addresses(42) == ["10.0.0.3"]
    assert reply.search() == ["a.example"]


@pytest.mark.parametrize("parameters", [None, (), (1,)], ids=str)
def test_v4_49_what_is_sent_unasked(server: Exchange, parameters: tuple[int, ...] | None) -> None:
    """Choice: only options without which the network does not work."""
    server.serve(hostname="vm", domain="example", search=["a.example"], ntp=["10.0.0.3"], options={"224": "x"})
    assert set(server.reply(discover(parameters=parameters)).codes) == UNASKED
    server.serve(routes=[{"destination": "10.9.0.0/16", "gateway": SERVER}])
    assert set(server.reply(discover(parameters=parameters)).codes) == UNASKED | {121}


def test_v4_50_lengths(server: Exchange) -> None:
    server.serve(dns=["10.0.0.3", "10.0.0.4", "10.0.0.5"], ntp=["10.0.0.6", "10.0.0.7"], mtu=68)
    reply = server.reply(discover(parameters=(3, 6, 42, 26)))
    assert reply.addresses(3) == [SERVER]
    assert reply.addresses(6) == ["10.0.0.3", "10.0.0.4", "10.0.0.5"]
    assert reply.addresses(42) == ["10.0.0.6", "10.0.0.7"]
    assert reply.option(26) == b"\0\x44"
    for mtu in (0, 67, 65_536):
        assert "mtu: " in server.refusal(mtu=mtu)


@pytest.mark.parametrize(("field", "code"), [("hostname", 12), ("domain", 15)])
def test_v4_50_names_are_not_empty_and_have_no_nul(server: Exchange, field: str, code: int) -> None:
    """Not even one at the end (RFC 2132 §2)."""
    for value in ("", "\0", "vm\0", "v\0m", "v m"):
        assert f"{field}: " in server.refusal(**{field: value})
    for text in ("", "0x", "vm", "0x00"):
        assert f"options.{code}: " in server.refusal(options={str(code): text})
    server.serve(**{field: "v"})
    assert server.reply(discover(parameters=(code,))).option(code) == b"v"


def test_v4_51_options_by_number(server: Exchange) -> None:
    options = {"42": "10.0.0.3", "66": "boot", "67": "file", "224": "text", "240": "0x0001ff", "254": "ü"}
    server.serve(options=options)
    reply = server.reply(discover(parameters=range(1, 255)))
    values = [reply.option(code) for code in (42, 66, 67, 224, 240, 254)]
    assert values == [b"\x0a\0\0\3", b"boot", b"file", b"text", b"\0\1\xff", "ü".encode()]
    assert set(reply.codes) == UNASKED | {28, 42, 66, 67, 224, 240, 254}


@pytest.mark.parametrize("code", [*range(224, 255), 43, 100, 128, 161, 209, 210, 213])
def test_v4_51_any_number_with_text_or_octets(server: Exchange, code: int) -> None:
    """RFC 3942 reserves 224 to 254 for the site; other numbers without a format of their own are allowed, too."""
    for text, value in (("0x00ff61", b"\0\xffa"), ("a text", b"a text")):
        server.serve(options={str(code): text})
        reply = server.reply(discover(parameters=(1, code)))
        assert reply.option(code) == value
        assert server.reply(selecting(parameters=(1, code))).option(code) == value
        assert server.reply(discover(parameters=(1,))).option(code) is None


def test_v4_52_classless_routes(server: Exchange) -> None:
    server.serve(
        router=None,
        routes=[
            {"destination": "10.96.0.0/12", "gateway": "10.0.0.1"},
            {"destination": "192.0.2.128/25", "gateway": "10.0.0.5"},
            {"destination": "198.51.100.0/24"},
            {"destination": "203.0.113.7/32", "gateway": "10.0.0.1"},
        ],
    )
    reply = server.reply(discover())
    assert reply.option(121) == bytes.fromhex(
        "18c63364 00000000 0c0a60 0a000001 19c0000280 0a000005 20cb007107 0a000001".replace(" ", "")
    )
    assert 3 not in reply.codes


def test_v4_53_default_route_is_repeated(server: Exchange) -> None:
    server.serve(routes=[{"destination": "10.9.0.0/16", "gateway": "10.0.0.5"}])
    assert server.reply(discover()).routes() == [("0.0.0.0/0", SERVER), ("10.9.0.0/16", "10.0.0.5")]


def test_v4_54_router_beside_classless_routes(server: Exchange) -> None:
    """Choice: both, because Debian's udhcpc script applies only option 3."""
    server.serve(routes=[{"destination": "0.0.0.0/0", "gateway": "10.0.0.5"}], router=None)
    reply = server.reply(discover())
    assert reply.addresses(3) == ["10.0.0.5"]
    assert reply.routes() == [("0.0.0.0/0", "10.0.0.5")]


def test_v4_54_no_default_route_no_router(server: Exchange) -> None:
    server.serve(routes=[{"destination": "10.9.0.0/16", "gateway": "10.0.0.5"}], router=None)
    reply = server.reply(discover())
    assert 3 not in reply.codes
    assert reply.routes() == [("10.9.0.0/16", "10.0.0.5")]


@pytest.mark.parametrize("address", ["10.0.0.2/32", "10.0.0.2/24"])
def test_v4_55_gateway_outside_the_subnet(server: Exchange, address: str) -> None:
    """Choice: the route to the gateway first; otherwise ISC dhclient's script sets no default route."""
    server.serve(client_address=address, router=GATEWAY)
    reply = server.reply(discover())
    assert reply.routes() == [(f"{GATEWAY}/32", "0.0.0.0"), ("0.0.0.0/0", GATEWAY)]
    assert reply.addresses(3) == [GATEWAY]


def test_v4_55_gateways_and_order(server: Exchange) -> None:
    server.serve(
        client_address="10.0.0.2/32",
        router=GATEWAY,
        routes=[
            {"destination": "0.0.0.0/0", "gateway": GATEWAY},
            {"destination": "10.9.0.0/16", "gateway": "10.0.0.7"},
            {"destination": "198.51.100.0/24"},
            {"destination": "10.0.0.0/29"},
        ],
    )
    assert server.reply(discover()).routes() == [
        (f"{GATEWAY}/32", "0.0.0.0"),
        ("10.0.0.0/29", "0.0.0.0"),
        ("0.0.0.0/0", GATEWAY),
        ("198.51.100.0/24", "0.0.0.0"),
        ("10.9.0.0/16", "10.0.0.7"),
    ]


def test_v4_55_same_octets_under_249(server: Exchange) -> None:
    server.serve(client_address="10.0.0.2/32", router=GATEWAY)
    both = server.reply(discover(parameters=(1, 121, 249)))
    assert both.option(121) == both.option(249) is not None
    only = server.reply(discover(parameters=(1, 249)))
    assert only.option(249) == both.option(249)
    assert only.option(121) is None


def test_v4_56_search_list(server: Exchange) -> None:
    names = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local", "other.example", "a" * 63 + ".example"]
    server.serve(search=names)
    reply = server.reply(discover())
    value = reply.option(119)
    assert value is not None
    assert reply.search() == names
    assert len(value) < sum(len(name) + 2 for name in names)
    at = 0
    while at < len(value):
        if value[at] >= 0xC0:
            assert (value[at] & 0x3F) << 8 | value[at + 1] < at
            at += 2
        else:
            at += 1 + value[at]


@pytest.mark.parametrize(
    "name",
    ["", ".", ".example", "a..example", "a" * 64 + ".example", ".".join(["a" * 63] * 4), "a b.example", "a\0b", "ü"],
    ids=["empty", "root", "leading-dot", "two-dots", "label-64", "name-257", "blank", "nul", "not-ascii"],
)
def test_v4_56_bad_names_are_refused(server: Exchange, name: str) -> None:
    assert "search[1]: " in server.refusal(search=["good.example", name])


def test_v4_56_the_longest_label_and_name(server: Exchange) -> None:
    """RFC 1035 §2.3.4: 63 octets, and 255 with all lengths and the root's."""
    names = ["a" * 63 + ".example", ".".join(["b" * 63, "c" * 63, "d" * 63, "e" * 61])]
    server.serve(search=names)
    assert server.reply(discover([(57, b"\x05\x78")])).search() == names
    assert "search[0]: " in server.refusal(search=[f"{names[1]}e"])


def test_v4_57_long_values_are_split(server: Exchange) -> None:
    names = [f"search-domain-number-{i}.example-{i}.test" for i in range(12)]
    server.serve(search=names, options={"224": "x" * 300})
    reply = server.reply(discover([(57, b"\x05\x78")], parameters=(119, 224)))
    assert [len(value) for code, value in reply.options if code == 224] == [255, 45]
    assert reply.option(224) == b"x" * 300
    parts = [len(value) for code, value in reply.options if code == 119]
    assert len(parts) > 1
    assert max(parts) <= 255
    for code in (119, 224):
        at = reply.codes.index(code)
        assert set(reply.codes[at : at + reply.codes.count(code)]) == {code}, "consecutive (RFC 3396 §5)"
    assert reply.search() == names


def test_v4_58_over_budget_overloads_file_and_sname(server: Exchange) -> None:
    server.serve(boot_file="linux.0", options={"224": "a" * 100, "225": "b" * 100, "226": "c" * 60})
    reply = server.reply(discover(parameters=(224, 225, 226, 67)))
    assert len(reply.payload) <= 548
    assert {len(reply.joined(code)) for code in (224, 225)} == {100}
    assert reply.joined(226) == b"c" * 60
    assert reply.option(67) == b"linux.0"
    assert reply.option(52) in (b"\1", b"\2", b"\3")


def test_v4_58_then_the_least_important_go(server: Exchange) -> None:
    names = [f"search-domain-number-{i}.example-{i}.test-{i}" for i in range(30)]
    server.serve(search=names, options={"224": "a" * 400}, domain="example", hostname="vm")
    reply = server.reply(discover(parameters=(224, 119, 12, 15, 1, 3, 6)))
    assert reply.option(224) is None
    found = reply.search()
    assert 1 <= len(found) < 30
    assert found == names[: len(found)]
    assert UNASKED | {12, 15} <= set(reply.codes)


def test_v4_58_the_order_in_which_they_go(server: Exchange) -> None:
    """Choice: options with no priority of the server are dropped first, the last requested before the others; then
    those that a guest can do without longest. Routes take the room here, some nine octets more each time, until the
    last of them are left out themselves."""
    order = (226, 225, 224, 42, 119, 12, 15)
    asked = (224, 225, 226, 26, 12, 15, 119, 42)
    gone: set[int] = set()
    for count in range(36, 50):
        server.serve(
            routes=[{"destination": f"10.9.0.{n}/32", "gateway": SERVER} for n in range(count)],
            options={"224": "a" * 12, "225": "b" * 8, "226": "c" * 10},
            ntp=["10.0.0.3", "10.0.0.4"],
            search=["a.example"],
            hostname="virtual-machine",
            domain="example.test",
            mtu=1450,
        )
        reply = server.reply(discover(parameters=asked))
        missing = [code for code in order if code not in reply.codes]
        assert missing == list(order[: len(missing)])
        assert {1, 3, 6, 26, 51, 54, 58, 59, 121} <= set(reply.codes)
        gone.add(len(missing))
    assert set(range(8)) == gone, "each of them has gone alone"


@pytest.mark.parametrize("codes", [(224, 225, 226), (226, 224, 225)], ids=str)
def test_v4_58_the_last_that_was_asked_for_goes_first(server: Exchange, codes: tuple[int, ...]) -> None:
    """Each is too long for `file` and `sname`, and two of them for the options field."""
    server.serve(options={str(code): "x" * 200 for code in codes})
    reply = server.reply(discover(parameters=codes))
    assert set(reply.codes) & set(codes) == {codes[0]}


@pytest.mark.parametrize(
    "identifier", [b"\1\x52\x54\0\x0a\0\2", b"\xff\0\0\0\1\0\2\0\0\xab\x11", b"\0host", b"x" * 255]
)
def test_v4_59_client_identifier_is_echoed(server: Exchange, identifier: bytes) -> None:
    options = [(61, identifier)]
    for message in (
        discover(options),
        selecting(options=options),
        reboot("10.0.0.9", options),
        inform(CLIENT, options),
    ):
        assert server.reply(message).option(61) == identifier


def test_v4_59_no_client_identifier_no_echo(server: Exchange) -> None:
    for message in (discover(), selecting(), reboot("10.0.0.9")):
        assert server.reply(message).option(61) is None


@pytest.mark.parametrize("identifier", [b"", b"\1"])
def test_v4_60_too_short_an_identifier(server: Exchange, identifier: bytes) -> None:
    """Choice: ignored, the client is identified by its MAC."""
    reply = server.reply(discover([(61, identifier)]))
    assert (reply.message_type, reply.option(61)) == (OFFER, None)


def test_v4_60_too_long_an_identifier(server: Exchange) -> None:
    """Choice: ignored, even where there is room for it: an option that long must be repeated (RFC 3396), and its
    sender may not join the parts of the reply."""
    for length in (56, 200):
        options = [(57, b"\x05\xdc"), (61, b"x" * 200), (61, b"y" * length)]
        for message in (discover(options), selecting(options=options), reboot("10.0.0.9", options)):
            assert server.reply(message).option(61) is None
    assert server.reply(discover([(61, b"x" * 200), (61, b"y" * 55)])).option(61) == b"x" * 200 + b"y" * 55


def test_v4_61_rapid_commit(server: Exchange) -> None:
    asked = discover([(80, b"")])
    assert server.reply(asked).message_type == OFFER
    assert server.reply(asked).option(80) is None
    server.serve(rapid_commit=True)
    reply = server.reply(asked)
    assert (reply.message_type, reply.yiaddr, reply.option(80)) == (ACK, CLIENT, b"")
    assert server.reply(discover()).message_type == OFFER
    assert server.reply(selecting(options=[(80, b"")])).option(80) is None


def test_v4_62_ipv6_only_preferred(server: Exchange) -> None:
    """Choice: the OFFER has the address and not 0.0.0.0, which is for pools that are short of addresses (RFC 8925
    §3.3): this address is the client's anyway; if the client requests it nevertheless, it is acknowledged."""
    assert server.reply(discover(parameters=(1, 108))).option(108) is None
    server.serve(options={"108": "1800"}, rapid_commit=True)
    reply = server.reply(discover([(80, b"")], parameters=(1, 108)))
    assert (reply.message_type, reply.option(108), reply.option(80)) == (OFFER, b"\0\0\7\x08", None)
    assert server.reply(discover([(80, b"")], parameters=(1,))).message_type == ACK
    granted = server.reply(selecting(parameters=(108,)))
    assert (reply.yiaddr, granted.message_type, granted.yiaddr) == (CLIENT, ACK, CLIENT)


@pytest.mark.parametrize("value", ["0", "299", "0x0000012b", "0x012c", "-1", "4294967296"])
def test_v4_62_the_shortest_wait(server: Exchange, value: str) -> None:
    """RFC 8925 §3.4: four octets, MIN_V6ONLY_WAIT is 300 seconds."""
    assert "options.108: " in server.refusal(options={"108": value})
    server.serve(options={"108": "300"})
    assert server.reply(discover(parameters=(108,))).option(108) == b"\0\0\x01\x2c"


def test_v4_63_subnet_selection(server: Exchange) -> None:
    """Choice: RFC 3011 is not supported, so the option is not echoed and changes nothing."""
    assert server.reply(discover([(118, b"\x0a\1\0\0")])).frame == server.reply(discover()).frame


@pytest.mark.parametrize(
    "value",
    [b"\1\4port", b"\5\4\x0a\1\0\0", b"\x0b\4\x0a\0\0\x09", b"\1\4port\5\4\x0a\1\0\0\x0b\4\x0a\0\0\x09", b"\1"],
    ids=["circuit", "link-selection", "server-override", "all", "cut"],
)
def test_v4_64_a_direct_client_is_no_relay(server: Exchange, value: bytes) -> None:
    """RFC 3046 §2.1, RFC 3527, RFC 5107. Choice: not echoed, and the server keeps its identifier."""
    assert server.reply(discover([(82, value)])).frame == server.reply(discover()).frame
    assert server.reply(selecting(options=[(82, value)])).frame == server.reply(selecting()).frame


def test_v4_65_client_fqdn(server: Exchange) -> None:
    """RFC 4702 §4: the server updates no DNS (N), whatever the client requested (O: the request is overridden)."""
    assert server.reply(discover()).option(81) is None
    name = b"\2vm\7example\0"
    assert server.reply(selecting(options=[(81, b"\5\0\0" + name)])).option(81) == b"\x0e\xff\xff" + name
    assert server.reply(selecting(options=[(81, b"\0\0\0vm")])).option(81) == b"\x08\xff\xffvm"
    partial, nothing = b"\4\0\0\2vm", b"\4\0\0"
    assert [server.reply(discover([(81, value)])).option(81) for value in (partial, nothing)] == [
        b"\x0c\xff\xff\2vm",
        b"\x0c\xff\xff",
    ]
    binary = (b"\x76\xa9", b"\3vm", b"\0vm", b"\2vm\0\0", b"\xc0\0")
    for malformed in (b"", b"\1", b"\1\0", *(b"\4\0\0" + name for name in binary)):
        assert server.reply(discover([(81, malformed)])).option(81) is None


def test_v4_65_captive_portal(server: Exchange) -> None:
    asked = discover(parameters=(114,))
    assert server.reply(asked).option(114) is None
    server.serve(options={"114": "https://portal.example/api"})
    assert server.reply(asked).option(114) == b"https://portal.example/api"


@pytest.mark.parametrize("code", [43, 60, 77, 90, 93, 94, 97, 124, 125, 116, 145])
@pytest.mark.parametrize("value", [b"", b"\0", b"\xff" * 5, b"x" * 200], ids=["empty", "one", "ff", "long"])
def test_v4_66_options_of_others_change_nothing(server: Exchange, code: int, value: bytes) -> None:
    assert server.reply(discover([(code, value)])).frame == server.reply(discover()).frame


@pytest.mark.parametrize("code", [43, 60, 77, 90, 93, 94, 97, 124, 125])
def test_v4_66_an_option_of_others_that_is_cut_off(server: Exchange, code: int) -> None:
    field = tlv([(53, b"\1"), (55, b"\1\3\6")]) + bytes((code, 200)) + b"x" * 40
    assert server.reply(frame(payload(None, field=field, size=0))).message_type == OFFER


@pytest.mark.parametrize("secs", [0, 1, 0xFFFF])
def test_v4_67_anonymous_client(server: Exchange, secs: int) -> None:
    """RFC 7844: no 61, no 12, a minimal 55."""
    reply = server.reply(discover(parameters=(1, 3, 6), secs=secs))
    assert (reply.message_type, reply.yiaddr) == (OFFER, CLIENT)


def test_v4_68_a_thousand_requests(server: Exchange) -> None:
    """Each is answered in time; the storm test does the same over a veth, at a higher rate."""
    started = time.monotonic()
    for xid in range(1000):
        assert server.frames(discover(xid=xid))[0][46:50] == xid.to_bytes(4)
    assert time.monotonic() - started < 5


def test_ipxe_need_not_wait_for_a_proxy(server: Exchange) -> None:
    """Its own option 175 with sub-option 176 makes its boot two seconds shorter."""
    server.serve(boot_file="script.ipxe", tftp_server="10.0.0.8")
    message = frame(
        payload(DISCOVER, [(77, b"iPXE"), (175, b"\xb1\5\1\x1a\xf4\x10\0")], parameters=(1, 3, 66, 67, 175))
    )
    reply = server.reply(message)
    assert reply.option(175) == b"\xb0\1\1"
    assert (reply.option(66), reply.option(67)) == (b"10.0.0.8", b"script.ipxe")
    assert server.reply(renewing(CLIENT)).option(175) is None
