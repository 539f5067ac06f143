"""Capabilities of the calling thread (capabilities(7))."""

from typing import Final

from netsetup.errors import KernelRefused

CAP_NET_ADMIN: Final = 12
CAP_NET_RAW: Final = 13
STATUS: Final = "/proc/thread-self/status"


def has_capability(number: int) -> bool:
    """Whether the calling thread has a capability (proc(5), CapEff). Raises KernelRefused."""
    try:
        with open(STATUS, "rb") as status:
            effective = next(line for line in status if line.startswith(b"CapEff:"))
    except OSError as error:
        raise KernelRefused.of(f"read {STATUS}", error) from None
    return bool(int(effective.split()[1], 16) & 1 << number)
