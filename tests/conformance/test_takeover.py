"""A server of another release, or one that does not answer, is replaced while the guest sends requests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.agent import fill_backlog
from lab.rawclient import decode_reply
from lab.requests import discover
from lab.waiting import has_ended, wait_until
from link import TAP0, Link

import dhcp
from dhcp.config import ConfigError
from dhcp.daemon.connection import ServerConnection, ServerError, connect, connect_by_fixed_name
from dhcp.daemon.control_protocol import PROTOCOL_VERSION
from dhcp.io.sockets import TransportError
from dhcp.process import ServerProcess
from launcher.serve import serve

pytestmark = pytest.mark.root

IPV6 = {"client_address6": "fd00::9/64", "router6": "fe80::1"}
START = (
    "import sys, json; sys.path.insert(0, sys.argv[1]); from dhcp.process import ServerProcess\n"
    "assert sys.argv[1] in ServerProcess.spawn.__code__.co_filename\n"
    "p = ServerProcess.spawn(None); p.configure(json.loads(sys.argv[2])); p.release(); print(p.pid)"
)
# What is changed in a copy of the package: file, old text, new text.
OTHER_NUMBER = ("control_protocol.py", f"PROTOCOL_VERSION = {PROTOCOL_VERSION}", f"PROTOCOL_VERSION = {1000}")
NO_VERSION = ("control_server.py", 'if operation == "version":', "if False:")
NO_KILL = ("registration.py", "self.kill_socket = open_kill_socket(port if self._given else 0)", "pass")
NO_TABLE = ("registration.py", "= OwnedTable(TABLE)\n        except", "= None\n        except")  # as earlier releases
NO_MEMORY = ("main.py", "daemon.adopt(parent)", "raise OSError(12, 'Cannot allocate memory')")
NO_STOP = ("control_server.py", 'if operation == "stop":', "if False:")


class Release:
    """A copy of the package that differs from ours, and the servers started from it."""

    def __init__(self, folder: Path, *edits: tuple[str, str, str]) -> None:
        shutil.copytree(Path(dhcp.__file__).parent, folder / "dhcp", ignore=shutil.ignore_patterns("__pycache__"))
        for file, old, new in edits:
            path = folder / "dhcp/daemon" / file
            text = path.read_text()
            assert text.count(old) == 1
            path.write_text(text.replace(old, new))
        self._folder = folder

    def command(self) -> list[str]:
        """What starts a server of this release."""
        return [sys.executable, "-I", "-S", "-X", "utf8", str(self._folder / "dhcp/__main__.py")]

    def start(self, link: Link, *configs: dict[str, object]) -> int:
        """The pid of a server of this release."""
        command = [sys.executable, "-c", START, self._folder, json.dumps(configs or [TAP0])]
        return int(link.pod.run(command).stdout)


def found(link: Link) -> ServerConnection:
    with link.pod.entered():
        connection = connect()
    assert connection is not None
    return connection


def take_over(link: Link, old: ServerConnection, *configs: dict[str, object]) -> ServerProcess:
    with link.pod.entered():
        process = ServerProcess.spawn(None)
        process.take_over(old, configs or [TAP0])
    return process


@contextlib.contextmanager
def asking(link: Link) -> Iterator[dict[int, float]]:
    """Send a DISCOVER every 5 ms and assert that each is answered; yields the seconds until each answer."""
    sent: dict[int, float] = {}
    waits: dict[int, float] = {}
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.005):
            sent[len(sent)] = time.monotonic()
            link.socket.send(discover(xid=len(sent) - 1))

    def receive() -> None:
        while True:
            try:
                reply = decode_reply(link.socket.recv(2048))
            except TimeoutError:
                return
            if reply is not None:
                xid = int(reply.bootp.xid)
                waits.setdefault(xid, time.monotonic() - sent[xid])

    link.socket.settimeout(1)
    threads = [threading.Thread(target=send), threading.Thread(target=receive)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: waits)
        yield waits
        enough = len(sent) + 10
        wait_until(lambda: len(sent) > enough)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert sent.keys() - waits.keys() == set()


def test_a_server_of_this_release_is_current(link: Link) -> None:
    with link.pod.entered():
        process = ServerProcess.spawn(None)
        process.configure([TAP0])
    connection = found(link)
    assert connection.is_current
    connection.configure([{**TAP0, "mtu": 1300}])
    connection.release()
    process.stop()


@pytest.mark.parametrize(
    "edits",
    [(OTHER_NUMBER,), (NO_VERSION,), (OTHER_NUMBER, NO_TABLE)],
    ids=["another-number", "no-version", "fixed-name"],
)
def test_a_server_of_another_release_is_replaced_without_a_lost_frame(
    link: Link, tmp_path: Path, edits: tuple[tuple[str, str, str], ...]
) -> None:
    pid = Release(tmp_path, *edits).start(link)
    old = found(link)
    assert (old.pid, old.is_current) == (pid, False)
    assert old.status()["pid"] == pid, "it can still be looked at"
    with asking(link) as waits:
        process = take_over(link, old)
    assert max(waits.values()) < 0.5
    assert has_ended(pid, 0.1)
    new = found(link)
    assert (new.pid, new.is_current) == (process.pid, True)
    new.release()
    process.stop()


def test_the_new_server_serves_what_it_is_given(link: Link, tmp_path: Path) -> None:
    """Not what the old server served."""
    Release(tmp_path, OTHER_NUMBER).start(link)
    process = take_over(link, found(link), {**TAP0, "client_address": "10.0.0.77/24"})
    link.socket.send(discover())
    reply = decode_reply(link.socket.recv(2048))
    assert reply is not None
    assert reply.yiaddr == "10.0.0.77"
    process.stop()


def test_a_server_that_does_not_end_when_asked_is_replaced(link: Link, tmp_path: Path) -> None:
    pid = Release(tmp_path, NO_VERSION, NO_STOP).start(link)
    with asking(link):
        process = take_over(link, found(link))
    assert has_ended(pid, 0.1)
    process.stop()


def test_the_guest_keeps_its_default_route(link: Link, tmp_path: Path) -> None:
    """Between the two servers' advertisements there is none with a router lifetime of 0."""
    Release(tmp_path, OTHER_NUMBER).start(link, {**TAP0, **IPV6})
    process = take_over(link, found(link), {**TAP0, **IPV6})
    lifetimes = []
    link.socket.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        while True:
            frame = link.socket.recv(2048)
            if frame[12:14] == b"\x86\xdd" and frame[54] == 134:
                lifetimes.append(int.from_bytes(frame[60:62]))
    assert len(lifetimes) == 2
    assert all(lifetimes)
    process.stop()


def test_a_server_that_is_stopped_is_replaced(link: Link, tmp_path: Path) -> None:
    pid = Release(tmp_path).start(link)
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    old = found(link)
    assert (old.pid, old.is_current) == (pid, False)
    assert 1 < time.monotonic() - began < 3
    began = time.monotonic()
    with pytest.raises(ServerError, match="no answer in time"):
        old.status()
    process = take_over(link, old)
    assert time.monotonic() - began < 1, "it is not waited for again"
    assert has_ended(pid, 0.1)
    assert link.ask(discover()) == [2]
    process.stop()


def test_a_server_that_accepts_no_connection_is_replaced(link: Link, tmp_path: Path) -> None:
    """Connections fill the backlog of a stopped server; it is killed by its kill socket."""
    pid = Release(tmp_path).start(link)
    os.kill(pid, signal.SIGSTOP)
    fill_backlog(link.pod)
    with link.pod.entered():
        process = ServerProcess.spawn(None)  # a similar process, which must not be found instead
        began = time.monotonic()
        old = found(link)
        assert (old.pid, old.is_current) == (0, False)
        assert time.monotonic() - began < 3
        process.take_over(old, [TAP0])
    assert has_ended(pid, 0.1)
    assert link.ask(discover()) == [2]
    process.stop()


def test_what_cannot_be_served_leaves_the_old_server(link: Link, tmp_path: Path) -> None:
    pid = Release(tmp_path, OTHER_NUMBER).start(link)
    old = found(link)
    with link.pod.entered():
        process = ServerProcess.spawn(None)
        with pytest.raises(ConfigError, match="options"):
            process.take_over(old, [{**TAP0, "options": {"224": ""}}])
        with pytest.raises(TransportError, match="tap9: "):
            process.take_over(old, [{**TAP0, "interface": "tap9"}])
        process.stop()
    assert link.ask(discover()) == [2]
    assert found(link).pid == pid
    old.stop()
    assert has_ended(pid, 0.1)


def test_a_server_waits_with_no_frame_of_the_guests_while_its_name_is_taken(link: Link, tmp_path: Path) -> None:
    """Until then it has its privileges, and it exits with the process that started it."""
    Release(tmp_path, OTHER_NUMBER).start(link)
    with link.pod.entered():
        process = ServerProcess.spawn(None)
        with pytest.raises(ServerError, match="another server serves this network namespace"):
            process.configure([TAP0])
    assert link.ask(discover()) == [2]
    process.release()
    os.waitpid(process.pid, 0)
    found(link).stop()


def test_a_server_whose_name_has_become_free_serves(link: Link, tmp_path: Path) -> None:
    Release(tmp_path, OTHER_NUMBER).start(link)
    with link.pod.entered():
        process = ServerProcess.spawn(None)
        found(link).stop()
        process.configure([TAP0])
    assert link.ask(discover()) == [2]
    process.stop()


@pytest.mark.parametrize(
    ("edits", "outcome"),
    [
        ((OTHER_NUMBER,), "served"),
        ((OTHER_NUMBER, NO_STOP), "served"),
        ((OTHER_NUMBER, NO_STOP, NO_TABLE), "served"),
        ((OTHER_NUMBER, NO_KILL), "served"),
        ((OTHER_NUMBER, NO_STOP, NO_KILL), "does not end, and may not be killed"),
    ],
    ids=["either", "kill-socket", "kill-socket-of-fixed-port", "it-ends-when-asked", "neither"],
)
def test_without_the_right_to_kill_it_is_asked_to_end(
    link: Link, tmp_path: Path, edits: tuple[tuple[str, str, str], ...], outcome: str
) -> None:
    """A container without CAP_KILL: the server runs as another user by then."""
    pid = Release(tmp_path, *edits).start(link)
    program = (
        "import sys, json; from dhcp.daemon.connection import ServerError, connect\n"
        "from dhcp.process import ServerProcess\n"
        "process = ServerProcess.spawn(None)\n"
        "try: process.take_over(connect(), json.loads(sys.argv[1])); process.release(); print('served')\n"
        "except ServerError as error: print(error)"
    )
    command = ["setpriv", "--bounding-set=-kill", sys.executable, "-c", program, json.dumps([TAP0])]
    assert outcome in link.pod.run(command).stdout
    assert link.ask(discover()) == [2]
    assert has_ended(pid, 0.1) == (outcome == "served")
    found(link).kill()


def test_a_server_started_ahead_is_no_other_on_a_kernel_without_tables(
    link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the name that servers of earlier releases have."""
    monkeypatch.setattr("dhcp.process.server_command", Release(tmp_path, NO_TABLE).command)
    with link.pod.entered():
        spawned = ServerProcess.spawn(None)
        wait_until(connect_by_fixed_name)
        assert serve([TAP0], lambda: ServerProcess.spawn(None), spawned) == spawned.pid
    assert link.ask(discover()) == [2]
    found(link).stop()


def test_why_a_server_cannot_be_started_is_its_parents_to_say(
    link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dhcp.process.server_command", Release(tmp_path, NO_MEMORY).command)
    with link.pod.entered():
        process = ServerProcess.spawn(None)
        with pytest.raises(ServerError, match=r"\): cannot be started: Cannot allocate memory; try again$"):
            process.configure([TAP0])
        process.stop()
        assert connect() is None
