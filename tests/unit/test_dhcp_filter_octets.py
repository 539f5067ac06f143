"""Which octets the kernel's filters look at, and what a prepared reply is made of."""

from __future__ import annotations

import struct

import pytest
from lab.requests import CLIENT_MAC, arp, discover, frame, mac_octets, packed, payload
from lab.requests6 import neighbour_solicitation, packed6, solicit

from dhcp.daemon.dry_run import filter_accepts
from dhcp.decision import Decision
from dhcp.io.filters import MOST_ADDRESSES, MOST_ADDRESSES6, advertisement_filter, guest_filter
from dhcp.io.reply_cache import HEAD, SHORTEST_REQUEST, XID_OFFSET, PreparedReply, is_preparable
from dhcp.wire.ipv4 import encode_datagram

MAC = mac_octets(CLIENT_MAC)
NEIGHBOUR = packed("169.254.1.1")
USUAL, STRICT = guest_filter([NEIGHBOUR]), guest_filter([NEIGHBOUR], MAC)


def changed(octets: bytes, at: int, value: int) -> bytes:
    return octets[:at] + bytes((value,)) + octets[at + 1 :]


def test_each_octet_that_a_filter_looks_at() -> None:
    """DISCOVER, ARP for a neighbour: which octets may have no other value, and the rest may."""
    message = discover(secs=5, xid=7)
    fixed = {at for at in range(len(message)) if not filter_accepts(USUAL, changed(message, at, message[at] ^ 0x10))}
    assert fixed == {12, 13, 20, 21, 23, 36, 37}
    strict = {at for at in range(len(message)) if not filter_accepts(STRICT, changed(message, at, message[at] ^ 0x10))}
    assert strict == {*fixed, 14, 16, 17, 38, 39, 42, 43, 44, *range(66, 76), *range(278, 285)}
    question = arp(1, "169.254.1.1")
    fixed = {at for at in range(60) if not filter_accepts(USUAL, changed(question, at, question[at] ^ 0x10))}
    assert fixed == {12, 13, 20, 21, *range(38, 42)}
    strict = {at for at in range(60) if not filter_accepts(STRICT, changed(question, at, question[at] ^ 0x10))}
    assert strict == fixed | set(range(14, 20))


@pytest.mark.parametrize("bits", [0x0001, 0x0FFF, 0x1000, 0x2000, 0x4000, 0x8000, 0xC000])
def test_fragments_stay_out(bits: int) -> None:
    for program in (USUAL, STRICT):
        assert filter_accepts(program, frame(payload(1), fragment=bits)) is (bits & 0x3FFF == 0)


@pytest.mark.parametrize("kind", range(12))
def test_types_of_messages(kind: int) -> None:
    assert filter_accepts(USUAL, frame(payload(kind)))
    assert filter_accepts(STRICT, frame(payload(kind))) is (kind in (1, 3, 4, 7, 8))


@pytest.mark.parametrize(
    ("total", "udp", "passes"), [(0, 0, True), (1, 0, False), (-1, 0, False), (-1, -1, True), (1, 1, False)]
)
def test_lengths_of_a_message(total: int, udp: int, passes: bool) -> None:
    octets = bytearray(discover())
    octets[16:18] = (len(octets) - 14 + total).to_bytes(2)
    octets[38:40] = (len(octets) - 34 + udp).to_bytes(2)
    assert filter_accepts(STRICT, bytes(octets)) is passes
    assert filter_accepts(STRICT, discover() + bytes(9)), "padding"


@pytest.mark.parametrize("count", [0, 1, 2, 99, 100, 101, 300])
@pytest.mark.parametrize("strict", [False, True])
def test_neighbours_of_any_number(count: int, strict: bool) -> None:
    """Up to 100 are told apart, more are left to the server."""
    targets = [(0x0A000000 + n).to_bytes(4) for n in range(1, count + 1)]
    program = guest_filter([*targets, *targets], MAC if strict else b"")
    for n in (1, 2, count, count + 1, 100, 101):
        asked = arp(1, f"10.0.{n >> 8}.{n & 255}")
        assert filter_accepts(program, asked) is (1 <= n <= count or count > 100)
    assert not filter_accepts(program, arp(2, "10.0.0.1"))
    assert (MOST_ADDRESSES, MOST_ADDRESSES6) == (100, 16)


@pytest.mark.parametrize("count", [1, 15, 16, 17])
def test_neighbours_over_ipv6_of_any_number(count: int) -> None:
    program = guest_filter([], nd_targets=[packed6(f"fd00::{n:x}") for n in range(1, count + 1)])
    for n in (1, count, count + 1):
        assert filter_accepts(program, neighbour_solicitation(f"fd00::{n:x}")) is (n <= count or count > 16)


def test_each_octet_that_a_filter_looks_at_over_ipv6() -> None:
    usual, strict = guest_filter([], nd_targets=[packed6("fd00::1")]), guest_filter([], MAC, [packed6("fd00::1")])

    def fixed(program: bytes, octets: bytes) -> set[int]:
        assert filter_accepts(program, octets)
        return {at for at in range(len(octets)) if not filter_accepts(program, changed(octets, at, octets[at] ^ 0x10))}

    assert fixed(usual, solicit()) == {12, 13, 20, 56, 57}
    assert fixed(strict, solicit()) == {12, 13, 20, 56, 57, 62, *range(6, 12)}
    asked = neighbour_solicitation("fd00::1")
    assert fixed(usual, asked) == {12, 13, 20, 54, *range(74, 78)}
    assert fixed(strict, asked) == {12, 13, 20, 54, *range(74, 78), *range(6, 12)}
    told = changed(asked, 54, 136)
    assert fixed(advertisement_filter(packed6("fd00::1")), told) == {12, 13, 20, 54, *range(74, 78)}
    for kind in range(256):
        assert filter_accepts(usual, changed(asked, 54, kind)) is (kind in (133, 135))
        wanted = kind in (1, 3, 4, 5, 6, 8, 9, 11)
        assert filter_accepts(strict, changed(solicit(), 62, kind)) is wanted


# --- prepared replies -------------------------------------------------------------------------------------------------


def test_a_prepared_reply_is_right_for_any_transaction() -> None:
    message = bytes((2, 1, 6, 0)) + struct.pack("!I", 0x01020304) + bytes(292)
    reply = encode_datagram(MAC, MAC, packed("10.0.0.1"), packed("10.0.0.2"), message)
    prepared = PreparedReply(Decision("", frames=(reply,), message="DISCOVER"))
    ((template, rest),) = prepared.frames
    assert (bytes(template), prepared.hits) == (reply, 0)
    for xid in (0, 1, 0xFFFF, 0x10000, 0x01020304, 0xFFFFFFFF, 0xDEADBEEF):
        changed_message = message[:4] + xid.to_bytes(4) + message[8:]
        expected = encode_datagram(MAC, MAC, packed("10.0.0.1"), packed("10.0.0.2"), changed_message)
        assert int.from_bytes(expected[40:42]) == (-(rest + xid) % 0xFFFF or 0xFFFF)


def test_which_requests_are_prepared() -> None:
    answered, other = Decision("", message="DISCOVER"), Decision("", cause="foreign-mac")
    assert is_preparable(discover(), answered)
    assert not is_preparable(discover(), other)
    assert not is_preparable(frame(payload(1), ip_options=bytes(4)), answered)
    assert not is_preparable(frame(payload(1), ethertype=0x86DD), answered)


def test_which_octets_make_another_request() -> None:
    """All but IP identification, both checksums, the transaction id and `secs`."""
    message = discover(secs=5, xid=7)
    key = HEAD.unpack_from(message)
    same = {at for at in range(HEAD.size) if HEAD.unpack_from(changed(message, at, message[at] ^ 0x10)) == key}
    assert same == {18, 19, 24, 25, 40, 41, *range(46, 50), 50, 51}
    assert (HEAD.size, SHORTEST_REQUEST, XID_OFFSET) == (52, 282, 46)
