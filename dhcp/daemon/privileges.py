"""Drops user, groups and capabilities once the sockets are open (credentials(7), capabilities(7))."""

from __future__ import annotations

from posix import geteuid, setgroups, setresgid, setresuid

from dhcp.lean.libc import prctl

NOBODY = 65534
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38


def drop_privileges() -> None:
    """Become nobody without capabilities and without a way back; raises OSError.

    A process that was not started as root keeps its user and its capabilities, but cannot gain new ones.
    """
    if geteuid() == 0:
        _empty_bounding_set()
        try:
            setgroups([])
            setresgid(NOBODY, NOBODY, NOBODY)
            setresuid(NOBODY, NOBODY, NOBODY)  # leaves no capability in any set but the bounding one
        except OSError as error:
            reason = f"cannot become nobody ({NOBODY}): {error.strerror}; it needs CAP_SETUID and CAP_SETGID"
            raise OSError(error.errno, reason) from None
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError("no_new_privs cannot be set")


def _empty_bounding_set() -> None:
    """Drop every capability up to the first number that the kernel does not have.

    Without CAP_SETPCAP nothing is dropped; no_new_privs makes that set moot anyway.
    """
    numbers = range(64)
    any(map(prctl, [_PR_CAPBSET_DROP] * len(numbers), numbers))  # until one fails
