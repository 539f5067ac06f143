"""Resolves the MAC of the pod's IPv6 gateway by the kernel, while the pod still has its address.

Once the address is the VM's, only the DHCP server can solicit, with the VM's address as the source.
"""

import time
from collections.abc import Iterable

from dhcp.lean.frozen import replace
from netsetup.errors import KernelRefused
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.mac import is_host_mac
from netsetup.model.routing import next_hop6_of_default4, permanent_mac, router6_of
from netsetup.model.vm_network import VMNetwork

RESOLVE_SECONDS = 0.05
"""How long to wait for a gateway that the VM could not resolve itself; on a pod's link it takes a millisecond. The DHCP
server goes on soliciting."""
POLL_SECONDS = 0.002


def solicit_gateways(netlink: Netlink, networks: Iterable[VMNetwork]) -> None:
    """Have the kernel solicit the gateways of each network that are not resolved yet; does not wait for answers."""
    for network in networks:
        for address in _unresolved(network).values():
            try:
                netlink.use_neighbour(network.pod.link.index, network.pod.name, address)
            except KernelRefused:
                continue  # IPv6 is off there, or has no address yet


def with_gateway_mac(netlink: Netlink, network: VMNetwork) -> VMNetwork:
    """The network with the MACs that its IPv6 gateways answered with, after waiting for them if need be.

    A link-local router of the VM's is not waited for: the VM can resolve it by itself. A global one it cannot, because
    its router must have a link-local address, nor the IPv6 next hop of an IPv4 route.
    """
    wanted = _unresolved(network)
    if not wanted:
        return network
    patient = any(field == "gateway4_mac" or not address.startswith("fe80:") for field, address in wanted.items())
    deadline = time.monotonic() + (RESOLVE_SECONDS if patient else POLL_SECONDS)
    while True:
        known = {n.address: n.mac for index, n in netlink.known_neighbours() if index == network.pod.link.index}
        found = {field: known[address] for field, address in wanted.items() if is_host_mac(known.get(address, ""))}
        if len(found) == len(wanted) or time.monotonic() > deadline:
            return replace(network, **found)
        time.sleep(POLL_SECONDS)


def _unresolved(network: VMNetwork) -> dict[str, str]:
    """The gateways that are not resolved yet, by the field of the network that their MACs are for."""
    wanted = {}
    if not network.guest.is_routed:
        route = router6_of(network.pod) if network.serves6 and not network.gateway6_mac else None
        wanted["gateway6_mac"] = route.gateway if route else ""
        wanted["gateway4_mac"] = "" if network.gateway4_mac else next_hop6_of_default4(network.pod)
    return {field: address for field, address in wanted.items() if address and not permanent_mac(network.pod, address)}
