"""The MAC of the VM's IPv6 router, asked of the kernel while the pod still speaks for itself.

Once the address is the VM's, nobody can ask any more but in the VM's name.
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
"""How long a gateway may take that the VM could not resolve itself; on a pod's link it takes a millisecond. Who serves
the VM asks again, in its name."""
POLL_SECONDS = 0.002


def ask_for_routers(netlink: Netlink, networks: Iterable[VMNetwork]) -> None:
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
                return replace(network, gateway6_mac=neighbour.mac)
        if time.monotonic() > deadline:
            return network
        time.sleep(POLL_SECONDS)


def _unresolved(network: VMNetwork) -> str:
    """The gateway that has yet to be resolved; empty when there is none."""
    if network.guest.is_routed or not network.serves6 or network.gateway6_mac:
        return ""
    route = router6_of(network.pod)
    return route.gateway if route and not permanent_mac(network.pod, route.gateway) else ""
