"""The bridge binding: the VM has the pod's own addresses. Pure.

node ── eth0 (another MAC, no address) ── k6t-eth0 (keeps the address, answers nobody) ── tap0 ── VM (pod's MAC, IP)
"""

from typing import Final

from dhcp.lean.frozen import replace
from netsetup.admission import pod_interface, require_bridge_port
from netsetup.bindings.binding import Hops
from netsetup.bindings.devices import (
    ADDR_GEN_MODE_NONE,
    allow_list,
    bridge_name,
    bridge_steps,
    device_release_steps,
    guest_mac,
    guest_port_steps,
    has_ipv6,
    new_network,
    own_nic,
    plug_steps,
    require_bridge_name_free,
    require_nic,
    tap_element,
)
from netsetup.bindings.restore import changes_since, restore_steps
from netsetup.errors import InvalidRequest
from netsetup.model.kernel import AF_INET, AF_INET6, IFA_F_NODAD, SCOPE_HOST, Address, Namespace
from netsetup.model.mac import local_mac
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.request import NetworkRequest
from netsetup.model.vm_network import IPV6_MIN_MTU, Guest, VMNetwork
from netsetup.nft.isolation import bridged_rules
from netsetup.nft.ruleset import NetworkRules
from netsetup.steps import (
    DeleteAddress,
    DeleteRoute,
    SetAddrGenMode,
    SetLearning,
    SetMac,
    SetMaster,
    SetMtu,
    SetUp,
    Step,
    addr_gen_mode_steps,
    sysctl_steps,
)

is_private: Final = False
reserved_mac: Final = ""

IFA_F_NOPREFIXROUTE = 0x200
DAD_SETTINGS = ("/accept_dad", "/dad_transmits")

interface_element = tap_element


def admit(observed: Namespace, request: NetworkRequest, resolver: Resolver) -> VMNetwork:
    """See `binding.Binding`. Raises UnsupportedInterface for an interface that cannot be a port of a bridge."""
    pod = pod_interface(observed, request.pod_interface, resolver)
    require_bridge_port(observed, pod.link)
    bridge = bridge_name(pod.name)
    require_bridge_name_free(observed, bridge, derived_mac("bridge", pod))
    if pod.link.master:
        master = next((link.name for link in observed.links if link.index == pod.link.master), "another device")
        raise InvalidRequest(f"{pod.name}: already a port of {master}, and no record says that we made it one")
    return new_network(observed, pod, request, guest_of(pod, *guest_mac(request, pod.link.mac)), bridge=bridge)


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


def derived_mac(role: str, pod: PodInterface) -> str:
    """A locally administered unicast MAC of this pod's own; no two pods of one network share it."""
    address = pod.addresses[0].address if pod.addresses else ""
    return local_mac(f"{role} {pod.link.mac} {address}")


def rules(network: VMNetwork) -> NetworkRules:
    """The guest may use every address of the pod interface."""
    return bridged_rules(allow_list(network, network.pod.addresses), network.pod.name)


def hops(network: VMNetwork) -> Hops:
    """See `binding.Binding`."""
    name, bridge = network.pod.name, network.bridge
    kept = ", ".join(a.address for a in (network.guest.address4, network.guest.address6) if a)
    return Hops(
        pod_nic="has no address left",
        bridge_port=f"{name} is a port of {bridge} and learns no MAC",
        bridge=f"has {kept}" if kept else "needs no address",
        guest_port=f"a port of {bridge} with the VM's MAC pinned",
    )


# --- there ------------------------------------------------------------------------------------------------------------


def device_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """Bridge and guest port, made and set but not yet up: nothing can pass."""
    steps = bridge_steps(observed, network, derived_mac("bridge", network.pod))
    bridge = observed.link(network.bridge)
    if network.mtu >= IPV6_MIN_MTU and has_ipv6(observed, network.pod.name):
        if bridge is None or bridge.addr_gen_mode != ADDR_GEN_MODE_NONE:
            steps.append(SetAddrGenMode(network.bridge, ADDR_GEN_MODE_NONE))
        keeps6 = any(a.family == AF_INET6 for a in _kept(network))
        steps += sysctl_steps(observed, f"net/ipv6/conf/{network.bridge}/accept_ra", "0")
        steps += sysctl_steps(observed, f"net/ipv6/conf/{network.bridge}/disable_ipv6", "0" if keeps6 else "1")
    return steps + guest_port_steps(observed, network)


def connect_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """The address moves from the pod interface to the bridge, and the interface becomes a port."""
    bridge, nic = observed.link(network.bridge), require_nic(observed, network)
    steps = plug_steps(observed, network, _kept(network))

    # With its last IPv4 address an interface loses its routes in every table, so those need no step of their own.
    addresses = [a for a in observed.addresses_of(nic.index) if a.family == AF_INET]
    steps += [DeleteAddress(nic.name, a) for a in reversed(addresses)]
    if not addresses:
        steps += [DeleteRoute(r) for r in observed.routes_of(nic.index) if r.family == AF_INET]
    # Off before the MAC changes: leaving a multicast group sends reports for a second, and none may carry the new MAC.
    if has_ipv6(observed, nic.name):
        steps += sysctl_steps(observed, f"net/ipv6/conf/{nic.name}/disable_ipv6", "1")
    # A teardown that was killed may have left these changed.
    steps += [s for k, v in network.pod.sysctls if k.endswith(DAD_SETTINGS) for s in sysctl_steps(observed, k, v)]
    steps += addr_gen_mode_steps(nic, network.pod)
    mac = derived_mac("port", network.pod)
    if nic.mac != mac:
        steps.append(SetMac(nic.name, mac))
    joins = bridge is None or nic.master != bridge.index
    if joins:
        steps.append(SetMaster(nic.name, network.bridge))
    if joins or nic.learning:
        steps.append(SetLearning(nic.name, False))
    if not nic.up:
        steps.append(SetUp(nic.name, True))
    return steps


def _kept(network: VMNetwork) -> list[Address]:
    """The pod's addresses in the form the bridge keeps them: this host's alone, answered to nobody."""
    kept = [
        Address(AF_INET, a.address, 32, SCOPE_HOST, label=network.bridge) for a in network.pod.global_addresses(AF_INET)
    ]
    if network.mtu >= IPV6_MIN_MTU:
        flags = IFA_F_NODAD | IFA_F_NOPREFIXROUTE
        kept += [Address(AF_INET6, a.address, 128, flags=flags) for a in network.pod.global_addresses(AF_INET6)]
    return kept


# --- and back ---------------------------------------------------------------------------------------------------------


def release_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """The pod interface leaves the bridge with its MAC, our devices go, and it gets back what it had."""
    steps: list[Step] = []
    bridge = observed.link(network.bridge)
    nic, original = own_nic(observed, network.pod), network.pod.link
    if nic and bridge and nic.master == bridge.index:
        steps.append(SetMaster(nic.name, ""))
    # The MAC first: an address that is added announces itself with the MAC of that moment.
    if nic and nic.mac != original.mac:
        steps.append(SetMac(nic.name, original.mac))
    if nic and nic.mtu != original.mtu:
        steps.append(SetMtu(nic.name, original.mtu))
    steps += device_release_steps(observed, network, derived_mac("bridge", network.pod))
    return steps + restore_steps(observed, network.pod)
