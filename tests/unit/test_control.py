"""The launcher's socket: its protocol, and clients that do not keep to it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.control import client, protocol, server
from launcher.control.client import LauncherError, NoLauncher, ask
from launcher.control.protocol import LONGEST_LINE, SOCKET, BadAnswer, BadRequest
from launcher.control.server import MOST_CLIENTS, ControlServer
from launcher.phases.shared_folder import DOMAIN_FOLDER
from netsetup.errors import InvalidRequest


def echo(request: dict[str, Any]) -> dict[str, Any]:
    return {"echo": request.get("text")}


def refuse(_request: dict[str, Any]) -> dict[str, Any]:
    raise InvalidRequest("net9: no such interface")


def fail(_request: dict[str, Any]) -> dict[str, Any]:
    raise ZeroDivisionError("defect")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher cuts clients off sooner."""
    monkeypatch.setattr(server, "CLIENT_SECONDS", 1.0)


@pytest.fixture
def folder() -> Iterator[str]:
    """A state directory in which a launcher listens."""
    with tempfile.TemporaryDirectory(prefix="vltest-") as folder:
        listening = ControlServer(f"{folder}/{SOCKET}", {"echo": echo, "refuse": refuse, "fail": fail})
        yield folder
        listening.close()
        assert not Path(folder, SOCKET).exists()


def connected(folder: str) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.connect(f"{folder}/{SOCKET}")
    one.settimeout(20)
    return one


def received(one: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = b""
    with contextlib.suppress(ConnectionResetError):
        while part := one.recv(1 << 16):
            parts += part
    return parts


def test_a_request_and_its_answer(folder: str) -> None:
    assert ask(folder, "echo", text="ä\n")["echo"] == "ä\n"
    assert Path(folder, SOCKET).stat().st_mode & 0o777 == 0o660


def test_several_requests_of_one_client(folder: str) -> None:
    with connected(folder) as one:
        one.sendall(b'{"request": "echo", "text": 1}\n{"request": "echo", "text": 2}\n')
        lines = one.makefile("rb")
        assert [json.loads(lines.readline())["echo"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(
    ("name", "message", "code"),
    [
        ("refuse", "net9: no such interface", 2),
        ("fail", "defect", 1),
        ("other", "unknown request `other`: this launcher has echo, fail, refuse", 2),
    ],
)
def test_what_goes_wrong_is_one_line_with_its_exit_code(folder: str, name: str, message: str, code: int) -> None:
    with pytest.raises(LauncherError) as raised:
        ask(folder, name)
    assert (str(raised.value), raised.value.exit_code) == (message, code)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"garbage",
        b"\xff\xfe",
        b"[]",
        b'{"request": 1}',
        b"{" * 10_000,
        b'{"request": "echo", "version": 2}',
        b'{"request": "echo", "version": true}',
        b"9" * 5000,
    ],
    ids=lambda line: line[:12],
)
def test_garbage_is_answered_and_harms_nobody(folder: str, line: bytes) -> None:
    with connected(folder) as one:
        one.sendall(line + b"\n")
        one.shutdown(socket.SHUT_WR)
        answer = json.loads(received(one))
    assert (answer["ok"], answer["exit_code"], answer["version"]) == (False, 2, protocol.VERSION)
    assert ask(folder, "echo", text=1)["echo"] == 1


def test_a_line_that_is_too_long_is_cut_off(folder: str) -> None:
    with connected(folder) as one:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            one.sendall(b"x" * (LONGEST_LINE + (1 << 20)))
        assert b"longer than" in received(one)
    with pytest.raises(BadRequest):
        ask(folder, "echo", text="x" * LONGEST_LINE)


@pytest.mark.usefixtures("impatient")
def test_half_a_line_is_cut_off(folder: str) -> None:
    with connected(folder) as one:
        one.sendall(b'{"request": "ec')
        assert received(one) == b""


@pytest.mark.usefixtures("impatient")
def test_a_client_that_never_reads_loses_its_place(folder: str) -> None:
    line = json.dumps({"request": "echo", "text": "x" * 500_000}).encode() + b"\n"
    clients = [connected(folder) for _ in range(MOST_CLIENTS)]
    for one in clients:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            one.sendall(line + line)
    assert ask(folder, "echo", text=1, seconds=20)["echo"] == 1
    for one in clients:
        one.close()


@pytest.mark.usefixtures("impatient")
def test_a_thousand_connections(folder: str) -> None:
    """Those for whom there is no place are told so; a client that asks again gets one."""
    before = threading.active_count()
    clients = [connected(folder) for _ in range(1000)]
    assert threading.active_count() <= before + MOST_CLIENTS
    assert ask(folder, "echo", text=1, seconds=20)["echo"] == 1
    answers = {received(one) for one in clients}
    assert answers == {b"", protocol.error_line(protocol.BUSY, 1)}, "cut off, or told to try again"
    for one in clients:
        one.close()


def test_other_users_may_not_ask(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.os, "geteuid", lambda: 12345)
    monkeypatch.setattr(server.struct, "unpack", lambda *_: (1, 54321, 1))
    with pytest.raises(LauncherError, match="only root and the launcher's own user"):
        ask(folder, "echo")


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(NoLauncher, match="no launcher has a VM running there"):
        ask(str(tmp_path), "echo")
    with tempfile.TemporaryDirectory(prefix="vltest-") as folder, socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{folder}/{SOCKET}")
        with pytest.raises(NoLauncher, match="has ended"):
            ask(folder, "echo")
        ControlServer(f"{folder}/{SOCKET}", {}).close()  # takes a dead one's place


def test_a_dead_launcher_hides_no_other(folder: str) -> None:
    """Of the phase `domain`, which listens in a folder of its own; in whichever place, the later one counts."""
    domain = Path(folder, DOMAIN_FOLDER)
    domain.mkdir()
    living = ControlServer(f"{domain}/{SOCKET}", {"echo": lambda _: {"echo": "domain"}})
    try:
        assert ask(folder, "echo")["echo"] == "domain"
    finally:
        living.close()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{domain}/{SOCKET}")
    os.utime(domain / SOCKET, (1, 1))
    assert ask(folder, "echo", text="all")["echo"] == "all"


def test_a_state_directory_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("launcher.phases.domain.os.stat", refuse)
    with pytest.raises(LauncherError, match="is another user's: run this as that user, or as root") as refusal:
        ask("/run/of-another", "echo")
    assert refusal.value.exit_code == 2


def test_a_launcher_that_does_not_answer() -> None:
    with tempfile.TemporaryDirectory(prefix="vltest-") as folder, socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(f"{folder}/{SOCKET}")
        deaf.listen()
        with pytest.raises(LauncherError, match="does not answer"):
            ask(folder, "echo", seconds=0.05)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"version": 7, "ok": true}', "has version 7 of the protocol, and this program 1"),
        (b'{"version": 1}', "no `ok`"),
        (b"[]", "not JSON"),
        (b"x", "not JSON"),
    ],
)
def test_an_answer_of_another_program(line: bytes, message: str) -> None:
    with pytest.raises(BadAnswer, match=message):
        protocol.parse_answer(line)


def test_the_end_waits_for_requests_under_way() -> None:
    began, may_end = threading.Event(), threading.Event()

    def slow(_request: dict[str, Any]) -> dict[str, Any]:
        began.set()
        assert may_end.wait(10)
        return {"done": True}

    with tempfile.TemporaryDirectory(prefix="vltest-") as folder:
        listening = ControlServer(f"{folder}/{SOCKET}", {"slow": slow})
        answers: list[dict[str, Any]] = []
        asking = threading.Thread(target=lambda: answers.append(client.ask(folder, "slow")))
        asking.start()
        assert began.wait(10)
        closing = threading.Thread(target=listening.close)
        closing.start()
        may_end.set()
        closing.join(10)
        asking.join(10)
    assert answers[0]["done"] is True
