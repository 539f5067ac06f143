"""The guest's serial console: the file that QEMU copies it to, kept from filling the host."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 1 << 20
"""Bytes; twice as much is the most that is kept."""

_CHECK_SECONDS = 2.0


class ConsoleLog:
    """`path` holds the newest part of the console; what was before it is in the same file with `.1` appended.

    A guest can write without end, and the state directory is usually in memory. QEMU appends to the file, so it
    may be cut while it is open.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self.path = path
        self.older = path.with_name(path.name + ".1")
        self._limit = limit
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin with an empty file and look after it until `stop`."""
        self.path.unlink(missing_ok=True)
        self.older.unlink(missing_ok=True)
        self._thread = threading.Thread(target=self._watch, name="console-log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def trim(self) -> None:
        """Move the content aside if it is more than the limit."""
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size <= self._limit:
                    return
                # What the guest writes between the copy and the cut is lost; the console is no ledger.
                file.seek(size - self._limit)
                content = file.read(self._limit)
            self.older.write_bytes(content)
            os.truncate(self.path, 0)
        except OSError:
            # Not there yet, or the disk is full: the next look may find it otherwise.
            return

    def _watch(self) -> None:
        while not self._stopped.wait(_CHECK_SECONDS):
            self.trim()
