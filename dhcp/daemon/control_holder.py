"""Finds the process that holds the control socket's name, by proc(5), when it accepts no connection."""

from __future__ import annotations

import os

from dhcp.io.sockets import CONTROL_ADDRESS

_LISTENING = "00010000"  # __SO_ACCEPTCON, in the column of flags
_NAME = "@" + CONTROL_ADDRESS[1:].decode()
_START_TIME = 19  # field 22 of /proc/PID/stat, counted behind the command's name


def find_holder() -> int | None:
    """Process id of the server of the current network namespace; None when it is not to be found.

    A process of another user does not show its descriptors, so this is the server process that has been in this
    namespace for longest: one that came later found the name taken.
    """
    inode = _listening_inode("thread-self")
    found: list[tuple[int, int]] = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if _is_server(_read(entry, "cmdline").split("\0")) and inode and _listening_inode(entry) == inode:
                found.append((int(_read(entry, "stat").rpartition(")")[2].split()[_START_TIME]), int(entry)))
        except (OSError, IndexError):
            continue  # it has ended meanwhile
    return min(found)[1] if found else None


def _is_server(words: list[str]) -> bool:
    """Whether this command line starts a server: `.../dhcp/__main__.py --control-fd N`, or `-m dhcp --interface N`."""
    return "--control-fd" in words or ("-m" in words and words[words.index("-m") + 1 :][:1] == ["dhcp"])


def _listening_inode(process: str) -> str:
    """The inode of the listening control socket in a process's network namespace; empty when there is none."""
    for line in _read(process, "net/unix").splitlines():
        columns = line.split()
        if columns[-1] == _NAME and columns[3] == _LISTENING:
            return columns[6]
    return ""


def _read(process: str, file: str) -> str:
    with open(f"/proc/{process}/{file}", errors="replace") as opened:
        return opened.read()
