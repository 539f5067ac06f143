"""The masquerade binding: the VM has a network of its own behind the pod's address, and the pod is its router. Pure.

    node ── eth0 (untouched) ═ translation ═ k6t-eth0 (10.0.2.1, fd10:0:2::1) ── tap0 ── VM (10.0.2.2, fd10:0:2::2)

Devices are made as in the bridge binding; `netsetup.nft.nat` says what is translated. What is left are settings of
the kernel, and their order: when forwarding is switched on for any interface, the kernel drops the routes that it has
learnt from routers through all interfaces whose accept_ra is not 2 (Documentation/networking/ip-sysctl.rst). So that
comes first when setting up, and last when putting back.
"""

from typing import Final

from dhcp.lean.frozen import replace
from netsetup.admission import pod_interface, require_no_master
from netsetup.bindings import dns
from netsetup.bindings.binding import Hops, UnsuitedInterface
from netsetup.bindings.devices import (
    NO_ADDRESS,
    allow_list,
    attach_port_steps,
    bridge_name,
    bridge_netfilter_steps,
    bridge_path,
    bridge_steps,
    device_release_steps,
    guest_mac,
    guest_port_steps,
    has_ipv6,
    new_network,
    require_bridge_name_free,
    require_nic,
    tap_element,
)
from netsetup.bindings.reach import chosen_network, egress_of, kept_network, own_rules, policy_rules
from netsetup.model.identity import own_nic
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    IFA_F_NODAD,
    IFF_LOOPBACK,
    Address,
    Link,
    Namespace,
)
from netsetup.model.mac import local_mac
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.private_network import PrivateNetwork
from netsetup.model.request import NetworkRequest
from netsetup.model.settings import ACCEPT_RA, ARP_IGNORE, BRIDGE_NETFILTER, FORCE_FORWARDING, FORWARDING4, FORWARDING6
from netsetup.model.vm_network import IPV6_MIN_MTU, Guest, VMNetwork
from netsetup.nft.isolation import routed_rules
from netsetup.nft.nat import Side, Translation, nat_counters, nat_rules
from netsetup.nft.neighbour_discovery import link_local_of
from netsetup.nft.ruleset import NetworkRules
from netsetup.steps import AddRule, DeleteRule, Step, sysctl_steps

is_private: Final = True
reserved_mac: Final = "02:00:00:00:00:00"
"""The bridge's: the same in every pod, so that a guest that moves finds its router again."""

LINK_LOCAL: Final = link_local_of(reserved_mac)
"""What the kernel makes of that MAC: the router's address in advertisements, fe80::ff:fe00:0."""
PROTO_RA: Final = 9
"""Routes that a router advertisement has brought (RTPROT_RA)."""

CHANGED: Final = (
    ARP_IGNORE,
    FORWARDING4,
    FORCE_FORWARDING,
    FORWARDING6,
    ACCEPT_RA,
)
"""The settings of the pod interface that a set-up may change, in the order in which they are put back."""


interface_element = tap_element
path = bridge_path


def admit(observed: Namespace, request: NetworkRequest, resolver: Resolver) -> VMNetwork:
    """See `binding.Binding`.

    Raises UnsuitedInterface when the pod has no address, and InvalidRequest when the VM's network holds something that
    the pod reaches elsewhere: then the VM could not reach it.
    """
    pod = pod_interface(observed, request.pod_interface, resolver)
    require_no_master(observed, pod.link)  # a VRF has routing tables of its own
    bridge = bridge_name(pod.name)
    require_bridge_name_free(observed, bridge)
    if not any(pod.global_addresses(family) for family in (AF_INET, AF_INET6)):
        raise UnsuitedInterface(pod.name, NO_ADDRESS)
    private, warnings = chosen_network(observed, pod, request, bridge)
    mac, source = guest_mac(request, local_mac(f"guest {pod.link.mac}"), reserved_mac)
    guest = guest_of(pod, private, mac, source)
    network = new_network(observed, pod, request, guest, bridge=bridge, private=private)
    egress = egress_of(observed, network, request.others)
    return dns.carried_by_router(observed, replace(network, egress=egress, warnings=warnings))


def guest_of(pod: PodInterface, private: PrivateNetwork, mac: str, mac_source: str) -> Guest:
    """Of each family that the pod has, the second address of the VM's network; the first one is the pod's."""
    has4, has6 = pod.global_addresses(AF_INET), pod.global_addresses(AF_INET6)
    return Guest(
        mac=mac,
        mac_source=mac_source,
        address4=private.host(AF_INET, 2) if has4 else None,
        address6=private.host(AF_INET6, 2) if has6 else None,
        router4=private.host(AF_INET, 1) if has4 else None,
        router6=private.host(AF_INET6, 1) if has6 else None,
        router6_link_local=LINK_LOCAL if has6 else "",
        router_mac=reserved_mac,
    )


def merge_observed_changes(observed: Namespace, network: VMNetwork, request: NetworkRequest) -> VMNetwork:
    """The interface is in use, and what it has now is what holds; without any address that is what it had, so that the
    VM keeps router and lease until it has one again. Raises InvalidRequest for another VM network."""
    private, warnings = kept_network(observed, network, request)
    nic = observed.link(network.pod.name)
    pod = network.pod
    if nic and any(address.is_global for address in observed.addresses_of(nic.index)):
        known = {a.identity: a for a in pod.addresses}
        pod = replace(
            pod,
            addresses=tuple(known.get(a.identity, a).unless_renewed(a) for a in observed.addresses_of(nic.index)),
            routes=observed.routes_of(nic.index),
            neighbours=observed.neighbours_of(nic.index),
        )
    guest = guest_of(pod, private, network.guest.mac, network.guest.mac_source)
    egress = egress_of(observed, network, request.others)
    merged = replace(network, pod=pod, private=private, guest=guest, egress=egress, warnings=warnings)
    return dns.carried_by_router(observed, merged)


def _private(network: VMNetwork) -> PrivateNetwork:
    assert network.private is not None, "admit() gives every masqueraded network one"
    return network.private


def rules(network: VMNetwork) -> NetworkRules:
    """Isolation on the bridge, and the translation between bridge and pod interface."""
    own = tuple(a for a in (network.guest.address4, network.guest.address6) if a)
    router = network.guest.router4.address if network.guest.router4 else ""
    isolation, translation = routed_rules(allow_list(network, own), router), translation_of(network)
    return replace(isolation, inet=nat_rules(translation), counters=(*isolation.counters, *nat_counters(translation)))


def translation_of(network: VMNetwork) -> Translation:
    """What the kernel translates for this network."""
    private, guest, before = _private(network), network.guest, dict(network.pod.sysctls)
    families = (
        (AF_INET, guest.router4, guest.address4, (FORWARDING4,)),
        (AF_INET6, guest.router6, guest.address6, (FORCE_FORWARDING, FORWARDING6)),
    )
    return Translation(
        pod_interface=network.pod.name,
        bridge=network.bridge,
        sides=tuple(
            Side(
                family=family,
                network=router.network,
                gateway=router.address,
                guest=address.address,
                pod_addresses=tuple(a.address for a in network.pod.global_addresses(family)),
                forwarded_before=any(before.get(s.format(network.pod.name)) == "1" for s in settings),
            )
            for family, router, address, settings in families
            if router and address
        ),
        ports=private.ports,
        kept_ports=private.kept_ports,
        sidecar=private.sidecar,
        reaches_pod=private.reaches_pod,
        hides_clients=private.hides_clients,
        resolvers=guest.local_resolvers,
        egress=tuple((one.name, one.forwarded) for one in network.egress),
    )


def hops(network: VMNetwork) -> Hops:
    """See `binding.Binding`."""
    name, bridge, guest = network.pod.name, network.bridge, network.guest
    outer = [network.pod.global_addresses(AF_INET), (network.pod.main_address(AF_INET6),)]
    kept = ", ".join(found[0].address for found in outer if found and found[0])
    own = ", ".join(router.address for router in (guest.router4, guest.router6) if router)
    return Hops(
        pod_nic=f"keeps {kept or 'no address'}",
        bridge_port=f"{name} is none: the pod routes between it and {bridge}",
        bridge=f"has {own or 'no address'}",
        guest_port=f"a port of {bridge} with the VM's MAC pinned",
    )


# --- there ------------------------------------------------------------------------------------------------------------


def device_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """Bridge and guest port, made and set but not yet up: nothing can pass."""
    steps = bridge_steps(observed, network, reserved_mac)
    # What the guest sends to itself by the pod's address is translated when it has come in, not on the bridge, which
    # sends nothing back to where it came from.
    steps += bridge_netfilter_steps(observed)
    if network.guest.router4:
        # The guest answers in-pod clients, who send from 127.0.0.1; the raw chain keeps it from the loopback address.
        steps += sysctl_steps(observed, f"net/ipv4/conf/{network.bridge}/route_localnet", "1")
    if network.mtu >= IPV6_MIN_MTU and has_ipv6(observed, network.pod.name):
        own = f"net/ipv6/conf/{network.bridge}"
        if network.guest.router6:
            steps += sysctl_steps(observed, f"{own}/accept_ra", "0")
            # Nobody else is on this link: the router's addresses are usable from the first moment.
            steps += sysctl_steps(observed, f"{own}/accept_dad", "0")
        steps += sysctl_steps(observed, f"{own}/disable_ipv6", "0" if network.guest.router6 else "1")
    return steps + guest_port_steps(observed, network)


def connect_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """The bridge goes up with its addresses, and the pod forwards between it and the pod interface."""
    require_nic(observed, network)
    addresses = []
    if network.guest.router4:
        gateway = network.guest.router4
        addresses.append(Address(AF_INET, gateway.address, gateway.prefixlen, label=network.bridge))
    router6 = network.guest.router6 if network.serves6 else None  # a bridge of a smaller MTU has no IPv6
    if router6:
        gateway = router6
        addresses.append(Address(AF_INET6, gateway.address, gateway.prefixlen, flags=IFA_F_NODAD))
    steps = attach_port_steps(observed, network, addresses)
    rules, private = policy_rules(observed, network), _private(network)
    steps += [AddRule(rule) for rule in rules if rule not in observed.rules]
    steps += [DeleteRule(rule) for rule in own_rules(observed, private) if rule not in rules]
    if network.guest.router4:
        steps += [s for name in _forwarding(network) for s in sysctl_steps(observed, FORWARDING4.format(name), "1")]
    if router6:
        steps += _forward6_steps(observed, network)
    return steps


def _forward6_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """The kernel looks at the setting of the interface a packet comes in by, or of all."""
    steps = dns.loopback6_steps(observed, network.bridge)  # for answers to ::1, translated back
    ours = (network.bridge, network.guest_port)
    for link in observed.links:
        if link.name not in ours and _learns_routes(observed, link):
            steps += sysctl_steps(observed, ACCEPT_RA.format(link.name), "2")
    if observed.sysctl(FORCE_FORWARDING.format(network.pod.name)) is None:
        return steps + sysctl_steps(observed, FORWARDING6.format("all"), "1")
    # Makes it a router to its neighbours (RFC 4861 §6.2.7: the flag in advertisements), not to the kernel.
    steps += sysctl_steps(observed, FORWARDING6.format(network.bridge), "1")
    for name in _forwarding(network):
        if name != network.pod.name and observed.link(name) and observed.sysctl(FORCE_FORWARDING.format(name)) is None:
            continue  # without IPv6, because its MTU is too small
        steps += sysctl_steps(observed, FORCE_FORWARDING.format(name), "1")
    return steps


def _forwarding(network: VMNetwork) -> tuple[str, ...]:
    """The interfaces that packets from and to the VM come in by: the kernel looks at the setting of that."""
    return network.bridge, network.pod.name, *(one.name for one in network.egress)


def _learns_routes(observed: Namespace, link: Link) -> bool:
    if link.flags & IFF_LOOPBACK or observed.sysctl(f"net/ipv6/conf/{link.name}/disable_ipv6") != "0":
        return False
    if observed.sysctl(ACCEPT_RA.format(link.name)) == "1":
        return observed.sysctl(FORWARDING6.format(link.name)) == "0"
    return any(route.proto == PROTO_RA for route in observed.routes_of(link.index))


# --- and back ---------------------------------------------------------------------------------------------------------


def release_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """Our devices go, and the pod interface has its settings back; the rest of it was never ours to change."""
    steps = device_release_steps(observed, network, reserved_mac)
    steps += [DeleteRule(rule) for rule in own_rules(observed, _private(network))]
    if own_nic(observed, network.pod) is None:
        return steps
    before = dict(network.pod.sysctls)
    for key in (pattern.format(network.pod.name) for pattern in CHANGED):
        if key in before and observed.sysctl(key) is not None:  # IPv6 goes with a smaller MTU of the CNI's
            steps += sysctl_steps(observed, key, before[key])
    return steps


def other_settings(observed: Namespace) -> tuple[str, ...]:
    """Forwarding, router advertisements and bridge netfilter."""
    names = [link.name for link in observed.links if not link.flags & IFF_LOOPBACK]
    keys = [*BRIDGE_NETFILTER]
    keys += [pattern.format(name) for name in names for pattern in (FORWARDING4, FORCE_FORWARDING, ACCEPT_RA)]
    if observed.sysctl(FORWARDING6.format("all")) is not None:  # without a setting of each interface, see `discover`
        keys += [FORWARDING6.format(name) for name in ("all", "default", "lo", *names)]
    return tuple(keys)
