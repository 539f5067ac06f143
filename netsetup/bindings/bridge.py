"""The bridge binding: the VM has the pod's own addresses. Pure.

node ── eth0 (another MAC, no address) ── k6t-eth0 (keeps the address, answers nobody) ── tap0 ── VM (pod's MAC, IP)
"""

from typing import Final

from netsetup.admission import (
    ONE_MAC_KINDS,
    a_device,
    pod_interface,
    require_frames,
    require_no_port,
    require_nothing_on_top,
)
from netsetup.bindings import dns, keeper
from netsetup.bindings.binding import Hops, UnsuitedInterface
from netsetup.bindings.devices import (
    allow_list,
    attach_port_steps,
    bridge_name,
    bridge_netfilter_steps,
    bridge_path,
    guest_mac,
    guest_port_steps,
    new_network,
    port_release_steps,
    require_bridge_name_free,
    require_nic,
    tap_element,
)
from netsetup.bindings.keeper import kept_addresses
from netsetup.bindings.restore import link_steps, restore_steps
from netsetup.model.identity import derived_mac, own_nic
from netsetup.model.kernel import Namespace
from netsetup.model.pod_interface import Resolver
from netsetup.model.request import NetworkRequest
from netsetup.model.settings import BRIDGE_NETFILTER
from netsetup.model.vm_network import VMNetwork
from netsetup.nft.dns import bridged_dns
from netsetup.nft.isolation import bridged_rules
from netsetup.nft.ruleset import NetworkRules
from netsetup.steps import SetLearning, SetMac, SetMaster, SetUp, Step

is_private: Final = False
reserved_mac: Final = ""

interface_element = tap_element
path = bridge_path


def admit(observed: Namespace, request: NetworkRequest, resolver: Resolver) -> VMNetwork:
    """See `binding.Binding`. Raises UnsuitedInterface for an interface that cannot be a port of a bridge."""
    pod = pod_interface(observed, request.pod_interface, resolver)
    if pod.link.kind in ONE_MAC_KINDS:
        raise UnsuitedInterface(pod.name, f"{a_device(pod.link)} lets no second MAC through")
    require_frames(observed, pod.link)
    require_no_port(observed, pod)
    require_nothing_on_top(observed, pod.link)
    bridge = bridge_name(pod.name)
    require_bridge_name_free(observed, bridge, keeper.keeper_mac(pod))
    guest = keeper.guest_of(pod, *guest_mac(request, pod.link.mac))
    return _with_dns(observed, new_network(observed, pod, request, guest, bridge=bridge))


def merge_observed_changes(observed: Namespace, network: VMNetwork, request: NetworkRequest) -> VMNetwork:
    """See `keeper.merge_observed_changes`."""
    return _with_dns(observed, keeper.merge_observed_changes(observed, network, request))


def _with_dns(observed: Namespace, network: VMNetwork) -> VMNetwork:
    return dns.carried_on_link(observed, network, keeper.keeper_mac(network.pod))


def other_settings(observed: Namespace) -> tuple[str, ...]:
    """Bridge netfilter, where DNS is carried."""
    return BRIDGE_NETFILTER


def rules(network: VMNetwork) -> NetworkRules:
    """The guest may use every address of the pod interface."""
    bridged = bridged_rules(allow_list(network, network.pod.addresses), network.pod.name)
    local, mac = network.guest.local_resolvers, keeper.keeper_mac(network.pod)
    return bridged_dns(dns.client_of(network), local, network.bridge, mac, bridged)


def hops(network: VMNetwork) -> Hops:
    """See `binding.Binding`."""
    name, bridge = network.pod.name, network.bridge
    return Hops(
        pod_nic="has no address left",
        bridge_port=f"{name} is a port of {bridge} and learns no MAC",
        bridge=keeper.bridge_finding(network),
        guest_port=f"a port of {bridge} with the VM's MAC pinned",
    )


# --- there ------------------------------------------------------------------------------------------------------------


def device_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """Bridge and guest port, made and set but not yet up: nothing can pass."""
    steps = keeper.keeper_steps(observed, network) + guest_port_steps(observed, network)
    carries = any(local.substitute for local in network.guest.local_resolvers)
    return steps + (bridge_netfilter_steps(observed) if carries else [])


def connect_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """The address moves from the pod interface to the bridge, and the interface becomes a port."""
    bridge, nic = observed.link(network.bridge), require_nic(observed, network)
    steps = attach_port_steps(observed, network, kept_addresses(network))
    # IPv6 is off before the MAC changes: leaving a multicast group sends reports for a second, and none may carry the
    # new MAC.
    steps += keeper.remove_address_steps(observed, network, nic)
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
    return steps + dns.carry_steps(observed, network, network.bridge)


# --- and back ---------------------------------------------------------------------------------------------------------


def release_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """The pod interface leaves the bridge with its MAC, our devices go, and it gets back what it had."""
    steps: list[Step] = []
    bridge = observed.link(network.bridge)
    nic = own_nic(observed, network.pod)
    if nic and bridge and nic.master == bridge.index:
        steps.append(SetMaster(nic.name, ""))
    # The MAC first: an address that is added announces itself with the MAC of that moment.
    steps += link_steps(nic, network.pod.link)
    steps += port_release_steps(observed, network)
    return steps + restore_steps(observed, network.pod, keeper.release_steps(observed, network))
