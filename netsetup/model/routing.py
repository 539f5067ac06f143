"""Which routes the kernel would take for the VM's packets. Pure."""

from ipaddress import ip_address, ip_network

from dhcp.lean.frozen import replace
from netsetup.model.kernel import AF_INET, AF_INET6, RTN_UNICAST, TABLE_LOCAL, TABLE_MAIN, Namespace, Route
from netsetup.model.pod_interface import PodInterface


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
    for route in sorted(pod.routes, key=lambda route: route.metric):
        usable = route.family == AF_INET and route.type == RTN_UNICAST and not route.tos and route.table in pod.tables
        found = best.get(route.destination)
        if usable and (found is None or pod.tables.index(route.table) < pod.tables.index(found.table)):
            best[route.destination] = first_leg(route)
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
        first_leg(route)
        for route in pod.routes
        if route.family == AF_INET6 and route.type == RTN_UNICAST and route.table in pod.tables6
    ]


def first_leg(route: Route) -> Route:
    """A route with its first next hop: neither DHCP nor an advertisement can express multipath."""
    return replace(route, gateway=route.nexthops[0].gateway, nexthops=()) if route.nexthops else route


def permanent_mac(pod: PodInterface, address: str) -> str:
    """The MAC of a permanent neighbour, empty when it is none."""
    return next((n.mac for n in pod.neighbours if n.address == address), "")
