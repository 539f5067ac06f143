"""When a pod that is followed is looked at, and taken in: by what messages and files, how often, and after failures."""

from __future__ import annotations

import itertools
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from lab.waiting import wait_until

from launcher.following import follower as following
from launcher.following.file_events import FileEvents
from launcher.following.follower import Follower
from launcher.following.messages import Judge
from launcher.following.pod_changes import Unsettled
from netsetup.errors import InvalidRequest, NotSetUp

ASKED, UNASKED = 1234, 0
"""The port of a socket whose owner has asked for a change; none for what the kernel does by itself."""
PERMANENT, NOARP, FAILED, REACHABLE, PROXY = 0x80, 0x40, 0x20, 0x02, 0x08
UP, LOWER_UP = 0x1, 0x10000


def message(kind: int, body: bytes, port: int = UNASKED) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, port) + body


def link(index: int, flags: int, *, family: int = 0, mtu: int = 1500, kind: int = 16, more: bytes = b"") -> bytes:
    attributes = struct.pack("=HHI", 8, 4, mtu) + struct.pack("=HH4s", 8, 3, b"eth0") + more
    return message(kind, struct.pack("=BxHiII", family, 1, index, flags, 0) + attributes)


def route(table: int = 254, flags: int = 0) -> bytes:
    return message(24, struct.pack("=8BI", 2, 16, 0, 0, table, 4, 0, 1, flags))


def neighbour(kind: int, state: int, port: int, *, flags: int = 0, family: int = 2) -> bytes:
    return message(kind, struct.pack("=BxxxiHBB", family, 3, state, flags, 1), port)


OPERSTATE = struct.pack("=HHI", 5, 16, 2)
MATTERS = {
    "a route": (route(), True),
    "a route of another table": (route(table=0), True),
    "the kernel's own route to an address": (route(table=255), False),
    "a path's MTU": (route(flags=0x200), False),
    "an address": (message(20, struct.pack("=BBBBI", 2, 24, 0, 0, 3)), True),
    "a rule": (message(32, bytes(12)), True),
    "a neighbour that somebody configures": (neighbour(28, PERMANENT, ASKED), True),
    "one by arp(8)": (neighbour(28, PERMANENT, UNASKED), True),
    "one that somebody removes": (neighbour(28, FAILED, ASKED), True),
    "a proxied one": (neighbour(28, 0, UNASKED, flags=PROXY), True),
    "one that answers": (neighbour(28, REACHABLE, UNASKED), False),
    "one that does not": (neighbour(28, FAILED, UNASKED), False),
    "one that is asked for": (neighbour(28, REACHABLE, ASKED), False),
    "one that is forgotten": (neighbour(29, FAILED, UNASKED), False),
    "a MAC that a bridge learns": (neighbour(28, REACHABLE, UNASKED, family=7), False),
    "a new interface": (link(9, UP), True),
    "one that goes": (link(3, UP, kind=17), True),
    "a carrier": (link(3, UP | LOWER_UP, more=OPERSTATE), False),
    "an interface that is down": (link(3, 0), True),
    "an MTU": (link(3, UP, mtu=1400), True),
    "the state of a bridge's port": (link(3, UP, mtu=1400, family=7), False),
    "nothing": (b"", False),
    "less than a message": (link(3, UP)[:20], False),
}


@pytest.mark.parametrize("what", MATTERS)
def test_what_matters(what: str) -> None:
    datagram, matters = MATTERS[what]
    judge = Judge()
    assert judge.any_matters(link(3, UP)), "it is new"
    assert judge.any_matters(datagram) is matters
    both = Judge()
    both.any_matters(link(3, UP))
    assert both.any_matters(route(table=255) + datagram) is matters


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "..1").mkdir()
    (tmp_path / "..1" / "status").write_text("one")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "status").symlink_to("..data/status")
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    return tmp_path


def write(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 192.0.2.2\n")


def rename(folder: Path) -> None:
    (folder / "new").write_text("nameserver 192.0.2.2\n")
    (folder / "new").rename(folder / "resolv.conf")


def remove(folder: Path) -> None:
    (folder / "resolv.conf").unlink()


def lead_elsewhere(folder: Path) -> None:
    """As a kubelet updates a volume."""
    (folder / "..2").mkdir()
    (folder / "..2" / "status").write_text("two")
    (folder / "..data_tmp").symlink_to("..2")
    (folder / "..data_tmp").rename(folder / "..data")


def same(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    (folder / "another").write_text("")


@pytest.mark.parametrize(
    ("change", "counts"), [(write, True), (rename, True), (remove, True), (lead_elsewhere, True), (same, False)]
)
def test_files_that_change(folder: Path, change: Callable[[Path], None], counts: bool) -> None:
    events = FileEvents([str(folder / "resolv.conf"), str(folder / "status")])
    assert not events.drain()
    change(folder)
    assert events.drain() is counts
    assert not events.drain()
    (folder / "resolv.conf").write_text("what has taken its place is watched, too\n")
    assert events.drain()
    lead_elsewhere(folder) if change is not lead_elsewhere else (folder / "..2" / "status").write_text("three")
    assert events.drain()
    events.close()


class Events:
    """Stands in for the kernel's: `happen` is one that matters, or not."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_NONBLOCK)
        self.matters = True
        self.drains = 0

    def fileno(self) -> int:
        return self._event

    def close(self) -> None:
        os.close(self._event)

    def happen(self) -> None:
        os.eventfd_write(self._event, 1)

    def drain(self) -> bool:
        self.drains += 1
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return False
        return self.matters


class FollowedPod:
    """A pod with so many changes; to take them in makes events, as ours are."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.changes: list[str] = []
        self.looks, self.taken_in, self.looks_since = 0, 0, 1
        self.failure: Exception | None = None
        self.is_undone, self.undone_late = False, False
        self.times: list[float] = []
        self.noted: list[str] = []
        self.taken_in_before = 0

    def look(self, waits: bool) -> Sequence[str]:
        self.looks += 1
        if self.failure:
            raise self.failure
        if self.undone_late and self.noted and self.looks_since == 0:
            self.looks_since = 1
            self.events.happen()
            return ()
        return tuple(self.changes)

    def take_in(self) -> None:
        self.taken_in += 1
        self.times.append(time.monotonic())
        self.looks_since = 0
        if not self.is_undone:
            self.changes.clear()
        self.events.happen()

    def note(self, problem: str) -> None:
        if not self.noted:
            self.taken_in_before = self.taken_in
        self.noted.append(problem)

    def change(self, what: str = "a route") -> None:
        self.changes.append(what)
        self.events.happen()


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> Iterator[FollowedPod]:
    """Followed, and looked at for the first time; in a tenth of the usual times."""
    events = Events()
    pod = FollowedPod(events)
    monkeypatch.setattr(following, "KernelEvents", lambda: events)
    monkeypatch.setattr(following, "note_not_taken_in", lambda _folder, problem: pod.note(problem))
    for name in ("QUIET", "LONGEST", "SPACING", "UNSETTLED", "RETRY", "LONGEST_RETRY"):
        monkeypatch.setattr(following, f"{name}_SECONDS", getattr(following, f"{name}_SECONDS") / 10)
    follower = Follower("/nowhere", [], look=pod.look, take_in=pod.take_in)
    follower.start()
    wait_until(lambda: pod.looks)
    yield pod
    began = time.monotonic()
    follower.stop()
    assert time.monotonic() - began < 5


def test_changes_are_taken_in_once_and_make_no_further_round(pod: FollowedPod) -> None:
    for count in (1, 2):
        pod.change()
        wait_until(lambda count=count: pod.taken_in == count)
        looks = pod.looks
        wait_until(lambda looks=looks: pod.looks > looks)  # the look after its own events finds nothing
    pod.events.matters = False

    def is_looked_at() -> bool:
        looks, drains = pod.looks, pod.events.drains
        pod.events.happen()
        wait_until(lambda: pod.events.drains > drains)
        return pod.looks > looks

    wait_until(lambda: not is_looked_at())  # what does not matter, once the last look has been
    assert pod.taken_in == 2


def test_a_storm_is_taken_in_at_once(pod: FollowedPod) -> None:
    for number in range(1000):
        pod.change(f"route {number}")
    wait_until(lambda: not pod.changes)
    assert pod.taken_in <= 10, "two in usual times, where nothing keeps this thread from its next change"


def test_what_fails_is_said_once_and_tried_again(pod: FollowedPod, caplog: pytest.LogCaptureFixture) -> None:
    pod.failure = InvalidRequest("eth0: the interface has left this network namespace")
    pod.change()
    looks = pod.looks
    wait_until(lambda: pod.looks > looks + 2)  # without an event
    assert [record.message.partition(": ")[2] for record in caplog.records] == [str(pod.failure)]
    assert set(pod.noted) == {str(pod.failure)}
    pod.failure = None
    pod.events.happen()
    wait_until(lambda: pod.taken_in == 1)


def test_what_goes_by_itself_is_no_longer_noted(pod: FollowedPod) -> None:
    pod.failure = NotSetUp("gone")
    pod.change()
    wait_until(lambda: "gone" in pod.noted)
    pod.failure = None
    pod.changes.clear()
    pod.events.happen()
    wait_until(lambda: pod.noted[-1] == "")
    assert pod.taken_in == 0


def test_a_cni_at_work_is_waited_for(pod: FollowedPod) -> None:
    pod.failure = Unsettled("eth0: the CNI makes it anew")
    pod.change()
    looks = pod.looks
    wait_until(lambda: pod.looks > looks + 2)
    assert (pod.taken_in, pod.noted) == (0, [])
    pod.failure = None
    wait_until(lambda: pod.taken_in == 1)


def test_who_undoes_everything_does_not_keep_it_at_work(pod: FollowedPod, caplog: pytest.LogCaptureFixture) -> None:
    pod.is_undone = True
    pod.change()
    wait_until(lambda: pod.noted)
    assert pod.taken_in_before == following.MOST_REPEATS + 1
    assert set(pod.noted) == {"somebody undoes it each time: a route"}


@pytest.mark.parametrize("late", [False, True])
def test_who_undoes_everything_is_met_ever_less_often(
    pod: FollowedPod, caplog: pytest.LogCaptureFixture, late: bool
) -> None:
    """With one line in the log, also where the look that follows still finds it in order; what lasts is good."""
    caplog.set_level("INFO")
    pod.is_undone, pod.undone_late = True, late
    pod.change()
    first = following.MOST_REPEATS + 1
    wait_until(lambda: pod.taken_in >= first + 3)
    times = pod.times[first - 1 :]
    waits = [after - before for before, after in itertools.pairwise(times)]
    for number, wait in enumerate(waits[:3]):
        assert wait >= following.RETRY_SECONDS * 2**number
    problem = "somebody undoes it each time: a route"
    assert set(pod.noted) == {problem}
    said = [record.message.partition(": ")[2] for record in caplog.records]
    assert said == ["a route", problem]
    pod.is_undone, pod.undone_late = False, False
    wait_until(lambda: pod.noted[-1] == "")
    assert not pod.changes


def test_it_stops_while_changes_are_taken_in(pod: FollowedPod) -> None:
    """Which it waits for."""
    began, may_end = threading.Event(), threading.Event()

    def take_in() -> None:
        began.set()
        assert may_end.wait(10)
        pod.taken_in += 1

    follower = Follower("/nowhere", [], look=lambda waits: ["a route"], take_in=take_in)
    follower._events.append(Events())  # type: ignore[arg-type]
    thread = threading.Thread(target=follower._follow)
    thread.start()
    follower._thread = thread
    assert began.wait(10)
    stopping = threading.Thread(target=follower.stop)
    stopping.start()
    may_end.set()
    stopping.join()
    assert pod.taken_in == 1
    assert not thread.is_alive()
