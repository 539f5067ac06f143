"""The pod's addresses, the VM's from now on, moved to a bridge of ours that keeps them and answers nobody. Pure.

What bindings have in common whose VM has the pod's own addresses: processes of the pod still find the addresses there,
this host's alone, and nobody outside does.
"""

from ipaddress import ip_address
from typing import Final

from dhcp.lean.frozen import replace
from netsetup.bindings.devices import bridge_release_steps, bridge_steps, has_ipv6
from netsetup.bindings.restore import changes_since, unfinished_steps
from netsetup.model.identity import derived_mac
from netsetup.model.kernel import (
    ADDR_GEN_MODE_NONE,
    AF_INET,
    AF_INET6,
    IFA_F_NODAD,
    SCOPE_HOST,
    SCOPE_LINK,
    Address,
    Link,
    Namespace,
)
from netsetup.model.pod_interface import PodInterface
from netsetup.model.request import NetworkRequest
from netsetup.model.vm_network import IPV6_MIN_MTU, Guest, VMNetwork
from netsetup.steps import DeleteAddress, DeleteRoute, SetAddrGenMode, Step, sysctl_steps

IFA_F_NOPREFIXROUTE: Final = 0x200


def guest_of(pod: PodInterface, mac: str, mac_source: str) -> Guest:
    """The VM has the first addresses of the pod interface, and its routes."""
    return Guest(mac, mac_source, pod.main_address(AF_INET), pod.main_address(AF_INET6))


def merge_observed_changes(observed: Namespace, network: VMNetwork, request: NetworkRequest) -> VMNetwork:
    """New addresses, routes and neighbours come behind what was there, so the VM keeps its address."""
    pod = changes_since(observed, network.pod)
    return replace(network, pod=pod, guest=guest_of(pod, network.guest.mac, network.guest.mac_source))


def other_settings(observed: Namespace) -> tuple[str, ...]:
    """None."""
    return ()


def keeper_mac(pod: PodInterface) -> str:
    """The MAC of the bridge."""
    return derived_mac("bridge", pod)


def kept_addresses(network: VMNetwork) -> list[Address]:
    """The pod's addresses in the form the bridge keeps them: this host's alone, answered to nobody."""
    # Those of other scopes, too: with the last device that has an address go the routes that have it as their source.
    own = [a for a in network.pod.addresses if not ip_address(a.address).is_multicast]
    of4 = dict.fromkeys(a.address for a in own if a.family == AF_INET)
    kept = [Address(AF_INET, address, 32, SCOPE_HOST, label=network.bridge) for address in of4]
    if network.mtu >= IPV6_MIN_MTU:
        flags = IFA_F_NODAD | IFA_F_NOPREFIXROUTE
        of6 = [a.address for a in own if a.family == AF_INET6 and a.scope != SCOPE_LINK]
        kept += [Address(AF_INET6, address, 128, flags=flags) for address in of6]
    return kept


def bridge_finding(network: VMNetwork) -> str:
    """What `doctor` says of the bridge."""
    kept = ", ".join(a.address for a in (network.guest.address4, network.guest.address6) if a)
    return f"has {kept}" if kept else "needs no address"


def keeper_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """The bridge, made and set; it has no address yet, and is down."""
    steps = bridge_steps(observed, network, keeper_mac(network.pod))
    bridge = observed.link(network.bridge)
    if network.mtu >= IPV6_MIN_MTU and has_ipv6(observed, network.pod.name):
        if bridge is None or bridge.addr_gen_mode != ADDR_GEN_MODE_NONE:
            steps.append(SetAddrGenMode(network.bridge, ADDR_GEN_MODE_NONE))
        keeps6 = any(a.family == AF_INET6 for a in kept_addresses(network))
        if keeps6:
            steps += sysctl_steps(observed, f"net/ipv6/conf/{network.bridge}/accept_ra", "0")
        steps += sysctl_steps(observed, f"net/ipv6/conf/{network.bridge}/disable_ipv6", "0" if keeps6 else "1")
    return steps


def remove_address_steps(observed: Namespace, network: VMNetwork, nic: Link) -> list[Step]:
    """The pod interface loses its addresses, and IPv6 with them."""
    # With its last IPv4 address an interface loses its routes in every table, so those need no step of their own. Those
    # of nexthop objects stay, and multipath routes lose the legs through it, which come back with an address.
    addresses = [a for a in observed.addresses_of(nic.index) if a.family == AF_INET]
    steps: list[Step] = [DeleteAddress(nic.name, a) for a in reversed(addresses)]
    routes = [r for r in observed.routes_of(nic.index) if r.family == AF_INET and r.interfaces == {nic.index}]
    steps += [DeleteRoute(r) for r in routes if r.nexthop_id or not addresses]
    if has_ipv6(observed, nic.name):
        steps += sysctl_steps(observed, f"net/ipv6/conf/{nic.name}/disable_ipv6", "1")
        steps += unfinished_steps(observed, nic, network.pod)
    return steps


def release_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """The bridge goes, once the pod interface has its addresses."""
    return bridge_release_steps(observed, network, keeper_mac(network.pod))
