"""The log of the guest's serial console, which QEMU writes: rotated, so that it cannot fill the disk."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from launcher.machine.threads import start_thread

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 1 << 20
"""Bytes of one file; there are two."""

_CHECK_SECONDS = 2.0


class ConsoleLog:
    """Rotates the console log at `path`: older output is moved to the same name with `.1` appended.

    A guest can write without end, and the state directory is usually in memory. QEMU appends to the file, so it
    may be truncated while it is open.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self.path = path
        self.older = path.with_name(path.name + ".1")
        self._limit = limit
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Remove the files of an earlier VM and rotate the log until `stop`. Raises ThreadError."""
        self.path.unlink(missing_ok=True)
        self.older.unlink(missing_ok=True)
        self._thread = start_thread("console-log", self._watch)

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def trim(self) -> None:
        """Move the newest output to the older file, and truncate the log, if it is larger than the limit."""
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size <= self._limit:
                    return
                # What the guest writes between reading and truncating is lost, which a console log may.
                file.seek(size - self._limit)
                content = file.read(self._limit)
            self.older.write_bytes(content)
            os.truncate(self.path, 0)
        except OSError:
            # No file yet, or the disk is full: tried again at the next check.
            return

    def _watch(self) -> None:
        while not self._stopped.wait(_CHECK_SECONDS):
            self.trim()
