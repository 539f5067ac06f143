"""The steps of a plan as requests to the kernel, one by one. Whatever undoes them is a plan of its own, see `apply`."""

import errno
import logging
import os
import time
from collections.abc import Iterable

from dhcp.lean.frozen import replace
from netsetup.discover import PROC_SYS
from netsetup.errors import KernelRefused, NotPermitted, NotRestored
from netsetup.kernel import tap
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.kernel import AF_INET, AF_INET6, IFA_F_TENTATIVE, PROTO_KERNEL, SCOPE_LINK, Link, NextHop, Route
from netsetup.nft import tables as nftables
from netsetup.plan import Plan
from netsetup.steps import (
    AddAddress,
    AddHostRoute,
    AddLocalRoute,
    AddNeighbour,
    AddRoute,
    AddRule,
    AwaitAddresses,
    CreateBridge,
    CreateMacvtap,
    CreateTap,
    DeleteAddress,
    DeleteLink,
    DeleteNeighbour,
    DeleteRoute,
    DeleteRule,
    DeleteTable,
    LoadTable,
    MoveRoute,
    PinMac,
    SetAddrGenMode,
    SetAlias,
    SetAllMulticast,
    SetLearning,
    SetMac,
    SetMaster,
    SetMtu,
    SetSysctl,
    SetUp,
    Step,
)

log = logging.getLogger("netsetup")

SETTLE_SECONDS = 1.0
"""How long an address without duplicate-address detection may stay tentative; the kernel takes microseconds."""

MOVE_ATTEMPTS = 20
"""A request that fails for want of memory may succeed a little later."""

UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH}
HELPER = Route(AF_INET, "", scope=SCOPE_LINK, proto=PROTO_KERNEL, metric=0xFFFFFFFE)

ALREADY_THERE = {errno.EEXIST}
ALREADY_GONE = {errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV}


def run(netlink: Netlink, plan: Plan, links: Iterable[Link]) -> None:
    """Take the steps of a plan in order; `links` are those it was made for.

    Raises a NetworkSetupError at the first that fails.
    """
    indexes = {link.name: link.index for link in links}
    for step in plan.steps:
        log.debug("%s", str(step))
        _take(netlink, step, indexes)


def _take(netlink: Netlink, step: Step, indexes: dict[str, int]) -> None:
    try:
        _request(netlink, step, indexes)
    except KernelRefused as refused:
        if (
            isinstance(step, AddAddress | AddRoute | AddHostRoute | AddLocalRoute | AddRule | AddNeighbour)
            and refused.errno in ALREADY_THERE
        ):
            return
        if (
            isinstance(step, DeleteAddress | DeleteRoute | DeleteRule | DeleteNeighbour | DeleteLink)
            and refused.errno in ALREADY_GONE
        ):
            return
        raise
    except KeyError as missing:
        raise KernelRefused(str(step), errno.ENODEV, f"the interface {missing} is gone") from None


def _request(netlink: Netlink, step: Step, indexes: dict[str, int]) -> None:
    match step:
        case CreateBridge(name, mac, mtu):
            netlink.create_bridge(name, mac, mtu)
            indexes[name] = netlink.link_index(name)
        case CreateTap(name, alias, queues, owner):

            def mark() -> None:
                indexes[name] = netlink.link_index(name)
                netlink.set_alias(indexes[name], name, alias)

            tap.create_tap(name, queues, owner, mark)
        case CreateMacvtap(name, lower, mac, mtu):
            netlink.create_macvtap(name, indexes[lower], mac, mtu)
            indexes[name] = netlink.link_index(name)
        case DeleteLink(link):
            if link in indexes:
                netlink.delete_link(indexes.pop(link), link)
        case SetAlias(link, alias):
            netlink.set_alias(indexes[link], link, alias)
        case SetMac(link, mac):
            _set_mac(netlink, indexes[link], link, mac)
        case SetMtu(link, mtu):
            netlink.set_mtu(indexes[link], link, mtu)
        case SetMaster(link, master):
            netlink.set_master(indexes[link], link, indexes[master] if master else 0)
        case SetUp(link, up):
            netlink.set_up(indexes[link], link, up)
        case SetAllMulticast(link, on):
            netlink.set_all_multicast(indexes[link], link, on)
        case SetAddrGenMode(link, mode):
            netlink.set_addr_gen_mode(indexes[link], link, mode)
        case SetLearning(link, on):
            netlink.set_learning(indexes[link], link, on)
        case PinMac(link, mac):
            netlink.add_forwarding_entry(indexes[link], link, mac)
        case SetSysctl(key, value):
            if step.devconf:
                netlink.set_devconf4(indexes[step.link], step.link, step.devconf, int(value))
            else:
                _write_sysctl(key, value)
        case AddAddress(link, address):
            netlink.add_address(indexes[link], link, address)
        case DeleteAddress(link, address):
            netlink.delete_address(indexes[link], link, address)
        case AwaitAddresses(link):
            _await_addresses(netlink, indexes[link])
        case AddRoute(route, first):
            _add_route(netlink, route, first)
        case MoveRoute(route):
            _move_route(netlink, route)
        case AddHostRoute(link, address):
            netlink.add_host_route(indexes[link], address)
        case AddLocalRoute(link, address):
            netlink.add_local_route(indexes[link], address)
        case DeleteRoute(route):
            netlink.delete_route(route)
        case AddRule(rule):
            netlink.add_rule(rule)
        case DeleteRule(rule):
            netlink.delete_rule(rule)
        case AddNeighbour(link, neighbour):
            netlink.add_neighbour(indexes[link], link, neighbour)
        case DeleteNeighbour(link, neighbour):
            netlink.delete_neighbour(indexes[link], link, neighbour)
        case LoadTable(ruleset, replace):
            nftables.load(ruleset, replace)
        case DeleteTable(families):
            nftables.delete(families)


def _set_mac(netlink: Netlink, index: int, name: str, mac: str) -> None:
    """Change a MAC while the interface stays up; only a driver that cannot do that sees it down for a moment."""
    try:
        netlink.set_mac(index, name, mac)
    except KernelRefused as refused:
        if refused.errno != errno.EBUSY:
            raise
        netlink.set_up(index, name, False)
        netlink.set_mac(index, name, mac)
        netlink.set_up(index, name, True)


def _add_route(netlink: Netlink, route: Route, first: bool) -> None:
    """Where the route by which its gateways were reached has gone since it was added, there is one for the moment: as
    if the kernel's own, so that it is removed when this process is killed."""
    try:
        return netlink.add_route(route, first=first)
    except KernelRefused as refused:
        if refused.errno not in UNREACHABLE:
            raise
    legs = route.nexthops or (NextHop(route.interface, 1, gateway=route.gateway, via=route.via),)
    helpers = [
        replace(HELPER, family=AF_INET6 if ":" in to else AF_INET, destination=to, table=route.table, interface=index)
        for index, gateway in ((leg.interface, leg.gateway or leg.via) for leg in legs)
        for to in (f"{gateway}/{128 if ':' in gateway else 32}",) if gateway
    ]  # fmt: skip
    added = []
    try:
        for helper in helpers:
            netlink.add_route(helper)
            added.append(helper)
        netlink.add_route(route, first=first)
    finally:
        for helper in added:
            netlink.delete_route(helper)


def _move_route(netlink: Netlink, route: Route) -> None:
    """Raises NotRestored when the route is gone: it is another interface's, and no plan has it added."""
    try:
        netlink.delete_route(route)
    except KernelRefused as refused:
        if refused.errno in ALREADY_GONE:
            return  # its owner has taken it away
        raise
    last = ""
    for attempt in range(MOVE_ATTEMPTS):
        time.sleep(attempt / 1000)
        try:
            netlink.add_route(route)
        except KernelRefused as refused:
            if refused.errno not in ALREADY_THERE:
                last = str(refused)
                continue
        return
    raise NotRestored(f"{last}; it was to be moved behind its equals: add it by hand")


def _await_addresses(netlink: Netlink, index: int) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while any(owner == index and a.flags & IFA_F_TENTATIVE for owner, a in netlink.addresses()):
        if time.monotonic() > deadline:
            return  # it is not ours to wait for ever; the address is there, and its detection goes on
        time.sleep(0.001)


def _write_sysctl(key: str, value: str) -> None:
    try:
        setting = os.open(f"{PROC_SYS}/{key}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(setting, value.encode())
        finally:
            os.close(setting)
    except OSError as error:
        code = error.errno or errno.EIO
        if code in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise NotPermitted(
                f"sysctl {key.replace('/', '.')}={value}", "CAP_NET_ADMIN and a writable /proc/sys"
            ) from None
        raise KernelRefused(f"sysctl {key.replace('/', '.')}={value}", code) from None
