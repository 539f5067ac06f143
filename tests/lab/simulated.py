"""A kernel as far as plans depend on it: takes steps to an observed namespace as the real one does.

For tests of whole plans as data, without a namespace. What it says of the kernel is checked against the real one by the
tests in `tests/netns`, whose plans are empty when they are made again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace as _replace
from functools import reduce
from ipaddress import IPv6Interface, ip_interface
from typing import Any

from netsetup import steps as s
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    IFA_F_STABLE_PRIVACY,
    IFA_F_TENTATIVE,
    IFF_ALLMULTI,
    IFF_LOWER_UP,
    IFF_UP,
    PROTO_KERNEL,
    RTN_LOCAL,
    SCOPE_HOST,
    SCOPE_LINK,
    TABLE_LOCAL,
    Address,
    Link,
    Namespace,
    Route,
)
from netsetup.model.settings import FORWARDING6, MTU6
from netsetup.nft.neighbour_discovery import link_local_of
from netsetup.nft.ruleset import digest_of

IFA_F_NOPREFIXROUTE = 0x200
OF_A_SECRET = Address(AF_INET6, "fe80::1234:5678", 64, scope=SCOPE_LINK, flags=IFA_F_STABLE_PRIVACY, proto=3)
"""The link-local address that the kernel makes of its secret."""


def replace(item: Any, **changes: object) -> Any:
    return _replace(item, **changes)


def carry_out(observed: Namespace, steps: Iterable[s.Step]) -> Namespace:
    """What is observed after these steps. Raises AssertionError for a step that the kernel would refuse."""
    return reduce(lambda namespace, step: _KINDS[type(step)](namespace, step), steps, observed)


def index_of(observed: Namespace, name: str) -> int:
    link = observed.link(name)
    assert link, f"there is no device {name}"
    return link.index


def with_link(observed: Namespace, device: str, /, **changes: object) -> Namespace:
    """The namespace with changes of one link."""
    index = index_of(observed, device)
    return replace(
        observed, links=tuple(replace(link, **changes) if link.index == index else link for link in observed.links)
    )


def with_sysctl(observed: Namespace, key: str, value: str) -> Namespace:
    assert observed.sysctl(key) is not None, f"there is no setting {key}"
    return replace(observed, sysctls=tuple((k, value if k == key else v) for k, v in observed.sysctls))


def with_new_link(observed: Namespace, link: Link) -> Namespace:
    """A device made; its settings are the default ones."""
    assert observed.link(link.name) is None, f"{link.name} is there"
    defaults = [(k, v) for k, v in observed.sysctls if "/default/" in k]
    own = tuple((k.replace("/default/", f"/{link.name}/"), v) for k, v in defaults)
    if link.mtu < 1280:
        own = tuple((k, v) for k, v in own if not k.startswith("net/ipv6/"))
    made: Namespace = replace(observed, links=(*observed.links, link), sysctls=(*observed.sysctls, *own))
    return _with_mtu6(made, link.name, link.mtu)


def _with_mtu6(observed: Namespace, name: str, mtu: int) -> Namespace:
    key = MTU6.format(name)
    return with_sysctl(observed, key, str(mtu)) if observed.sysctl(key) is not None else observed


def without_link(observed: Namespace, name: str) -> Namespace:
    index = index_of(observed, name)
    observed = _without(observed, index, families=(AF_INET, AF_INET6))
    for port in [link.name for link in observed.links if link.master == index]:
        observed = _set_master(observed, s.SetMaster(port, ""))
    return replace(
        observed,
        links=tuple(link for link in observed.links if link.index != index),
        sysctls=tuple((k, v) for k, v in observed.sysctls if f"/{name}/" not in k),
        forwarding_entries=tuple(entry for entry in observed.forwarding_entries if entry[0] != index),
    )


def renamed(observed: Namespace, name: str, new: str) -> Namespace:
    """With a link that has another name now, as its settings and the labels of its addresses have."""
    index = index_of(observed, name)
    observed = with_link(observed, name, name=new)
    return replace(
        observed,
        sysctls=tuple((k.replace(f"/{name}/", f"/{new}/"), v) for k, v in observed.sysctls),
        addresses=tuple(
            (owner, replace(a, label=a.label.replace(name, new, 1)) if owner == index else a)
            for owner, a in observed.addresses
        ),
    )


def _without(observed: Namespace, index: int, families: tuple[int, ...]) -> Namespace:
    """Without the addresses, routes and neighbours of an interface."""
    return replace(
        observed,
        addresses=tuple((i, a) for i, a in observed.addresses if i != index or a.family not in families),
        routes=tuple(r for r in observed.routes if r not in observed.routes_of(index) or r.family not in families),
        neighbours=tuple((i, n) for i, n in observed.neighbours if i != index or n.family not in families),
    )


def _create_bridge(observed: Namespace, step: s.CreateBridge) -> Namespace:
    index = max(link.index for link in observed.links) + 1
    return with_new_link(observed, Link(index, step.name, "bridge", step.mac, step.mtu, 0, 0, "", 0, None))


def _create_tap(observed: Namespace, step: s.CreateTap) -> Namespace:
    index = max(link.index for link in observed.links) + 1
    link = Link(index, step.name, "tun", "02:0f:00:00:00:01", 1500, 0, 0, step.alias, 0, None)
    return with_new_link(observed, link)


def _create_macvtap(observed: Namespace, step: s.CreateMacvtap) -> Namespace:
    index = max(link.index for link in observed.links) + 1
    return with_new_link(observed, Link(index, step.name, "macvtap", step.mac, step.mtu, 0, 0, "", 0, None))


def _set_mtu(observed: Namespace, step: s.SetMtu) -> Namespace:
    observed = with_link(observed, step.link, mtu=step.mtu)
    if step.mtu >= 1280:
        return _with_mtu6(observed, step.link, step.mtu)
    observed = _without(observed, index_of(observed, step.link), families=(AF_INET6,))
    ipv6 = f"net/ipv6/conf/{step.link}/"
    return replace(observed, sysctls=tuple((k, v) for k, v in observed.sysctls if not k.startswith(ipv6)))


def _set_master(observed: Namespace, step: s.SetMaster) -> Namespace:
    index = index_of(observed, step.link)
    master = index_of(observed, step.master) if step.master else 0
    entries = tuple(entry for entry in observed.forwarding_entries if entry[0] != index)
    observed = replace(observed, forwarding_entries=entries)
    return with_link(observed, step.link, master=master, learning=True if master else None)


def _set_up(observed: Namespace, step: s.SetUp) -> Namespace:
    link = observed.link(step.link)
    assert link
    if step.up:
        observed = with_link(observed, step.link, flags=link.flags | IFF_UP | IFF_LOWER_UP)
        return _make_link_local(observed, step.link)
    routes = [r for r in observed.routes_of(link.index) if r.family == AF_INET and r.type != RTN_LOCAL]
    observed = replace(observed, routes=tuple(r for r in observed.routes if r not in routes))
    observed = _without(observed, link.index, families=(AF_INET6,))
    return with_link(observed, step.link, flags=link.flags & ~(IFF_UP | IFF_LOWER_UP))


def _make_link_local(observed: Namespace, name: str) -> Namespace:
    link = observed.link(name)
    has_one = link and any(a.family == AF_INET6 and a.scope == SCOPE_LINK for a in observed.addresses_of(link.index))
    on = observed.sysctl(f"net/ipv6/conf/{name}/disable_ipv6") == "0"
    if not link or not link.up or link.addr_gen_mode == 1 or not on or has_one:
        return observed
    own = Address(AF_INET6, link_local_of(link.mac), 64, scope=SCOPE_LINK, flags=IFA_F_TENTATIVE, proto=3)
    if link.addr_gen_mode:
        own = replace(OF_A_SECRET, flags=OF_A_SECRET.flags | IFA_F_TENTATIVE)
    return _add_address(observed, s.AddAddress(name, own))


def _set_all_multicast(observed: Namespace, step: s.SetAllMulticast) -> Namespace:
    link = observed.link(step.link)
    assert link
    return with_link(observed, step.link, flags=link.flags | IFF_ALLMULTI if step.on else link.flags & ~IFF_ALLMULTI)


def _set_learning(observed: Namespace, step: s.SetLearning) -> Namespace:
    link = observed.link(step.link)
    assert link and link.master, f"{step.link} is not a port"  # noqa: PT018
    return with_link(observed, step.link, learning=step.on)


def _set_sysctl(observed: Namespace, step: s.SetSysctl) -> Namespace:
    if step.key == FORWARDING6.format("all"):
        keys = [k for k, _ in observed.sysctls if k.startswith("net/ipv6/") and k.endswith("/forwarding")]
        return reduce(lambda namespace, key: with_sysctl(namespace, key, step.value), keys, observed)
    observed = with_sysctl(observed, step.key, step.value)
    if not step.key.endswith("/disable_ipv6"):
        return observed
    if step.value == "1":
        link = observed.link(step.link)
        assert link
        return _with_mtu6(_without(observed, link.index, families=(AF_INET6,)), link.name, link.mtu)
    return _make_link_local(observed, step.link)


def _routes_with(address: Address, index: int) -> list[Route]:
    """The routes that the kernel makes with an address."""
    is6 = address.family == AF_INET6
    host = f"{address.address}/{128 if is6 else 32}"
    local = Route(address.family, host, table=TABLE_LOCAL, interface=index, type=RTN_LOCAL, proto=PROTO_KERNEL)
    made = [local if is6 else replace(local, scope=SCOPE_HOST, preferred_source=address.address)]
    connected = Route(address.family, address.network, interface=index, proto=PROTO_KERNEL)
    if address.flags & IFA_F_NOPREFIXROUTE:
        return made
    if is6:
        return [replace(connected, metric=256), *made]
    if address.prefixlen < 32:
        return [replace(connected, scope=SCOPE_LINK, preferred_source=address.address), *made]
    return made


def _add_address(observed: Namespace, step: s.AddAddress) -> Namespace:
    index, address = index_of(observed, step.link), step.address
    own = observed.addresses_of(index)
    assert address.key not in [a.key for a in own], f"{address.cidr} is there"
    if address.family == AF_INET6:
        assert observed.sysctl(f"net/ipv6/conf/{step.link}/disable_ipv6") == "0", f"{step.link} has no IPv6"
    made = _routes_with(address, index)
    if address.family == AF_INET and any(a.network == address.network for a in own if a.family == AF_INET):
        made = made[1:]  # a secondary
    made = [r for r in made if r.key not in [known.key for known in observed.routes]]
    others = tuple(entry for entry in observed.addresses if entry[0] != index)
    listed = [(index, found) for found in _listed(own, address)]
    return replace(observed, addresses=(*others, *listed), routes=(*observed.routes, *made))


def _listed(own: tuple[Address, ...], new: Address) -> list[Address]:
    """As the kernel lists them: the IPv6 addresses of the world before the link-local ones, and of each the newest
    first; of IPv4 the first of each prefix before all others, and those of the link before those of the world."""
    of6 = [a for a in own if a.family == AF_INET6]
    of4 = [a for a in own if a.family == AF_INET]
    if new.family == AF_INET6:
        return [*of4, *sorted([new, *of6], key=lambda a: a.scope == SCOPE_LINK)]
    prefixes: set[str] = set()
    primaries: list[Address] = []
    for address in (*of4, new):
        if address.network not in prefixes:
            behind = [at for at, other in enumerate(primaries, 1) if other.scope >= address.scope]
            primaries.insert(max(behind, default=0), address)
        prefixes.add(address.network)
    return [*primaries, *(a for a in (*of4, new) if a not in primaries), *of6]


def _delete_address(observed: Namespace, step: s.DeleteAddress) -> Namespace:
    index, address = index_of(observed, step.link), step.address
    left = tuple((i, a) for i, a in observed.addresses if i != index or a.key != address.key)
    assert left != observed.addresses, f"{address.cidr} is not there"
    made = _routes_with(address, index)
    if any(a.network == address.network for i, a in left if i == index):
        made = made[1:]
    gone = {r.key for r in made}
    everywhere = {a.address for _, a in left}
    routes = tuple(
        r
        for r in observed.routes
        if r.key not in gone and (r.preferred_source != address.address or address.address in everywhere)
    )
    observed = replace(observed, addresses=left, routes=routes)
    if address.family == AF_INET and not any(a.family == AF_INET for a in observed.addresses_of(index)):
        own = [r for r in observed.routes_of(index) if r.family == AF_INET]
        observed = replace(observed, routes=tuple(r for r in observed.routes if r not in own))
    return observed


def _await_addresses(observed: Namespace, step: s.AwaitAddresses) -> Namespace:
    index = index_of(observed, step.link)
    return replace(
        observed,
        addresses=tuple(
            (i, replace(a, flags=a.flags & ~IFA_F_TENTATIVE) if i == index else a) for i, a in observed.addresses
        ),
    )


def _add_route(observed: Namespace, route: Route, *, first: bool = False) -> Namespace:
    assert route.key not in [r.key for r in observed.routes], f"the route {route.text} is there"
    through = [route.gateway] if route.gateway else [hop.gateway for hop in route.nexthops if hop.gateway]
    for gateway in through:
        nets = [ip_interface(r.destination).network for r in observed.routes if r.family == route.family]
        known = any(ip_interface(gateway).ip in net for net in nets if net.prefixlen)
        onlink = route.flags or any(hop.flags for hop in route.nexthops)
        assert known or onlink or isinstance(ip_interface(gateway), IPv6Interface), f"{route.text}: no way to {gateway}"
    routes = list(observed.routes)
    equal = [at for at, known in enumerate(routes) if known.place == route.place]
    routes.insert(equal[0] if first and equal else len(routes), route)
    return replace(observed, routes=tuple(routes))


def _delete_route(observed: Namespace, step: s.DeleteRoute | s.MoveRoute) -> Namespace:
    return replace(observed, routes=tuple(r for r in observed.routes if r.key != step.route.key))


def _add_host_route(observed: Namespace, step: s.AddHostRoute) -> Namespace:
    is6 = ":" in step.address
    host = f"{step.address}/{128 if is6 else 32}"
    route = Route(AF_INET6 if is6 else AF_INET, host, interface=index_of(observed, step.link))
    return _add_route(observed, replace(route, scope=0 if is6 else SCOPE_LINK, metric=1024 if is6 else 0))


def _add_local_route(observed: Namespace, step: s.AddLocalRoute) -> Namespace:
    route = Route(AF_INET6, f"{step.address}/128", table=TABLE_LOCAL, interface=index_of(observed, step.link))
    return _add_route(observed, replace(route, type=RTN_LOCAL, metric=1024))


def _neighbours(observed: Namespace, step: s.AddNeighbour | s.DeleteNeighbour) -> Namespace:
    entry = (index_of(observed, step.link), step.neighbour)
    left = tuple(known for known in observed.neighbours if known != entry)
    return replace(observed, neighbours=(*left, entry) if isinstance(step, s.AddNeighbour) else left)


def _add_rule(observed: Namespace, step: s.AddRule) -> Namespace:
    rules = sorted((*observed.rules, step.rule), key=lambda rule: (rule.family, rule.priority))
    return replace(observed, rules=tuple(rules))


def _load_table(observed: Namespace, step: s.LoadTable) -> Namespace:
    texts = re.split(r"^(?=table )", step.ruleset, flags=re.MULTILINE)[1:]
    loaded = {family: digest_of(text) for family, text in zip(step.families, texts, strict=True)}
    kept = {family: digest for family, digest in observed.tables if family not in step.replace}
    assert not kept.keys() & loaded.keys(), "a table that is not replaced"
    for device in re.findall(r'device "(\S+)"', step.ruleset):
        index_of(observed, device)
    return replace(observed, tables=tuple((kept | loaded).items()))


def _delete_table(observed: Namespace, step: s.DeleteTable) -> Namespace:
    return replace(observed, tables=tuple(table for table in observed.tables if table[0] not in step.families))


def _set(field: str, value: str) -> Callable[[Namespace, Any], Namespace]:
    return lambda observed, step: with_link(observed, step.link, **{field: getattr(step, value)})


_KINDS: dict[type, Callable[[Namespace, Any], Namespace]] = {
    s.CreateBridge: _create_bridge,
    s.CreateTap: _create_tap,
    s.CreateMacvtap: _create_macvtap,
    s.DeleteLink: lambda observed, step: without_link(observed, step.link),
    s.SetAlias: lambda observed, step: with_link(observed, step.link, alias=step.alias),
    s.SetMac: _set("mac", "mac"),
    s.SetMtu: _set_mtu,
    s.SetMaster: _set_master,
    s.SetUp: _set_up,
    s.SetAllMulticast: _set_all_multicast,
    s.SetAddrGenMode: _set("addr_gen_mode", "mode"),
    s.SetLearning: _set_learning,
    s.PinMac: lambda observed, step: replace(
        observed,
        forwarding_entries=(*observed.forwarding_entries, (index_of(observed, step.link), step.mac)),
    ),
    s.SetSysctl: _set_sysctl,
    s.AddAddress: _add_address,
    s.DeleteAddress: _delete_address,
    s.AwaitAddresses: _await_addresses,
    s.AddRoute: lambda observed, step: _add_route(observed, step.route, first=step.first),
    s.MoveRoute: lambda observed, step: _add_route(_delete_route(observed, step), step.route),
    s.AddHostRoute: _add_host_route,
    s.AddLocalRoute: _add_local_route,
    s.DeleteRoute: _delete_route,
    s.AddRule: _add_rule,
    s.DeleteRule: lambda observed, step: replace(observed, rules=tuple(r for r in observed.rules if r != step.rule)),
    s.AddNeighbour: _neighbours,
    s.DeleteNeighbour: _neighbours,
    s.LoadTable: _load_table,
    s.DeleteTable: _delete_table,
}
