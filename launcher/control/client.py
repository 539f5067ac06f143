"""Asks the launcher that runs in this pod."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

from launcher.control.protocol import BUSY, LONGEST_LINE, SOCKET, BadAnswer, parse_answer, request_line
from launcher.phases.domain import find_vm_socket
from netsetup.errors import InvalidRequest

if TYPE_CHECKING:
    from launcher.control.protocol import Object

ANSWER_SECONDS = 60.0
"""For a request that changes something; longer than any takes."""
CONNECT_SECONDS = 5.0
TRY_AGAIN_SECONDS = 0.05


class LauncherError(RuntimeError):
    """The launcher could not be asked, or could not do what it was asked; `exit_code` as it says."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class NoLauncher(LauncherError):
    """No launcher runs a VM with that state directory."""


def ask(state_dir: str | None, name: str, /, *, seconds: float = ANSWER_SECONDS, **fields: object) -> Object:
    """The launcher's answer to a request. Raises LauncherError, and BadRequest for one that is too long."""
    try:
        folder, path = find_vm_socket(state_dir, SOCKET)
    except InvalidRequest as refusal:
        raise LauncherError(str(refusal), refusal.exit_code) from None
    if path is None:
        raise NoLauncher(f"{folder}: no launcher has a VM running there; start one with `run`, or name its --state-dir")
    line = request_line(name, fields)
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = _exchange(path, line, deadline, name)
        except BlockingIOError:  # of connect(2): as many wait already as may
            answer = {"ok": False, "error": BUSY}
        if answer["ok"]:
            return answer
        error = str(answer.get("error"))
        if error != BUSY or time.monotonic() > deadline:
            code = answer.get("exit_code")
            raise LauncherError(error, code if type(code) is int and 0 < code < 256 else 1)
        time.sleep(TRY_AGAIN_SECONDS)


def _exchange(path: str, line: bytes, deadline: float, name: str) -> Object:
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)) as launcher:
        try:
            launcher.settimeout(min(CONNECT_SECONDS, max(0.001, deadline - time.monotonic())))
            launcher.connect(path)
            with contextlib.suppress(
                BrokenPipeError, ConnectionResetError
            ):  # a launcher that is busy says so, and closes
                launcher.sendall(line)
            return parse_answer(_read_line(launcher, deadline))
        except BlockingIOError:
            raise
        except PermissionError:
            raise LauncherError(f"{path}: is another user's: run this as that user, or as root", 2) from None
        except TimeoutError:
            raise LauncherError(f"{path}: the launcher does not answer; see its log, then `status`") from None
        except ConnectionRefusedError:
            raise NoLauncher(f"{path}: the launcher has ended; start it again with `run`") from None
        except BadAnswer as error:
            raise LauncherError(f"{path}: {error}", 2) from None
        except OSError as error:
            raise LauncherError(f"{path}: {error.strerror or error}; {name} may be done: see `status`") from None


def _read_line(launcher: socket.socket, deadline: float) -> bytes:
    parts: list[bytes] = []
    while not parts or not parts[-1].endswith(b"\n"):
        launcher.settimeout(max(0.001, deadline - time.monotonic()))
        parts.append(launcher.recv(1 << 16))
        if not parts[-1]:
            raise ConnectionResetError("the launcher has ended before it answered")
        if sum(map(len, parts)) > LONGEST_LINE:
            raise BadAnswer("its answer is too long: another program listens there")
    return b"".join(parts)
