"""Kernel → frozen data. Reads only; nothing here changes anything."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

from netsetup.errors import InterfaceNotFound, UnsupportedInterface
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    ALIAS,
    BRIDGE_NETFILTER,
    FORCE_FORWARDING,
    FORWARDING4,
    FORWARDING6,
    IFF_LOOPBACK,
    TABLE_LOCAL,
    TABLE_MAIN,
    Link,
    Namespace,
)
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.nft.tables import read_table
from netsetup.resolver import read_resolver

PROC_SYS = Path("/proc/sys")

# In the order in which they are put back: accept_ra after forwarding, see `netsetup.bindings.masquerade`.
SYSCTLS = (
    "net/ipv4/conf/{}/arp_ignore",
    FORWARDING4,
    "net/ipv4/conf/{}/route_localnet",
    FORCE_FORWARDING,
    FORWARDING6,
    "net/ipv6/conf/{}/disable_ipv6",
    "net/ipv6/conf/{}/accept_ra",
    "net/ipv6/conf/{}/accept_dad",
    "net/ipv6/conf/{}/dad_transmits",
)
"""The settings of each interface that a plan reads or changes."""

NO_MAC = "00:00:00:00:00:00"

# A second MAC on these is filtered by the lower device, so a VM behind a bridge stays deaf (ipvlan.rst).
FILTERING_KINDS = {"macvlan": "macvtap or masquerade", "ipvlan": "masquerade", "ipvtap": "masquerade"}


def observe(netlink: Netlink) -> Namespace:
    """Everything the plan looks at, read at one go: links, addresses, routes, neighbours, rules, sysctls, our table.

    Raises NotPermitted, KernelRefused and RulesetRefused.
    """
    links = netlink.links()
    table = read_table()
    return Namespace(
        links=links,
        addresses=netlink.addresses(),
        routes=netlink.routes(),
        neighbours=netlink.neighbours(),
        rules=netlink.rules(),
        forwarding_entries=netlink.forwarding_entries(),
        sysctls=_sysctls(links),
        table=table.digest,
        translation=table.translation,
        copy=table.copy,
    )


def pod_interface(observed: Namespace, name: str, resolver: Resolver, *, becomes_port: bool = True) -> PodInterface:
    """One interface out of an observed namespace. `becomes_port` says that it is to be a port of the VM's bridge.

    Raises InterfaceNotFound, and UnsupportedInterface for one that cannot serve a VM this way.
    """
    _refuse_taken(name, observed)
    link = observed.link(name)
    if link is None:
        raise InterfaceNotFound(name, [other.name for other in observed.links])
    if link.flags & IFF_LOOPBACK:
        raise UnsupportedInterface(f"{link.name}: the loopback device cannot serve a VM")
    if becomes_port:
        _refuse_unsupported(link, observed)
    found = PodInterface(
        link=link,
        addresses=observed.addresses_of(link.index),
        routes=observed.routes_of(link.index),
        neighbours=observed.neighbours_of(link.index),
        sysctls=sysctls_of(observed, name),
        resolver=resolver,
    )
    sources = {family: found.main_address(family) for family in (AF_INET, AF_INET6)}
    tables, tables6 = (lookup_tables(observed, a.address if a else "", family) for family, a in sources.items())
    return replace(found, tables=tables, tables6=tables6)


def discover_pod_network_interface(name: str = "eth0", resolver_path: str = "/etc/resolv.conf") -> PodInterface:
    """Read an interface of the current network namespace as the CNI left it.

    Raises InterfaceNotFound, UnsupportedInterface, NotPermitted and KernelRefused.
    """
    with Netlink() as netlink:
        return pod_interface(observe(netlink), name, read_resolver(resolver_path))


def lookup_tables(observed: Namespace, source: str, family: int = AF_INET) -> tuple[int, ...]:
    """The routing tables in which the kernel looks for packets from `source`, in order (ip-rule(8)).

    A table with a default route ends the search. Rules that look at more than the source are passed over.
    """
    tables: list[int] = []
    for rule in sorted(observed.rules, key=lambda rule: rule.priority):
        if rule.family != family or rule.selective or rule.destination or rule.table in (TABLE_LOCAL, *tables):
            continue
        if rule.source and (not source or ip_address(source) not in ip_network(rule.source)):
            continue
        tables.append(rule.table)
        if any(r.is_default for r in observed.routes if r.family == family and r.table == rule.table):
            break
    return tuple(tables) or (TABLE_MAIN,)


def sysctls_of(observed: Namespace, name: str) -> tuple[tuple[str, str], ...]:
    """The settings of one interface out of an observed namespace."""
    keys = {pattern.format(name) for pattern in SYSCTLS}
    return tuple((key, value) for key, value in observed.sysctls if key in keys)


def _refuse_taken(name: str, observed: Namespace) -> None:
    """KubeVirt's launcher renames the NIC, and a device in its place holds the address (its bridge binding)."""
    moved = observed.link(f"{name}-nic")
    if moved is not None:
        raise UnsupportedInterface(
            f"{name}: KubeVirt's own launcher has set this pod up ({moved.name} is there); start the VM in a new pod"
        )


def _refuse_unsupported(link: Link, observed: Namespace) -> None:
    if link.kind in FILTERING_KINDS:
        raise UnsupportedInterface(
            f"{link.name}: a {link.kind} device lets no second MAC through; use {FILTERING_KINDS[link.kind]}"
        )
    if len(link.mac) != len(NO_MAC) or link.mac == NO_MAC:
        raise UnsupportedInterface(f"{link.name}: not an Ethernet device, so it cannot be a port of a bridge")
    master = next((other for other in observed.links if other.index == link.master), None)
    if master is not None and not master.alias.startswith(ALIAS):
        instead = "" if master.kind == "vrf" else f", or give the VM {master.name} itself"
        raise UnsupportedInterface(
            f"{link.name}: a port of the {master.kind or 'other'} device {master.name}; release it{instead}"
        )
    if link.up and not link.carrier:
        raise UnsupportedInterface(
            f"{link.name}: no carrier, nothing could reach the VM; its other end is down or gone"
        )
    for route in observed.routes_of(link.index):
        if any(hop.interface != link.index for hop in route.nexthops):
            raise UnsupportedInterface(
                f"{link.name}: route {route.destination} also leads through another interface; it could not be put back"
            )


def _sysctls(links: tuple[Link, ...]) -> tuple[tuple[str, str], ...]:
    keys = [pattern.format(link.name) for link in links if not link.flags & IFF_LOOPBACK for pattern in SYSCTLS]
    found = list(_values((*keys, *BRIDGE_NETFILTER)))
    if not any(key.endswith("/force_forwarding") for key, _ in found):
        # Forwarding IPv6 then means to change these, and every interface with them.
        found += _values(FORWARDING6.format(name) for name in ("all", "default", "lo"))
    return tuple(found)


def _values(keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    for key in keys:
        try:
            setting = os.open(f"{PROC_SYS}/{key}", os.O_RDONLY | os.O_CLOEXEC)  # a third of what a file object takes
        except OSError:
            continue  # a kernel without IPv6 has no such settings, and needs none
        try:
            value = os.read(setting, 64)
        except OSError:
            continue  # its interface has just gone
        finally:
            os.close(setting)
        yield key, value.decode().strip()
