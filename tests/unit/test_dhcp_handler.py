"""`handle` on arbitrary and on mutated frames: it never raises, and never answers what must get silence."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lab.rawclient import decode_reply
from lab.requests import (
    ACK,
    CLIENT,
    CLIENT_MAC,
    DECLINE,
    DISCOVER,
    INFORM,
    OFFER,
    RELEASE,
    SERVER,
    arp,
    discover,
    frame,
    inform,
    mac_octets,
    packed,
    payload,
    reboot,
    renewing,
    selecting,
)

from dhcp.config import parse_configs
from dhcp.decision import Decision
from dhcp.handler import handle
from dhcp.v4.lease import prepare_lease

CONFIG = {
    "client_mac": CLIENT_MAC,
    "client_address": f"{CLIENT}/24",
    "server_address": SERVER,
    "router": SERVER,
    "dns": ["10.0.0.53"],
    "search": [f"domain-{i}.example.test" for i in range(30)],
    "hostname": "vm",
    "mtu": 1400,
    "options": {"224": "x" * 300},
    "neighbours": {"169.254.1.1": "ee:ee:ee:ee:ee:ee"},
}
PORT = prepare_lease(parse_configs(CONFIG)[0], mac_octets("02:00:00:00:00:0a"))
SEEDS = [
    discover(),
    discover([(61, b"\1abcdef"), (57, b"\2\x40"), (81, b"\1\0\0vm"), (80, b"")], flags=0x8000),
    frame(payload(DISCOVER, [(52, b"\3")], file=b"\x0c\2vm\xff", sname=b"\x32\4\x0a\0\0\2\xff")),
    selecting(),
    selecting("10.0.0.9"),
    reboot(CLIENT),
    renewing(CLIENT),
    renewing("10.0.0.9"),
    inform(CLIENT),
    frame(payload(DECLINE, [(50, packed(CLIENT)), (54, packed(SERVER))])),
    frame(payload(RELEASE, ciaddr=CLIENT)),
    arp(1, "169.254.1.1"),
    arp(1, CLIENT),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good frame with some octets changed, or cut, or lengthened."""
    octets = bytearray(draw(st.sampled_from(SEEDS)))
    # Half of the changes go where the decisions are: the headers and the first options.
    places = st.one_of(st.integers(0, len(octets) - 1), st.integers(12, 60), st.integers(278, 320))
    for at, value in draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=8)):
        octets[min(at, len(octets) - 1)] = value
    if draw(st.booleans()):
        return bytes(octets[: draw(st.integers(0, len(octets)))])
    return bytes(octets) + draw(st.binary(max_size=40))


def check(octets: bytes) -> Decision:
    """What holds for every decision there is."""
    decision = handle(octets, PORT)
    assert decision.reason
    assert bool(decision.frames) == bool(decision.answer)
    assert bool(decision.frames) != bool(decision.cause)
    for reply in decision.frames:
        assert 60 <= len(reply) <= 1414
        if reply[12:14] != b"\x08\x06":
            assert octets[70:76] == mac_octets(CLIENT_MAC)
            decoded = decode_reply(reply)
            assert decoded is not None
            assert decoded.checksums_are_valid()
            assert decoded.payload[4:8] == octets[46:50]
            if decoded.message_type in (OFFER, ACK):
                assert decoded.yiaddr in (CLIENT, "0.0.0.0")
    return decision


@settings(deadline=None)
@given(st.binary(max_size=1600))
@example(b"")
@example(b"\0" * 14)
def test_arbitrary_octets(octets: bytes) -> None:
    assert check(octets).frames == ()


@settings(max_examples=600, deadline=None)
@given(mutated())
def test_mutated_frames(octets: bytes) -> None:
    check(octets)


@settings(deadline=None)  # the machine may be busy: `test_bounds` bounds the time of the thread, and the memory
@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60)), max_size=12), st.binary(max_size=20))
def test_arbitrary_options(options: list[tuple[int, bytes]], tail: bytes) -> None:
    field = b"\x35\1\1" + b"".join(bytes((code, len(value))) + value for code, value in options) + tail
    check(frame(payload(None, field=field)))


@settings(deadline=None)
@given(st.integers(0, 575), st.integers(1, 255), st.integers(1, 255))
@example(575, 200, 43)
def test_a_maximum_below_576_is_576(maximum: int, first: int, second: int) -> None:
    """RFC 2132 §9.10, whatever there is to be said."""
    config = {**CONFIG, "search": [], "options": {"224": "x" * first, "225": "y" * second}}
    port = prepare_lease(parse_configs(config)[0], PORT.mac)
    told, least = (discover([(57, size.to_bytes(2))], parameters=(224, 225)) for size in (maximum, 576))
    assert handle(told, port).frames == handle(least, port).frames


@pytest.mark.parametrize("octets", SEEDS[:9], ids=range(9))
def test_the_same_frame_has_the_same_answer(octets: bytes) -> None:
    assert check(octets) == check(octets)
    assert check(octets).frames


@pytest.mark.parametrize(
    ("octets", "message", "answer", "reason"),
    [
        (discover(), "DISCOVER", "OFFER", "only address"),
        (selecting(), "REQUEST", "ACK", "selecting: option 50"),
        (selecting("10.0.0.9"), "REQUEST", "NAK", "selecting: option 50 is 10.0.0.9, not 10.0.0.2"),
        (selecting(server="10.0.0.7"), "REQUEST", "", "selecting: option 54 names 10.0.0.7"),
        (reboot("10.0.0.9"), "REQUEST", "NAK", "init-reboot: option 50 is 10.0.0.9"),
        (renewing(CLIENT), "REQUEST", "ACK", "renewing: ciaddr"),
        (renewing(CLIENT, server="255.255.255.255"), "REQUEST", "ACK", "rebinding: ciaddr"),
        (renewing("10.0.0.9"), "REQUEST", "NAK", "renewing: ciaddr is 10.0.0.9, not 10.0.0.2"),
        (inform("10.0.0.9"), "INFORM", "ACK", "parameters for 10.0.0.9"),
        (frame(payload(INFORM)), "INFORM", "", "neither ciaddr"),
        (frame(payload(RELEASE)), "RELEASE", "", "stays the client's"),
        (discover([(50, b"abc")]), "DISCOVER", "", "option 50 is not four octets"),
    ],
)
def test_every_decision_has_its_reason(octets: bytes, message: str, answer: str, reason: str) -> None:
    decision = check(octets)
    assert (decision.message, decision.answer) == (message, answer)
    assert reason in decision.reason
    assert decision.xid == struct.unpack_from("!I", octets, 46)[0]


@pytest.mark.parametrize(
    ("octets", "cause"),
    [
        (b"short", "truncated"),
        (frame(payload(DISCOVER), ethertype=0x88CC), "ethertype"),
        (frame(payload(DISCOVER), ethertype=0x8100), "vlan"),
        (frame(payload(DISCOVER), fragment=1), "fragment"),
        (frame(payload(DISCOVER), ip_options=bytes(4)), "ip-header"),
        (frame(payload(DISCOVER), port=53), "not-dhcp"),
        (frame(payload(DISCOVER)[:100]), "truncated"),
        (discover(op=2), "not-a-request"),
        (discover(cookie=bytes(4)), "cookie"),
        (discover(hlen=7), "hardware-type"),
        (discover(giaddr="10.0.0.1"), "relayed"),
        (frame(payload(None)), "no-message-type"),
        (frame(payload(13)), "message-type"),
    ],
)
def test_every_silence_has_its_cause(octets: bytes, cause: str) -> None:
    assert check(octets).cause == cause


def test_a_foreign_mac_is_told() -> None:
    decision = check(discover(chaddr="52:54:00:ff:ff:ff"))
    assert decision.cause == "foreign-mac"
    assert decision.client == bytes.fromhex("525400ffffff")


def test_a_decline_is_worth_a_warning() -> None:
    decision = check(frame(payload(DECLINE, [(50, packed(CLIENT))])))
    assert decision.warning
    assert "in use by another host" in decision.reason


def test_dropped_options_are_named() -> None:
    assert check(discover(parameters=(1, 3, 119, 224))).dropped == (224,)
