"""The kernel's filter lets in over IPv6 all that is answered, and little else; under a flood the client's alone."""

from __future__ import annotations

import pytest
from lab.requests import CLIENT_MAC, mac_octets
from lab.requests6 import (
    CLIENT6,
    CONFIRM,
    DECLINE,
    INFORMATION_REQUEST,
    REBIND,
    RELAY_FORWARD,
    REPLY,
    ROUTER_MAC,
    SOLICIT,
    datagram6,
    ia_na,
    message6,
    neighbour_solicitation,
    packet6,
    router_solicitation,
    solicit,
)

from dhcp.config import parse_configs
from dhcp.daemon.dry_run import filter_accepts
from dhcp.handler import handle
from dhcp.io.filters import MOST_ADDRESSES, MOST_ADDRESSES6, guest_filter
from dhcp.v4.lease import prepare_lease

PORT = prepare_lease(
    parse_configs(
        {
            "client_mac": CLIENT_MAC,
            "client_address6": f"{CLIENT6}/128",
            "router6": "fd00::1",
            "router6_lladdr": ROUTER_MAC,
            "neighbours": {"fd00::99": "02:00:00:00:00:99"},
        }
    )[0],
    mac_octets("02:00:00:00:00:0a"),
)
assert PORT.ipv6
TARGETS = PORT.ipv6.neighbours
QUIET = guest_filter((), nd_targets=TARGETS)
FLOODED = guest_filter((), mac_octets(CLIENT_MAC), TARGETS)
WITHOUT = guest_filter(())

ANSWERED = [
    solicit(),
    *(datagram6(message6(kind, [ia_na(CLIENT6)])) for kind in (CONFIRM, REBIND)),
    datagram6(message6(INFORMATION_REQUEST)),
    router_solicitation(),
    router_solicitation(source="::"),
    neighbour_solicitation("fe80::fc:1"),
    neighbour_solicitation("fe80::fc:1", source="::"),
    neighbour_solicitation("fd00::99"),
]


@pytest.mark.parametrize("program", [QUIET, FLOODED], ids=["quiet", "flooded"])
@pytest.mark.parametrize("number", range(len(ANSWERED)))
def test_what_is_answered_passes(program: bytes, number: int) -> None:
    assert handle(ANSWERED[number], PORT).frames
    assert filter_accepts(program, ANSWERED[number])
    assert not filter_accepts(WITHOUT, ANSWERED[number])


@pytest.mark.parametrize(
    "frame",
    [
        datagram6(message6(SOLICIT), port=546),
        datagram6(message6(SOLICIT), port=53),
        packet6(solicit()[54:], 44),
        packet6(solicit()[54:], 6),
        neighbour_solicitation(CLIENT6),
        neighbour_solicitation(CLIENT6, source="::"),
        router_solicitation(kind=134),
        router_solicitation(kind=136),
        solicit()[:50],
        router_solicitation()[:54],
    ],
    ids=lambda frame: frame[:60].hex()[-20:],
)
@pytest.mark.parametrize("program", [QUIET, FLOODED], ids=["quiet", "flooded"])
def test_what_is_not_for_the_server_stays_out(program: bytes, frame: bytes) -> None:
    assert not filter_accepts(program, frame)


@pytest.mark.parametrize(
    "frame",
    [
        datagram6(message6(SOLICIT, [ia_na()]), source_mac="02:00:00:00:00:01"),
        router_solicitation(source_mac="52:54:00:0a:00:03"),
        datagram6(message6(RELAY_FORWARD)),
        datagram6(message6(REPLY)),
        datagram6(b""),
    ],
    ids=["foreign", "foreign-rs", "relay", "reply", "empty"],
)
def test_what_can_get_no_answer_stays_out_under_a_flood(frame: bytes) -> None:
    assert filter_accepts(QUIET, frame)
    assert not filter_accepts(FLOODED, frame)
    assert not handle(frame, PORT).frames


def test_declined_addresses_are_heard_of_under_a_flood() -> None:
    assert filter_accepts(FLOODED, datagram6(message6(DECLINE, [ia_na(CLIENT6)], server=b"x")))


@pytest.mark.parametrize("count", [0, 1, MOST_ADDRESSES6, MOST_ADDRESSES6 + 1, 100])
def test_any_number_of_neighbours(count: int) -> None:
    """Jumps of a program are one octet, so the longest one is tried as well."""
    targets = [bytes(14) + n.to_bytes(2) for n in range(1, count + 1)]
    program = guest_filter([n.to_bytes(4) for n in range(MOST_ADDRESSES)], mac_octets(CLIENT_MAC), targets)
    assert filter_accepts(program, router_solicitation())
    assert filter_accepts(program, solicit())
    for n in (1, count):
        assert filter_accepts(program, neighbour_solicitation(f"::{n:x}")) is (count > 0)
