"""Options that need more room than their own field: `file` and `sname` take some (RFC 2131 §4.1, RFC 2132 §9.3)."""

from __future__ import annotations

from dhcp.optioncodes import CLASSLESS_ROUTES, DOMAIN_SEARCH, END, OVERLOAD
from dhcp.options import FILE_OCTETS, FILE_OVERLOADED, SNAME_OCTETS, SNAME_OVERLOADED, Layout, encode_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# A client that knows one of these joins what was split (RFC 3397 §2, RFC 3442 "concatenation-requiring").
_JOINED = (CLASSLESS_ROUTES, DOMAIN_SEARCH)


def overload(options: Sequence[tuple[int, bytes]], room: int, dropped: Sequence[int]) -> Layout | None:
    """Lay options out in `room` octets of the options field and in `file` and `sname`; None when they do not fit."""
    split = _pack(options, (room - 3, FILE_OCTETS, SNAME_OCTETS))
    return None if split is None else _overloaded(split, dropped)


def _pack(options: Sequence[tuple[int, bytes]], rooms: Sequence[int]) -> list[bytes] | None:
    """Each option goes whole into the first field with room for it and an END, or else, if clients join it, in pieces.

    None when one fits nowhere.
    """
    fields = [b""] * len(rooms)
    for code, value in options:
        encoded = encode_option(code, value)
        for index, room in enumerate(rooms):
            if len(fields[index]) + len(encoded) < room:
                fields[index] += encoded
                break
        else:
            if code not in _JOINED or not _spread(code, value, fields, rooms):
                return None
    return fields


def _spread(code: int, value: bytes, fields: list[bytes], rooms: Sequence[int]) -> bool:
    """Fill what is left of the fields with one option, in the order in which they are joined (RFC 3396 §5)."""
    for index, room in enumerate(rooms):
        while value and (size := min(room - len(fields[index]) - 3, 255, len(value))) > 0:
            fields[index] += bytes((code, size)) + value[:size]
            value = value[size:]
    return not value


def _overloaded(fields: list[bytes], dropped: Sequence[int]) -> Layout:
    """Say in option 52, which must be in the options field itself, which of `file` and `sname` are in use."""
    field, file, sname = fields
    use = (FILE_OVERLOADED if file else 0) | (SNAME_OVERLOADED if sname else 0)
    end = bytes((END,))
    return Layout(
        field + (bytes((OVERLOAD, 1, use)) if use else b"") + end,
        (file + end).ljust(FILE_OCTETS, b"\0") if file else b"",
        (sname + end).ljust(SNAME_OCTETS, b"\0") if sname else b"",
        tuple(dropped),
    )
