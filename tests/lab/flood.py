"""Sends frames from a namespace at the highest rate that its link carries, by a program in C."""

from __future__ import annotations

import functools
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.namespace import Namespace

_SOURCE = Path(__file__).with_suffix(".c")


class Flood:
    """Sends frames repeatedly for some seconds, in the background; a context manager that waits for the end.

    Args:
        namespace, interface: where they are sent.
        frames: what is sent, in turn; at most 1,024.
        seconds: for how long, at most 60.

    Attributes:
        sent: how many frames the interface took; known after the end.
    """

    def __init__(self, namespace: Namespace, interface: str, frames: Sequence[bytes], seconds: float) -> None:
        self.sent = 0
        self._timeout = seconds + 10
        self._child = subprocess.Popen(
            namespace.command([_program(), interface, str(seconds)]), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._child.stdin
        self._child.stdin.write(b"".join(struct.pack("!H", len(frame)) + frame for frame in frames))
        self._child.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._child.stdout
        try:
            self._child.wait(timeout=0 if error else self._timeout)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self.sent = int(self._child.stdout.read() or 0)
        self._child.stdout.close()


@functools.cache
def _program() -> Path:
    directory = tempfile.TemporaryDirectory(prefix="vltest-flood-")
    _directories.append(directory)  # removed when the test run ends
    program = Path(directory.name, "flood")
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-o", program, _SOURCE], check=True)
    return program


_directories: list[tempfile.TemporaryDirectory[str]] = []
