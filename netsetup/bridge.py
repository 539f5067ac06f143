"""The bridge binding, pure: which devices it needs, how a pod gets there and how it gets back.

    node ── eth0 (another MAC, no address) ── k6t-eth0 (keeps the address, is deaf) ── tap0 ── VM (the pod's MAC and IP)

What is already as it should be takes no step, so the plan of a pod that is set up, or put back, is empty, and a plan
made half-way leads on from there.
"""

import binascii
import dataclasses
from dataclasses import dataclass

from netsetup.model import (
    AF_INET,
    AF_INET6,
    ALIAS,
    FOREVER,
    IFA_F_TENTATIVE,
    PROTO_KERNEL,
    SCOPE_HOST,
    SCOPE_LINK,
    TABLE_LOCAL,
    Address,
    DeviceConflict,
    InvalidRequest,
    Link,
    Namespace,
    PodInterface,
    Route,
)
from netsetup.netlink import USER_ADDRESS_FLAGS
from netsetup.nftables import Barrier
from netsetup.steps import (
    AddAddress,
    AddNeighbour,
    AddRoute,
    AwaitAddresses,
    CreateBridge,
    CreateTap,
    DeleteAddress,
    DeleteLink,
    DeleteNeighbour,
    DeleteRoute,
    PinMac,
    SetAddrGenMode,
    SetAlias,
    SetLearning,
    SetMac,
    SetMaster,
    SetMtu,
    SetSysctl,
    SetUp,
    Step,
)

ADDR_GEN_MODE_NONE = 1
IFA_F_TEMPORARY = 0x01
IFA_F_NODAD = 0x02
IFA_F_NOPREFIXROUTE = 0x200
DAD_SETTINGS = ("/accept_dad", "/dad_transmits")
IPV6_MIN_MTU = 1280
IFNAME_MAX = 15


@dataclass(frozen=True, slots=True)
class BridgeNetwork:
    """One pod interface handed to the VM over a bridge; the record of what was there before."""

    name: str
    """The network's name in the VM's specification."""
    pod: PodInterface
    """The pod interface as the CNI left it."""
    guest_port: str
    bridge: str
    mac: str
    """The MAC the VM uses, kept as long as the record is."""
    mtu: int
    mac_source: str = "pod"
    """Where the MAC comes from: `spec`, `derived` (from a stable id of the VM) or `pod`."""
    queues: int = 1
    isolated: bool = True
    """Whether the guest is held to the pod's addresses and its MAC."""
    adopted: Link | None = None
    """The guest port as it was found; None when it is a tap of our own."""
    adopted_sysctls: tuple[tuple[str, str], ...] = ()

    @property
    def address4(self) -> Address | None:
        """The IPv4 address the VM gets: the first the CNI gave."""
        return next(iter(self.pod.global_addresses(AF_INET)), None)

    @property
    def barrier(self) -> Barrier:
        return Barrier(
            self.pod.name,
            self.guest_port,
            dhcp4=self.address4 is not None,
            isolated=self.isolated,
            mac=self.mac,
            addresses4=tuple(a.address for a in self.pod.global_addresses(AF_INET)),
            addresses6=tuple(a.address for a in self.pod.global_addresses(AF_INET6)),
        )


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


def is_our_bridge(link: Link, pod: PodInterface) -> bool:
    """Known by its alias; between the request that makes it and the one that sets the alias, by its MAC."""
    return link.kind == "bridge" and (link.alias.startswith(ALIAS) or link.mac == derived_mac("bridge", pod))


def require_bridge_name_free(observed: Namespace, name: str, pod: PodInterface) -> None:
    """Raises DeviceConflict when a device that is not our bridge has its name."""
    link = observed.link(name)
    if link and not is_our_bridge(link, pod):
        kind = link.kind or "device"
        raise DeviceConflict(f"{name}: a {kind} of that name is in the way and is not ours; remove or rename it")


def require_mtu(mtu: int, pod: PodInterface) -> int:
    """The guest's MTU. Raises InvalidRequest for one larger than the link carries."""
    if mtu > pod.link.mtu:
        raise InvalidRequest(f"{pod.name}: MTU {mtu} is larger than the interface's {pod.link.mtu}")
    return min(mtu, pod.mtu) if mtu else pod.mtu


# --- there ------------------------------------------------------------------------------------------------------------


def device_steps(observed: Namespace, network: BridgeNetwork) -> list[Step]:
    """Bridge and guest port, made and set but not yet up: nothing can pass."""
    steps: list[Step] = []
    require_bridge_name_free(observed, network.bridge, network.pod)
    bridge = observed.link(network.bridge)
    if bridge is None:
        mac = derived_mac("bridge", network.pod)
        steps.append(CreateBridge(network.bridge, mac, network.mtu))
    if bridge is None or not bridge.alias:
        steps.append(SetAlias(network.bridge, f"{ALIAS} {network.name}"))
    if network.mtu >= IPV6_MIN_MTU and _has_ipv6(observed, network.pod.name):
        if bridge is None or bridge.addr_gen_mode != ADDR_GEN_MODE_NONE:
            steps.append(SetAddrGenMode(network.bridge, ADDR_GEN_MODE_NONE))
        keeps6 = any(a.family == AF_INET6 for a in _kept(network))
        steps += _sysctl(observed, f"net/ipv6/conf/{network.bridge}/accept_ra", "0")
        steps += _sysctl(observed, f"net/ipv6/conf/{network.bridge}/disable_ipv6", "0" if keeps6 else "1")

    port = observed.link(network.guest_port)
    adopt(observed, network.guest_port, network.bridge)
    if port is None:
        steps.append(CreateTap(network.guest_port, f"{ALIAS} {network.name}", network.queues))
    if port is None or port.mtu != network.mtu:
        steps.append(SetMtu(network.guest_port, network.mtu))
    if network.mtu >= IPV6_MIN_MTU and _has_ipv6(observed, network.pod.name):
        steps += _sysctl(observed, f"net/ipv6/conf/{network.guest_port}/disable_ipv6", "1")
    return steps


def move_steps(observed: Namespace, network: BridgeNetwork) -> list[Step]:
    """The address moves from the pod interface to the bridge, and the interface becomes a port."""
    steps: list[Step] = []
    bridge, port = observed.link(network.bridge), observed.link(network.guest_port)
    nic = observed.link(network.pod.name)
    if nic is None:
        raise InvalidRequest(f"{network.pod.name}: the interface has left this network namespace")
    if bridge is None or not bridge.up:
        steps.append(SetUp(network.bridge, True))
    present = {_key(a) for a in observed.addresses_of(bridge.index)} if bridge else set()
    steps += [AddAddress(network.bridge, a) for a in _kept(network) if _key(a) not in present]

    if port is None or bridge is None or port.master != bridge.index:
        steps.append(SetMaster(network.guest_port, network.bridge))
    if port is None or (port.index, network.mac) not in observed.forwarding_entries:
        steps.append(PinMac(network.guest_port, network.mac))
    if port is None or not port.up:
        steps.append(SetUp(network.guest_port, True))

    # With its last IPv4 address an interface loses its routes in every table, so those need no step of their own.
    addresses = [a for a in observed.addresses_of(nic.index) if a.family == AF_INET]
    steps += [DeleteAddress(nic.name, a) for a in reversed(addresses)]
    if not addresses:
        steps += [DeleteRoute(r) for r in observed.routes_of(nic.index) if r.family == AF_INET]
    # Off before the MAC changes: leaving a multicast group sends reports for a second, and none may carry the new MAC.
    steps += _sysctl(observed, f"net/ipv6/conf/{nic.name}/disable_ipv6", "1")
    # A teardown that was killed may have left these changed.
    steps += [s for k, v in network.pod.sysctls if k.endswith(DAD_SETTINGS) for s in _sysctl(observed, k, v)]
    steps += _addr_gen_mode(nic, network.pod)
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


def _kept(network: BridgeNetwork) -> list[Address]:
    """The pod's addresses in the form the bridge keeps them: this host's alone, answered to nobody."""
    kept = [
        Address(AF_INET, a.address, 32, SCOPE_HOST, label=network.bridge) for a in network.pod.global_addresses(AF_INET)
    ]
    if network.mtu >= IPV6_MIN_MTU:
        flags = IFA_F_NODAD | IFA_F_NOPREFIXROUTE
        kept += [Address(AF_INET6, a.address, 128, flags=flags) for a in network.pod.global_addresses(AF_INET6)]
    return kept


# --- and back ---------------------------------------------------------------------------------------------------------


def release_steps(observed: Namespace, network: BridgeNetwork) -> list[Step]:
    """The devices: the pod interface leaves the bridge with its MAC, ours go, an adopted guest port is as it was."""
    steps: list[Step] = []
    bridge, port = observed.link(network.bridge), observed.link(network.guest_port)
    nic, original = observed.link(network.pod.name), network.pod.link
    if nic and bridge and nic.master == bridge.index:
        steps.append(SetMaster(nic.name, ""))
    # The MAC first: an address that is added announces itself with the MAC of that moment.
    if nic and nic.mac != original.mac:
        steps.append(SetMac(nic.name, original.mac))
    if nic and nic.mtu != original.mtu:
        steps.append(SetMtu(nic.name, original.mtu))
    if port and network.adopted:
        if bridge and port.master == bridge.index:
            steps.append(SetMaster(port.name, ""))
        if port.mtu != network.adopted.mtu:
            steps.append(SetMtu(port.name, network.adopted.mtu))
        if port.up != network.adopted.up:
            steps.append(SetUp(port.name, network.adopted.up))
        steps += [s for key, value in network.adopted_sysctls for s in _sysctl(observed, key, value)]
    elif port and port.alias.startswith(ALIAS):
        steps.append(DeleteLink(port.name))
    if bridge and is_our_bridge(bridge, network.pod):
        steps.append(DeleteLink(bridge.name))
    return steps


def restore_steps(observed: Namespace, network: BridgeNetwork) -> list[Step]:
    """Addresses, neighbours and routes of the pod interface, in the order the kernel needs.

    What the kernel makes by itself when an address is added, or adds beyond the record, is settled in the next round:
    plan again until there is nothing left to do.
    """
    nic = observed.link(network.pod.name)
    if nic is None:
        return []  # the CNI has taken the interface away, and with it all it had
    addresses = _address_steps(observed, nic, network.pod)
    # Settings that adding addresses needs otherwise come back in the next round, when the addresses are there.
    steps = addresses or _setting_steps(observed, nic, network.pod)

    present = set(observed.neighbours_of(nic.index))
    wanted = set(network.pod.neighbours)
    steps += [DeleteNeighbour(nic.name, n) for n in observed.neighbours_of(nic.index) if n not in wanted]
    steps += [AddNeighbour(nic.name, n) for n in network.pod.neighbours if n not in present]
    if nic.up and not network.pod.link.up:
        return [*steps, SetUp(nic.name, False)]
    return steps + _route_steps(observed, nic, network.pod, settled=not addresses)


def _address_steps(observed: Namespace, nic: Link, pod: PodInterface) -> list[Step]:
    steps: list[Step] = []
    now = [a for a in observed.addresses_of(nic.index) if _restorable(a)]
    wanted = [a for a in pod.addresses if _restorable(a)]

    # IPv6 first (it waits for nothing). No duplicate-address detection and no link-local address of the kernel's
    # making for the moment: the addresses are the pod's own, and come back just as they were.
    disabled = f"net/ipv6/conf/{nic.name}/disable_ipv6"
    missing6 = [a for a in wanted if a.family == AF_INET6 and _key(a) not in map(_key, now)]
    enables = dict(pod.sysctls).get(disabled) == "0" != observed.sysctl(disabled)
    if enables or missing6:
        steps.append(SetAddrGenMode(nic.name, ADDR_GEN_MODE_NONE))
        steps += _sysctl(observed, f"net/ipv6/conf/{nic.name}/accept_dad", "0")
        steps += _sysctl(observed, f"net/ipv6/conf/{nic.name}/dad_transmits", "0")
    if enables:
        steps.append(SetSysctl(disabled, "0"))
    extra6 = [a for a in now if a.family == AF_INET6 and _key(a) not in map(_key, wanted)]
    steps += [DeleteAddress(nic.name, a) for a in extra6]
    steps += [AddAddress(nic.name, a) for a in reversed(missing6)]  # the kernel lists the newest first

    now4 = [a for a in now if a.family == AF_INET]
    wanted4 = [a for a in wanted if a.family == AF_INET]
    common = 0
    while common < min(len(now4), len(wanted4)) and _key(now4[common]) == _key(wanted4[common]):
        common += 1
    steps += [DeleteAddress(nic.name, a) for a in reversed(now4[common:])]
    steps += [AddAddress(nic.name, a) for a in wanted4[common:]]  # primaries come before their secondaries
    return steps


def _setting_steps(observed: Namespace, nic: Link, pod: PodInterface) -> list[Step]:
    steps = [step for key, value in pod.sysctls for step in _sysctl(observed, key, value)]
    steps += _addr_gen_mode(nic, pod)
    if steps and any(a.flags & IFA_F_TENTATIVE for a in observed.addresses_of(nic.index)):
        # The kernel looks at the settings only when it comes to an address, a little after it was added.
        steps.insert(0, AwaitAddresses(nic.name))
    return steps


def _route_steps(observed: Namespace, nic: Link, pod: PodInterface, settled: bool) -> list[Step]:
    present = {_route_key(r): r for r in observed.routes_of(nic.index)}
    wanted = {_route_key(r): r for r in pod.routes}
    missing = [r for key, r in wanted.items() if key not in present]
    extra = [r for key, r in present.items() if key not in wanted]
    if not settled:
        missing, extra = [r for r in missing if r.proto != PROTO_KERNEL], []
    missing = [r for r in missing if r.table != TABLE_LOCAL or r.proto != PROTO_KERNEL]
    extra = [r for r in extra if r.table != TABLE_LOCAL or r.proto != PROTO_KERNEL]
    # On-link routes come before those that need them to reach their gateway.
    missing.sort(key=lambda r: (bool(r.gateway or r.via or r.nexthops), -r.scope))
    return [*(DeleteRoute(r) for r in extra), *(AddRoute(r) for r in missing)]


# --- what changes behind our back -------------------------------------------------------------------------------------


def missing_addresses(observed: Namespace, nic: Link, pod: PodInterface) -> list[Address]:
    """The pod's addresses that the interface does not have now."""
    present = {_key(a) for a in observed.addresses_of(nic.index)}
    return [a for a in pod.addresses if _restorable(a) and _key(a) not in present]


def news(observed: Namespace, pod: PodInterface) -> PodInterface:
    """The pod interface with addresses, routes and neighbours that have appeared on it since.

    A route of the kernel's own is news only if it comes with a new address: putting back, when it is interrupted, may
    have left some behind.
    """
    nic = observed.link(pod.name)
    if nic is None:
        return pod
    known = {_key(a) for a in pod.addresses}
    addresses = [
        a for a in observed.addresses_of(nic.index) if _restorable(a) and a.scope != SCOPE_LINK and _key(a) not in known
    ]
    # Beside the recorded addresses one of the same prefix is a secondary, and has no connected route of its own.
    prefixes = {a.network for a in pod.addresses}
    first = [a for a in addresses if a.network not in prefixes]
    own = {a.address for a in first} | {a.network for a in first}
    routes_known = {_route_key(r) for r in pod.routes}
    routes = [
        r
        for r in observed.routes_of(nic.index)
        if _route_key(r) not in routes_known
        and (r.proto != PROTO_KERNEL or r.preferred_source in own or r.destination in own)
    ]
    neighbours = [n for n in observed.neighbours_of(nic.index) if n not in pod.neighbours]
    if not (addresses or routes or neighbours):
        return pod
    return dataclasses.replace(
        pod,
        addresses=(*pod.addresses, *addresses),
        routes=(*pod.routes, *routes),
        neighbours=(*pod.neighbours, *neighbours),
    )


# --- small judgements -------------------------------------------------------------------------------------------------


def _has_ipv6(observed: Namespace, name: str) -> bool:
    return observed.sysctl(f"net/ipv6/conf/{name}/disable_ipv6") is not None


def _sysctl(observed: Namespace, key: str, value: str) -> list[Step]:
    """The step that gives a setting this value, unless it has it."""
    return [] if observed.sysctl(key) == value else [SetSysctl(key, value)]


def _addr_gen_mode(nic: Link, pod: PodInterface) -> list[Step]:
    """The step that lets the kernel make link-local addresses as it did, unless it does."""
    mode = pod.link.addr_gen_mode
    return [] if mode is None or mode == nic.addr_gen_mode else [SetAddrGenMode(nic.name, mode)]


def _restorable(address: Address) -> bool:
    """Temporary addresses (RFC 8981) are the kernel's own affair; a user cannot add one."""
    return not (address.family == AF_INET6 and address.flags & IFA_F_TEMPORARY)


def _key(address: Address) -> Address:
    """An address without what changes by itself: states in the flags, lifetimes that run down."""
    ages = address.valid_seconds != FOREVER
    return dataclasses.replace(
        address,
        flags=address.flags & USER_ADDRESS_FLAGS,
        valid_seconds=0 if ages else FOREVER,
        preferred_seconds=0 if ages else FOREVER,
    )


def _route_key(route: Route) -> Route:
    return dataclasses.replace(route, expires_seconds=0) if route.expires_seconds else route
