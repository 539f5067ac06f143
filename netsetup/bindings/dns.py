"""DNS to a name server that only the pod itself can reach: what answers the VM in its place, and the steps. Pure.

Where the pod is the VM's router, that is the router's own address. Where the VM has the pod's address, which is local
to the pod, neither end would answer the other: so the VM sends to an address that nobody has, and the pod has another
one for it. `netsetup.nft.dns` has the rules; a route and a permanent neighbour lead the answers back.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from dhcp.lean.frozen import replace
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    RTN_UNICAST,
    TABLE_LOCAL,
    TABLE_MAIN,
    Namespace,
    Neighbour,
    Route,
)
from netsetup.model.local_resolver import Substitute, local_resolvers
from netsetup.model.pod_interface import PodInterface
from netsetup.model.routing import router6_of
from netsetup.model.vm_network import VMNetwork
from netsetup.nft.dns import Client
from netsetup.steps import (
    AddHostRoute,
    AddLocalRoute,
    AddNeighbour,
    DeleteNeighbour,
    DeleteRoute,
    Step,
    sysctl_steps,
)

FIRST4: Final = int(IPv4Address("169.254.76.0"))
PAIRS4: Final = 64 * 127
"""Pairs of IPv4 link-local addresses (RFC 3927), up to 169.254.139.254; cloud providers use others."""
NETWORK6: Final = ip_network("fd76:6c64:6e73::/64")
"""Of unique local addresses (RFC 4193), for a link-local one is of no use to a resolver without its zone."""
LOOPBACK6: Final = "::1"

NO_FAMILY: Final = "the VM has no IPv{} address"


def carried_by_router(observed: Namespace, network: VMNetwork) -> VMNetwork:
    """The network with its local resolvers, whose place the VM's router takes."""
    routers = {AF_INET: network.guest.router4, AF_INET6: network.guest.router6 if network.serves6 else None}
    substitutes = {family: Substitute(router.address) for family, router in routers.items() if router}
    return _carried(observed, network, substitutes, {AF_INET: NO_FAMILY.format(4), AF_INET6: NO_FAMILY.format(6)})


def carried_on_link(observed: Namespace, network: VMNetwork, mac: str, *, without6: str = "") -> VMNetwork:
    """The network with its local resolvers, whose place addresses of the VM's link take, resolved to `mac`.

    `without6` says why the binding cannot do that over IPv6; empty when it can.
    """
    pod = network.pod
    substitutes = {}
    faults = {AF_INET: NO_FAMILY.format(4), AF_INET6: NO_FAMILY.format(6)}
    if network.guest.address4:
        pair = _free_pair4(pod)
        faults[AF_INET] = "every address that could take its place is in the pod's routes"
        if pair:
            substitutes[AF_INET] = Substitute(*pair, mac)
    if network.serves6:
        router = router6_of(pod)
        faults[AF_INET6] = without6 or "the pod has no IPv6 default route, by which the VM would send to its substitute"
        if router and router.is_default and not without6:
            first = int(NETWORK6.network_address) + 2 * pod.link.index
            substitutes[AF_INET6] = Substitute(str(IPv6Address(first)), str(IPv6Address(first + 1)), mac)
    return _carried(observed, network, substitutes, faults)


def client_of(network: VMNetwork) -> Client:
    """The VM as a client of the pod's own name servers, where it has addresses of the pod's."""
    addresses = [a.address if a else "" for a in (network.guest.address4, network.guest.address6)]
    return Client(network.guest_port, network.mac, *addresses)


def _carried(
    observed: Namespace, network: VMNetwork, substitutes: dict[int, Substitute], faults: dict[int, str]
) -> VMNetwork:
    resolver, own = network.pod.resolver, {address.address for _, address in observed.addresses}
    found = local_resolvers(resolver.nameservers, own, resolver.ports, substitutes, faults)
    return replace(network, guest=replace(network.guest, local_resolvers=found))


def _free_pair4(pod: PodInterface) -> tuple[str, str] | None:
    """Two addresses that are nowhere in the pod's routes, neighbours and addresses, and in no other network's pair."""
    routes = [ip_network(r.destination) for r in pod.routes if r.family == AF_INET and not r.is_default]
    taken = {n.address for n in pod.neighbours} | {r.gateway for r in pod.routes} | {a.address for a in pod.addresses}
    for attempt in range(PAIRS4):
        block, pair = divmod((pod.link.index + attempt) % PAIRS4, 127)
        first = IPv4Address(FIRST4 + 256 * block + 1 + 2 * pair)
        both = (first, first + 1)
        if not any(str(a) in taken or any(a in route for route in routes) for a in both):
            return str(both[0]), str(both[1])
    return None


# --- steps ------------------------------------------------------------------------------------------------------------


def carry_steps(observed: Namespace, network: VMNetwork, device: str) -> list[Step]:
    """What leads answers from the pod's resolvers back to the VM by a device of ours that is up, and nothing else.

    The device passes loopback addresses, too; `netsetup.nft.dns` says what gets that far.
    """
    link = observed.link(device)
    routes = observed.routes_of(link.index) if link else ()
    neighbours = observed.neighbours_of(link.index) if link else ()
    steps: list[Step] = []
    sources = set()
    for local in network.guest.local_resolvers:
        if local.substitute is None:
            continue
        source = local.substitute.source
        sources.add(source)
        if not any(_leads_to(route) == source for route in routes):
            steps.append(AddHostRoute(device, source))
        neighbour = Neighbour(local.family, source, network.mac)
        if neighbour not in neighbours:
            steps.append(AddNeighbour(device, neighbour))
        if local.is_loopback and local.family == AF_INET:
            steps += sysctl_steps(observed, f"net/ipv4/conf/{device}/route_localnet", "1")
        elif local.is_loopback:
            steps += loopback6_steps(observed, device)
    return steps + release_steps(observed, device, keep=sources)


def release_steps(observed: Namespace, device: str, keep: set[str] | None = None) -> list[Step]:
    """A device without our routes and neighbours but for those to `keep`."""
    link, kept = observed.link(device), keep or set()
    if link is None:
        return []
    routes = [r for r in observed.routes_of(link.index) if _is_ours(_leads_to(r)) and _leads_to(r) not in kept]
    neighbours = [n for n in observed.neighbours_of(link.index) if _is_ours(n.address) and n.address not in kept]
    return [*map(DeleteRoute, routes), *(DeleteNeighbour(device, neighbour) for neighbour in neighbours)]


def loopback6_steps(observed: Namespace, device: str) -> list[Step]:
    """What route_localnet is for IPv4: packets for ::1 are looked up for the interface that they come in by alone.

    A guest cannot use that: ::1 on the wire is dropped (RFC 4291 §2.5.3).
    """
    link = observed.link(device)
    there = link and any(
        r.destination == f"{LOOPBACK6}/128" and r.table == TABLE_LOCAL for r in observed.routes_of(link.index)
    )
    return [] if there else [AddLocalRoute(device, LOOPBACK6)]


def _leads_to(route: Route) -> str:
    """The one host of a route as `AddHostRoute` makes it; empty for another one."""
    address, _, length = route.destination.partition("/")
    is_host = length == ("128" if route.family == AF_INET6 else "32")
    return address if is_host and route.table == TABLE_MAIN and route.type == RTN_UNICAST and not route.gateway else ""


def _is_ours(address: str) -> bool:
    found = ip_address(address) if address else None
    if isinstance(found, IPv4Address):
        return 0 <= int(found) - FIRST4 < 64 * 256
    return found is not None and found in NETWORK6
