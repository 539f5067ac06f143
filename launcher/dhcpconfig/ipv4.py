"""What the VM gets over IPv4: a recorded network → the fields of the server's configuration. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from launcher.dhcpconfig.names import resolvers, substitutes_on_link
from netsetup.errors import NetworkSetupError
from netsetup.model.kernel import AF_INET, RTN_UNICAST, Address, Route
from netsetup.model.pod_interface import PodInterface
from netsetup.model.routing import inherited_routes4, without_implied

if TYPE_CHECKING:
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
    routes = [] if own_router else inherited_routes4(pod)
    if only_default:
        routes = without_implied(routes, address.network if _is_on_link(address, pod) else f"{address.address}/32")
    default = next((r for r in routes if r.is_default), None)
    router = own_router.address if own_router else default.gateway if default else ""
    prefix = address.prefixlen if own_router else prefix_length(address, pod)
    return {
        "client_address": f"{address.address}/{prefix}",
        "server_address": router or free_server_address(pod),
        "router": router,
        "heard": [a.address for a in pod.global_addresses(AF_INET)] if network.isolated and not own_router else [],
        "routes": [
            {"destination": r.destination, "gateway": r.gateway or "0.0.0.0"}
            for r in routes
            if not (r.is_default and r.gateway) and not _is_connected(r, address, pod)
        ]
        # Without a default route the VM needs one to what stands for a name server of the pod's.
        + [
            {"destination": f"{s}/32", "gateway": "0.0.0.0"}
            for s in substitutes_on_link(network, AF_INET)
            if not default
        ],
        "dns": resolvers(network, ipv6=False),
    }


def has_default4(network: VMNetwork) -> bool:
    """Whether the VM has an IPv4 default route through this network."""
    return network.guest.router4 is not None or any(route.is_default for route in inherited_routes4(network.pod))


def neighbours4(network: VMNetwork) -> dict[str, str]:
    """Permanent neighbours of the pod, which the server resolves for the VM, as they may not answer ARP."""
    if network.guest.router4 or network.guest.address4 is None:
        return {}
    permanent = {n.address: n.mac for n in network.pod.neighbours if n.family == AF_INET}
    return {**permanent, **substitutes_on_link(network, AF_INET)}


def prefix_length(address: Address, pod: PodInterface) -> int:
    """The netmask the VM gets, from the routing table and not from the address.

    Where the CNI left no on-link route for the prefix (GKE, kind, Azure), neighbours of the same subnet are reached
    through the gateway only, and do not answer ARP of a VM with the wider mask.
    """
    return address.prefixlen if _is_on_link(address, pod) else 32


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


def _is_on_link(address: Address, pod: PodInterface) -> bool:
    """Whether the address's own prefix is on the link."""
    return any(_is_connected(route, address, pod) for route in pod.routes)


def _is_connected(route: Route, address: Address, pod: PodInterface) -> bool:
    return (
        route.family == AF_INET
        and route.table in pod.tables
        and route.type == RTN_UNICAST
        and not route.gateway
        and not route.nexthops
        and route.destination == address.network
    )
