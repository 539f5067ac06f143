"""The MAC of the VM's IPv6 router, asked of the kernel while the pod still speaks for itself.

Once the address is the VM's, nobody can ask any more but in the VM's name.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from netsetup.errors import KernelRefused
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.kernel import AF_INET6, NUD_KNOWN, RTN_UNICAST, Route
from netsetup.model.pod_interface import PodInterface
from netsetup.model.vm_network import VMNetwork

RESOLVE_SECONDS = 0.05
"""How long a gateway may take that the VM could not resolve itself; on a pod's link it takes a millisecond. Who serves
the VM asks again, in its name."""
POLL_SECONDS = 0.002


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


def ask_for_routers(netlink: Netlink, networks: Sequence[VMNetwork]) -> None:
    """Have the kernel resolve the IPv6 router of each network whose MAC is not known yet; answers come by and by."""
    for network in networks:
        if address := _unresolved(network):
            try:
                netlink.use_neighbour(network.pod.link.index, network.pod.name, address)
            except KernelRefused:
                continue  # IPv6 is off there, or has no address yet


def with_router_mac(netlink: Netlink, network: VMNetwork) -> VMNetwork:
    """The network with the MAC that its IPv6 router answered with, waiting for it if need be.

    A link-local gateway is not waited for: the VM can resolve it by itself. For a global one it cannot, because its
    router must have a link-local address.
    """
    address = _unresolved(network)
    if not address:
        return network
    deadline = time.monotonic() + (POLL_SECONDS if address.startswith("fe80:") else RESOLVE_SECONDS)
    while True:
        for index, neighbour in netlink.neighbours(NUD_KNOWN):
            if (index, neighbour.address) == (network.pod.link.index, address):
                return replace(network, router6_mac=neighbour.mac)
        if time.monotonic() > deadline:
            return network
        time.sleep(POLL_SECONDS)


def _unresolved(network: VMNetwork) -> str:
    """The gateway that has yet to be resolved; empty when there is none."""
    if network.masquerade or not network.serves6 or network.router6_mac:
        return ""
    route = router6_of(network.pod)
    return route.gateway if route and not permanent_mac(network.pod, route.gateway) else ""
