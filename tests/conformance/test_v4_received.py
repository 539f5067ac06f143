"""RFC checklist V4-01 … V4-13: which frames are valid messages (RFC 2131 §3, §4.1; RFC 951, RFC 1542)."""

from __future__ import annotations

import pytest
from exchange import Exchange
from lab.requests import (
    ACK,
    CLIENT,
    DISCOVER,
    OFFER,
    REQUEST,
    SERVER,
    discover,
    frame,
    packed,
    payload,
    renewing,
    selecting,
    tlv,
)


@pytest.mark.parametrize(
    "fields",
    [{"op": 2}, {"op": 0}, {"op": 255}, {"cookie": b"\x63\x82\x53\x64"}, {"cookie": bytes(4)}],
    ids=str,
)
def test_v4_01_op_and_cookie(server: Exchange, fields: dict[str, object]) -> None:
    assert server.silent(discover(**fields))


@pytest.mark.parametrize("options", [[], [(53, b"")], [(53, b"\1\1")], [(53, b"\1"), (53, b"\1")]], ids=str)
def test_v4_02_message_type_is_one_octet(server: Exchange, options: list[tuple[int, bytes]]) -> None:
    assert server.silent(frame(payload(None, options)))


@pytest.mark.parametrize("kind", [0, 2, 5, 6, *range(9, 19), 255])
def test_v4_03_not_a_message_of_a_client(server: Exchange, kind: int) -> None:
    assert server.silent(frame(payload(kind)))


@pytest.mark.parametrize("size", [0, 1, 27, 28, 236, 239])
def test_v4_04_too_short(server: Exchange, size: int) -> None:
    assert server.silent(frame(payload(DISCOVER)[:size]))


@pytest.mark.parametrize("size", [244, 280, 300, 548, 1472])
def test_v4_04_every_size_is_served(server: Exchange, size: int) -> None:
    message = payload(DISCOVER, parameters=None, size=size)
    assert server.reply(frame(message)).message_type == OFFER


@pytest.mark.parametrize(
    "fields", [*({"hlen": n} for n in (0, 5, 7, 16, 17, 255)), {"htype": 0}, {"htype": 6}], ids=str
)
def test_v4_05_hardware_is_ethernet(server: Exchange, fields: dict[str, object]) -> None:
    """Choice: only htype 1 with hlen 6 can be behind a guest port."""
    assert server.silent(discover(**fields))


def test_v4_06_foreign_chaddr(server: Exchange) -> None:
    """Choice: no other client is served, so that a nested guest cannot take the address."""
    assert server.silent(discover(chaddr="52:54:00:0a:00:03"))


@pytest.mark.parametrize("tail", [b"\x37\xff\1\3", b"\x37", b"\x0c\x20abc"], ids=bytes.hex)
def test_v4_07_option_past_the_end(server: Exchange, tail: bytes) -> None:
    """Choice: the options before it are used."""
    message = payload(None, field=b"\x35\1\1" + tail, size=0)
    assert server.reply(frame(message)).message_type == OFFER


def test_v4_08_padding_anywhere(server: Exchange) -> None:
    field = b"\0\0\x35\1\1\0\0\0\x37\2\1\3\0\xff"
    assert server.reply(frame(payload(None, field=field))).message_type == OFFER


def test_v4_08_nothing_after_end(server: Exchange) -> None:
    field = tlv([(53, bytes((REQUEST,))), (50, packed(CLIENT))]) + b"\xff" + tlv([(54, packed("10.0.0.9"))])
    assert server.reply(frame(payload(None, field=field))).message_type == ACK


@pytest.mark.parametrize("code", [50, 54])
@pytest.mark.parametrize("length", [0, 1, 3, 5, 8])
def test_v4_09_address_of_another_length(server: Exchange, code: int, length: int) -> None:
    assert server.silent(discover([(code, bytes(length))]))


@pytest.mark.parametrize("length", [0, 1, 3, 5, 8])
def test_v4_09_address_of_another_length_in_a_request(server: Exchange, length: int) -> None:
    """In every state that has the option; never a NAK, because the client's address is unknown."""
    wrong, address, named = bytes(length), (50, packed(CLIENT)), (54, packed(SERVER))
    for options in ([(54, wrong), address], [named, (50, wrong)], [(50, wrong)], [(54, wrong)]):
        assert server.silent(frame(payload(REQUEST, options)))
    for code in (50, 54):
        assert server.silent(renewing(CLIENT, [(code, wrong)]))


def test_v4_09_empty_and_unknown_options_are_skipped(server: Exchange) -> None:
    options = [(12, b""), (55, b""), (57, b""), (61, b""), (60, b""), (43, b""), (201, b""), (223, b"x" * 9)]
    assert server.reply(discover(options)).message_type == OFFER


@pytest.mark.parametrize("code", [61, 81])
def test_v4_10_repeated_options_are_joined(server: Exchange, code: int) -> None:
    """RFC 3396 §7; observed in the reply."""
    reply = server.reply(discover([(code, b"\0ab"), (12, b"h"), (code, b"cd")]))
    value = reply.option(code)
    assert value is not None
    assert value.endswith(b"cd")
    assert len(value) == 5


def test_v4_10_a_repeated_parameter_list_is_joined(server: Exchange) -> None:
    server.serve(hostname="vm", domain="example")
    reply = server.reply(discover([(55, b"\x0c"), (55, b"\x0f")], parameters=None))
    assert reply.option(12) == b"vm"
    assert reply.option(15) == b"example"


@pytest.mark.parametrize("overload", [1, 2, 3])
def test_v4_11_options_continue_in_file_and_sname(server: Exchange, overload: int) -> None:
    wrong, right = tlv([(50, packed("10.0.0.9"))]) + b"\xff", tlv([(50, packed(CLIENT))]) + b"\xff"
    message = payload(
        REQUEST,
        [(54, packed(SERVER)), (52, bytes((overload,)))],
        file=right if overload & 1 else wrong,
        sname=(b"\xff" if overload & 1 else right) if overload & 2 else wrong,
    )
    assert server.reply(frame(message)).message_type == ACK


@pytest.mark.parametrize(
    ("overload", "joined"), [(1, b"\1file"), (2, b"\1name"), (3, b"\1filename")], ids=["file", "sname", "both"]
)
def test_v4_11_file_comes_before_sname(server: Exchange, overload: int, joined: bytes) -> None:
    """RFC 2131 §4.1, RFC 3396 §5; observed in the client identifier of the reply."""
    file, sname = (tlv([(61, part)]) + b"\xff" for part in (b"file", b"name"))
    options = [(61, b"\1"), (52, bytes((overload,)))]
    assert server.reply(discover(options, file=file, sname=sname)).option(61) == joined


def test_v4_12_missing_end(server: Exchange) -> None:
    """Choice: tolerated, as systemd does."""
    field = tlv([(53, b"\1"), (55, b"\1\3")])
    assert server.reply(frame(payload(None, field=field, size=0))).message_type == OFFER


@pytest.mark.parametrize("message", [discover(giaddr="10.0.0.7"), selecting(giaddr="10.0.0.7")], ids=["d", "r"])
def test_v4_13_relayed(server: Exchange, message: bytes) -> None:
    """Choice: no relay is behind a guest port, and replies must not be directed elsewhere."""
    assert server.silent(message)


@pytest.mark.parametrize(
    "request_frame",
    [
        frame(payload(DISCOVER), fragment=0x2000),
        frame(payload(DISCOVER), fragment=0x0001),
        frame(payload(DISCOVER), protocol=6),
        frame(payload(DISCOVER), port=68),
        frame(payload(DISCOVER), ip_options=b"\x01\x01\x01\x00"),
        frame(payload(DISCOVER), ethertype=0x8100),
        frame(payload(DISCOVER), ethertype=0x88A8),
        frame(payload(DISCOVER))[:60],
    ],
    ids=["more-fragments", "fragment", "tcp", "port", "ip-options", "vlan", "qinq", "cut"],
)
def test_other_frames_are_not_requests(server: Exchange, request_frame: bytes) -> None:
    assert server.silent(request_frame)


@pytest.mark.parametrize("checksum", [0, 1, 0xFFFF])
def test_udp_checksum_is_never_looked_at(server: Exchange, checksum: int) -> None:
    """The checksum of a frame from a kernel socket is partial until hardware completes it."""
    assert server.reply(frame(payload(DISCOVER), udp_checksum=checksum)).message_type == OFFER


@pytest.mark.parametrize(("octets", "answered"), [(-1, True), (0, True), (1, False), (9, False)])
def test_a_udp_length_beyond_the_ip_total_is_no_datagram(server: Exchange, octets: int, answered: bool) -> None:
    """Though the frame has padding enough for it (RFC 768, RFC 791: the IPv4 length says where the packet ends)."""
    request = discover()
    length = int.from_bytes(request[38:40]) + octets
    padded = request[:38] + length.to_bytes(2) + request[40:] + bytes(9)
    assert bool(server.frames(padded)) is answered
