"""The one DHCPv4 lease of a guest port: its options, classless routes (121) among them, and what ARP answers. Pure."""

from __future__ import annotations

from dhcp.config import INFINITE, ClientConfig, Route
from dhcp.lean.frozen import Frozen
from dhcp.wire.addresses import ANY, BROADCAST, directed_broadcast, netmask, network
from dhcp.wire.option_codes import (
    BOOT_FILE_NAME,
    BROADCAST_ADDRESS,
    CLASSLESS_ROUTES,
    DOMAIN_NAME,
    DOMAIN_NAME_SERVER,
    DOMAIN_SEARCH,
    HOST_NAME,
    INTERFACE_MTU,
    LEASE_TIME,
    MS_CLASSLESS_ROUTES,
    NTP_SERVERS,
    REBINDING_TIME,
    RENEWAL_TIME,
    ROUTER,
    SERVER_ID,
    SUBNET_MASK,
    TFTP_SERVER_NAME,
)
from dhcp.wire.options4 import encode_classless_routes
from dhcp.wire.search_list import encode_search_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dhcp.v6.lease import ServedLease6


class ServedLease(Frozen):
    """What `handle` serves on one guest port; made by `prepare_lease`, never changed."""

    config: ClientConfig
    mac: bytes
    """MAC of the guest port: the source of every reply."""
    options: dict[int, bytes]
    """Encoded value of every option that can be asked for."""
    arp: dict[bytes, bytes]
    """MAC that is answered for each IPv4 address."""
    ipv6: ServedLease6 | None = None
    """None where no IPv6 is served."""


def prepare_lease(config: ClientConfig, mac: bytes) -> ServedLease:
    """Everything of a configuration that can be prepared before the first frame comes."""
    arp = {address: neighbour for address, neighbour in config.neighbours if len(address) == 4}
    # For the router's address the router answers, as far as requests reach it (see `dhcp.v4.arp`); for one of our own
    # only we do.
    if config.server_address and (config.server_address != config.router or config.allowed_sources):
        arp.setdefault(config.server_address, mac)
    options = _lease_options(config) if config.client_address else _options_without_lease(config)
    ipv6: ServedLease6 | None = None
    if config.ipv6:
        from dhcp.v6.lease import prepare_lease6

        ipv6 = prepare_lease6(config, config.ipv6, mac)
    return ServedLease(config, mac, options, arp, ipv6)


def _options_without_lease(config: ClientConfig) -> dict[int, bytes]:
    """Where there is no IPv4: the options of an IPv6-only offer (RFC 8925 §3.3), if that is configured."""
    return {SERVER_ID: config.server_address, **dict(config.options)} if config.server_address else {}


def _lease_options(config: ClientConfig) -> dict[int, bytes]:
    options: dict[int, bytes] = {
        SERVER_ID: config.server_address,
        LEASE_TIME: config.lease_seconds.to_bytes(4, "big"),
        SUBNET_MASK: netmask(config.prefix_length),
    }
    if config.lease_seconds != INFINITE:
        options[RENEWAL_TIME] = config.t1_seconds.to_bytes(4, "big")
        options[REBINDING_TIME] = config.t2_seconds.to_bytes(4, "big")
    if config.prefix_length == 31:  # RFC 3021 §2.2; clients take the last address of a /31, the other host's, otherwise
        options[BROADCAST_ADDRESS] = BROADCAST
    elif config.prefix_length < 31:  # a /32 has no network
        options[BROADCAST_ADDRESS] = directed_broadcast(config.client_address, config.prefix_length)
    router = default_router(config)
    if router:
        options[ROUTER] = router
    if routes := classless_routes(config):
        options[CLASSLESS_ROUTES] = options[MS_CLASSLESS_ROUTES] = encode_classless_routes(routes)
    named = {
        DOMAIN_NAME_SERVER: b"".join(config.dns),
        DOMAIN_SEARCH: encode_search_list(config.search),
        DOMAIN_NAME: config.domain.encode(),
        HOST_NAME: config.hostname.encode(),
        INTERFACE_MTU: config.mtu.to_bytes(2, "big") if config.mtu else b"",
        NTP_SERVERS: b"".join(config.ntp),
        TFTP_SERVER_NAME: config.tftp_server.encode(),
        BOOT_FILE_NAME: config.boot_file.encode(),
    }
    options.update((code, value) for code, value in named.items() if value)
    options.update(config.options)
    return options


def default_router(config: ClientConfig) -> bytes:
    """The gateway of the default route, or nothing when there is none.

    In option 3 whenever there is a default route, although 121 repeats it: Debian's udhcpc script
    reads only option 3. Without a default route there is a router in neither.
    """
    if config.router:
        return config.router
    return next((r.gateway for r in config.routes if r.prefix_length == 0 and r.gateway != ANY), b"")


def classless_routes(config: ClientConfig) -> tuple[Route, ...]:
    """The routes of option 121 in the order that every client can follow: what gateways need, the default, the rest.

    A gateway outside the subnet is on-link by a host route of its own, which ISC dhclient's script must have
    added before a route over that gateway. The default comes next, because of a list that is too long for a client's
    messages the beginning is kept. Empty when option 3 alone is enough.
    """
    routes = list(config.routes)
    router = default_router(config)
    if router and not any(route.prefix_length == 0 for route in routes):
        routes.append(Route(ANY, 0, router))
    on_link = [route for route in routes if route.gateway == ANY and route.prefix_length]
    reachable = [*on_link, Route(network(config.client_address, config.prefix_length), config.prefix_length, ANY)]
    gateways = dict.fromkeys(route.gateway for route in routes if route.gateway != ANY)
    hosts = [
        Route(gateway, 32, ANY)
        for gateway in gateways
        if not any(network(gateway, r.prefix_length) == r.destination for r in reachable)
    ]
    if not config.routes and not hosts:
        return ()
    first = [r for r in on_link if any(network(gateway, r.prefix_length) == r.destination for gateway in gateways)]
    default = [route for route in routes if not route.prefix_length]
    rest = [r for r in on_link if r not in first] + [r for r in routes if r.gateway != ANY and r.prefix_length]
    return (*hosts, *first, *default, *rest)
