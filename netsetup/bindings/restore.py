"""A pod interface put back: its addresses, settings, neighbours and routes as they were recorded. Pure."""

from dhcp.lean.frozen import replace
from netsetup.model.identity import own_nic
from netsetup.model.kernel import (
    ADDR_GEN_MODE_NONE,
    AF_INET,
    AF_INET6,
    IFA_F_TENTATIVE,
    PROTO_KERNEL,
    SCOPE_LINK,
    TABLE_LOCAL,
    Address,
    Link,
    Namespace,
)
from netsetup.model.pod_interface import PodInterface
from netsetup.model.vm_network import IPV6_MIN_MTU
from netsetup.steps import (
    AddAddress,
    AddNeighbour,
    AddRoute,
    AwaitAddresses,
    DeleteAddress,
    DeleteNeighbour,
    DeleteRoute,
    SetAddrGenMode,
    SetAllMulticast,
    SetMac,
    SetSysctl,
    SetUp,
    Step,
    addr_gen_mode_steps,
    sysctl_steps,
)


def restore_steps(observed: Namespace, pod: PodInterface) -> list[Step]:
    """Addresses, neighbours and routes of the pod interface, in the order the kernel needs.

    What the kernel makes by itself when an address is added, or adds beyond the record, is settled in the next round:
    plan again until there is nothing left to do.
    """
    nic = own_nic(observed, pod)
    if nic is None:
        return []  # the CNI has taken the interface away, and with it all it had
    pod = _without_lost_ipv6(nic, pod.at(observed.now))
    addresses = _address_steps(observed, nic, pod)
    # Settings that adding addresses needs otherwise come back in the next round, when the addresses are there.
    steps = addresses or _setting_steps(observed, nic, pod)

    present = set(observed.neighbours_of(nic.index))
    wanted = set(pod.neighbours)
    steps += [DeleteNeighbour(nic.name, n) for n in observed.neighbours_of(nic.index) if n not in wanted]
    steps += [AddNeighbour(nic.name, n) for n in pod.neighbours if n not in present]
    if nic.up and not pod.link.up:
        return [*steps, SetUp(nic.name, False)]
    return steps + _route_steps(observed, nic, pod, settled=not addresses)


def _without_lost_ipv6(nic: Link, pod: PodInterface) -> PodInterface:
    """The kernel takes IPv6 and its settings from an interface whose MTU the CNI has made too small for it."""
    if nic.mtu >= IPV6_MIN_MTU:
        return pod
    return replace(
        pod,
        addresses=tuple(a for a in pod.addresses if a.family == AF_INET),
        routes=tuple(r for r in pod.routes if r.family == AF_INET),
        neighbours=tuple(n for n in pod.neighbours if n.family == AF_INET),
        sysctls=tuple((key, value) for key, value in pod.sysctls if not key.startswith("net/ipv6/")),
    )


def link_steps(nic: Link | None, before: Link) -> list[Step]:
    """MAC and multicast filter of a pod interface, as they were; none for one that has gone.

    Its MTU is never ours to change: if it is another one now, the CNI has set it.
    """
    steps: list[Step] = []
    if nic and nic.mac != before.mac:
        steps.append(SetMac(nic.name, before.mac))
    if nic and nic.all_multicast != before.all_multicast:
        steps.append(SetAllMulticast(nic.name, before.all_multicast))
    return steps


def _address_steps(observed: Namespace, nic: Link, pod: PodInterface) -> list[Step]:
    steps: list[Step] = []
    now = [a for a in observed.addresses_of(nic.index) if a.restorable]
    wanted = [a for a in pod.addresses if a.restorable]

    # IPv6 first (it waits for nothing). No duplicate-address detection and no link-local address of the kernel's
    # making for the moment: the addresses are the pod's own, and come back just as they were.
    disabled = f"net/ipv6/conf/{nic.name}/disable_ipv6"
    missing6 = [a for a in wanted if a.family == AF_INET6 and a.key not in [a.key for a in now]]
    enables = dict(pod.sysctls).get(disabled) == "0" != observed.sysctl(disabled)
    if enables or missing6:
        steps.append(SetAddrGenMode(nic.name, ADDR_GEN_MODE_NONE))
        steps += sysctl_steps(observed, f"net/ipv6/conf/{nic.name}/accept_dad", "0")
        steps += sysctl_steps(observed, f"net/ipv6/conf/{nic.name}/dad_transmits", "0")
    if enables:
        steps.append(SetSysctl(disabled, "0"))
    extra6 = [a for a in now if a.family == AF_INET6 and a.key not in [a.key for a in wanted]]
    steps += [DeleteAddress(nic.name, a) for a in extra6]
    steps += [AddAddress(nic.name, a) for a in reversed(missing6)]  # the kernel lists the newest first

    now4 = [a for a in now if a.family == AF_INET]
    wanted4 = [a for a in wanted if a.family == AF_INET]
    common = 0
    while common < min(len(now4), len(wanted4)) and now4[common].key == wanted4[common].key:
        common += 1
    steps += [DeleteAddress(nic.name, a) for a in reversed(now4[common:])]
    steps += [AddAddress(nic.name, a) for a in wanted4[common:]]  # primaries come before their secondaries
    return steps


def _setting_steps(observed: Namespace, nic: Link, pod: PodInterface) -> list[Step]:
    steps = [step for key, value in pod.sysctls for step in sysctl_steps(observed, key, value)]
    steps += addr_gen_mode_steps(nic, pod)
    if steps and any(a.flags & IFA_F_TENTATIVE for a in observed.addresses_of(nic.index)):
        # The kernel looks at the settings only when it comes to an address, a little after it was added.
        steps.insert(0, AwaitAddresses(nic.name))
    return steps


def _route_steps(observed: Namespace, nic: Link, pod: PodInterface, settled: bool) -> list[Step]:
    present = {r.key: r for r in observed.routes_of(nic.index)}
    wanted = {r.key: r for r in pod.routes}
    missing = [r for key, r in wanted.items() if key not in present]
    extra = [r for key, r in present.items() if key not in wanted]
    if not settled:
        missing, extra = [r for r in missing if r.proto != PROTO_KERNEL], []
    missing = [r for r in missing if r.table != TABLE_LOCAL or r.proto != PROTO_KERNEL]
    extra = [r for r in extra if r.table != TABLE_LOCAL or r.proto != PROTO_KERNEL]
    # On-link routes come before those that need them to reach their gateway.
    missing.sort(key=lambda r: (bool(r.gateway or r.via or r.nexthops), -r.scope))
    return [*(DeleteRoute(r) for r in extra), *(AddRoute(r) for r in missing)]


def missing_addresses(observed: Namespace, nic: Link, pod: PodInterface) -> list[Address]:
    """The pod's addresses that the interface does not have now."""
    present = {a.key for a in observed.addresses_of(nic.index)}
    return [a for a in pod.at(observed.now).addresses if a.restorable and a.key not in present]


def changes_since(observed: Namespace, pod: PodInterface) -> PodInterface:
    """The pod interface with addresses, routes and neighbours that have appeared on it since.

    A route of the kernel's own counts only if it comes with a new address: putting back, when it is interrupted, may
    have left some behind.
    """
    nic = observed.link(pod.name)
    if nic is None:
        return pod
    recorded, pod = pod, pod.with_renewed(observed.addresses_of(nic.index))
    known = {a.key for a in pod.addresses}
    addresses = [
        a for a in observed.addresses_of(nic.index) if a.restorable and a.scope != SCOPE_LINK and a.key not in known
    ]
    # Beside the recorded addresses one of the same prefix is a secondary, and has no connected route of its own.
    prefixes = {a.network for a in pod.addresses}
    first = [a for a in addresses if a.network not in prefixes]
    own = {a.address for a in first} | {a.network for a in first}
    routes_known = {r.key for r in pod.routes}
    routes = [
        r
        for r in observed.routes_of(nic.index)
        if r.key not in routes_known and (r.proto != PROTO_KERNEL or r.preferred_source in own or r.destination in own)
    ]
    neighbours = [n for n in observed.neighbours_of(nic.index) if n not in pod.neighbours]
    if not (addresses or routes or neighbours) and pod is recorded:
        return pod
    return replace(
        pod,
        addresses=(*pod.addresses, *addresses),
        routes=(*pod.routes, *routes),
        neighbours=(*pod.neighbours, *neighbours),
    )
