"""Capabilities of the calling thread (capabilities(7))."""

import contextlib
import errno
import struct
from collections.abc import Collection, Iterator
from typing import Final

from dhcp.lean.libc import capset, prctl
from netsetup.errors import KernelRefused

CAP_SETGID: Final = 6
CAP_SETUID: Final = 7
CAP_NET_ADMIN: Final = 12
CAP_NET_RAW: Final = 13
CAP_SYS_CHROOT: Final = 18
STATUS: Final = "/proc/thread-self/status"
VERSION: Final = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3 of linux/capability.h."""
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_LOWER = 2, 3
SETTABLE: Final = ("CapEff", "CapPrm", "CapInh")
"""Of proc(5), in the order of struct __user_cap_data_struct."""


def has_capability(number: int) -> bool:
    """Whether the calling thread has a capability (proc(5), CapEff). Raises KernelRefused."""
    return bool(_sets()["CapEff"] & 1 << number)


def keep_capabilities(kept: Collection[int]) -> None:
    """Drop all others for good, from the calling thread and what it starts; to be called before there are threads.

    Raises KernelRefused.
    """
    wanted, sets = sum(1 << number for number in kept), _sets()
    if not _set([sets[name] & wanted for name in SETTABLE]) or prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise KernelRefused("drop capabilities", errno.EPERM)


@contextlib.contextmanager
def inherited(number: int) -> Iterator[None]:
    """Meanwhile, programs that the calling thread starts have this capability, if it has it: also where it is not
    root's, but that of a program file, which others do not inherit. Where a security bit forbids it, they have it not.

    Raises KernelRefused.
    """
    sets, bit = _sets(), 1 << number
    before = [sets[name] for name in SETTABLE]
    *others, inheritable = before
    if sets["CapAmb"] & bit or not _set([*others, inheritable | bit]):
        yield
        return
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0)
    try:
        yield
    finally:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, number, 0, 0)
        _set(before)


def _set(sets: Collection[int]) -> bool:
    """Whether the sets, those of SETTABLE as bit masks, could be set."""
    halves = [value >> shift & 0xFFFFFFFF for shift in (0, 32) for value in sets]
    return bool(capset(struct.pack("Ii", VERSION, 0), struct.pack("6I", *halves)) == 0)


def _sets() -> dict[str, int]:
    """The calling thread's sets as bit masks, by their names of proc(5). Raises KernelRefused."""
    try:
        with open(STATUS, "rb") as status:
            return {line[:6].decode(): int(line[8:], 16) for line in status if line.startswith(b"Cap")}
    except OSError as error:
        raise KernelRefused.of(f"read {STATUS}", error) from None
