"""What a guest does as lines of the log, its leases, and how its sleep is told."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.guest.events import LINES_AT_ONCE, GuestEvent, GuestJournal, event_of
from launcher.guest.leases import LeaseFollower
from launcher.guest.sleep import Sleeper


@pytest.mark.parametrize(
    ("number", "details", "name"),
    [
        (0, (6, 1), "powered-off"),
        (0, (6, 2), None),  # the host's doing
        (0, (8, 0), "panicked"),
        (0, (3, 2), "paused"),
        (0, (3, 0), None),  # a reset, or libvirt's own
        (0, (4, 0), "resumed"),
        (0, (5, 0), None),
        (1, (0,), "rebooted"),
        (3, (2,), "watchdog"),
        (6, ("/disk", "virtio-disk0", 1, "enospc"), "disk-error"),
        (11, (0,), "woken"),
        (12, (0,), "asleep"),
        (18, (1, 2), "agent-connected"),
        (18, (2, 2), "agent-disconnected"),
        (18, (2, 1), None),
        (99, (), None),
    ],
)
def test_events_of_libvirt(number: int, details: tuple[Any, ...], name: str | None) -> None:
    event = event_of(number, details)
    assert (event and event.name) == name


def test_what_a_device_is_called_does_nothing_to_a_terminal() -> None:
    event = event_of(6, ("/disk", "disk\x1b[2J", 1, "x" * 10_000))
    assert event is not None
    assert event.message.isprintable()
    assert len(event.message) < 500


def names(events: tuple[GuestEvent, ...]) -> list[str]:
    return [event.name for event in events]


def taken(age: float) -> GuestEvent:
    return GuestEvent("lease-taken", "", {"age_seconds": age})


def test_the_first_sign_of_a_boot_is_named_once_a_boot() -> None:
    journal, rebooted = GuestJournal(0), GuestEvent("rebooted", "")
    assert names(journal.take(taken(1.0), 10)) == ["booted", "lease-taken"]
    assert names(journal.take(GuestEvent("agent-connected", ""), 11)) == ["agent-connected"]
    assert names(journal.take(rebooted, 20)) == ["rebooted"]
    assert names(journal.take(rebooted, 20.1)) == []
    assert names(journal.take(taken(5.0), 21)) == ["lease-taken"], "it was taken before"
    assert names(journal.take(GuestEvent("agent-connected", ""), 30)) == ["booted", "agent-connected"]


def test_a_guest_that_reboots_again_and_again_has_a_line_in_three_seconds() -> None:
    journal = GuestJournal(0)
    written = [now for now in range(1, 21) if journal.take(GuestEvent("rebooted", ""), float(now))]
    assert written == [1, 4, 7, 10, 13, 16, 19]


def test_only_a_guest_that_was_paused_runs_on() -> None:
    journal, paused, resumed = GuestJournal(0), GuestEvent("paused", ""), GuestEvent("resumed", "")
    assert [names(journal.take(event, 1)) for event in (resumed, paused, resumed)] == [[], ["paused"], ["resumed"]]


def test_a_guest_without_end_of_events_does_not_fill_the_log() -> None:
    journal = GuestJournal(0)
    written = [line for _ in range(10_000) for line in journal.take(GuestEvent("agent-connected", ""), 1.0)]
    assert len(written) == LINES_AT_ONCE, "with `booted`"
    last = journal.take(GuestEvent("panicked", ""), 1.0)
    assert names(last) == ["suppressed", "panicked"]
    assert last[0].data == {"events": 10_001 - LINES_AT_ONCE}


def report(*leases: tuple[str, float, int | None, int | None]) -> dict[str, Any]:
    """Leases of one port: address, when, T1 and how long."""
    listed = [{"address": a, "at": at, "age": 0.5, "t1": t1, "t2": t1, "seconds": long} for a, at, t1, long in leases]
    return {"ports": [{"interface": "tap0", "leases": listed}]}


def test_leases_that_are_news() -> None:
    follower = LeaseFollower()

    def news(*leases: tuple[str, float, int | None, int | None]) -> list[str]:
        return names(follower.news(report(*leases)))

    assert news() == []
    assert news(("10.0.0.2", 100, 3600, 86400)) == ["lease-taken"]
    assert news(("10.0.0.2", 100, 3600, 86400)) == []
    assert news(("10.0.0.2", 3700, 3600, 86400)) == [], "renewed"
    assert news(("10.0.0.2", 3800, 3600, 86400), ("fd00::2", 3800, 3600, 86400)) == ["lease-taken"] * 2
    assert news(("10.0.0.2", 3900, 0, 0)) == ["lease-released"]
    assert news() == [], "another server"
    assert news(("10.0.0.2", 9000, None, None)) == ["lease-taken"]


def test_what_the_guest_had_before_the_launcher_is_no_news() -> None:
    assert LeaseFollower().news(report(("10.0.0.2", 100, 3600, 86400))) == ()


def looks(sleeper: Sleeper, *in_use: bool) -> list[tuple[bool, str]]:
    return [(press, event.name if event else "") for press, event in map(sleeper.look, in_use)]


def test_a_guest_that_sleeps_is_named_and_woken() -> None:
    sleeper = Sleeper()
    assert looks(sleeper, False, False, False, True) == [(False, "")] * 4, "it has not booted yet"
    assert looks(sleeper, False, True) == [(False, "")] * 2, "a reboot without libvirt's event"
    assert looks(sleeper, False, False, False) == [(False, ""), (True, "asleep"), (True, "")]
    assert looks(sleeper, True, True) == [(False, "woken"), (False, "")]


def test_a_guest_that_reboots_does_not_sleep() -> None:
    sleeper = Sleeper()
    looks(sleeper, True)
    sleeper.restart()
    assert looks(sleeper, False, False, False) == [(False, "")] * 3
