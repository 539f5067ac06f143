"""What of a configuration has no room in the messages of its client. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dhcp.config import parse_configs
from dhcp.wire.option_codes import (
    CLASSLESS_ROUTES,
    DOMAIN_NAME,
    DOMAIN_NAME_SERVER,
    DOMAIN_SEARCH,
    HOST_NAME,
    INTERFACE_MTU,
    NTP_SERVERS,
)
from dhcp.wire.options4 import classless_route_ends, decode_options
from dhcp.wire.search_list import split_search_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dhcp.v4.lease import ServedLease

SMALLEST_ROOM = 300
"""Octets for options in a message of 576 octets, which every host takes (RFC 791 §3.1)."""
FIXED_OCTETS = 100
"""At most, of options that are no lists and no names."""
NAMES = {
    CLASSLESS_ROUTES: "routes",
    DOMAIN_SEARCH: "search names",
    DOMAIN_NAME_SERVER: "name servers",
    NTP_SERVERS: "NTP servers",
    DOMAIN_NAME: "domain name",
    HOST_NAME: "host name",
    INTERFACE_MTU: "MTU",
}
SMALL_CLIENTS = ", the most that ISC dhclient, udhcpc and NetworkManager take,"


def lines_without_room(config: Mapping[str, Any]) -> Iterator[str]:
    """What has no room, a line each; `config` is the server's, of one network."""
    if _octets(config) <= SMALLEST_ROOM and len(config.get("routes6", ())) < 8:
        return
    from dhcp.v4.lease import prepare_lease
    from dhcp.v4.server import ETHERNET_MTU, SMALLEST_MAXIMUM

    lease = prepare_lease(parse_configs([dict(config)])[0], bytes(6))
    if lease.config.client_address:
        largest = max(lease.config.mtu or ETHERNET_MTU, SMALLEST_MAXIMUM)
        short = ""
        for octets, clients in ((largest, ""), (SMALLEST_MAXIMUM, SMALL_CLIENTS)):
            before, short = short, ", ".join(_short(lease, octets))
            if short not in ("", before):
                yield f"DHCP messages of {octets} octets{clients} have room for only {short}"
        if len(whole := lease.options.get(DOMAIN_SEARCH, b"")) > 255:
            kept = _names(split_search_list(whole)[0])
            yield f"systemd-networkd reads only {kept} of {len(lease.config.search)} search names"
    if lease.ipv6:
        count, kept = len(config.get("routes6", ())), _advertised_routes(lease.ipv6.advertisement)
        if kept < count and lease.ipv6.gateway:
            yield f"router advertisements have room for only {kept} of {count} IPv6 routes"


def _octets(config: Mapping[str, Any]) -> int:
    """An upper bound of what options take."""
    names = [*config.get("search", ()), config.get("domain", ""), config.get("hostname", "")]
    addresses = [*config.get("dns", ()), *config.get("ntp", ())]
    routes = config.get("routes", ())
    gateways = {route["gateway"] for route in routes}
    return FIXED_OCTETS + 9 * (len(routes) + len(gateways)) + 4 * len(addresses) + sum(len(name) + 2 for name in names)


def _short(lease: ServedLease, largest: int) -> Iterator[str]:
    """What is not whole in messages of `largest` octets, as "12 of 60 routes"."""
    from dhcp.v4.server import usual_layout

    layout = usual_layout(lease, largest)
    sent = decode_options(layout.field, layout.file, layout.sname)
    counts: dict[int, Callable[[bytes], int]] = {
        CLASSLESS_ROUTES: lambda value: len(classless_route_ends(value)),
        DOMAIN_SEARCH: _names,
        DOMAIN_NAME_SERVER: lambda value: len(value) // 4,
        NTP_SERVERS: lambda value: len(value) // 4,
    }
    for code, name in NAMES.items():
        if code in layout.dropped:
            count: Callable[[bytes], int] = counts.get(code, bool)
            yield f"{count(sent.get(code, b'')):d} of {count(lease.options[code]):d} {name}"


def _names(value: bytes) -> int:
    """How many names an option 119 holds: each ends with an empty label or a pointer (RFC 1035 §4.1.4)."""
    count = at = 0
    while at < len(value):
        is_end = value[at] == 0 or value[at] >= 0xC0
        count += is_end
        at += (2 if value[at] else 1) if is_end else 1 + value[at]
    return count


def _advertised_routes(message: bytes) -> int:
    """How many routes an advertisement has (RFC 4191 §2.3)."""
    from dhcp.v6.router_advertisement import ROUTE
    from dhcp.wire.ndp import ADVERTISEMENT

    count, at = 0, ADVERTISEMENT.size
    while at < len(message):
        count += message[at] == ROUTE
        at += 8 * message[at + 1]
    return count
