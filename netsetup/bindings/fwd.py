"""The fwd binding: the VM has the pod's own addresses and MAC, and nftables hands its frames on. Pure.

    node ── eth0 (its own MAC, no address) ═ nftables ═ tap0 ── VM (the same MAC, the pod's IP)
                  k6t-eth0 (no port; keeps the address, answers nobody)

The pod interface needs no second MAC without a bridge, so this works on macvlan, too. What passes is said in
`netsetup.nft.forwarding`.
"""

from typing import Final

from netsetup.admission import pod_interface, require_frames
from netsetup.bindings import keeper
from netsetup.bindings.binding import Hops
from netsetup.bindings.devices import (
    OWN_ADDRESS_KINDS,
    address_steps,
    allow_list,
    bridge_name,
    device_release_steps,
    guest_mac,
    guest_port_steps,
    guest_port_up_steps,
    new_network,
    other_bindings,
    own_nic,
    refusal,
    require_bridge_name_free,
    require_nic,
    tap_element,
)
from netsetup.bindings.restore import link_steps, restore_steps
from netsetup.errors import InvalidRequest
from netsetup.model.kernel import Namespace
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.request import NetworkRequest
from netsetup.model.vm_network import VMNetwork
from netsetup.nft.forwarding import forwarded_rules
from netsetup.nft.ruleset import NetworkRules
from netsetup.steps import SetAllMulticast, SetMac, SetUp, Step

is_private: Final = False
reserved_mac: Final = ""

ANY_MAC_KINDS: Final = ("veth", "tun")
"""Kinds of pod interfaces that carry frames of any MAC; all others are taken to filter them, as macvlan does, and a
network card whose filter this is."""

interface_element = tap_element
merge_observed_changes = keeper.merge_observed_changes
other_settings = keeper.other_settings


def admit(observed: Namespace, request: NetworkRequest, resolver: Resolver) -> VMNetwork:
    """See `binding.Binding`. Raises UnsupportedInterface for one that takes in no frames for the VM's MAC."""
    pod = pod_interface(observed, request.pod_interface, resolver)
    kind = pod.link.kind
    if kind in OWN_ADDRESS_KINDS:
        raise refusal(
            pod, f"a {kind} device receives nothing for an address that is the VM's", other_bindings(pod, "fwd")
        )
    require_frames(observed, pod.link)
    if pod.link.master:
        raise InvalidRequest(f"{pod.name}: a port of a bridge of ours, and no record says that we made it one")
    mac, source = guest_mac(request, pod.link.mac)
    _require_own_mac(pod, mac)
    bridge = bridge_name(pod.name)
    require_bridge_name_free(observed, bridge, keeper.keeper_mac(pod))
    return new_network(observed, pod, request, keeper.guest_of(pod, mac, source), bridge=bridge)


def _require_own_mac(pod: PodInterface, mac: str) -> None:
    """Raises UnsupportedInterface for a VM whose frames the pod interface would not let through."""
    kind, own = pod.link.kind or "hardware", pod.link.mac
    if mac != own and kind not in ANY_MAC_KINDS:
        raise refusal(
            pod,
            f"a {kind} device lets no MAC through but its own {own}, and the VM's is {mac}",
            "give the VM that one (no macAddress, and the annotation virt-launcher.io/mac: pod)",
            other_bindings(pod, "fwd"),
        )


def path(network: VMNetwork) -> tuple[str, ...]:
    """There is nothing between the two."""
    return (network.pod.name, network.guest_port)


def rules(network: VMNetwork) -> NetworkRules:
    """The guest may use every address of the pod interface."""
    return forwarded_rules(allow_list(network, network.pod.addresses), network.pod.name)


def hops(network: VMNetwork) -> Hops:
    """See `binding.Binding`."""
    name, port = network.pod.name, network.guest_port
    return Hops(
        pod_nic="has no address left, but the MAC that the node knows",
        bridge=f"{keeper.keeps(network)}, and no port",
        table=f"hands frames on between {name} and {port}",
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
    steps += keeper.vacate_steps(observed, network, nic)
    if nic.mac != network.pod.link.mac:
        steps.append(SetMac(nic.name, network.pod.link.mac))
    if not nic.up:
        steps.append(SetUp(nic.name, True))
    return steps + guest_port_up_steps(observed, network)


# --- and back ---------------------------------------------------------------------------------------------------------


def release_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """Our devices go, and the pod interface gets back what it had; no frame is handed on any more."""
    steps = link_steps(own_nic(observed, network.pod), network.pod.link)
    steps += device_release_steps(observed, network, keeper.keeper_mac(network.pod))
    return steps + restore_steps(observed, network.pod)
