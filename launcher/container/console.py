"""The serial console of a running VM, in this terminal: what it has written, what it writes, and what is typed.

Output is read from the log that QEMU writes, so any number of readers see all of it, and what came before them too.
QEMU's socket takes one client at a time; it is opened for what is typed, and closed when nobody types.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import termios
import time
import tty
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAVE: Final = b"\x1d"
"""Ctrl-], as of telnet(1) and `virsh console`."""
HISTORY: Final = 64 << 10
"""Octets of earlier output that are shown first."""
LOOK_SECONDS: Final = 0.05
"""Between two looks for more output."""
IDLE_SECONDS: Final = 0.5
"""How long the socket stays open when nothing is typed."""
CHUNK: Final = 1 << 16


class NoConsole(RuntimeError):
    """No VM with a serial console runs here."""


def attach(path: str, log: str, keys: int, screen: int) -> None:
    """Show a console, of QEMU's socket at `path` and its `log`, until the VM's end or Ctrl-].

    `keys` and `screen` are the descriptors to read what is typed from, and to write to. From elsewhere than a terminal
    SIGINT ends it, too. Raises OSError.
    """
    output, typed = _Output(log), _Typed(path)
    with _raw(keys), contextlib.closing(typed):
        _write(screen, output.earlier())
        watched = [keys]
        while True:
            ready = select.select(watched, [], [], LOOK_SECONDS)[0]
            ended = not typed.is_there()
            _write(screen, output.newer())
            if ended:
                return
            typed.close_if_idle()
            if not ready:
                continue
            text = os.read(keys, CHUNK)
            if not text:
                watched.clear()  # the input has ended, and the console goes on
            before, left, _ = text.partition(LEAVE)
            typed.send(before)
            if left:
                return


class _Output:
    """The log of what the guest has written, followed over its rotation (`launcher.machine.console`)."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._at = 0

    def earlier(self) -> bytes:
        """The end of what came until now, whole lines where there are more than fit."""
        text = self._read(f"{self._path}.1", -HISTORY) + self.newer()
        if len(text) <= HISTORY:
            return text
        return text[-HISTORY:].partition(b"\n")[2]

    def newer(self) -> bytes:
        """What came since the last call."""
        try:
            if os.stat(self._path).st_size < self._at:
                self._at = 0  # it was moved to the older file, and goes on
        except FileNotFoundError:
            return b""
        text = self._read(self._path, self._at)
        self._at += len(text)
        return text

    @staticmethod
    def _read(path: str, start: int) -> bytes:
        """From `start` on, or if that is negative, so many octets at the end."""
        try:
            with open(path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size + start, 0) if start < 0 else start)
                return file.read()
        except FileNotFoundError:
            return b""


class _Typed:
    """QEMU's end of the console, connected while somebody types."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._last = 0.0

    def is_there(self) -> bool:
        """Whether the VM still runs: QEMU, or what has ended it, removes the socket."""
        return os.path.exists(self._path)

    def send(self, text: bytes) -> None:
        if not text:
            return
        with contextlib.suppress(OSError):  # the VM ends, which `is_there` reports next
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.connect(self._path)
            self._last = time.monotonic()
            self._socket.sendall(text)

    def close_if_idle(self) -> None:
        """Leave the socket to others; what it says is in the log."""
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            while select.select([self._socket], [], [], 0)[0] and self._socket.recv(CHUNK):
                pass
        if time.monotonic() - self._last > IDLE_SECONDS:
            self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@contextlib.contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Every key goes to the guest, Ctrl-C too, and nothing is echoed here; as before afterwards."""
    if not os.isatty(terminal):
        yield
        return
    before = termios.tcgetattr(terminal)
    print("Connected; Ctrl-] leaves the console.\r", file=sys.stderr)
    tty.setraw(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)


def _write(screen: int, text: bytes) -> None:
    while text:
        text = text[os.write(screen, text) :]
