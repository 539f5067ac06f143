"""What of a configuration has no room in the messages of its client. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dhcp.config import parse_configs
from dhcp.wire.option_codes import (
    BOOT_FILE_NAME,
    CLASSLESS_ROUTES,
    DOMAIN_NAME,
    DOMAIN_NAME_SERVER,
    DOMAIN_SEARCH,
    HOST_NAME,
    INTERFACE_MTU,
    NTP_SERVERS,
    TFTP_SERVER_NAME,
)
from dhcp.wire.options4 import classless_route_ends, decode_options
from dhcp.wire.search_list import split_search_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dhcp.config import ClientConfig
    from dhcp.v4.lease import ServedLease
    from dhcp.v6.lease import ServedLease6

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
    TFTP_SERVER_NAME: "TFTP server name",
    BOOT_FILE_NAME: "boot file name",
}
SMALL_CLIENTS = ", the most that ISC dhclient, udhcpc and NetworkManager take,"


def lines_without_room(config: Mapping[str, Any]) -> Iterator[str]:
    """What has no room, a line each; `config` is the server's, of one network."""
    if _octets(config) <= SMALLEST_ROOM and len(config.get("routes6", ())) + len(config.get("on_link6", ())) < 8:
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
        yield from _not_advertised(lease.config, lease.ipv6)


def _not_advertised(config: ClientConfig, lease: ServedLease6) -> Iterator[str]:
    from dhcp.v6.router_advertisement import DNSSL, PREFIX, ROUTE

    assert config.ipv6
    options = list(_advertised(lease.advertisement))
    own = bool(config.ipv6.client_address) and config.ipv6.prefix_length < 128
    counts = {
        "IPv6 routes": (sum(kind == ROUTE for kind, _ in options), len(config.ipv6.routes) if lease.gateway else 0),
        "IPv6 prefixes": (sum(kind == PREFIX for kind, _ in options) - own, len(config.ipv6.on_link)),
        "search names": (sum(_plain_names(value) for kind, value in options if kind == DNSSL), len(config.search)),
    }
    short = [f"{kept} of {count} {name}" for name, (kept, count) in counts.items() if kept < count]
    if short:
        yield f"router advertisements have room for only {', '.join(short)}"


def _octets(config: Mapping[str, Any]) -> int:
    """An upper bound of what options take."""
    texts = ("domain", "hostname", "tftp_server", "boot_file")
    names = [*config.get("search", ()), *(config.get(name, "") for name in texts)]
    further = FIXED_OCTETS + sum(4 * len(text) + 2 for text in config.get("options", {}).values())
    further += sum(len(name) + 2 for name in names)
    addresses = [*config.get("dns", ()), *config.get("ntp", ())]
    routes = config.get("routes", ())
    gateways = {route["gateway"] for route in routes}
    return further + 9 * (len(routes) + len(gateways)) + 4 * len(addresses)


def _short(lease: ServedLease, largest: int) -> Iterator[str]:
    """What is not whole in messages of `largest` octets, as "12 of 60 routes"."""
    from dhcp.v4.server import usual_layout

    explicit = {NTP_SERVERS, TFTP_SERVER_NAME, BOOT_FILE_NAME, *dict(lease.config.options)}
    asked = [code for code in lease.options if code in explicit]
    layout = usual_layout(lease, largest, asked)
    sent = decode_options(layout.field, layout.file, layout.sname)
    counts: dict[int, Callable[[bytes], int]] = {
        CLASSLESS_ROUTES: lambda value: len(classless_route_ends(value)),
        DOMAIN_SEARCH: _names,
        DOMAIN_NAME_SERVER: lambda value: len(value) // 4,
        NTP_SERVERS: lambda value: len(value) // 4,
    }
    for code in (*NAMES, *(code for code in asked if code not in NAMES)):
        if code in layout.dropped:
            name = NAMES.get(code, f"option {code}")
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


def _advertised(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each option of an advertisement (RFC 4861 §4.6), the value without what precedes names."""
    from dhcp.wire.ndp import ADVERTISEMENT

    at = ADVERTISEMENT.size
    while at < len(message):
        end = at + 8 * message[at + 1]
        yield message[at], message[at + 8 : end]
        at = end


def _plain_names(value: bytes) -> int:
    """How many names there are, uncompressed and padded with zeros (RFC 8106 §5.2)."""
    count = at = 0
    while at < len(value) and value[at]:
        while at < len(value) and value[at]:
            at += 1 + value[at]
        count, at = count + 1, at + 1
    return count
