"""Which routes the kernel would take for the VM's packets, and which of those that are equal. Pure."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from ipaddress import ip_address, ip_network

from dhcp.lean.frozen import replace
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    PROTO_KERNEL,
    RTN_UNICAST,
    TABLE_LOCAL,
    TABLE_MAIN,
    Namespace,
    Route,
)
from netsetup.model.mac import is_host_mac
from netsetup.model.pod_interface import PodInterface

Place = tuple[int, int, str, str, int, int]
"""What the kernel looks a route up by (`Route.place`)."""


def lookup_tables(observed: Namespace, source: str, family: int = AF_INET) -> tuple[int, ...]:
    """The routing tables in which the kernel looks for packets from `source`, in order (ip-rule(8)).

    A table with a default route ends the search. Rules that look at more than the source are passed over.
    """
    tables: list[int] = []
    for rule in sorted(observed.rules, key=lambda rule: rule.priority):
        if rule.family != family or rule.selective or rule.destination or rule.table in (TABLE_LOCAL, *tables):
            continue
        if rule.source and (not source or ip_address(source) not in ip_network(rule.source)):
            continue
        tables.append(rule.table)
        if any(r.is_default for r in observed.routes if r.family == family and r.table == rule.table):
            break
    return tuple(tables) or (TABLE_MAIN,)


def inherited_routes4(pod: PodInterface) -> list[Route]:
    """The IPv4 routes that a VM with the pod's address inherits, on-link ones first and the default last.

    Of each destination that one which the kernel would use for packets from the VM's address: of the first table that
    has the destination the route with the least metric.
    """
    best: dict[str, Route] = {}
    for route in sorted((first_leg(r, pod.link.index) for r in pod.routes), key=lambda route: route.metric):
        usable = route.family == AF_INET and route.type == RTN_UNICAST and not route.tos and route.table in pod.tables
        found = best.get(route.destination)
        if usable and (found is None or pod.tables.index(route.table) < pod.tables.index(found.table)):
            best[route.destination] = route
    return sorted(best.values(), key=lambda route: (route.is_default, bool(route.gateway)))


def next_hop6_of_default4(pod: PodInterface) -> str:
    """The IPv6 next hop of the pod's IPv4 default route (RFC 8950); empty where it has none, or another one."""
    return next((route.via for route in inherited_routes4(pod) if route.is_default), "")


def without_implied(routes: list[Route], subnet: str) -> list[Route]:
    """The routes without those that lead where packets would go without them: through the default route's gateway.

    That is so where every wider destination around a route's own has the same gateway. `subnet` is on the link.
    """
    default = next((route for route in routes if route.is_default and route.gateway), None)
    if default is None:
        return routes
    around: dict[int, dict[int, Route | None]] = {}
    for destination, route in [(subnet, None), *((route.destination, route) for route in routes)]:
        network = ip_network(destination)
        around.setdefault(network.prefixlen, {}).setdefault(int(network.network_address), route)
    lengths = sorted(around, reverse=True)

    def is_implied(route: Route) -> bool:
        network = ip_network(route.destination)
        address = int(network.network_address)
        for length in lengths:
            start = address >> (32 - length) << (32 - length)
            if length >= network.prefixlen or start not in around[length]:
                continue
            wider = around[length][start]
            if wider is default or wider is None or wider.gateway != default.gateway:
                return wider is default
        return False

    return [route for route in routes if route.gateway != default.gateway or not is_implied(route)]


def router6_of(pod: PodInterface) -> Route | None:
    """The route that names the VM's IPv6 router: the default one, else any through a gateway; None without a gateway.

    Of several the kernel's choice: the first table that has the destination, there the least metric.
    """
    through = [route for route in usable_routes6(pod) if route.gateway]
    return min(through, key=lambda r: (not r.is_default, pod.tables6.index(r.table), r.metric), default=None)


def on_link_destinations6(pod: PodInterface) -> list[str]:
    """The IPv6 destinations whose hosts are on the link, the default route among them; but for link-local ones."""
    on_link = {ip_network(route.destination) for route in usable_routes6(pod) if not route.gateway}
    return sorted(str(network) for network in on_link if not network.is_link_local and not network.is_multicast)


def destinations6_through(gateway: str, pod: PodInterface) -> list[str]:
    """The IPv6 destinations that are reached through a gateway; an advertisement is that of one router."""
    return sorted({route.destination for route in usable_routes6(pod) if route.gateway == gateway})


def usable_routes6(pod: PodInterface) -> list[Route]:
    """The IPv6 routes that the kernel may use for packets from the VM's address, multipath ones by their first leg."""
    return [
        first_leg(route, pod.link.index)
        for route in pod.routes
        if route.family == AF_INET6 and route.type == RTN_UNICAST and route.table in pod.tables6
    ]


def first_leg(route: Route, interface: int) -> Route:
    """A route with its first next hop through an interface: neither DHCP nor an advertisement can express multipath."""
    if not route.nexthops:
        return route
    leg = next((hop for hop in route.nexthops if hop.interface == interface), route.nexthops[0])
    return replace(route, interface=leg.interface, gateway=leg.gateway, via=leg.via, nexthops=())


def permanent_mac(pod: PodInterface, address: str) -> str:
    """The MAC of a permanent neighbour, empty when it is none, or a group's."""
    return next((n.mac for n in pod.neighbours if is_host_mac(n.mac) and n.address == address), "")


def by_place(routes: Iterable[Route], places: AbstractSet[Place] | None = None) -> dict[Place, list[Route]]:
    """The routes in these places, or in all, without what changes by itself; in the kernel's order."""
    groups: dict[Place, list[Route]] = {}
    for route in routes:
        if places is None or route.place in places:
            groups.setdefault(route.place, []).append(route.key)
    return groups


def equal_routes(routes: Iterable[Route], interface: int, places: AbstractSet[Place]) -> tuple[Route, ...]:
    """Of these places, where an interface shares one with others, all routes; in the kernel's order.

    Not that of the kernel's own IPv6 routes (fe80::/64 …): theirs is the order in which interfaces came up.
    """
    groups = [g for g in by_place(routes, places).values() if any(r.interfaces != {interface} for r in g)]
    return tuple(route for group in groups for route in group if not is_unordered6(group))


def is_unordered6(group: Iterable[Route]) -> bool:
    """Whether these IPv6 routes of one place have no order that could be put back: the kernel's own, and those with a
    gateway beside others without, which the kernel lists in between or not at all, and deletes in place of each other.
    """
    routes = list(group)
    mixed = len({bool(route.gateway or route.nexthops or route.nexthop_id) for route in routes}) > 1
    return any(r.family == AF_INET6 for r in routes) and (mixed or all(route.proto == PROTO_KERNEL for route in routes))
