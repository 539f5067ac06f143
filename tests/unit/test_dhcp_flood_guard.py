"""When a flood is kept in the kernel, and what the kernel's programs let through; the kernel itself runs them here."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import HealthCheck, given, settings
from lab.requests import (
    CLIENT,
    CLIENT_MAC,
    DISCOVER,
    REQUEST,
    arp,
    discover,
    frame,
    inform,
    mac_octets,
    payload,
    reboot,
    renewing,
    selecting,
    tlv,
)
from test_dhcp_handler import PORT, SEEDS, mutated

from dhcp.daemon.dry_run import filter_accepts
from dhcp.handler import handle
from dhcp.io.filters import MOST_ADDRESSES, MOST_ADDRESSES6, guest_filter
from dhcp.io.flood_guard import CALM_SECONDS, FLOOD_FRAMES, FLOOD_SECONDS, STRICT_SECONDS, FloodGuard

USUAL = guest_filter(PORT.arp)
STRICT = guest_filter(PORT.arp, mac_octets(CLIENT_MAC))


def flood(guard: FloodGuard, at: float, *, seconds: float = FLOOD_SECONDS / 2, frames: int = FLOOD_FRAMES) -> bool:
    """Hopeless frames, evenly; whether the guard was raised for one of them."""
    return sum(guard.count_unanswered(at + seconds * n / frames) for n in range(frames)) > 0


def test_few_frames_are_no_flood() -> None:
    guard = FloodGuard()
    for second in range(100):
        assert not flood(guard, float(second), seconds=1.0)
    assert (guard.is_strict, guard.floods) == (False, 0)


def test_many_are_one_until_they_cease() -> None:
    guard = FloodGuard()
    guard.count_unanswered(99.9)
    now = 100.0
    for _ in range(5):
        assert flood(guard, now) or flood(guard, now + FLOOD_SECONDS / 2)
        assert guard.is_strict
        assert not guard.is_over(now + STRICT_SECONDS / 2)
        now += STRICT_SECONDS + 2 * FLOOD_SECONDS
        assert guard.is_over(now)
        assert not guard.is_strict
    assert guard.floods == 1
    now += CALM_SECONDS + STRICT_SECONDS
    flood(guard, now)
    assert flood(guard, now + FLOOD_SECONDS / 2)
    assert guard.floods == 2


@pytest.mark.parametrize(
    "octets",
    [
        discover(),
        discover(flags=0x8000, secs=9),
        selecting(),
        reboot(CLIENT),
        renewing(CLIENT),
        inform(CLIENT),
        frame(payload(DISCOVER, size=244, parameters=None)),
        frame(payload(REQUEST, size=1472)),
        discover([(52, b"\3")]),
        arp(1, "169.254.1.1"),
    ],
)
def test_the_clients_own_pass_both(octets: bytes) -> None:
    assert filter_accepts(USUAL, octets)
    assert filter_accepts(STRICT, octets)


@pytest.mark.parametrize(
    "octets",
    [
        discover(chaddr="52:54:00:0a:00:03"),
        discover(chaddr="52:54:01:0a:00:02"),
        discover(op=2),
        discover(htype=6),
        discover(hlen=5),
        discover(cookie=b"abcd"),
        discover(giaddr="10.0.0.3"),
        frame(payload(None)),
        *(frame(payload(kind)) for kind in (0, 2, 5, 6, 9, 255)),
        frame(payload(None, field=tlv([(53, b"\1\1")]))),
        frame(payload(DISCOVER)[:239]),
        frame(payload(DISCOVER)[:244])[:284],
        discover()[:-1],
        frame(payload(DISCOVER), ip_options=bytes(4)),
        arp(1, "169.254.1.1", hardware=6),
        arp(1, "169.254.1.1", protocol=0x86DD),
    ],
)
def test_what_is_hopeless_passes_the_usual_one_only(octets: bytes) -> None:
    """The usual one lets it through to be counted."""
    assert filter_accepts(USUAL, octets)
    assert not filter_accepts(STRICT, octets)
    assert handle(octets, PORT).frames == ()


@pytest.mark.parametrize(
    "octets",
    [
        frame(payload(DISCOVER), fragment=1),
        frame(payload(DISCOVER), protocol=6),
        frame(payload(DISCOVER), port=68),
        frame(payload(DISCOVER), ethertype=0x86DD),
        arp(1, "10.0.0.77"),
        arp(2, "169.254.1.1"),
        bytes(14),
    ],
)
def test_what_is_nobodys_passes_none(octets: bytes) -> None:
    assert not filter_accepts(USUAL, octets)
    assert not filter_accepts(STRICT, octets)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_no_answer_is_lost_to_a_filter(octets: bytes) -> None:
    """But for one in a flood whose message type is not the first option."""
    answered = handle(octets, PORT).frames != ()
    assert filter_accepts(USUAL, octets) or not answered
    if answered and (octets[12:14] == b"\x08\x06" or octets[282:284] == b"\x35\1"):
        udp_fills_ip = int.from_bytes(octets[38:40]) == int.from_bytes(octets[16:18]) - 20
        assert filter_accepts(STRICT, octets) or not udp_fills_ip


@pytest.mark.parametrize("octets", SEEDS)
def test_more_neighbours_than_a_program_can_name(octets: bytes) -> None:
    """All ARP requests are let through then."""
    many = [bytes((10, 1, 0, n)) for n in range(MOST_ADDRESSES + 1)]
    assert filter_accepts(guest_filter(many), octets)
    assert filter_accepts(guest_filter(many[:MOST_ADDRESSES], mac_octets(CLIENT_MAC)), arp(1, "10.1.0.99"))


@pytest.mark.parametrize("number", [0, 1, MOST_ADDRESSES - 1, MOST_ADDRESSES, MOST_ADDRESSES + 1, 250, 256, 300, 1000])
@pytest.mark.parametrize("client", [b"", mac_octets(CLIENT_MAC)], ids=["quiet", "flooded"])
def test_every_neighbour_passes_however_many_there_are(client: bytes, number: int) -> None:
    """A jump is one octet: a list that is too long for it must be no list at all, and never another verdict."""
    targets = [(0x0A010000 + n).to_bytes(4) for n in range(number)]
    program = guest_filter(targets, client, [bytes(12) + target for target in targets])
    assert all(filter_accepts(program, arp(1, str(IPv4Address(target)))) for target in targets)
    assert filter_accepts(program, arp(1, "10.9.0.1")) is (number > MOST_ADDRESSES)
    assert filter_accepts(program, discover())


def test_the_longest_program_there_is() -> None:
    """Jumps reach 255 instructions: the strict filter with as many addresses of both families as may be named."""
    targets = [bytes((10, 1, 0, n)) for n in range(MOST_ADDRESSES)]
    targets6 = [bytes(15) + bytes((n,)) for n in range(MOST_ADDRESSES6)]
    program = guest_filter(targets, mac_octets(CLIENT_MAC), targets6)
    assert filter_accepts(program, discover())
    assert filter_accepts(program, arp(1, "10.1.0.99"))
    assert not filter_accepts(program, discover(chaddr="52:54:00:0a:00:03"))
