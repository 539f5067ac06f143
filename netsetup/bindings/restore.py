"""A pod interface put back: its addresses, settings, neighbours and routes as they were recorded. Pure."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from dhcp.lean.frozen import replace
from netsetup.bindings.order import merge_addresses, merge_routes, route_steps
from netsetup.model.identity import own_nic
from netsetup.model.kernel import (
    ADDR_GEN_MODE_NONE,
    AF_INET,
    AF_INET6,
    IFA_F_STABLE_PRIVACY,
    IFA_F_TENTATIVE,
    PROTO_KERNEL,
    SCOPE_LINK,
    TABLE_LOCAL,
    Address,
    Link,
    Namespace,
    Route,
)
from netsetup.model.pod_interface import PodInterface
from netsetup.model.routing import by_place, equal_routes
from netsetup.model.settings import MTU6
from netsetup.model.vm_network import IPV6_MIN_MTU
from netsetup.steps import (
    AddAddress,
    AddNeighbour,
    AwaitAddresses,
    DeleteAddress,
    DeleteNeighbour,
    SetAddrGenMode,
    SetAllMulticast,
    SetMac,
    SetSysctl,
    SetUp,
    Step,
    addr_gen_mode_steps,
    sysctl_steps,
)

GENERATED: Final = (2, 3)
"""The values of addr_gen_mode with which the kernel makes the link-local address of a secret."""
DAD_SETTINGS: Final = ("/accept_dad", "/dad_transmits")


def restore_steps(observed: Namespace, pod: PodInterface, between: Sequence[Step] = ()) -> list[Step]:
    """Addresses, neighbours and routes of the pod interface, in the order the kernel needs.

    `between` are the steps that remove what keeps its addresses meanwhile. They come when the interface has its
    addresses: with the last device that has an address the kernel flushes the routes of all interfaces whose preferred
    source it is. What the kernel makes by itself when an address is added, or adds beyond the record, is settled in the
    next round: plan again until there is nothing left to do.
    """
    nic = own_nic(observed, pod)
    if nic is None:
        return list(between)  # the CNI has taken the interface away, and with it all it had
    pod = _without_lost_ipv6(nic, pod.at(observed.now))
    addresses = _address_steps(observed, nic, pod)
    # Settings that adding addresses needs otherwise come back in the next round, when the addresses are there.
    steps = [*addresses, *between] if addresses else [*between, *_setting_steps(observed, nic, pod)]

    present = set(observed.neighbours_of(nic.index))
    wanted = set(pod.neighbours)
    steps += [DeleteNeighbour(nic.name, n) for n in observed.neighbours_of(nic.index) if n not in wanted]
    steps += [AddNeighbour(nic.name, n) for n in pod.neighbours if n not in present]
    if nic.up and not pod.link.up:
        return [*steps, SetUp(nic.name, False)]
    return steps + _route_steps(observed, nic, pod, settled=not addresses)


def unfinished_steps(observed: Namespace, nic: Link, pod: PodInterface) -> list[Step]:
    """What `restore_steps` changes for the moment, as it was: a teardown that was killed may have left it changed."""
    steps = [s for key, value in pod.sysctls if key.endswith(DAD_SETTINGS) for s in sysctl_steps(observed, key, value)]
    return steps + addr_gen_mode_steps(nic, pod)


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
    keys_now, keys_wanted = {a.key for a in now}, {a.key for a in wanted}
    missing6 = [a for a in wanted if a.family == AF_INET6 and a.key not in keys_now]
    # What it makes of a secret, nobody else can add; it makes the same again (RFC 7217).
    made = [a for a in missing6 if a.flags & IFA_F_STABLE_PRIVACY]
    enables = dict(pod.sysctls).get(disabled) == "0" != observed.sysctl(disabled)
    if made and not enables:
        return [SetSysctl(disabled, "1")]  # it makes them when IPv6 is switched on
    if enables or missing6:
        mode = pod.link.addr_gen_mode if made else None
        steps.append(SetAddrGenMode(nic.name, ADDR_GEN_MODE_NONE if mode is None else mode))
        steps += sysctl_steps(observed, f"net/ipv6/conf/{nic.name}/accept_dad", "0")
        steps += sysctl_steps(observed, f"net/ipv6/conf/{nic.name}/dad_transmits", "0")
    if enables:
        steps.append(SetSysctl(disabled, "0"))
    steps += [DeleteAddress(nic.name, a) for a in now if a.family == AF_INET6 and a.key not in keys_wanted]
    # the kernel lists the newest first
    steps += [AddAddress(nic.name, a) for a in reversed(missing6) if a not in made]

    now4 = [a for a in now if a.family == AF_INET]
    wanted4 = [a for a in wanted if a.family == AF_INET]
    common = 0
    while common < min(len(now4), len(wanted4)) and now4[common].key == wanted4[common].key:
        common += 1
    steps += [DeleteAddress(nic.name, a) for a in reversed(now4[common:])]
    steps += [AddAddress(nic.name, a) for a in wanted4[common:]]  # primaries come before their secondaries
    return steps


def _setting_steps(observed: Namespace, nic: Link, pod: PodInterface) -> list[Step]:
    steps = [step for key, value in _settings(nic, pod) for step in sysctl_steps(observed, key, value)]
    steps += addr_gen_mode_steps(nic, pod)
    if steps and any(a.flags & IFA_F_TENTATIVE for a in observed.addresses_of(nic.index)):
        # The kernel looks at the settings only when it comes to an address, a little after it was added.
        steps.insert(0, AwaitAddresses(nic.name))
    return steps


def _settings(nic: Link, pod: PodInterface) -> Iterator[tuple[str, str]]:
    """The recorded settings, without an advertised MTU that is more than the link has now."""
    for key, value in pod.sysctls:
        if key != MTU6.format(nic.name) or int(value) <= nic.mtu:
            yield key, value


def _route_steps(observed: Namespace, nic: Link, pod: PodInterface, settled: bool) -> list[Step]:
    there = {link.index for link in observed.links}
    wanted = by_place(route for route in pod.routes if route.interfaces <= there)
    places = wanted.keys() | {route.place for route in observed.routes_of(nic.index)}
    now, recorded = by_place(observed.routes, places), by_place(pod.equal_routes)
    groups: list[tuple[tuple[int, int], list[Step]]] = []
    for place in (*wanted, *(place for place in now if place not in wanted)):
        present, goal = now.get(place, []), wanted.get(place, [])
        if present == goal:
            continue
        of_nic = [r for r in present if nic.index in r.interfaces]
        # The kernel makes its own with the addresses, those of the local table always.
        own = [r for r in goal if r in of_nic or _may_add(r, settled)]
        own += [r for r in of_nic if r not in goal and (not settled or _is_of_local_table(r))]
        steps = route_steps(present, own, recorded.get(place, []), nic.index)
        groups.append((_dependence([r for r in own if r not in present]), steps))
    # On-link routes come before those that need them to reach their gateway.
    return [step for _, steps in sorted(groups, key=lambda group: group[0]) for step in steps]


def _may_add(route: Route, settled: bool) -> bool:
    """Those with further interfaces need the addresses of all of them."""
    if not settled:
        return route.proto != PROTO_KERNEL and len(route.interfaces) == 1
    return not _is_of_local_table(route)


def _is_of_local_table(route: Route) -> bool:
    return route.table == TABLE_LOCAL and route.proto == PROTO_KERNEL


def _dependence(routes: list[Route]) -> tuple[int, int]:
    """Which routes of other places these may need, as a key to sort by."""
    through = [bool(route.gateway or route.via or route.nexthops) for route in routes]
    return any(through) + all(through), -max((route.scope for route in routes), default=0)


def unrestorable(pods: Sequence[PodInterface]) -> Iterator[str]:
    """What pod interfaces have that no user can give back to the kernel, a line each that begins with the interface."""
    for pod in pods:
        for address in pod.addresses:
            of_link = address.scope == SCOPE_LINK and pod.link.addr_gen_mode in GENERATED
            if address.flags & IFA_F_STABLE_PRIVACY and not of_link:
                yield f"{pod.name}: its address {address.cidr} is made by the kernel alone (stable-privacy)"
    routes = [route for pod in pods for route in pod.routes if route.family == AF_INET6]
    for group in by_place(route for route in routes if route.gateway and not route.nexthop_id).values():
        if len(group) > 1:  # learnt from routers, they are apart
            name = next(pod.name for pod in pods if pod.link.index == group[0].interface)
            routers = " and ".join(route.gateway for route in group)
            yield f"{name}: the kernel would make one of its routes to {group[0].destination} via {routers}"


def missing_addresses(observed: Namespace, nic: Link, pod: PodInterface) -> list[Address]:
    """The pod's addresses that the interface does not have now."""
    present = {a.key for a in observed.addresses_of(nic.index)}
    return [a for a in pod.at(observed.now).addresses if a.restorable and a.key not in present]


def changes_since(observed: Namespace, pod: PodInterface) -> PodInterface:
    """The pod interface with what has been configured on it since: addresses, routes and neighbours that are new, or
    that replace one of those recorded (``ip … replace``).

    A route of the kernel's own counts only if it comes with a new address: putting back, when it is interrupted, may
    have left some behind.
    """
    nic = own_nic(observed, pod)
    if nic is None:
        return pod
    recorded, pod = pod, pod.with_renewed(observed.addresses_of(nic.index))
    known = {a.key for a in pod.addresses}
    addresses = [
        a for a in observed.addresses_of(nic.index) if a.restorable and a.scope != SCOPE_LINK and a.key not in known
    ]
    # Beside the recorded addresses one of the same prefix is a secondary, and has no connected route of its own.
    places = {a.place for a in addresses}
    replaced = [a for a in pod.addresses if a.place in places]
    prefixes = {a.network for a in pod.addresses if a not in replaced}
    first = [a for a in addresses if a.network not in prefixes]
    own = {a.address for a in first} | {a.network for a in first}
    routes_known = {r.key for r in pod.routes}
    routes = [
        r.key
        for r in observed.routes_of(nic.index)
        if r.key in routes_known or r.proto != PROTO_KERNEL or r.preferred_source in own or r.destination in own
    ]
    neighbours = [n for n in observed.neighbours_of(nic.index) if n not in pod.neighbours]
    if not (addresses or neighbours or any(r not in routes_known for r in routes)) and pod is recorded:
        return pod
    return replace(
        pod,
        addresses=merge_addresses(pod.addresses, addresses),
        neighbours=tuple({n.place: n for n in (*pod.neighbours, *neighbours)}.values()),
        **_merged_routes(observed, nic, pod, routes, {a.address for a in replaced}),
    )


def _merged_routes(
    observed: Namespace, nic: Link, pod: PodInterface, now: list[Route], replaced: set[str]
) -> dict[str, tuple[Route, ...]]:
    """The fields of routes, without the kernel's own of addresses that have been `replaced`."""
    kept = by_place(r for r in pod.routes if r.proto != PROTO_KERNEL or r.preferred_source not in replaced)
    found = by_place(now)
    merged = [merge_routes(kept.get(place, []), found.get(place, [])) for place in {**kept, **found}]
    new_places = found.keys() - kept.keys()
    return {
        "routes": tuple(chain.from_iterable(merged)),
        "equal_routes": pod.equal_routes + equal_routes(observed.routes, nic.index, new_places),
    }
