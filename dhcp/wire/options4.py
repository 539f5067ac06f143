"""DHCPv4 options, octets to data and back; classless routes, option 121, among them (RFC 2132, 3396, 3442). Pure."""

from __future__ import annotations

from dhcp.lean.frozen import Frozen
from dhcp.wire.option_codes import CLASSLESS_ROUTES, DOMAIN_SEARCH, END, MS_CLASSLESS_ROUTES, OVERLOAD, PAD

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

    `field` is what follows the magic cookie. `file` and `sname` are read as options as option 52 has it,
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


class Layout(Frozen):
    """Options as they stand in a reply. `file` and `sname` are empty when they hold no options."""

    field: bytes
    file: bytes
    sname: bytes
    dropped: tuple[int, ...]
    """Numbers of the options that did not fit; the search list (119) is there when it lost names."""


def lay_out_plainly(options: Sequence[tuple[int, bytes]], room: int, dropped: Sequence[int] = ()) -> Layout | None:
    """The options, in order, in `room` octets of the options field, END included; None when they do not fit."""
    field = b"".join([encode_option(code, value) for code, value in options])
    return Layout(field + bytes((END,)), b"", b"", tuple(dropped)) if len(field) < room else None


def encode_option(code: int, value: bytes) -> bytes:
    """Number, length and value; a value over 255 octets becomes consecutive instances (RFC 3396 §5)."""
    if len(value) <= 255:
        return bytes((code, len(value))) + value
    if code == DOMAIN_SEARCH:
        from dhcp.wire.search_list import split_search_list

        parts = split_search_list(value)
    elif code in (CLASSLESS_ROUTES, MS_CLASSLESS_ROUTES):
        parts = split_classless_routes(value)
    else:
        parts = [value[at : at + 255] for at in range(0, len(value), 255)]
    return b"".join(bytes((code, len(part))) + part for part in parts)


def encode_classless_routes(routes: Sequence[Route]) -> bytes:
    """The value of option 121: prefix length, significant octets of the destination, router (RFC 3442)."""
    return b"".join(
        bytes((route.prefix_length,)) + route.destination[: (route.prefix_length + 7) // 8] + route.gateway
        for route in routes
    )


def classless_route_ends(value: bytes) -> list[int]:
    """Where each route of an option 121 ends; of what is no such list, as far as it can be read."""
    ends, at = [], 0
    while at < len(value) and value[at] <= 32 and (at := at + 1 + (value[at] + 7) // 8 + 4) <= len(value):
        ends.append(at)
    return ends


def split_classless_routes(value: bytes) -> list[bytes]:
    """The value of option 121 in parts of at most 255 octets, each of whole routes.

    Clients join the parts, but for systemd-networkd, which reads each by itself.
    """
    parts, begin, last = [], 0, 0
    for end in classless_route_ends(value):
        if end - begin > 255:
            parts.append(value[begin:last])
            begin = last
        last = end
    parts.append(value[begin:last])
    rest = [value[at : at + 255] for at in range(last, len(value), 255)]  # of what is no list of routes
    return [part for part in (*parts, *rest) if part]
