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


def router6_of(pod: PodInterface) -> Route | None:
    """The route that names the VM's IPv6 router: the default one, else any through a gateway; None without a gateway.

    Of several the kernel's choice: the first table that knows the destination, there the least metric.
    """
    usable = [
        first_leg(route)
        for route in pod.routes
        if route.family == AF_INET6 and route.type == RTN_UNICAST and route.table in pod.tables6
    ]
    through = [route for route in usable if route.gateway]
    return min(through, key=lambda r: (not r.is_default, pod.tables6.index(r.table), r.metric), default=None)


def first_leg(route: Route) -> Route:
    """An advertisement, as DHCP, knows no multipath: the first next hop stands for the route."""
    return replace(route, gateway=route.nexthops[0].gateway, nexthops=()) if route.nexthops else route


def permanent_mac(pod: PodInterface, address: str) -> str:
    """The MAC of a permanent neighbour, empty when it is none."""
    return next((n.mac for n in pod.neighbours if n.address == address), "")
