"""What is left of a lease, when advertisements go out, and what is a flood: on a clock of our own."""

from __future__ import annotations

from typing import Any

import pytest
from lab.requests import CLIENT_MAC

from dhcp.config import ClientConfig, parse_configs
from dhcp.io.flood_guard import FLOOD_FRAMES, FloodGuard
from dhcp.lifetimes import config_at
from dhcp.token_bucket import TokenBucket
from dhcp.v6.ra_timers import ANSWERS_AT_ONCE, RATimers, interval

INFINITE = 0xFFFFFFFF
BASE = {"client_mac": CLIENT_MAC, "client_address": "10.0.0.2/24", "server_address": "10.0.0.1"}
BASE6 = {"client_mac": CLIENT_MAC, "client_address6": "fd00::5/64"}


def parse(base: dict[str, Any] = BASE, **fields: Any) -> ClientConfig:
    return parse_configs({**base, **fields})[0]


@pytest.mark.parametrize(
    ("fields", "now", "times"),
    [
        ({"lease_end": 104}, 100, (2, 3, 4)),
        ({"lease_end": 103}, 100, None),
        ({"lease_end": 104}, 100.5, None),
        ({"lease_end": 1000, "lease_seconds": 100, "t1_seconds": 7, "t2_seconds": 9}, 900, (7, 9, 100)),
        ({"lease_end": 1000, "lease_seconds": 100, "t1_seconds": 7, "t2_seconds": 9}, 901, (7, 9, 99)),
        ({"lease_end": 1000, "lease_seconds": 100}, 920, (40, 70, 80)),
        ({"lease_end": 1000, "lease_seconds": INFINITE}, 920, (40, 70, 80)),
    ],
)
def test_what_is_left_of_a_lease(fields: dict[str, Any], now: float, times: tuple[int, int, int] | None) -> None:
    served = config_at(parse(**fields), now)
    assert bool(served.client_address) is (times is not None)
    if times:
        assert (served.t1_seconds, served.t2_seconds, served.lease_seconds) == times


@pytest.mark.parametrize(
    ("fields", "times"),
    [
        ({"lease_end6": 104}, (2, 3, 4, 4)),
        ({"lease_end6": 103}, None),
        ({"preferred_end6": 104}, (2, 3, 4, 86_400)),
        ({"preferred_end6": 103}, (3_600, 75_600, 3, 86_400)),
        ({"preferred_end6": 99}, (3_600, 75_600, 0, 86_400)),
        ({"preferred_end6": 102, "lease_seconds": INFINITE}, (INFINITE, INFINITE, 2, INFINITE)),
        ({"preferred_end6": 200, "lease_end6": 150}, (25, 43, 50, 50)),
        ({"preferred_end6": 150, "lease_end6": 200}, (25, 43, 50, 100)),
        ({"preferred_end6": 200, "lease_end6": 200}, (50, 87, 100, 100)),
        ({}, ()),
    ],
    ids=str,
)
def test_what_is_left_of_an_ipv6_lease(fields: dict[str, Any], times: tuple[int, ...] | None) -> None:
    served = config_at(parse(BASE6, **fields), 100).ipv6
    assert served
    assert bool(served.client_address) is (times is not None)
    assert served.times == (times or ())


def test_a_token_bucket() -> None:
    bucket = TokenBucket(2, 10.0, 100.0)
    assert [bucket.take(100.0) for _ in range(3)] == [True, True, False]
    assert [bucket.take(109.0), bucket.take(110.0), bucket.take(110.0)] == [False, True, False]
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]
    assert [bucket.take(1005.0), bucket.take(1014.0), bucket.take(1019.0)] == [False, True, False]
    bucket.fill()
    assert [bucket.take(1019.0) for _ in range(3)] == [True, True, False]


def test_the_times_of_advertisements() -> None:
    """RFC 4861 §6.2.1, §6.2.4, §10."""
    assert [interval(sent, chance) for sent in (0, 2, 3) for chance in (0, 0.5, 1)] == [16, 16, 16] * 2 + [
        200,
        400,
        600,
    ]
    timers = RATimers(100.0, lambda: 0.25)
    assert timers.due == 100
    timers.sent(100.0)
    assert timers.due == 116
    timers.hasten(101.0)
    assert timers.due == 103
    timers.hasten(103.5)
    assert timers.due == 103, "not later than it was"
    timers.sent(104.0)
    timers.sent(105.0)
    assert timers.due == 405
    timers.restart(106.0)
    assert timers.due == 108
    timers.restart(109.0)
    assert timers.due == 109
    timers.sent(109.0)
    assert timers.due == 125, "as at the start"
    assert [timers.may_answer(109.0) for _ in range(11)] == [True] * 10 + [False]
    assert [timers.may_answer(109.25), timers.may_answer(109.5)] == [False, True]
    assert ANSWERS_AT_ONCE == 10
    fresh = RATimers(50.0, lambda: 0.25)
    fresh.restart(50.0)
    assert fresh.due == 50


def test_a_flood_is_256_frames_in_less_than_50_ms() -> None:
    def raised(guard: FloodGuard, at: float, frames: int = 256) -> list[int]:
        return [n for n in range(1, frames + 1) if guard.count_unanswered(at)]

    assert FLOOD_FRAMES == 256
    guard = FloodGuard()
    assert raised(guard, 100.0) == [], "the first 256 took since ever"
    assert raised(guard, 100.0625) == []
    assert raised(guard, 100.09375, 255) == []
    assert (guard.is_strict, guard.floods, guard.is_over(200.0)) == (False, 0, False)
    assert raised(guard, 100.09375, 1) == [1]
    assert (guard.is_strict, guard.floods) == (True, 1)
    assert raised(guard, 100.125, 600) == [], "it is strict already"
    assert guard.is_over(101.0625) is False
    assert guard.is_over(101.09375) is True
    assert (guard.is_strict, guard.is_over(300.0)) == (False, False)
    assert raised(guard, 101.125) == [256], "counted from when it ended"
    assert guard.floods == 1, "the same flood"
    assert guard.is_over(102.125)
    assert raised(guard, 112.125) == []
    assert raised(guard, 112.125) == [256]
    assert guard.floods == 1, "10 s after the end are not more than 10 s"
    assert guard.is_over(113.125)
    assert raised(guard, 123.25) == []
    assert raised(guard, 123.25) == [256]
    assert guard.floods == 2
