"""What bindings have in common: bridge, guest port and the network made of them. Pure.

What is already as it should be takes no step, so the plan of a pod that is set up, or put back, is empty, and a plan
made half-way leads on from there.
"""

from collections.abc import Iterator
from typing import Final

from dhcp.lean.frozen import replace
from netsetup.admission import a_device, devices_on_top, is_ethernet, master_of, with_article
from netsetup.bindings.binding import InterfaceElement
from netsetup.bindings.restore import restore_steps, unfinished_steps
from netsetup.errors import DeviceConflict, InvalidRequest
from netsetup.model.identity import GUEST_PORTS, TAP, is_marked, mark_of
from netsetup.model.kernel import AF_INET, SCOPE_LINK, Address, Link, Namespace
from netsetup.model.mac import local_mac, parse_guest_mac
from netsetup.model.pod_interface import PodInterface
from netsetup.model.private_network import PrivateNetwork
from netsetup.model.request import NetworkRequest
from netsetup.model.settings import BRIDGE_NETFILTER
from netsetup.model.vm_network import IPV6_MIN_MTU, Guest, VMNetwork
from netsetup.nft.allow_list import AllowList
from netsetup.nft.neighbour_discovery import SUBSTITUTE_ROUTER, link_local_of
from netsetup.steps import (
    AddAddress,
    CreateBridge,
    CreateTap,
    DeleteAddress,
    DeleteLink,
    PinMac,
    SetAlias,
    SetLearning,
    SetMac,
    SetMaster,
    SetMtu,
    SetUp,
    Step,
    sysctl_steps,
)

IFNAME_MAX: Final = 15
NO_ADDRESS: Final = "has no address to masquerade behind"
NO_GUEST_PORT_KINDS: Final = ("bridge", "vrf", "bond", "team", "macvlan", "macvtap", "ipvlan", "ipvtap")
"""Kinds of devices whose frames go elsewhere than to a port's bridge, or that the kernel takes as no port."""


def new_network(
    observed: Namespace,
    pod: PodInterface,
    request: NetworkRequest,
    guest: Guest,
    *,
    bridge: str = "",
    private: PrivateNetwork | None = None,
) -> VMNetwork:
    """The network to be built for a request, with what was there before.

    Raises DeviceConflict when the guest port is in use, InvalidRequest for an MTU larger than the link's.
    """
    adopted = adopt(observed, request, bridge)
    prefixes = tuple(f"net/ipv{version}/conf/{request.guest_port}/" for version in (4, 6))
    return VMNetwork(
        name=request.name,
        binding=request.binding,
        pod=pod,
        guest_port=request.guest_port,
        guest=guest,
        mtu=require_mtu(request.mtu, pod),
        bridge=bridge,
        queues=request.queues,
        owner=request.owner,
        isolated=request.isolated,
        private=private,
        options=request.options,
        adopted=adopted,
        adopted_sysctls=tuple((k, v) for k, v in observed.sysctls if k.startswith(prefixes)) if adopted else (),
        adopted_state=_state_of(observed, adopted) if adopted else None,
    )


def _state_of(observed: Namespace, link: Link) -> PodInterface:
    """What an adopted device has of its own; its settings are recorded apart."""
    return PodInterface(
        link=link,
        addresses=observed.addresses_of(link.index),
        routes=observed.routes_of(link.index),
        neighbours=observed.neighbours_of(link.index),
    )


def guest_mac(request: NetworkRequest, pod_mac: str, reserved: str = "") -> tuple[str, str]:
    """The MAC of the VM, and where it comes from: `spec`, `derived` or `pod`.

    Raises InvalidRequest for one that the network or the tap could not use.
    """
    if request.kept_mac:
        return request.kept_mac, "spec"
    if request.mac:
        try:
            return parse_guest_mac(request.mac, reserved), "spec"
        except ValueError as error:
            raise InvalidRequest(f"network {request.name}: its MAC {error}") from None
    if request.stable_id:
        return local_mac(f"guest {request.stable_id}"), "derived"
    return pod_mac, "pod"


def bridge_path(network: VMNetwork) -> tuple[str, ...]:
    """The devices that lie between network and guest, with a bridge among them."""
    return (network.pod.name, network.bridge, network.guest_port)


def bridge_name(pod_interface: str) -> str:
    """``k6t-eth0``, as KubeVirt names it, and of its hashed names (``pod16477688c0e``) with the hash alone.

    Another long name is replaced by its own hash, to stay within 15 characters.
    """
    name = f"k6t-{pod_interface}"
    if len(name) <= IFNAME_MAX:
        return name
    scheme, suffix = pod_interface[:3], pod_interface[3:]
    if scheme == "pod" and len(suffix) == 11 and not suffix.strip("0123456789abcdef"):
        return f"k6t-{suffix}"
    import hashlib

    return f"k6t-{hashlib.sha256(pod_interface.encode()).hexdigest()[:11]}"


def adopt(observed: Namespace, wanted: NetworkRequest | VMNetwork, bridge: str = "") -> Link | None:
    """The device that stands under the guest port's name, if the plan may use it; None for one of our own.

    Raises DeviceConflict for one that somebody else is using (it has an address, is a port of another bridge than
    `bridge`, or has another device on top), or that could not be opened for the VM.
    """
    name = wanted.guest_port
    link = observed.link(name)
    if link is None or link.alias == mark_of(wanted.name):
        return None
    if fault := _unfit_for_a_guest(link, wanted):
        raise DeviceConflict(f"{name}: {fault}; remove it, or name another guest port (--guest-port)")
    addresses = [a for a in observed.addresses_of(link.index) if a.scope != SCOPE_LINK]
    if addresses:
        raise DeviceConflict(
            f"{name}: in use, it has the address {addresses[0].cidr}; "
            f"take that away (`ip address flush dev {name}`), or name another guest port (--guest-port)"
        )
    master = master_of(observed, link)
    if link.master and (master is None or master.name != bridge):
        raise DeviceConflict(
            f"{name}: in use, it is a port of {master.name if master else link.master}; "
            f"release it (`ip link set {name} nomaster`), or name another guest port (--guest-port)"
        )
    for upper in devices_on_top(observed, link):
        raise DeviceConflict(
            f"{name}: in use, {upper.name}, {a_device(upper)}, is on top of it; "
            f"remove that (`ip link delete {upper.name}`), or name another guest port (--guest-port)"
        )
    return link


def _unfit_for_a_guest(link: Link, wanted: NetworkRequest | VMNetwork) -> str:
    """Why no VM could be attached to a device, as tun(4) and the kernel's bridge have it; empty when one could."""
    if link.kind in NO_GUEST_PORT_KINDS or not is_ethernet(link):
        return f"{a_device(link) if link.kind != TAP else 'a tun device without frames'}, no guest port"
    if link.multi_queue is not None and link.multi_queue != (wanted.queues > 1):
        return (
            f"a tap device with {'several queues' if link.multi_queue else 'one queue'}, and the VM has {wanted.queues}"
        )
    if wanted.owner and link.tap_owner not in (None, wanted.owner.uid):
        return f"a tap device of user {link.tap_owner}, and the VM is user {wanted.owner.uid}'s"
    return ""


def is_our_bridge(link: Link, mac: str) -> bool:
    """Known by its alias; between the request that makes it and the one that sets the alias, by the `mac` it gets."""
    return link.kind == "bridge" and (is_marked(link) or (not link.alias and link.mac == mac))


def require_bridge_name_free(observed: Namespace, name: str, mac: str = "") -> None:
    """Raises DeviceConflict when a device that is not our bridge has its name."""
    link = observed.link(name)
    if link and not is_our_bridge(link, mac):
        raise DeviceConflict(
            f"{name}: {with_article(link.kind or 'device')} of that name exists and is not ours; "
            f"remove it (`ip link delete {name}`) or rename it"
        )


def require_mtu(mtu: int, pod: PodInterface) -> int:
    """The guest's MTU. Raises InvalidRequest for one larger than the link carries."""
    if mtu > pod.link.mtu:
        raise InvalidRequest(f"{pod.name}: MTU {mtu} is larger than the interface's {pod.link.mtu}")
    return min(mtu, pod.mtu) if mtu else pod.mtu


def bridge_steps(observed: Namespace, network: VMNetwork, mac: str) -> list[Step]:
    """The bridge, made and marked as ours. Raises DeviceConflict when something else has its name."""
    require_bridge_name_free(observed, network.bridge, mac)
    bridge = observed.link(network.bridge)
    steps: list[Step] = [CreateBridge(network.bridge, mac, network.mtu)] if bridge is None else []
    if bridge and bridge.mac != mac:
        steps.append(SetMac(network.bridge, mac))  # rules name it, and it is made of addresses that the CNI may change
    if bridge and bridge.mtu != network.mtu:
        steps.append(SetMtu(network.bridge, network.mtu))
    if bridge is None or not bridge.alias:
        steps.append(SetAlias(network.bridge, mark_of(network.name)))
    return steps


def guest_port_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """The guest port, made if it has to be, and set. Raises DeviceConflict when somebody else is using it."""
    steps: list[Step] = []
    port = observed.link(network.guest_port)
    adopt(observed, network, network.bridge)
    if port is None:
        steps.append(CreateTap(network.guest_port, mark_of(network.name), network.queues, network.owner))
    if port is None or port.mtu != network.mtu:
        steps.append(SetMtu(network.guest_port, network.mtu))
    if network.mtu >= IPV6_MIN_MTU and has_ipv6(observed, network.pod.name):
        steps += sysctl_steps(observed, f"net/ipv6/conf/{network.guest_port}/disable_ipv6", "1")
        if port and network.adopted_state and port.index == network.adopted_state.link.index:
            before = replace(network.adopted_state, sysctls=network.adopted_sysctls)
            steps += unfinished_steps(observed, port, before)
    return steps


def attach_port_steps(observed: Namespace, network: VMNetwork, addresses: list[Address]) -> list[Step]:
    """The bridge goes up with its `addresses`, and the guest port becomes a port of it."""
    steps = address_steps(observed, network, addresses)
    bridge, port = observed.link(network.bridge), observed.link(network.guest_port)
    joins = port is None or bridge is None or port.master != bridge.index
    if joins:
        steps.append(SetMaster(network.guest_port, network.bridge))
    if joins or (port and port.learning):
        # The kernel would learn a MAC from each frame before our rules drop it, and a guest can send any number.
        steps.append(SetLearning(network.guest_port, False))
    if port is None or (port.index, network.mac) not in observed.forwarding_entries:
        steps.append(PinMac(network.guest_port, network.mac))
    return steps + guest_port_up_steps(observed, network)


def address_steps(observed: Namespace, network: VMNetwork, addresses: list[Address]) -> list[Step]:
    """The bridge goes up with these addresses and no others."""
    steps: list[Step] = []
    bridge = observed.link(network.bridge)
    if bridge is None or not bridge.up:
        steps.append(SetUp(network.bridge, True))
    present = observed.addresses_of(bridge.index) if bridge else ()
    if network.mtu < IPV6_MIN_MTU:
        present = tuple(a for a in present if a.family == AF_INET)  # the kernel takes those of IPv6 with the MTU
    there, wanted = {a.key for a in present}, {a.key for a in addresses}
    # What is there beyond them is of an interface that the CNI has made anew since.
    steps += [DeleteAddress(network.bridge, a) for a in present if a.scope != SCOPE_LINK and a.key not in wanted]
    return steps + [AddAddress(network.bridge, a) for a in addresses if a.key not in there]


def guest_port_up_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """The guest port goes up: from now on the VM's frames pass."""
    port = observed.link(network.guest_port)
    return [] if port and port.up else [SetUp(network.guest_port, True)]


def require_nic(observed: Namespace, network: VMNetwork) -> Link:
    """The pod interface. Raises InvalidRequest when it has gone since it was recorded, as after a CNI's DEL, or has
    lost every address where the VM is behind those."""
    nic = observed.link(network.pod.name)
    if nic is None:
        raise InvalidRequest(f"{network.pod.name}: the interface has left this network namespace")
    if network.guest.is_routed and not any(a.is_global for a in observed.addresses_of(nic.index)):
        raise InvalidRequest(f"{network.pod.name}: {NO_ADDRESS}")
    return nic


def serves(observed: Namespace, network: VMNetwork) -> bool:
    """Whether the pod interface is as `require_nic` requires it."""
    try:
        require_nic(observed, network)
    except InvalidRequest:
        return False
    return True


def device_release_steps(observed: Namespace, network: VMNetwork, mac: str = "") -> list[Step]:
    """Our devices go, the bridge with this `mac` among them if there is one; an adopted guest port is as it was."""
    return port_release_steps(observed, network) + bridge_release_steps(observed, network, mac)


def bridge_release_steps(observed: Namespace, network: VMNetwork, mac: str) -> list[Step]:
    """The bridge goes, if there is one with this `mac`."""
    bridge = observed.link(network.bridge)
    return [DeleteLink(bridge.name)] if bridge and is_our_bridge(bridge, mac) else []


def port_release_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """The guest port goes; an adopted one is as it was."""
    steps: list[Step] = []
    bridge, port = observed.link(network.bridge), observed.link(network.guest_port)
    if port and network.adopted and port.index == network.adopted.index:
        if bridge and port.master == bridge.index:
            steps.append(SetMaster(port.name, ""))
        if port.mtu != network.adopted.mtu:
            steps.append(SetMtu(port.name, network.adopted.mtu))
        if port.up != network.adopted.up:
            steps.append(SetUp(port.name, network.adopted.up))
        if network.adopted_state:
            steps += restore_steps(observed, replace(network.adopted_state, sysctls=network.adopted_sysctls))
        else:
            steps += [s for key, value in network.adopted_sysctls for s in sysctl_steps(observed, key, value)]
    elif port and port.kind in GUEST_PORTS and port.alias == mark_of(network.name):
        steps.append(DeleteLink(port.name))
    return steps


def has_ipv6(observed: Namespace, name: str) -> bool:
    """Whether the kernel has IPv6 for an interface, be it switched on or off."""
    return observed.sysctl(f"net/ipv6/conf/{name}/disable_ipv6") is not None


def tap_element(network: VMNetwork) -> InterfaceElement:
    """libvirt opens the guest port, and neither makes, configures nor removes it."""
    return InterfaceElement("ethernet", (("target", (("dev", network.guest_port), ("managed", "no"))),))


def bridge_netfilter_steps(observed: Namespace) -> list[Step]:
    """Netfilter's hooks of IP see no frame that a bridge has not handed to the pod itself.

    On, in every new namespace, where br_netfilter is loaded.
    """
    return [step for key in BRIDGE_NETFILTER if observed.sysctl(key) for step in sysctl_steps(observed, key, "0")]


def allow_list(network: VMNetwork, addresses: tuple[Address, ...]) -> AllowList:
    """What may pass a network's guest port, whose guest has these `addresses`."""
    return AllowList(
        guest_port=network.guest_port,
        mac=network.mac,
        isolated=network.isolated,
        serves4=network.guest.address4 is not None,
        serves6=network.serves6,
        addresses4=tuple(a.address for a in addresses if a.is_global and ":" not in a.address),
        addresses6=tuple(a.address for a in addresses if a.is_global and ":" in a.address),
        others6=tuple(dict.fromkeys(_others6(network))),
        further4=tuple(one for one in network.further if "." in one),
        further6=tuple(one for one in network.further if "/" in one and ":" in one),
        further_macs=tuple(one for one in network.further if "/" not in one),
    )


def _others6(network: VMNetwork) -> Iterator[str]:
    """Link-local addresses that are a router's or a neighbour's, as far as they are recorded."""
    guest, pod = network.guest, network.pod
    known = [SUBSTITUTE_ROUTER, guest.router6_link_local]
    known += [route.gateway for route in pod.routes] + [neighbour.address for neighbour in pod.neighbours]
    yield from (address for address in known if address[:3] in ("fe8", "fe9", "fea", "feb"))
    macs = (guest.router_mac, network.gateway6_mac, *(neighbour.mac for neighbour in pod.neighbours))
    yield from (link_local_of(mac) for mac in macs if mac)
