"""What the VM gets over IPv4: a recorded network → the fields of the server's configuration. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from dhcp.lean.frozen import replace
from launcher.dhcpconfig.names import resolvers, substitutes_on_link
from netsetup.errors import NetworkSetupError
from netsetup.model.kernel import AF_INET, RTN_UNICAST, Address, Route
from netsetup.model.pod_interface import PodInterface
from netsetup.model.routing import inherited_routes4, next_hop6_of_default4, permanent_mac, without_implied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netsetup.model.vm_network import VMNetwork

SERVER_PREFIX = "169.254.75."
"""Where a server address is looked for when there is no router whose address it can take."""


class NoServerAddress(NetworkSetupError):
    """Every link-local address that the server could use is taken."""


def ipv4_fields(network: VMNetwork, address: Address, *, only_default: bool) -> dict[str, object]:
    """The fields that say what is served over IPv4. Raises NoServerAddress.

    A default route says where other routes through its gateway lead as well, if it is the VM's `only_default`.
    """
    pod, own_router = network.pod, network.guest.router4
    # Where the pod is the VM's router, the pod's routes stay with the router.
    substitute, _ = substitute_router4(network)
    routes = [] if own_router else [_reached4(r, pod, substitute) for r in inherited_routes4(pod)]
    routes = [route for route in routes if not route.via]
    # The script of Debian's udhcpc takes a router outside the subnet for an address without one alone.
    prefix = address.prefixlen if own_router else 32 if substitute else prefix_length(address, pod)
    subnet = str(ipaddress.ip_network(f"{address.address}/{prefix}", strict=False))
    if only_default:
        routes = without_implied(routes, subnet)
    default = next((r for r in routes if r.is_default), None)
    router = own_router.address if own_router else default.gateway if default else ""
    return {
        "client_address": f"{address.address}/{prefix}",
        "server_address": router or free_server_address(pod),
        "lease_end": address.valid_until,
        "router": router,
        "heard": [a.address for a in pod.global_addresses(AF_INET)] if network.isolated and not own_router else [],
        "routes": [
            {"destination": r.destination, "gateway": r.gateway or "0.0.0.0"}
            for r in routes
            if not (r.is_default and r.gateway) and (substitute or not _is_connected(r, address, pod))
        ]
        # Without a default route the VM needs one to each substitute address of a name server.
        + [
            {"destination": f"{s}/32", "gateway": "0.0.0.0"}
            for s in substitutes_on_link(network, AF_INET)
            if not default
        ],
        "dns": resolvers(network, ipv6=False),
    }


def substitute_router4(network: VMNetwork) -> tuple[str, str]:
    """An IPv4 substitute for the IPv6 next hop of the pod's IPv4 default route, which no DHCP option can hold; its MAC.

    The next hop receives the same frames by either. Empty where there is none, or its MAC is not known. Raises
    NoServerAddress.
    """
    next_hop = "" if network.guest.is_routed else next_hop6_of_default4(network.pod)
    mac = permanent_mac(network.pod, next_hop) or network.gateway4_mac
    return (free_server_address(network.pod), mac) if next_hop and mac else ("", "")


def unserved_routes4(network: VMNetwork) -> Iterator[str]:
    """The pod's IPv4 routes that the VM does not get, a line each."""
    if network.guest.router4 or network.guest.address4 is None:
        return
    substitute, _ = substitute_router4(network)
    for route in inherited_routes4(network.pod):
        if _reached4(route, network.pod, substitute).via:
            what = f"IPv4 route {route.destination.replace('0.0.0.0/0', 'default')} via {route.via}"
            if route.is_default:
                yield f"{what}: the next hop's MAC is not known, as it did not answer at set-up; left out"
            else:
                yield f"{what}: DHCP has no word for an IPv6 next hop other than the default route's; left out"


def _reached4(route: Route, pod: PodInterface, substitute: str) -> Route:
    """A route by the substitute of its next hop, if that is the default route's."""
    is_default_hop = bool(substitute and route.via) and route.via == next_hop6_of_default4(pod)
    return replace(route, gateway=substitute, via="") if is_default_hop else route


def has_default4(network: VMNetwork) -> bool:
    """Whether the VM has an IPv4 default route through this network."""
    return network.guest.router4 is not None or any(route.is_default for route in inherited_routes4(network.pod))


def neighbours4(network: VMNetwork) -> dict[str, str]:
    """Permanent neighbours of the pod, which the server resolves for the VM, as they may not answer ARP."""
    if network.guest.router4 or network.guest.address4 is None:
        return {}
    permanent = {n.address: n.mac for n in network.pod.neighbours if n.family == AF_INET and n.mac}
    router, mac = substitute_router4(network)
    return {**permanent, **({router: mac} if router else {}), **substitutes_on_link(network, AF_INET)}


def prefix_length(address: Address, pod: PodInterface) -> int:
    """The netmask the VM gets, from the routing table and not from the address.

    Where the CNI left no on-link route for the prefix (GKE, kind, Azure), neighbours of the same subnet are reached
    through the gateway only, and do not answer ARP of a VM with the wider mask.
    """
    return address.prefixlen if any(_is_connected(route, address, pod) for route in pod.routes) else 32


def free_server_address(pod: PodInterface) -> str:
    """A link-local address that is in no route, neighbour or address of the pod.

    Raises NoServerAddress when routes or neighbours cover the whole range.
    """
    networks = [ipaddress.ip_network(r.destination) for r in pod.routes if r.family == AF_INET and not r.is_default]
    taken = {n.address for n in pod.neighbours} | {r.gateway for r in pod.routes} | {a.address for a in pod.addresses}
    for last in range(10, 255):
        candidate = f"{SERVER_PREFIX}{last}"
        if candidate not in taken and not any(ipaddress.ip_address(candidate) in network for network in networks):
            return candidate
    raise NoServerAddress(f"{pod.name}: no free server address in {SERVER_PREFIX}0/24, the pod's routes cover it")


def _is_connected(route: Route, address: Address, pod: PodInterface) -> bool:
    return (
        route.family == AF_INET
        and route.table in pod.tables
        and route.type == RTN_UNICAST
        and not route.gateway
        and not route.via
        and not route.nexthops
        and route.destination == address.network
    )
