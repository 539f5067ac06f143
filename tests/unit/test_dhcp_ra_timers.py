"""RFC checklist RA-04, RA-05, RA-12: when advertisements go out (RFC 4861 §6.2.4 to §6.2.6), on a clock of our own."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dhcp.v6.ra_timers import (
    ANSWER_SECONDS,
    ANSWERS_AT_ONCE,
    INITIAL_INTERVAL,
    LONGEST_INTERVAL,
    MULTICAST_DISTANCE,
    SHORTEST_INTERVAL,
    RATimers,
    interval,
)

CHANCE = st.floats(0, 1, exclude_max=True)


def test_ra_05_constants_of_the_rfc() -> None:
    assert INITIAL_INTERVAL == 16
    assert 4 <= LONGEST_INTERVAL <= 1800
    assert 3 <= SHORTEST_INTERVAL <= 0.75 * LONGEST_INTERVAL
    assert MULTICAST_DISTANCE == 3


@given(sent=st.integers(0, 100), chance=CHANCE)
def test_ra_05_intervals(sent: int, chance: float) -> None:
    seconds = interval(sent, chance)
    assert seconds <= 16 if sent < 3 else SHORTEST_INTERVAL <= seconds <= LONGEST_INTERVAL


def test_ra_05_the_first_ones() -> None:
    now = 1000.0
    advertiser = RATimers(now, lambda: 0.5)
    times = []
    for _ in range(5):
        now = advertiser.due
        times.append(now - 1000)
        advertiser.sent(now)
    assert times == [0, 16, 32, 432, 832]


@given(st.lists(st.tuples(st.sampled_from(["hasten", "restart", "wait"]), st.floats(0, 20)), max_size=60), CHANCE)
def test_ra_04_multicast_advertisements_keep_their_distance(events: list[tuple[str, float]], chance: float) -> None:
    now = 0.0
    advertiser = RATimers(now, lambda: chance)
    sent: list[float] = []
    for what, seconds in events:
        end = now + seconds
        while advertiser.due <= end:
            now = max(now, advertiser.due)
            sent.append(now)
            advertiser.sent(now)
        now = end
        if what == "hasten":
            advertiser.hasten(now)
        elif what == "restart":
            advertiser.restart(now)
        if what != "wait":
            assert advertiser.due <= now + MULTICAST_DISTANCE
    assert all(later - earlier >= MULTICAST_DISTANCE - 1e-9 for earlier, later in pairwise(sent))


def test_ra_12_answers_are_limited() -> None:
    """A thousand solicitations a second for ten seconds."""
    advertiser = RATimers(0.0, lambda: 0.5)
    answered = sum(advertiser.may_answer(n / 1000) for n in range(10_000))
    assert ANSWERS_AT_ONCE <= answered <= ANSWERS_AT_ONCE + 10 / ANSWER_SECONDS
    assert advertiser.may_answer(12.0)


def test_a_change_is_told_and_may_be_asked_about() -> None:
    advertiser = RATimers(0.0, lambda: 0.5)
    advertiser.sent(0.0)
    while advertiser.may_answer(10.0):
        pass
    advertiser.restart(10.0)
    assert advertiser.due == 10.0
    assert advertiser.may_answer(10.0)
