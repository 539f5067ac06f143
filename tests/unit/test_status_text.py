"""What `status` says in words of a lease, and what it makes of a history that cannot be read."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from launcher.guest.answers import GuestInterface, GuestRoute
from launcher.guest.asking import GuestStatus
from launcher.guest.comparison import Difference, Served
from launcher.sight import history
from launcher.sight.history import History, note_convergence, note_restart, note_setup, read_history
from launcher.sight.status import LeaseStatus, _lease
from launcher.sight.status_text import duration, guest_lines, lease_text

TAKEN = "2026-11-30T01:00:00Z"
AT = 1796000400.0
DAY = {"t1": 3_600, "t2": 75_600, "seconds": 86_400}
FOR_EVER = {"t1": None, "t2": None, "seconds": None}
GIVEN_BACK = {"t1": 0, "t2": 0, "seconds": 0}


def lease(age: float, **times: int | None) -> LeaseStatus:
    return _lease({"address": "10.0.0.2", "at": AT, "age": age, **times})


@pytest.mark.parametrize(
    ("taken", "text"),
    [
        (lease(65.9, **DAY), f"taken 1 min 5 s ago ({TAKEN}), to be renewed in 58 min 54 s, ends in 23 h 58 min"),
        (lease(4_000, **DAY), f"taken 1 h 6 min ago ({TAKEN}), to be renewed since 6 min 40 s, ends in 22 h 53 min"),
        (lease(90_000, **DAY), f"taken 1 d 1 h ago ({TAKEN}), ended 1 h ago"),
        (lease(1, **FOR_EVER), f"taken 1 s ago ({TAKEN}), for ever"),
        (lease(0.5, **GIVEN_BACK), f"given back 0 s ago ({TAKEN})"),
    ],
)
def test_a_lease_in_words(taken: LeaseStatus, text: str) -> None:
    assert lease_text(taken) == text


def test_times_still_to_come() -> None:
    held, given_back = lease(10, **DAY), lease(10, **GIVEN_BACK)
    assert (held.renewal_seconds, held.rebinding_seconds, held.left_seconds) == (3_590, 75_590, 86_390)
    assert (given_back.is_held, given_back.left_seconds, given_back.renewal_seconds) == (False, None, None)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (59.9, "59 s"), (86_460, "1 d"), (90_061, "1 d 1 h")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_guest_next_to_what_it_was_served() -> None:
    guest = GuestStatus(
        hostname="front",
        system="Debian",
        kernel="6.1",
        interfaces=(GuestInterface("eth0", "02:00:00:00:00:05", ("10.0.0.2/24",)), GuestInterface("lo", "", ())),
        routes=(GuestRoute("0.0.0.0/0", "10.0.0.1", "eth0", 0), GuestRoute("10.0.0.0/24", "", "eth0", 5)),
        problem="too slow",
        served=(Served("default", "02:00:00:00:00:05", True, ("10.0.0.9/24",)),),
        differences=(Difference("default", "eth0 has not 10.0.0.9/24", "look"),),
    )
    assert list(guest_lines(guest)) == [
        "guest, by its agent: front, Debian, 6.1",
        "  eth0, MAC 02:00:00:00:00:05: 10.0.0.2/24",
        "    network default, served 10.0.0.9/24",
        "  lo, MAC none: no address",
        "  route 0.0.0.0/0 via 10.0.0.1 dev eth0 metric 0",
        "  route 10.0.0.0/24 dev eth0 metric 5",
        "  otherwise than served: eth0 has not 10.0.0.9/24",
        "  too slow",
    ]


def test_the_history_counts(tmp_path: Path) -> None:
    note_restart(str(tmp_path))
    note_setup(str(tmp_path), {"plan": 1.5, "total": 80.0})
    for note in (partial(note_convergence, changed=True), note_restart, note_restart):
        note(str(tmp_path))
    assert read_history(tmp_path) == History((("plan", 0.0015), ("total", 0.08)), 1, 2)


@pytest.mark.parametrize("content", [None, b"", b"[]", b"\xff", b'{"convergences": "x"}', b'{"setup_seconds": [1]}'])
def test_a_history_that_cannot_be_read_is_empty(content: bytes | None, tmp_path: Path) -> None:
    if content is None:
        Path(tmp_path, history.FILE).symlink_to("/etc/passwd")
    else:
        Path(tmp_path, history.FILE).write_bytes(content)
    assert read_history(tmp_path) == History()


def test_a_note_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    Path(tmp_path, "file").write_text("")
    note_setup(str(tmp_path / "file"), {"total": 1.0})
