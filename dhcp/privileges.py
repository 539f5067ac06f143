"""Giving up what the server no longer needs once its sockets are open (credentials(7), capabilities(7))."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = 65534
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38


def drop_privileges() -> None:
    """Become nobody without capabilities and without a way back; raises OSError.

    A process that was not started as root keeps its user and its capabilities, but cannot gain new ones.
    """
    prctl = _prctl()
    if os.geteuid() == 0:
        _empty_bounding_set(prctl)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)  # leaves no capability in any set but the bounding one
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError("no_new_privs cannot be set")


def _empty_bounding_set(prctl: Callable[..., int]) -> None:
    """Drop every capability up to the first number that the kernel does not know.

    Without CAP_SETPCAP nothing is dropped; no_new_privs makes that set moot anyway.
    """
    for capability in range(64):
        if prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
            return


def _prctl() -> Callable[..., int]:
    """prctl(2), which the os module lacks. The core of ctypes gives it at a tenth of the cost of all of it."""
    try:
        import _ctypes

        class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]  # generic for type checkers only
            _type_ = "i"

        class _Function(_ctypes.CFuncPtr):
            _flags_ = _ctypes.FUNCFLAG_CDECL
            _restype_ = _Int

        process = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # None: what is loaded already
        return _Function(_ctypes.dlsym(process, "prctl"))
    except (ImportError, AttributeError, TypeError):  # an interpreter whose ctypes is built otherwise
        import ctypes

        function: Callable[..., int] = ctypes.CDLL(None).prctl
        return function
