"""The bridge binding, pure: which devices it needs, how a pod gets there and how it gets back.

    node ── eth0 (another MAC, no address) ── k6t-eth0 (keeps the address, is deaf) ── tap0 ── VM (the pod's MAC and IP)

What is already as it should be takes no step, so the plan of a pod that is set up, or put back, is empty, and a plan
made half-way leads on from there.
"""

import binascii

from netsetup.errors import DeviceConflict, InvalidRequest
from netsetup.model.kernel import AF_INET, AF_INET6, ALIAS, SCOPE_HOST, SCOPE_LINK, Address, Link, Namespace
from netsetup.model.pod_interface import PodInterface
from netsetup.model.vm_network import IPV6_MIN_MTU, VMNetwork
from netsetup.steps import (
    AddAddress,
    CreateBridge,
    CreateTap,
    DeleteAddress,
    DeleteLink,
    DeleteRoute,
    PinMac,
    SetAddrGenMode,
    SetAlias,
    SetLearning,
    SetMac,
    SetMaster,
    SetMtu,
    SetUp,
    Step,
    addr_gen_mode_steps,
    sysctl_steps,
)

ADDR_GEN_MODE_NONE = 1
IFA_F_TEMPORARY = 0x01
IFA_F_NODAD = 0x02
IFA_F_NOPREFIXROUTE = 0x200
DAD_SETTINGS = ("/accept_dad", "/dad_transmits")
IFNAME_MAX = 15


def bridge_name(pod_interface: str) -> str:
    """``k6t-eth0``, as KubeVirt names it; a long name is replaced by its hash to stay within 15 characters."""
    name = f"k6t-{pod_interface}"
    if len(name) <= IFNAME_MAX:
        return name
    import hashlib

    return f"k6t-{hashlib.sha256(pod_interface.encode()).hexdigest()[:11]}"


def derived_mac(role: str, pod: PodInterface) -> str:
    """A locally administered unicast MAC of this pod's own; no two pods of one network share it."""
    address = pod.addresses[0].address if pod.addresses else ""
    return local_mac(f"{role} {pod.link.mac} {address}")


def local_mac(name: str) -> str:
    """A locally administered unicast MAC that is always the same for one name."""
    seed = name.encode()
    # Checksums tell near inputs apart for certain, and loading OpenSSL for a hash would take 3 ms.
    octets = bytearray(binascii.crc_hqx(seed, 0).to_bytes(2, "big") + binascii.crc32(seed).to_bytes(4, "big"))
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")


def adopt(observed: Namespace, name: str, bridge: str) -> Link | None:
    """The device that stands under the guest port's name, if the plan may use it.

    Raises DeviceConflict for one that somebody else is using: it has an address, or is a port of another bridge.
    """
    link = observed.link(name)
    if link is None or link.alias.startswith(ALIAS):
        return None
    addresses = [a for a in observed.addresses_of(link.index) if a.scope != SCOPE_LINK]
    if addresses:
        raise DeviceConflict(
            f"{name}: in use, it has the address {addresses[0].cidr}; remove it or name another guest port"
        )
    master = next((other.name for other in observed.links if other.index == link.master), "")
    if link.master and master != bridge:
        raise DeviceConflict(
            f"{name}: in use, it is a port of {master or link.master}; release it or name another guest port"
        )
    return link


def is_our_bridge(link: Link, mac: str) -> bool:
    """Known by its alias; between the request that makes it and the one that sets the alias, by the `mac` it gets."""
    return link.kind == "bridge" and (link.alias.startswith(ALIAS) or link.mac == mac)


def require_bridge_name_free(observed: Namespace, name: str, mac: str = "") -> None:
    """Raises DeviceConflict when a device that is not our bridge has its name."""
    link = observed.link(name)
    if link and not is_our_bridge(link, mac):
        kind = link.kind or "device"
        raise DeviceConflict(f"{name}: a {kind} of that name is in the way and is not ours; remove or rename it")


def require_mtu(mtu: int, pod: PodInterface) -> int:
    """The guest's MTU. Raises InvalidRequest for one larger than the link carries."""
    if mtu > pod.link.mtu:
        raise InvalidRequest(f"{pod.name}: MTU {mtu} is larger than the interface's {pod.link.mtu}")
    return min(mtu, pod.mtu) if mtu else pod.mtu


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


def bridge_steps(observed: Namespace, network: VMNetwork, mac: str) -> list[Step]:
    """The bridge, made and marked as ours. Raises DeviceConflict when something else has its name."""
    require_bridge_name_free(observed, network.bridge, mac)
    bridge = observed.link(network.bridge)
    steps: list[Step] = [CreateBridge(network.bridge, mac, network.mtu)] if bridge is None else []
    if bridge and bridge.mtu != network.mtu:
        steps.append(SetMtu(network.bridge, network.mtu))
    if bridge is None or not bridge.alias:
        steps.append(SetAlias(network.bridge, f"{ALIAS} {network.name}"))
    return steps


def guest_port_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
    """The guest port, made if it has to be, and set. Raises DeviceConflict when somebody else is using it."""
    steps: list[Step] = []
    port = observed.link(network.guest_port)
    adopt(observed, network.guest_port, network.bridge)
    if port is None:
        steps.append(CreateTap(network.guest_port, f"{ALIAS} {network.name}", network.queues))
    if port is None or port.mtu != network.mtu:
        steps.append(SetMtu(network.guest_port, network.mtu))
    if network.mtu >= IPV6_MIN_MTU and has_ipv6(observed, network.pod.name):
        steps += sysctl_steps(observed, f"net/ipv6/conf/{network.guest_port}/disable_ipv6", "1")
    return steps


def plug_steps(observed: Namespace, network: VMNetwork, addresses: list[Address]) -> list[Step]:
    """The bridge goes up with its `addresses`, and the guest port becomes a port of it."""
    steps: list[Step] = []
    bridge, port = observed.link(network.bridge), observed.link(network.guest_port)
    if bridge is None or not bridge.up:
        steps.append(SetUp(network.bridge, True))
    present = observed.addresses_of(bridge.index) if bridge else ()
    there, wanted = {a.key for a in present}, {a.key for a in addresses}
    # What is there beyond them is of an interface that the CNI has made anew since.
    steps += [DeleteAddress(network.bridge, a) for a in present if a.scope != SCOPE_LINK and a.key not in wanted]
    steps += [AddAddress(network.bridge, a) for a in addresses if a.key not in there]
    if port is None or bridge is None or port.master != bridge.index:
        steps.append(SetMaster(network.guest_port, network.bridge))
    if port is None or (port.index, network.mac) not in observed.forwarding_entries:
        steps.append(PinMac(network.guest_port, network.mac))
    if port is None or not port.up:
        steps.append(SetUp(network.guest_port, True))
    return steps


def own_nic(observed: Namespace, pod: PodInterface) -> Link | None:
    """The pod interface; None when the CNI has taken it away since it was recorded, or has made another one of its name
    (DEL and ADD): what that one has is for nobody to put back."""
    nic = observed.link(pod.name)
    return nic if nic and nic.index == pod.link.index else None


def require_nic(observed: Namespace, network: VMNetwork) -> Link:
    """The pod interface. Raises InvalidRequest when it has gone since it was recorded, as after a CNI's DEL."""
    nic = observed.link(network.pod.name)
    if nic is None:
        raise InvalidRequest(f"{network.pod.name}: the interface has left this network namespace")
    return nic


def move_steps(observed: Namespace, network: VMNetwork) -> list[Step]:
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
    """The devices: the pod interface leaves the bridge with its MAC, ours go, an adopted guest port is as it was."""
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
    return steps + device_release_steps(observed, network, derived_mac("bridge", network.pod))


def device_release_steps(observed: Namespace, network: VMNetwork, mac: str) -> list[Step]:
    """Our devices go, the bridge with this `mac` among them; an adopted guest port is as it was."""
    steps: list[Step] = []
    bridge, port = observed.link(network.bridge), observed.link(network.guest_port)
    if port and network.adopted:
        if bridge and port.master == bridge.index:
            steps.append(SetMaster(port.name, ""))
        if port.mtu != network.adopted.mtu:
            steps.append(SetMtu(port.name, network.adopted.mtu))
        if port.up != network.adopted.up:
            steps.append(SetUp(port.name, network.adopted.up))
        steps += [s for key, value in network.adopted_sysctls for s in sysctl_steps(observed, key, value)]
    elif port and port.alias.startswith(ALIAS):
        steps.append(DeleteLink(port.name))
    if bridge and is_our_bridge(bridge, mac):
        steps.append(DeleteLink(bridge.name))
    return steps


def has_ipv6(observed: Namespace, name: str) -> bool:
    """Whether the kernel has IPv6 for an interface, be it switched on or off."""
    return observed.sysctl(f"net/ipv6/conf/{name}/disable_ipv6") is not None
