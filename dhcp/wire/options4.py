"""The options field: decoding what a client sent, and laying out a reply within its size (RFC 2132, RFC 3396)."""

from __future__ import annotations

from dhcp.lean.frozen import Record
from dhcp.wire.option_codes import DOMAIN_SEARCH, END, OVERLOAD, PAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from dhcp.config import Route

FILE_OCTETS = 128
SNAME_OCTETS = 64
FILE_OVERLOADED = 1
SNAME_OVERLOADED = 2


def decode_options(field: bytes, file: bytes, sname: bytes) -> dict[int, bytes]:
    """The options of a message by number, repeated ones joined in order of appearance (RFC 3396 §7).

    `field` is what follows the magic cookie. `file` and `sname` are read as options when option 52 says so,
    in that order (RFC 2131 §4.1). An option that runs past the end of its field ends that field; a missing
    END is tolerated.
    """
    found: dict[int, bytes] = {}
    _collect(field, found)
    overload = found.pop(OVERLOAD, b"")
    if overload in (b"\1", b"\2", b"\3"):
        if overload[0] & FILE_OVERLOADED:
            _collect(file, found)
        if overload[0] & SNAME_OVERLOADED:
            _collect(sname, found)
        found.pop(OVERLOAD, None)
    return found


def _collect(field: bytes, found: dict[int, bytes]) -> None:
    at, end = 0, len(field)
    while at < end:
        code = field[at]
        if code == PAD:
            at += 1
            continue
        if code == END or at + 2 > end:
            return
        start = at + 2
        at = start + field[at + 1]
        if at > end:
            return
        found[code] = found.get(code, b"") + field[start:at]


class Layout(Record):
    """Options as they stand in a reply. `file` and `sname` are empty when they hold no options."""

    field: bytes
    file: bytes
    sname: bytes
    dropped: tuple[int, ...]
    """Numbers of the options that did not fit; the search list (119) is there when it lost names."""


def lay_out(
    options: Sequence[tuple[int, bytes]],
    room: int,
    expendable: Sequence[int],
    search: Sequence[str] = (),
) -> Layout:
    """Lay options out, in order, in `room` octets after the magic cookie, END included.

    When they do not fit, `file` and `sname` take some of them (option 52). When that does not help, the
    options named in `expendable` are dropped one by one, the first first, and after them the last of the
    others; 119 loses its last names first.
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
        if code == DOMAIN_SEARCH and (layout := _shortened(kept, room, dropped, search)) is not None:
            break
        kept = [item for item in kept if item[0] != code]
    return layout


def _shortened(
    options: Sequence[tuple[int, bytes]], room: int, dropped: Sequence[int], search: Sequence[str]
) -> Layout | None:
    """With as many names of the search list as fit, found by halving: a list may be long, and a guest ask often."""
    best = None
    fewest, most = 1, len(search) - 1
    while fewest <= most:
        middle = (fewest + most + 1) // 2
        value = encode_search(search[:middle])
        kept = [(code, value if code == DOMAIN_SEARCH else old) for code, old in options]
        if (layout := _fitted(kept, room, dropped)) is not None:
            best, fewest = layout, middle + 1
        else:
            most = middle - 1
    return best


def _fitted(options: Sequence[tuple[int, bytes]], room: int, dropped: Sequence[int]) -> Layout | None:
    """All of the options, in the options field alone or with `file` and `sname`; None when they do not fit."""
    plain = b"".join([encode_option(code, value) for code, value in options])
    if len(plain) < room:
        return Layout(plain + bytes((END,)), b"", b"", tuple(dropped))
    from dhcp.v4.layout import overload

    return overload(options, room, dropped)


def encode_option(code: int, value: bytes) -> bytes:
    """Number, length and value; a value over 255 octets becomes consecutive instances (RFC 3396 §5)."""
    if len(value) <= 255:
        return bytes((code, len(value))) + value
    if code == DOMAIN_SEARCH:
        from dhcp.v4.layout import split_search

        parts = split_search(value)
    else:
        parts = [value[at : at + 255] for at in range(0, len(value), 255)]
    return b"".join(bytes((code, len(part))) + part for part in parts)


def encode_routes(routes: Sequence[Route]) -> bytes:
    """The value of option 121: prefix length, significant octets of the destination, router (RFC 3442)."""
    return b"".join(
        bytes((route.prefix_length,)) + route.destination[: (route.prefix_length + 7) // 8] + route.gateway
        for route in routes
    )


def encode_search(names: Sequence[str]) -> bytes:
    """The value of option 119: RFC 1035 names, common tails as pointers to earlier octets (RFC 3397 §2)."""
    value = b""
    offsets: dict[str, int] = {}
    for name in names:
        rest = name
        while rest:
            if rest.lower() in offsets:
                value += (0xC000 | offsets[rest.lower()]).to_bytes(2, "big")
                break
            if len(value) < 0x4000:
                offsets[rest.lower()] = len(value)
            label, _, rest = rest.partition(".")
            value += bytes((len(label),)) + label.encode()
        else:
            value += b"\0"
    return value
