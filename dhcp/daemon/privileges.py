"""Drops user, groups and capabilities once the sockets are open (credentials(7), capabilities(7))."""

from __future__ import annotations

from posix import O_CLOEXEC, O_RDONLY, close, getegid, geteuid, open, read, setgroups, setresgid, setresuid, urandom
from sys import byteorder

from dhcp.lean.libc import capset, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3 of linux/capability.h
_NO_CAPABILITY = bytes(24)  # two words each of effective, permitted, inheritable
# Below 2^31 systemd's list of ranges (UIDS-GIDS) has nobody's for 250 million ids; from there on, some programs see
# negative numbers.
_HIGHEST_ID = 0x7FFFFFFF
_FEWEST_CANDIDATES = 4096
_DRAWS = 16
# Root; nobody, as whom anybody's process may run that was given no user of its own; and -1 in 16 bits.
_NEVER = (0, 65534, 65535)
_LARGEST_FILE = 1 << 16


def drop_privileges() -> None:
    """Become a user of which there is no other process, without any capability and without a way back.

    Where the user namespace has but one user (user_namespaces(7)), or without CAP_SETUID or CAP_SETGID, user or group
    stay as they are. The bounding set stays without CAP_SETPCAP, and is moot with no_new_privs. Raises OSError.
    """
    numbers = range(64)
    any(map(prctl, [_PR_CAPBSET_DROP] * len(numbers), numbers))  # until one fails
    _change_ids()
    if capset(_CAPABILITY_VERSION.to_bytes(4, byteorder) + bytes(4), _NO_CAPABILITY):  # the ambient ones go, too
        raise OSError("capabilities cannot be dropped")
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError("no_new_privs cannot be set")
    if prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):  # or a process of the same user could trace it, where the user stays
        raise OSError("memory and descriptors cannot be closed to other processes")


def _change_ids() -> None:
    """Raises OSError, but for want of a capability."""
    uid = free_id(_content("/proc/self/uid_map"), _content("/etc/passwd"), geteuid(), _draw)
    gid = free_id(_content("/proc/self/gid_map"), _content("/etc/group"), getegid(), _draw)
    try:
        if gid is not None:
            setresgid(gid, gid, gid)
            setgroups([])
    except PermissionError:
        pass  # without CAP_SETGID, or where the user namespace forbids setgroups(2)
    try:
        if uid is not None:
            setresuid(uid, uid, uid)
    except PermissionError:
        pass


def free_id(id_map: bytes, accounts: bytes, own: int, draw: Callable[[], int]) -> int | None:
    """A user or group id that is nobody's, from the upper end of the highest range in /proc/PID/uid_map; None for none.

    `accounts` is the content of passwd(5) or group(5), `own` the present id, and `draw` returns a random number.
    """
    ranges = sorted((int(words[0]), int(words[2])) for line in id_map.splitlines() if len(words := line.split()) == 3)
    for first, count in reversed(ranges):
        end = min(first + count, _HIGHEST_ID + 1)
        candidates = min(end - first, max(count // 16, _FEWEST_CANDIDATES))
        for _ in range(_DRAWS if candidates > 0 else 0):
            number = end - 1 - draw() % candidates
            if number not in (*_NEVER, own) and b":%d:" % number not in accounts:
                return number
    return None


def _draw() -> int:
    return int.from_bytes(urandom(4), byteorder)


def _content(path: str) -> bytes:
    """Empty where there is no such file."""
    try:
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
    except OSError:
        return b""
    try:
        return read(descriptor, _LARGEST_FILE)
    finally:
        close(descriptor)
