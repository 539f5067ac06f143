"""Builds cpio archives in the `newc` format, the format of Linux's initramfs.

Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel. The same entries give the
same bytes: inode numbers count up, times and owners are zero.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAGIC = "070701"
_ALIGNMENT = 4
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory, symbolic link or device node; `path` without a leading slash."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)
    """Major and minor number of a device node."""


def directory(path: str) -> Entry:
    return Entry(path, stat.S_IFDIR | 0o755)


def file(path: str, content: bytes, mode: int = 0o644) -> Entry:
    return Entry(path, stat.S_IFREG | mode, content)


def symlink(path: str, target: str) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int) -> Entry:
    return Entry(path, stat.S_IFCHR | 0o600, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive of `entries` in their order; a directory must come before its content."""
    parts: list[bytes] = []
    for inode, entry in enumerate(entries, start=1):
        parts.append(_record(entry, inode, links=2 if stat.S_ISDIR(entry.mode) else 1))
    parts.append(_record(Entry(_TRAILER, 0), 0, links=1))
    return b"".join(parts)


def _record(entry: Entry, inode: int, links: int) -> bytes:
    name = entry.path.encode() + b"\0"
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, *entry.device, len(name), 0)
    header = _MAGIC + "".join(f"{field:08x}" for field in fields)
    return _padded(header.encode() + name) + _padded(entry.content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % _ALIGNMENT)
