"""Options that need more room than one instance or one field has (RFC 3396, RFC 2131 §4.1, RFC 2132 §9.3)."""

from __future__ import annotations

from dhcp.wire.option_codes import CLASSLESS_ROUTES, DOMAIN_SEARCH, END, OVERLOAD
from dhcp.wire.options4 import FILE_OCTETS, FILE_OVERLOADED, SNAME_OCTETS, SNAME_OVERLOADED, Layout, encode_option

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


def split_search(value: bytes) -> list[bytes]:
    """The value of option 119 in parts of at most 255 octets; clients join them, but for systemd-networkd.

    That one takes the last part that is a list of names by itself. So the first part ends with a name, and each other
    begins or ends within a label, where a letter stands that is no length: then it is no list.
    """
    ends, letters = [], []
    at = 0
    while at < len(value):
        length = value[at]
        if length == 0 or length >= 0xC0:  # the end of a name, or a pointer to the rest of it (RFC 1035 §4.1.4)
            at += 2 if length else 1
            ends.append(at)
        else:
            letters += [place for place in range(at + 2, at + 1 + length) if 0x40 <= value[place] < 0xC0]
            at += 1 + length
    cuts = [0, max(end for end in ends if end <= 255)]
    while len(cuts) == 2 or len(value) - cuts[-1] > 255:
        within = [place for place in letters if cuts[-1] < place <= cuts[-1] + 255]
        cuts.append(within[-1] if within else min(cuts[-1] + 255, len(value)))
    return [value[begin:end] for begin, end in zip(cuts, [*cuts[1:], len(value)], strict=True) if begin < end]
