"""Resolves the MAC of the pod's IPv6 gateway by the kernel, while the pod still has its address.

Once the address is the VM's, only the DHCP server can solicit, with the VM's address as the source.
"""

import time
from collections.abc import Iterable

from dhcp.lean.frozen import replace
from netsetup.errors import KernelRefused
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.kernel import NUD_KNOWN
from netsetup.model.routing import permanent_mac, router6_of
from netsetup.model.vm_network import VMNetwork

RESOLVE_SECONDS = 0.05
"""How long to wait for a gateway that the VM could not resolve itself; on a pod's link it takes a millisecond. The DHCP
server goes on soliciting."""
POLL_SECONDS = 0.002


def solicit_gateways(netlink: Netlink, networks: Iterable[VMNetwork]) -> None:
    """Have the kernel solicit the IPv6 gateway of each network that is not resolved yet; does not wait for answers."""
    for network in networks:
        if address := _unresolved(network):
            try:
                netlink.use_neighbour(network.pod.link.index, network.pod.name, address)
            except KernelRefused:
                continue  # IPv6 is off there, or has no address yet


def with_gateway_mac(netlink: Netlink, network: VMNetwork) -> VMNetwork:
    """The network with the MAC that its IPv6 gateway answered with, after waiting for it if need be.

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
                return replace(network, gateway6_mac=neighbour.mac)
        if time.monotonic() > deadline:
            return network
        time.sleep(POLL_SECONDS)


def _unresolved(network: VMNetwork) -> str:
    """The gateway that is not resolved yet; empty when there is none."""
    if network.guest.is_routed or not network.serves6 or network.gateway6_mac:
        return ""
    route = router6_of(network.pod)
    return route.gateway if route and not permanent_mac(network.pod, route.gateway) else ""
