"""Points of the matrix of faults: the n-th call of one kind that a program makes, and the error it fails with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

CALLS = {
    "socket": "ENOBUFS",
    "bind": "ENOMEM",
    "listen": "ENOMEM",
    "connect": "ENOMEM",
    "accept4": "EMFILE",
    "getsockname": "ENOBUFS",
    "getsockopt": "ENOBUFS",
    "setsockopt": "ENOMEM",
    "sendto": "ENOBUFS",
    "sendmsg": "ENOBUFS",
    "recvfrom": "ENOBUFS",
    "recvmsg": "ENOMEM",
    "socketpair": "EMFILE",
    "pipe2": "EMFILE",
    "memfd_create": "EMFILE",
    "epoll_create1": "EMFILE",
    "epoll_ctl": "ENOMEM",
    "poll": "ENOMEM",
    "clone": "EAGAIN",
    "clone3": "EAGAIN",
    "vfork": "EAGAIN",
    "pidfd_open": "EMFILE",
    "setresuid": "EAGAIN",
    "setgroups": "ENOMEM",
    "capset": "EPERM",
    "mkdir": "ENOSPC",
    "rename": "ENOSPC",
    "renameat": "ENOSPC",
    "unlink": "EROFS",
    "unlinkat": "EROFS",
    "rmdir": "EBUSY",
    "openat": "EMFILE",
    "read": "EIO",
    "write": "ENOSPC",
    "ioctl": "ENOMEM",
}
"""The kinds of calls, and the error that each fails with."""

BY_PATH = ("openat", "read", "write", "ioctl")
"""Those that Python makes by the hundred for itself: only calls on the paths below are points."""
PATHS = re.compile(
    r"/proc/(?:sys|thread-self)/.+|/proc/self/[ug]id_map|/etc/(?:passwd|group|resolv\.conf)|/dev/net/tun|.*/state(?:/.+)?"
)
"""Settings, the namespace's and the users' files, the tap driver, and the state directory with its files."""

_OPENED = re.compile(r'^openat\([^"]*"([^"]+)".* = (?:\d+<([^>]+)>|-1)')


@dataclass(frozen=True)
class Point:
    """One place at which a verb fails."""

    verb: str
    call: str
    number: int
    lasting: bool

    @property
    def injection(self) -> str:
        """As the option -e of strace(1) has it."""
        return f"inject={self.call}:error={CALLS[self.call]}:when={self.number}{'+' if self.lasting else ''}"

    def __str__(self) -> str:
        return f"{self.verb}, {self.call} {self.number}{' and later' if self.lasting else ''}: {CALLS[self.call]}"


def opened_paths(log: str) -> list[str]:
    """Of the files that a program has opened, by strace's log with the option -y, those whose calls are points."""
    found = set()
    for line in log.splitlines():
        if opened := _OPENED.match(line):
            found.update(path for path in opened.groups() if path and PATHS.fullmatch(path))
    return sorted(found)


def path_options(paths: Iterable[str]) -> list[str]:
    """Options of strace(1) that select calls on these paths alone."""
    return [word for path in paths for word in ("-P", path)]


def count_calls(log: str) -> Counter[str]:
    """How many calls of each kind strace has logged."""
    return Counter(line.partition("(")[0] for line in log.splitlines() if "(" in line)
