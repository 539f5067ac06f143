"""Capabilities of the calling thread (capabilities(7))."""

import errno
import struct
from collections.abc import Collection
from typing import Final

from dhcp.lean.libc import capset, prctl
from netsetup.errors import KernelRefused

CAP_SETGID: Final = 6
CAP_SETUID: Final = 7
CAP_NET_ADMIN: Final = 12
CAP_NET_RAW: Final = 13
STATUS: Final = "/proc/thread-self/status"
VERSION: Final = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3 of linux/capability.h."""
PR_SET_NO_NEW_PRIVS: Final = 38


def has_capability(number: int) -> bool:
    """Whether the calling thread has a capability (proc(5), CapEff). Raises KernelRefused."""
    return bool(_capabilities(b"CapEff:") & 1 << number)


def keep_capabilities(kept: Collection[int]) -> None:
    """Drop all others for good, from the calling thread and what it starts; to be called before there are threads.

    Raises KernelRefused.
    """
    wanted = sum(1 << number for number in kept)
    sets = [_capabilities(name) & wanted for name in (b"CapEff:", b"CapPrm:", b"CapInh:")]
    halves = [value >> shift & 0xFFFFFFFF for shift in (0, 32) for value in sets]
    if capset(struct.pack("Ii", VERSION, 0), struct.pack("6I", *halves)) or prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise KernelRefused("drop capabilities", errno.EPERM)


def _capabilities(name: bytes) -> int:
    """A set of the calling thread's, as a bit mask. Raises KernelRefused."""
    try:
        with open(STATUS, "rb") as status:
            line = next(line for line in status if line.startswith(name))
    except OSError as error:
        raise KernelRefused.of(f"read {STATUS}", error) from None
    return int(line.split()[1], 16)
