"""A binding in a distribution of its own: the VM has the pod's addresses, and nothing in the pod keeps them.

node ── eth0 (no address) ═ nftables ═ tap0 ── VM (the pod's MAC and addresses)
"""

import dataclasses

from netsetup.admission import pod_interface, receives_frames_for, require_frames
from netsetup.bindings.binding import Hops, UnsuitedInterface
from netsetup.bindings.devices import (
    allow_list,
    device_release_steps,
    guest_mac,
    guest_port_steps,
    guest_port_up_steps,
    new_network,
    require_nic,
    tap_element,
)
from netsetup.bindings.keeper import guest_of, remove_address_steps
from netsetup.bindings.restore import changes_since, restore_steps
from netsetup.model.kernel import Namespace
from netsetup.model.pod_interface import Resolver
from netsetup.model.request import NetworkRequest
from netsetup.model.vm_network import VMNetwork
from netsetup.nft.allow_list import AllowList
from netsetup.nft.isolation import isolation_chains, isolation_counters, served_matches
from netsetup.nft.ruleset import NETDEV, NetworkRules, chain
from netsetup.steps import Step

is_private = False
reserved_mac = ""

interface_element = tap_element


def admit(observed: Namespace, request: NetworkRequest, resolver: Resolver) -> VMNetwork:
    pod = pod_interface(observed, request.pod_interface, resolver)
    require_frames(observed, pod.link)
    mac, source = guest_mac(request, pod.link.mac)
    if not receives_frames_for(pod.link, mac):
        raise UnsuitedInterface(pod.name, f"receives no frames for {mac}")
    return new_network(observed, pod, request, guest_of(pod, mac, source))


def merge_observed_changes(observed: Namespace, network: VMNetwork, request: NetworkRequest) -> VMNetwork:
    return dataclasses.replace(network, pod=changes_since(observed, network.pod))


def device_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    return guest_port_steps(observed, network)


def connect_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    nic = require_nic(observed, network)
    return remove_address_steps(observed, network, nic) + guest_port_up_steps(observed, network)


def release_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    return device_release_steps(observed, network) + restore_steps(observed, network.pod)


def other_settings(observed: Namespace) -> tuple[str, ...]:
    return ()


def rules(network: VMNetwork) -> NetworkRules:
    allowed = allow_list(network, network.pod.addresses)
    port, nic = network.guest_port, network.pod.name
    isolation = [f"jump {port}"] if network.isolated else []
    lines = isolation_chains(allowed)
    for source, target, rules in ((port, nic, isolation), (nic, port, [])):
        hook = f'filter hook ingress device "{source}" priority 0'
        lines += chain(f"from-{source}", [*_served(allowed, source == port), *rules, f'fwd to "{target}"'], hook)
    return NetworkRules(netdev=tuple(lines), counters=isolation_counters(allowed, NETDEV))


def _served(allowed: AllowList, from_guest: bool) -> list[str]:
    return [f"{match} drop" for match in served_matches(allowed, from_guest=from_guest)]


def path(network: VMNetwork) -> tuple[str, ...]:
    return (network.pod.name, network.guest_port)


def hops(network: VMNetwork) -> Hops:
    return Hops(pod_nic="has no address left", table="forwards all frames", guest_port="without an address")
