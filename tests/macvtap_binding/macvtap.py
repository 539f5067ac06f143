"""A binding in a distribution of its own: the VM is a host on the pod interface's network, by a macvtap.

    network ── net1 ── VM            the pod interface is a macvtap, as its CNI made it
    network ── eth0 ── tap0 ── VM    a macvtap made on the pod interface; beside it, where that is a macvlan itself

The network serves the VM its address: what a packet socket sends by a macvtap leaves for the network and never gets to
the VM, so our DHCP server could not. QEMU opens /dev/tapN, N being the macvtap's ifindex: the container needs that
device (a device plug-in gives it, or privileges).
"""

from dhcp.lean.frozen import replace
from netsetup.admission import (
    a_device,
    pod_interface,
    require_frames,
    require_no_port,
    require_nothing_on_top,
)
from netsetup.bindings.binding import Hops, UnsuitedInterface
from netsetup.bindings.devices import (
    allow_list,
    guest_mac,
    guest_port_up_steps,
    has_ipv6,
    new_network,
    port_release_steps,
    require_nic,
    tap_element,
)
from netsetup.bindings.keeper import remove_address_steps
from netsetup.bindings.restore import changes_since, link_steps, restore_steps
from netsetup.errors import DeviceConflict
from netsetup.model.identity import MACVTAP, derived_mac, mark_of, own_nic
from netsetup.model.kernel import IFAPROT_KERNEL_RA, Link, Namespace
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.request import NetworkRequest
from netsetup.model.vm_network import IPV6_MIN_MTU, Guest, VMNetwork
from netsetup.nft.isolation import INWARD, isolation_chains, isolation_counters
from netsetup.nft.ruleset import NETDEV, NetworkRules, chain
from netsetup.steps import CreateMacvtap, DeleteLink, SetAlias, SetMac, SetMtu, Step, sysctl_steps

is_private = False
reserved_mac = ""

interface_element = tap_element

UNSUITED = ("ipvlan", "ipvtap", "tun", "bridge")
"""Kinds on which no macvtap can be, or that have no frames of the network for one."""


def admit(observed: Namespace, request: NetworkRequest, resolver: Resolver) -> VMNetwork:
    pod = pod_interface(observed, request.pod_interface, resolver)
    require_frames(observed, pod.link)
    require_no_port(observed, pod)
    require_nothing_on_top(observed, pod.link)
    mac, source = guest_mac(request, pod.link.mac)
    if pod.link.kind == MACVTAP:
        _require_no_address(pod)
        network = new_network(observed, pod, replace(request, guest_port=""), Guest(mac, source))
        return replace(network, guest_port=pod.name)
    if pod.link.kind in UNSUITED:
        raise UnsuitedInterface(pod.name, f"{a_device(pod.link)} has no macvtap")
    if mac == pod.link.mac:  # which stays the pod's
        mac, source = derived_mac("macvtap", pod), "derived"
    network = new_network(observed, pod, request, Guest(mac, source))
    _require_free(observed.link(network.guest_port), network)
    return network


def _require_no_address(pod: PodInterface) -> None:
    """Raises UnsuitedInterface for one that nobody would hand to the VM; of a router's prefix it makes its own."""
    given = [a.cidr for a in pod.addresses if a.is_global and a.proto != IFAPROT_KERNEL_RA]
    if given:
        raise UnsuitedInterface(pod.name, f"has the address {given[0]}, which the VM would not get by a macvtap")


def _require_free(port: Link | None, network: VMNetwork) -> None:
    if port and not _is_ours(port, network):
        raise DeviceConflict(f"{port.name}: exists, and is not ours; remove it, or name another guest port")


def _is_ours(port: Link, network: VMNetwork) -> bool:
    """Known by its alias; between the request that makes it and the one that sets the alias, by its MAC."""
    return port.kind == MACVTAP and (
        port.alias == mark_of(network.name) or (not port.alias and port.mac == network.mac)
    )


def _is_pods(network: VMNetwork) -> bool:
    return network.guest_port == network.pod.name


def merge_observed_changes(observed: Namespace, network: VMNetwork, request: NetworkRequest) -> VMNetwork:
    return replace(network, pod=changes_since(observed, network.pod))


def device_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    if _is_pods(network):
        return []
    port, name = observed.link(network.guest_port), network.guest_port
    _require_free(port, network)
    steps: list[Step] = []
    if port is None:
        steps.append(CreateMacvtap(name, network.pod.name, network.mac, network.mtu))
    elif port.mtu != network.mtu:
        steps.append(SetMtu(name, network.mtu))
    if port is None or not port.alias:
        steps.append(SetAlias(name, mark_of(network.name)))
    if network.mtu >= IPV6_MIN_MTU and has_ipv6(observed, network.pod.name):
        steps += sysctl_steps(observed, f"net/ipv6/conf/{name}/disable_ipv6", "1")
    return steps


def connect_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    nic = require_nic(observed, network)
    steps = remove_address_steps(observed, network, nic) if _is_pods(network) else []
    port = observed.link(network.guest_port)
    if port and port.mac != network.mac:
        steps.append(SetMac(port.name, network.mac))
    return steps + guest_port_up_steps(observed, network)


def release_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    if _is_pods(network):
        return link_steps(own_nic(observed, network.pod), network.pod.link) + restore_steps(observed, network.pod)
    port = observed.link(network.guest_port)
    if port and not port.alias and _is_ours(port, network):
        return [DeleteLink(port.name)]
    return port_release_steps(observed, network)


def other_settings(observed: Namespace) -> tuple[str, ...]:
    return ()


def rules(network: VMNetwork) -> NetworkRules:
    """What the VM sends leaves by the macvtap, and what it receives comes in there."""
    if not network.isolated:
        return NetworkRules()
    port = network.guest_port
    allowed = allow_list(network, ())
    lines = isolation_chains(allowed)
    for name, hook, target in (("from", "egress", port), ("to", "ingress", f"{port}-{INWARD}")):
        lines += chain(f"{name}-{port}", [f"jump {target}"], f'filter hook {hook} device "{port}" priority 0')
    return NetworkRules(netdev=tuple(lines), counters=isolation_counters(allowed, NETDEV))


def path(network: VMNetwork) -> tuple[str, ...]:
    return (network.pod.name,) if _is_pods(network) else (network.pod.name, network.guest_port)


def hops(network: VMNetwork) -> Hops:
    keeps = "is the VM's own" if _is_pods(network) else "keeps what is the pod's"
    return Hops(pod_nic=keeps, guest_port="a macvtap, which QEMU opens by its number in /dev")
