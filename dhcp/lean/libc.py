"""prctl(2), capset(2), and the address of a bytes object, by the C core of ctypes.

To import `ctypes` itself takes a third of the server's start.
"""

from __future__ import annotations

from sys import byteorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import CDLL, c_char_p

    prctl = CDLL(None).prctl
    capset = CDLL(None).capset
else:
    try:
        from _ctypes import FUNCFLAG_CDECL, CFuncPtr, _SimpleCData, dlopen, dlsym

        class c_char_p(_SimpleCData):  # noqa: N801 - the names of ctypes
            _type_ = "z"

        class _Function(CFuncPtr):  # whose result is an int
            _flags_ = FUNCFLAG_CDECL

        _program = dlopen(None, 0)
        prctl = _Function(dlsym(_program, "prctl"))
        capset = _Function(dlsym(_program, "capset"))
    except (ImportError, AttributeError, TypeError):  # an interpreter whose ctypes is built otherwise
        from ctypes import CDLL, c_char_p

        prctl = CDLL(None).prctl
        capset = CDLL(None).capset


def address_of(octets: bytes) -> int:
    """The address of these octets in memory, valid for as long as the object exists."""
    return int.from_bytes(bytes(c_char_p(octets)), byteorder)
