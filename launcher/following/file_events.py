"""Files that change while they are watched, by inotify(7): resolv.conf, and what a downward-API volume holds.

They are written in place, or replaced by renaming another; a kubelet renames a symbolic link to a folder (`..data`)
that their paths lead through. So the files are watched, and the folders of every link on the way; what counts is
whether their content has changed.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence

# linux/inotify.h
IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE = 0x2, 0x4, 0x8
IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x40, 0x80, 0x100, 0x200
IN_DELETE_SELF, IN_MOVE_SELF = 0x400, 0x800
OF_FILE = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF
OF_FOLDER = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF
MOST_LINKS = 40
"""As path_resolution(7) has it."""
LARGEST = 1 << 20


class FileEvents:
    """Watches files by their paths, also while they are not there."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Raises OSError where this user has no more instances of inotify."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._paths = tuple(paths)
        self._watches: set[int] = set()
        self._inotify = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._inotify < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._watch()
        self._contents = [_content(path) for path in self._paths]

    def fileno(self) -> int:
        descriptor: int = self._inotify
        return descriptor

    def close(self) -> None:
        os.close(self._inotify)

    def drain(self) -> bool:
        """Read what has come; whether a file has another content than before."""
        try:
            while os.read(self._inotify, LARGEST):
                pass
        except BlockingIOError:
            pass
        self._watch()  # before they are read, so that no change is between
        before, self._contents = self._contents, [_content(path) for path in self._paths]
        return self._contents != before

    def _watch(self) -> None:
        """Watch what the paths lead to and through now, and nothing else."""
        wanted: set[int] = set()
        for path in self._paths:
            for place, events in _places(path):
                watch = self._libc.inotify_add_watch(self._inotify, os.fsencode(place), events)
                if watch >= 0:
                    wanted.add(watch)
        for gone in self._watches - wanted:
            self._libc.inotify_rm_watch(self._inotify, gone)
        self._watches = wanted


def _places(path: str) -> Iterator[tuple[str, int]]:
    """The file, and the folders in which its name, and those of the links to it, may be replaced."""
    for _ in range(MOST_LINKS):
        folder = os.path.dirname(path) or "."
        yield folder, OF_FOLDER
        try:
            path = os.path.join(folder, os.readlink(path))
        except OSError:
            break
    real = os.path.realpath(path)
    yield os.path.dirname(real), OF_FOLDER
    yield real, OF_FILE


def _content(path: str) -> bytes | None:
    """None for a file that cannot be read; nobody is waited for (a FIFO)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(LARGEST)
    except OSError:
        return None
