"""`handle` on arbitrary and on mutated IPv6 frames, where IPv6 is served: what `oracle` says of every decision.

An ICMPv6 message with a wrong checksum is nothing at all, so most of these are made with a right one.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from bounds import decide_in_time
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lab.requests import CLIENT_MAC, mac_octets
from lab.requests6 import (
    CLIENT6,
    CLIENT_LINK_LOCAL,
    DUID,
    FOREIGN6,
    IA_NA,
    ROUTER_LINK_LOCAL,
    SERVER_ID,
    datagram6,
    ia_na,
    icmp6,
    message6,
    neighbour_solicitation,
    router_solicitation,
    solicit,
    tlv6,
)
from oracle import check
from test_fuzz import NEIGHBOUR6, PORT

from dhcp.decision import Decision

assert PORT.ipv6
SERVER_DUID = PORT.ipv6.duid
ETHERNET = b"\x33\x33\0\x01\0\x02" + mac_octets(CLIENT_MAC) + b"\x86\xdd"
UDP = 17
MOST_UNKNOWN_MACS = [mac_octets(mac) for mac in ("52:54:00:0a:00:03", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00")]
KINDS = (1, 3, 4, 5, 6, 8, 9, 11)
TO_ONE_SERVER = (3, 5, 8, 9)
SEEDS = [
    *(datagram6(message6(kind, [ia_na(CLIENT6)], server=SERVER_DUID)) for kind in TO_ONE_SERVER),
    *(datagram6(message6(kind, [ia_na(CLIENT6), (14, b"")])) for kind in (1, 4, 6)),
    datagram6(message6(11)),
    router_solicitation(),
    router_solicitation(source="::"),
    neighbour_solicitation(NEIGHBOUR6),
    neighbour_solicitation(NEIGHBOUR6, source="::"),
]
ADDRESSES = st.one_of(
    st.sampled_from([CLIENT6, CLIENT_LINK_LOCAL, ROUTER_LINK_LOCAL, NEIGHBOUR6, FOREIGN6, "::", "ff02::1"]),
    st.ip_addresses(v=6).map(str),
)
OPTIONS = st.lists(st.tuples(st.one_of(st.integers(1, 40), st.integers(0, 0xFFFF)), st.binary(max_size=60)), max_size=8)


def judged(frame: bytes) -> Decision:
    """The decision, which is right, in time, and silence where that is due."""
    decision = decide_in_time(frame, PORT)
    check(frame, PORT, decision)
    return decision


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good frame with some octets changed, or cut, or lengthened."""
    octets = bytearray(draw(st.sampled_from(SEEDS)))
    # Half of the changes go where the decisions are: the headers and the message's start.
    places = st.one_of(st.integers(0, len(octets) - 1), st.integers(14, 100))
    for at, value in draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        octets[min(at, len(octets) - 1)] = value
    if draw(st.booleans()):
        return bytes(octets[: draw(st.integers(0, len(octets)))])
    return bytes(octets) + draw(st.binary(max_size=40))


@settings(deadline=None)  # the machine may be busy: `decide_in_time` bounds the time of the thread
@given(st.binary(max_size=1500))
@example(b"")
@example(b"\x60".ljust(40, b"\0"))
def test_arbitrary_octets(octets: bytes) -> None:
    assert judged(ETHERNET + octets).frames == ()


@settings(max_examples=600, deadline=None)
@given(mutated())
def test_mutated_frames(frame: bytes) -> None:
    judged(frame)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(KINDS),
    OPTIONS,
    st.one_of(st.none(), st.just(DUID), st.binary(max_size=140)),
    st.sampled_from([None, SERVER_DUID, b"\0\3\0\1other"]),
    st.sampled_from([b"", b"", b"\0", b"\0\3\0\x0c", bytes(4)]),
)
def test_messages_with_arbitrary_options(
    kind: int, options: list[tuple[int, bytes]], duid: bytes | None, server: bytes | None, tail: bytes
) -> None:
    options = [(code, value) for code, value in options if code != SERVER_ID]  # which server is named must be known
    message = message6(kind, options, duid=duid, server=server) + tail
    decision = judged(datagram6(message))
    allowed = {SERVER_DUID} if kind in TO_ONE_SERVER else {None, SERVER_DUID} if kind == 11 else {None}
    if server not in allowed:
        assert decision.frames == (), "V6-04, V6-05, V6-07"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KINDS), OPTIONS, st.binary(min_size=12, max_size=12), st.binary(max_size=6), ADDRESSES)
def test_arbitrary_options_in_an_association(
    kind: int, inner: list[tuple[int, bytes]], head: bytes, tail: bytes, wanted: str
) -> None:
    """Options in options (RFC 8415 §21.4, §21.6), in a message that is right otherwise."""
    server = SERVER_DUID if kind in TO_ONE_SERVER else None
    address = (5, IPv6Address(wanted).packed + bytes(8) + tail)
    association = (IA_NA, head + tlv6([*inner, address]))
    judged(datagram6(message6(kind, [association], server=server)))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([133, 134, 135, 136, 137, 143]), st.integers(0, 1), st.binary(max_size=120), ADDRESSES)
def test_arbitrary_icmp6_messages(kind: int, code: int, body: bytes, source: str) -> None:
    judged(icmp6(bytes((kind, code, 0, 0)) + body, source=source, destination="ff02::2"))


@settings(max_examples=300, deadline=None)
@given(ADDRESSES, ADDRESSES, st.one_of(st.none(), st.binary(max_size=40)), st.sampled_from([255, 255, 254, 1]))
def test_solicitations(target: str, source: str, options: bytes | None, hop_limit: int) -> None:
    decisions = (
        judged(neighbour_solicitation(target, source=source, options=options, hop_limit=hop_limit)),
        judged(router_solicitation(source=source, options=options, hop_limit=hop_limit)),
    )
    if hop_limit != 255:
        assert [decision.frames for decision in decisions] == [(), ()]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SEEDS),
    ADDRESSES,
    st.one_of(st.just(mac_octets(CLIENT_MAC)), st.sampled_from(MOST_UNKNOWN_MACS), st.binary(min_size=6, max_size=6)),
)
def test_arbitrary_senders(frame: bytes, source: str, mac: bytes) -> None:
    """The client is known by its MAC (V6-22); a neighbour is resolved by anybody behind the port."""
    frame = frame[:6] + mac + frame[12:]
    if frame[20] == UDP:
        frame = frame[:22] + IPv6Address(source).packed + frame[38:]
    decision = judged(frame)
    if mac != mac_octets(CLIENT_MAC) and decision.message != "NS":
        assert decision.frames == ()


def test_what_is_mutated_is_answered() -> None:
    """Or the properties would be about nothing."""
    assert all(judged(frame).frames for frame in [*SEEDS, solicit()])
