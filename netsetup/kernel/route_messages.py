"""RTM_NEWROUTE messages from and to `Route` (rtnetlink(7), linux/rtnetlink.h).

By hand, because what the fields of a `Route` do not hold must be kept as the kernel said it (`Route.raw`), whether a
library knows it or not. It is four times as fast as well, which counts where a pod has thousands of routes.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from socket import inet_ntop, inet_pton
from typing import Final

from netsetup.model.kernel import AF_INET, AF_INET6, USER_NEXTHOP_FLAGS, NextHop, Route

HEADER: Final = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags."""
ATTRIBUTE: Final = struct.Struct("=HH")
NEXTHOP: Final = struct.Struct("=HBBi")
"""struct rtnexthop: length, flags, hops, interface."""
WORD: Final = struct.Struct("=I")
RTM_F_CLONED: Final = 0x200
USER_HZ: Final = 100
"""The unit of rta_expires, fixed towards user space."""

DST, SRC, OIF, GATEWAY, PRIORITY, PREFSRC, METRICS, MULTIPATH, CACHEINFO, TABLE = 1, 2, 4, 5, 6, 7, 8, 9, 12, 15
VIA, PREF, ENCAP_TYPE, ENCAP, EXPIRES, PAD, NH_ID = 18, 20, 21, 22, 23, 24, 30
OF_NEXTHOP: Final = {OIF, GATEWAY, MULTIPATH, VIA, ENCAP_TYPE, ENCAP}
"""What the kernel reports of a nexthop object, and takes from nobody beside NH_ID."""
STATES: Final = {CACHEINFO, EXPIRES, PAD}
"""Attributes that are no part of what was configured; what remains of an age is in `Route.expires_seconds`."""
KNOWN: Final = {DST, SRC, OIF, GATEWAY, PRIORITY, PREFSRC, METRICS, MULTIPATH, TABLE, VIA, PREF, NH_ID, *STATES}
# RTAX_*, each 32 bits wide. Number 16, the congestion control, is a name.
METRIC_NAMES: Final = {
    1: "lock", 2: "mtu", 3: "window", 4: "rtt", 5: "rttvar", 6: "ssthresh", 7: "cwnd", 8: "advmss", 9: "reordering",
    10: "hoplimit", 11: "initcwnd", 12: "features", 13: "rto_min", 14: "initrwnd", 15: "quickack",
    17: "fastopen_no_cookie",
}  # fmt: skip
METRIC_NUMBERS: Final = {name: number for number, name in METRIC_NAMES.items()}
ANYTHING: Final = {AF_INET: "0.0.0.0", AF_INET6: "::"}


def decode_route(message: bytes) -> Route | None:
    """A route out of a message without its netlink header; None for what is no route of IPv4 or IPv6.

    Raises struct.error and ValueError for what the kernel does not send.
    """
    family, length, source_length, tos, table, proto, scope, kind, flags = HEADER.unpack_from(message)
    if family not in ANYTHING or flags & RTM_F_CLONED:
        return None
    values = dict(attributes_of(message, HEADER.size))

    def word(attribute: int, default: int = 0) -> int:
        value = values.get(attribute)
        return default if value is None else int(WORD.unpack(value)[0])

    def address(attribute: int, default: str = "") -> str:
        value = values.get(attribute)
        return default if value is None else inet_ntop(family, value)

    complete = values.keys() - (OF_NEXTHOP if NH_ID in values else set()) <= KNOWN
    metrics: tuple[tuple[str, int], ...] = ()
    if METRICS in values:
        given = list(attributes_of(values[METRICS]))
        complete &= all(number in METRIC_NAMES and len(value) == WORD.size for number, value in given)
        metrics = tuple((METRIC_NAMES[n], WORD.unpack(v)[0]) for n, v in given if n in METRIC_NAMES)
    nexthops: tuple[NextHop, ...] = ()
    if MULTIPATH in values:
        legs = list(_legs(values[MULTIPATH]))
        complete &= all(leg.keys() <= {GATEWAY, VIA} for _, _, _, leg in legs)
        nexthops = tuple(_nexthop(family, *leg) for leg in legs)
    expires = struct.unpack_from("=i", values[CACHEINFO], 8)[0] if family == AF_INET6 and CACHEINFO in values else 0
    return Route(
        family=family,
        destination=f"{address(DST, ANYTHING[family])}/{length}",
        table=word(TABLE, table),
        interface=word(OIF),
        gateway=address(GATEWAY),
        type=kind,
        scope=scope,
        proto=proto,
        metric=word(PRIORITY),
        tos=tos,
        flags=flags & USER_NEXTHOP_FLAGS,
        preferred_source=address(PREFSRC),
        source=f"{address(SRC, ANYTHING[family])}/{source_length}" if source_length else "",
        via=_via_text(values.get(VIA)),
        preference=values[PREF][0] if PREF in values else 0,
        metrics=metrics,
        nexthops=nexthops,
        expires_seconds=max(expires, 0) // USER_HZ,
        nexthop_id=word(NH_ID),
        raw="" if complete else _without_states(message).hex(),
    )


def encode_route(route: Route) -> bytes:
    """The message without its netlink header; it asks for just what `decode_route` has read."""
    aged = [(EXPIRES, WORD.pack(route.expires_seconds))] if route.expires_seconds else []
    if route.raw:
        return bytes.fromhex(route.raw) + _encode(aged)
    destination, length = route.destination.split("/")
    source, source_length = route.source.split("/") if route.source else ("", 0)
    found: list[tuple[int, bytes]] = [(TABLE, WORD.pack(route.table))]

    def add(attribute: int, present: object, encode: Callable[[], bytes]) -> None:
        if present:
            found.append((attribute, encode()))

    add(DST, not route.is_default, lambda: inet_pton(route.family, destination))
    add(SRC, source, lambda: inet_pton(route.family, source))
    add(PRIORITY, route.metric, lambda: WORD.pack(route.metric))
    add(PREFSRC, route.preferred_source, lambda: inet_pton(route.family, route.preferred_source))
    add(METRICS, route.metrics, lambda: _encode((METRIC_NUMBERS[n], WORD.pack(v)) for n, v in route.metrics))
    add(PREF, route.preference, lambda: bytes([route.preference]))
    if route.nexthop_id:
        found.append((NH_ID, WORD.pack(route.nexthop_id)))
    else:
        add(OIF, route.interface, lambda: WORD.pack(route.interface))
        add(GATEWAY, route.gateway, lambda: inet_pton(route.family, route.gateway))
        add(VIA, route.via, lambda: _via(route.via))
        add(MULTIPATH, route.nexthops, lambda: b"".join(_encode_leg(route.family, hop) for hop in route.nexthops))
    flags = 0 if route.nexthop_id else route.flags
    header = (route.family, int(length), int(source_length), route.tos, min(route.table, 255))
    return HEADER.pack(*header, route.proto, route.scope, route.type, flags) + _encode(found + aged)


def attributes_of(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Type and content of each attribute (struct rtattr) from `offset` on. Raises ValueError."""
    while offset + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < ATTRIBUTE.size:
            raise ValueError(f"an attribute of {length} octets")
        yield kind, data[offset + ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def _encode(attributes: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(_padded(ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value) for kind, value in attributes)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _legs(data: bytes) -> Iterator[tuple[int, int, int, dict[int, bytes]]]:
    """(flags, hops, interface, attributes) for each leg of a multipath route."""
    offset = 0
    while offset + NEXTHOP.size <= len(data):
        length, flags, hops, interface = NEXTHOP.unpack_from(data, offset)
        if length < NEXTHOP.size:
            raise ValueError(f"a next hop of {length} octets")
        yield flags, hops, interface, dict(attributes_of(data[offset : offset + length], NEXTHOP.size))
        offset += (length + 3) & ~3


def _nexthop(family: int, flags: int, hops: int, interface: int, values: dict[int, bytes]) -> NextHop:
    gateway = inet_ntop(family, values[GATEWAY]) if GATEWAY in values else ""
    return NextHop(interface, hops + 1, flags & USER_NEXTHOP_FLAGS, gateway, _via_text(values.get(VIA)))


def _encode_leg(family: int, hop: NextHop) -> bytes:
    gateways = [(GATEWAY, inet_pton(family, hop.gateway))] if hop.gateway else []
    gateways += [(VIA, _via(hop.via))] if hop.via else []
    attributes = _encode(gateways)
    return NEXTHOP.pack(NEXTHOP.size + len(attributes), hop.flags, hop.weight - 1, hop.interface) + attributes


def _via(address: str) -> bytes:
    """struct rtvia: a family and an address of it."""
    family = AF_INET6 if ":" in address else AF_INET
    return struct.pack("=H", family) + inet_pton(family, address)


def _via_text(value: bytes | None) -> str:
    return inet_ntop(struct.unpack_from("=H", value)[0], value[2:]) if value else ""


def _without_states(message: bytes) -> bytes:
    """The message with what was configured alone: no ages, no flags of the kernel's own."""
    *header, flags = HEADER.unpack_from(message)
    values = list(attributes_of(message, HEADER.size))
    has_object = any(kind == NH_ID for kind, _ in values)
    left_out = STATES | (OF_NEXTHOP if has_object else set())
    kept = [(kind, _legs_without_states(v) if kind == MULTIPATH else v) for kind, v in values if kind not in left_out]
    return HEADER.pack(*header, 0 if has_object else flags & USER_NEXTHOP_FLAGS) + _encode(kept)


def _legs_without_states(data: bytes) -> bytes:
    kept = b""
    for flags, hops, interface, values in _legs(data):
        attributes = _encode(values.items())
        kept += NEXTHOP.pack(NEXTHOP.size + len(attributes), flags & USER_NEXTHOP_FLAGS, hops, interface) + attributes
    return kept
