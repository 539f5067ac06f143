"""What the VM gets by DHCP: a recorded network → the server's configuration. Pure.

The JSON shape is the DHCP server's own (`dhcp.config`); only addresses, routes and names are decided here.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from dhcp.lean.frozen import replace
from launcher.dhcpconfig.ipv6 import ipv6_fields, neighbours6
from netsetup.errors import NetworkSetupError
from netsetup.model.kernel import AF_INET, RTN_UNICAST, Address, Route
from netsetup.model.pod_interface import PodInterface

if TYPE_CHECKING:
    from netsetup.model.vm_network import VMNetwork

SERVER_PREFIX = "169.254.75."
"""Where a server address is looked for when there is no router whose address it can take."""


class NoServerAddress(NetworkSetupError):
    """Every link-local address that the server could use is taken."""


def client_config(network: VMNetwork) -> dict[str, object] | None:
    """The configuration of the DHCP server for one network; None where the pod has no address to hand out.

    The record is all it is made of. Raises NoServerAddress.
    """
    ipv6 = ipv6_fields(network)
    address4, options = network.guest.address4, network.options
    if address4 is None and not ipv6:
        return None
    search = search_list(network.pod.resolver.search, options.subdomain)
    config: dict[str, object] = {
        "interface": network.guest_port,
        "client_mac": network.mac,
        **(ipv4_fields(network, address4) if address4 else {}),
        "search": list(search),
        "domain": domain_of(search),
        "hostname": options.hostname,
        "mtu": network.mtu,
        "neighbours": {**ipv4_neighbours(network), **neighbours6(network)},
        "ntp": list(options.ntp),
        "tftp_server": options.tftp_server,
        "boot_file": options.boot_file,
        "options": {str(number): text for number, text in options.private},
        **ipv6,
    }
    return {key: value for key, value in config.items() if value}


def ipv4_fields(network: VMNetwork, address: Address) -> dict[str, object]:
    """The fields that say what is served over IPv4. Raises NoServerAddress."""
    pod, own_router = network.pod, network.guest.router4
    # In a network of its own the VM has one router, the pod, and that knows the pod's routes.
    routes = [] if own_router else routes_of(pod)
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
        ],
        "dns": [server for server in pod.resolver.nameservers if ":" not in server],
    }


def ipv4_neighbours(network: VMNetwork) -> dict[str, str]:
    """Permanent neighbours of the pod, which the VM must find too although they may answer nobody."""
    if network.guest.router4 or network.guest.address4 is None:
        return {}
    return {n.address: n.mac for n in network.pod.neighbours if n.family == AF_INET}


def prefix_length(address: Address, pod: PodInterface) -> int:
    """The netmask the VM gets, from the routing table and not from the address.

    Where the CNI left no on-link route for the prefix (GKE, kind, Azure), neighbours of the same subnet are reached
    through the gateway only, and a VM with the wider mask would ask for them in vain.
    """
    return address.prefixlen if any(_is_connected(route, address, pod) for route in pod.routes) else 32


def routes_of(pod: PodInterface) -> list[Route]:
    """The IPv4 routes that the VM inherits, on-link ones first and the default last.

    Of each destination that one which the kernel would take for packets from the VM's address: of the first table that
    knows the destination the route with the least metric.
    """
    best: dict[str, Route] = {}
    for route in sorted(pod.routes, key=lambda route: route.metric):
        usable = route.family == AF_INET and route.type == RTN_UNICAST and not route.via and route.table in pod.tables
        known = best.get(route.destination)
        if usable and (known is None or pod.tables.index(route.table) < pod.tables.index(known.table)):
            best[route.destination] = _first_leg(route)
    return sorted(best.values(), key=lambda route: (route.is_default, bool(route.gateway)))


def search_list(names: tuple[str, ...], subdomain: str) -> tuple[str, ...]:
    """The pod's search list, headed by the subdomain's own entry where the VM has a subdomain, as that of a pod is."""
    service = domain_of(names)
    if not subdomain or ".svc." not in service or service.startswith(f"{subdomain}."):
        return names
    return (f"{subdomain}.{service}", *names)


def domain_of(search: tuple[str, ...]) -> str:
    """The one domain of option 15: the longest name of a Kubernetes service domain, else the first of the list."""
    services = [name for name in search if ".svc." in name]
    return max(services, key=len) if services else next(iter(search), "")


def free_server_address(pod: PodInterface) -> str:
    """A link-local address that nothing in the pod's network speaks of.

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
        and not route.nexthops
        and route.destination == address.network
    )


def _first_leg(route: Route) -> Route:
    """DHCP knows no multipath: the first next hop stands for the route."""
    if not route.nexthops:
        return route
    return replace(route, gateway=route.nexthops[0].gateway, nexthops=())
