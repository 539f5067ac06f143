"""The IPv6 part of what one client is served. Pure."""

from __future__ import annotations

from dhcp.lean.frozen import Frozen
from dhcp.lean.text import interface_name
from dhcp.wire.addresses import parse_mac
from dhcp.wire.addresses6 import is_host, is_link_local, network6, parse_ipv6, parse_network6
from dhcp.wire.options6 import parse_option6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dhcp.json_fields import Fields

MOST_RESOLVERS = 16


class Route6(Frozen):
    """A prefix that is reached through the router (RFC 4191)."""

    destination: bytes
    prefix_length: int


class ClientConfig6(Frozen):
    """What the one client behind one interface is served over IPv6. Addresses are in network byte order."""

    client_address: bytes = b""
    """Empty where the client is given no address: stateless DHCPv6."""
    prefix_length: int = 128
    """128 when nothing but the router is on the link."""
    router: bytes = b""
    """The gateway, link-local or global."""
    is_default: bool = False
    """Whether the default route leads through the router."""
    router_mac: bytes = b""
    """May be left out where the gateway is link-local, or `uplink` is given."""
    uplink: str = ""
    """The interface on which the gateway's MAC is resolved; empty where the client does that itself."""
    routes: tuple[Route6, ...] = ()
    """In JSON `{"destination": "fd00:1::/48", "gateway": "fe80::1"}`, all through the same gateway."""
    on_link: tuple[Route6, ...] = ()
    """Prefixes on the link besides the address's own."""
    dns: tuple[bytes, ...] = ()
    """Up to 16 resolvers."""
    times: tuple[int, ...] = ()
    """T1, T2, preferred and valid lifetime in seconds; empty for those of IPv4."""
    lease_end: int = 0
    """When the address runs out, by CLOCK_BOOTTIME in seconds; 0 for never."""
    preferred_end: int = 0
    """When it becomes deprecated, likewise."""
    options: tuple[tuple[int, bytes], ...] = ()
    """Further DHCPv6 options by number, encoded."""


def parse_config6(fields: Fields) -> ClientConfig6:
    """The IPv6 fields of a configuration; raises ConfigError."""
    client_address, prefix_length = fields.optional("client_address6", parse_network6, (b"", 128))
    if client_address and (not is_host(client_address) or is_link_local(client_address)):
        raise fields.error("client_address6", "must be a unicast address that is not link-local")
    if client_address and not prefix_length:
        raise fields.error("client_address6", "a prefix length of 0 would put the whole Internet on the link")
    default_router = fields.optional("router6", parse_ipv6, b"")
    routes = fields.objects("routes6", _parse_route)
    gateways = {gateway for _, gateway in routes if gateway} | ({default_router} - {b""})
    if len(gateways) > 1:
        raise fields.error("routes6", "all routes must have the same gateway: an advertisement is one router's")
    router = next(iter(gateways), b"")
    if routes and not router:
        raise fields.error("routes6", "no route and no router6 names the gateway")
    if router and (not is_host(router) or router == client_address):
        raise fields.error("router6", "must be another host's unicast address")
    router_mac = fields.optional("router6_lladdr", parse_mac, b"")
    uplink = fields.optional("uplink6", interface_name, "")
    if router and not router_mac and not uplink and not is_link_local(router):
        raise fields.error("router6_lladdr", "is required for a gateway whose address is not link-local")
    if uplink and (not client_address or not router or is_link_local(router)):
        raise fields.error("uplink6", "is for a client_address6 and a router6 that is not link-local")
    dns = fields.texts("dns6", parse_ipv6)
    if len(dns) > MOST_RESOLVERS:
        raise fields.error("dns6", f"{len(dns)} are more than an advertisement has room for (at most {MOST_RESOLVERS})")
    return ClientConfig6(
        client_address=client_address,
        prefix_length=prefix_length,
        router=router,
        is_default=bool(default_router),
        router_mac=router_mac,
        uplink=uplink,
        routes=tuple(route for route, _ in routes),
        on_link=tuple(fields.texts("on_link6", _parse_prefix)),
        dns=tuple(dns),
        lease_end=fields.boot_time("lease_end6"),
        preferred_end=fields.boot_time("preferred_end6"),
        options=tuple(fields.numbered("options6", parse_option6)),
    )


def _parse_prefix(text: str) -> Route6:
    destination, length = parse_network6(text)
    if network6(destination, length) != destination:
        raise ValueError(f"{text} has bits set beyond its prefix length")
    return Route6(destination, length)


def _parse_route(fields: Fields) -> tuple[Route6, bytes]:
    """A route and its gateway."""
    return fields.required("destination", _parse_prefix), fields.optional("gateway", parse_ipv6, b"")
