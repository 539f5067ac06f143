"""The layout of a reply whose options do not fit the options field (RFC 3396, RFC 2131 §4.1, RFC 2132 §9.3). Pure."""

from __future__ import annotations

from dhcp.wire.option_codes import CLASSLESS_ROUTES, DOMAIN_SEARCH, END, MS_CLASSLESS_ROUTES, OVERLOAD
from dhcp.wire.options4 import (
    FILE_OCTETS,
    FILE_OVERLOADED,
    SNAME_OCTETS,
    SNAME_OVERLOADED,
    Layout,
    classless_route_ends,
    encode_option,
    lay_out_plainly,
)
from dhcp.wire.search_list import encode_search_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Clients that read one of these join its instances (RFC 3397 §2, RFC 3442 "concatenation-requiring").
_JOINED = (CLASSLESS_ROUTES, MS_CLASSLESS_ROUTES, DOMAIN_SEARCH)


def lay_out(
    options: Sequence[tuple[int, bytes]],
    room: int,
    expendable: Sequence[int],
    search: Sequence[str] = (),
) -> Layout:
    """Lay options out, in order, in `room` octets after the magic cookie, END included.

    When they do not fit, `file` and `sname` take some of them (option 52). When that does not help, the
    options named in `expendable` are dropped one by one, the first first, and after them the last of the
    others; 119 loses its last names first, 121 and 249 their last routes.
    """
    kept = list(options)
    dropped: list[int] = []
    sacrifice: list[int] | None = None
    while (layout := _fitted(kept, room, dropped)) is None:
        if sacrifice is None:
            present = {code for code, _ in kept}
            sacrifice = [code for code in expendable if code in present]
        code = sacrifice.pop(0) if sacrifice else kept[-1][0]
        dropped.append(code)
        if code in _JOINED and (layout := _shortened(kept, room, dropped, code, search)) is not None:
            break
        kept = [item for item in kept if item[0] != code]
    return layout


def _shortened(
    options: Sequence[tuple[int, bytes]], room: int, dropped: Sequence[int], code: int, search: Sequence[str]
) -> Layout | None:
    """With as many names or routes of a list as fit, found by halving: a list may be long, and a guest ask often."""
    whole = dict(options)[code]
    room_in_all = room + FILE_OCTETS + SNAME_OCTETS
    ends = [] if code == DOMAIN_SEARCH else [end for end in classless_route_ends(whole) if end < room_in_all]
    best = None
    fewest, most = 1, len(ends) or len(search) - 1
    while fewest <= most:
        middle = (fewest + most + 1) // 2
        value = whole[: ends[middle - 1]] if ends else encode_search_list(search[:middle])
        kept = [(number, value if number == code else old) for number, old in options]
        if (layout := _fitted(kept, room, dropped)) is not None:
            best, fewest = layout, middle + 1
        else:
            most = middle - 1
    return best


def _fitted(options: Sequence[tuple[int, bytes]], room: int, dropped: Sequence[int]) -> Layout | None:
    """All of the options, in the options field alone or with `file` and `sname`; None when they do not fit."""
    if sum(len(value) for _, value in options) > room + FILE_OCTETS + SNAME_OCTETS:
        return None
    if (layout := lay_out_plainly(options, room, dropped)) is not None:
        return layout
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
    """Fill what is left of the fields with one option, in the order in which they are joined (RFC 3396 §5).

    Routes stay whole, for clients that do not join them.
    """
    for index, room in enumerate(rooms):
        while value and (size := min(room - len(fields[index]) - 3, 255, len(value))) > 0:
            if code != DOMAIN_SEARCH and not (
                size := max((e for e in classless_route_ends(value) if e <= size), default=0)
            ):
                break
            fields[index] += bytes((code, size)) + value[:size]
            value = value[size:]
    return not value


def _overloaded(fields: list[bytes], dropped: Sequence[int]) -> Layout:
    """Add option 52, which must be in the options field itself, for `file` and `sname` that are in use."""
    field, file, sname = fields
    use = (FILE_OVERLOADED if file else 0) | (SNAME_OVERLOADED if sname else 0)
    end = bytes((END,))
    return Layout(
        field + (bytes((OVERLOAD, 1, use)) if use else b"") + end,
        (file + end).ljust(FILE_OCTETS, b"\0") if file else b"",
        (sname + end).ljust(SNAME_OCTETS, b"\0") if sname else b"",
        tuple(dropped),
    )
