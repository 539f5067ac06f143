"""Standard streams that the caller has closed are opened on /dev/null.

Otherwise the first sockets and files get the numbers 0 to 2, and what is meant for standard error goes there.
"""

from __future__ import annotations

from posix import O_RDWR, fstat, open


def open_standard_streams() -> None:
    """Open what is closed of the descriptors 0, 1 and 2. To be called before anything else is opened."""
    for descriptor in range(3):
        try:
            fstat(descriptor)
        except OSError:
            open("/dev/null", O_RDWR)  # gets the lowest number that is free, which is this one
