"""The fwd binding: the VM has the pod's own addresses and MAC, and nftables forwards its frames. Pure.

    node ── eth0 (its own MAC, no address) ═ nftables ═ tap0 ── VM (the same MAC, the pod's IP)
                  k6t-eth0 (no port; keeps the address, answers nobody)

The pod interface needs no second MAC without a bridge, so this works on macvlan, too. What passes is said in
`netsetup.nft.forwarding`.
"""

from typing import Final

from netsetup.admission import (
    a_device,
    pod_interface,
    receives_frames_for,
    require_frames,
    require_no_port,
    require_nothing_on_top,
)
from netsetup.bindings import dns, keeper
from netsetup.bindings.binding import Hops, UnsuitedInterface
from netsetup.bindings.devices import (
    address_steps,
    allow_list,
    bridge_name,
    guest_mac,
    guest_port_steps,
    guest_port_up_steps,
    new_network,
    port_release_steps,
    require_bridge_name_free,
    require_nic,
    tap_element,
)
from netsetup.bindings.restore import link_steps, restore_steps
from netsetup.model.identity import own_nic
from netsetup.model.kernel import Namespace
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.request import NetworkRequest
from netsetup.model.vm_network import VMNetwork
from netsetup.nft.dns import forwarded_dns
from netsetup.nft.forwarding import forwarded_rules
from netsetup.nft.ruleset import NetworkRules
from netsetup.steps import SetAllMulticast, SetMac, SetUp, Step

is_private: Final = False
reserved_mac: Final = ""

interface_element = tap_element
other_settings = keeper.other_settings


def admit(observed: Namespace, request: NetworkRequest, resolver: Resolver) -> VMNetwork:
    """See `binding.Binding`. Raises UnsuitedInterface for one that receives no frames for the VM's MAC."""
    pod = pod_interface(observed, request.pod_interface, resolver)
    require_frames(observed, pod.link)
    require_no_port(observed, pod)
    require_nothing_on_top(observed, pod.link)
    mac, source = guest_mac(request, pod.link.mac)
    if source == "derived" and not receives_frames_for(pod.link, mac):
        mac, source = pod.link.mac, "pod"  # no choice of the manifest's
    _require_receives(pod, mac)
    bridge = bridge_name(pod.name)
    require_bridge_name_free(observed, bridge, keeper.keeper_mac(pod))
    return _with_dns(observed, new_network(observed, pod, request, keeper.guest_of(pod, mac, source), bridge=bridge))


def merge_observed_changes(observed: Namespace, network: VMNetwork, request: NetworkRequest) -> VMNetwork:
    """See `keeper.merge_observed_changes`."""
    return _with_dns(observed, keeper.merge_observed_changes(observed, network, request))


def _with_dns(observed: Namespace, network: VMNetwork) -> VMNetwork:
    without6 = "the fwd binding hands no IPv6 to the pod"
    return dns.carried_on_link(observed, network, keeper.keeper_mac(network.pod), without6=without6)


def _require_receives(pod: PodInterface, mac: str) -> None:
    """Raises UnsuitedInterface for an interface that receives nothing for the VM."""
    own = pod.link.mac
    if receives_frames_for(pod.link, mac):
        return
    if not receives_frames_for(pod.link, own):
        raise UnsuitedInterface(pod.name, f"{a_device(pod.link)} receives nothing for an address that is the VM's")
    raise UnsuitedInterface(
        pod.name,
        f"{a_device(pod.link)} lets no MAC through but its own {own}, and the VM's is {mac}",
        "give the VM that one (no macAddress, and the annotation virt-launcher.io/mac: pod)",
    )


def path(network: VMNetwork) -> tuple[str, ...]:
    """There is nothing between the two."""
    return (network.pod.name, network.guest_port)


def rules(network: VMNetwork) -> NetworkRules:
    """The guest may use every address of the pod interface."""
    carried = forwarded_dns(dns.client_of(network), network.guest.local_resolvers)
    return forwarded_rules(allow_list(network, network.pod.addresses), network.pod.name, carried)


def hops(network: VMNetwork) -> Hops:
    """See `binding.Binding`."""
    name, port = network.pod.name, network.guest_port
    return Hops(
        pod_nic="has no address left, but the MAC that the node knows",
        bridge=f"{keeper.bridge_finding(network)}, and no port",
        table=f"forwards frames between {name} and {port}",
        guest_port="without an address",
    )


# --- there ------------------------------------------------------------------------------------------------------------


def device_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """The bridge that keeps the addresses, and the guest port, which stays down."""
    steps = keeper.keeper_steps(observed, network) + guest_port_steps(observed, network)
    # The groups that the pod has joined are left with its addresses, and the VM's own are not known here.
    nic = observed.link(network.pod.name)
    if nic and not nic.all_multicast:
        steps.append(SetAllMulticast(nic.name, True))
    return steps


def connect_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """The address moves from the pod interface to the bridge, and the guest port goes up."""
    nic = require_nic(observed, network)
    steps = address_steps(observed, network, keeper.kept_addresses(network))
    steps += keeper.remove_address_steps(observed, network, nic)
    if nic.mac != network.pod.link.mac:
        steps.append(SetMac(nic.name, network.pod.link.mac))
    if not nic.up:
        steps.append(SetUp(nic.name, True))
    steps += guest_port_up_steps(observed, network)
    return steps + dns.carry_steps(observed, network, network.guest_port)


# --- and back ---------------------------------------------------------------------------------------------------------


def release_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """Our devices go, and the pod interface gets back what it had; no frame is forwarded any more."""
    steps = link_steps(own_nic(observed, network.pod), network.pod.link)
    steps += dns.release_steps(observed, network.guest_port) if network.adopted else []
    steps += port_release_steps(observed, network)
    return steps + restore_steps(observed, network.pod, keeper.release_steps(observed, network))
