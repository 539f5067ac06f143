"""The two things that the standard library gives only through ctypes: prctl(2), and the address of octets.

`ctypes` itself takes a third of the server's start to import; its core, which it is a thin layer over, does not.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import CDLL, Array, addressof, c_char

    _prctl = CDLL(None).prctl

    def _array(octets: bytes) -> Array[c_char]: ...

else:
    try:
        from _ctypes import FUNCFLAG_CDECL, CFuncPtr, _SimpleCData, addressof, dlopen, dlsym

        class _Char(_SimpleCData):
            _type_ = "c"

        class _Int(_SimpleCData):
            _type_ = "i"

        class _Function(CFuncPtr):
            _flags_ = FUNCFLAG_CDECL
            _restype_ = _Int

        _prctl = _Function(dlsym(dlopen(None, 0), "prctl"))
    except (ImportError, AttributeError, TypeError):  # an interpreter whose ctypes is built otherwise
        from ctypes import CDLL, addressof, c_char

        _Char = c_char
        _prctl = CDLL(None).prctl

    def _array(octets):
        return (_Char * len(octets)).from_buffer_copy(octets)


def prctl(operation: int, argument: int) -> bool:
    """Whether the kernel did what was asked; the remaining arguments of prctl(2) are 0."""
    return bool(_prctl(operation, argument, 0, 0, 0) == 0)


class Octets:
    """A copy of octets that stays where it is, for kernel structures that hold a pointer."""

    def __init__(self, octets: bytes) -> None:
        self._array = _array(octets)
        self.address = addressof(self._array)
