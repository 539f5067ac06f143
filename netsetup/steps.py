"""The single changes a plan is made of: plain data, each one netlink request, one write or one transaction. Pure.

`str(step)` is one line in the words of ip(8), bridge(8), sysctl(8) and nft(8).

Devices are named, not numbered: the index of a bridge is known only when it has been made. Every step may be run
again: what is already there, or already gone, is not an error.
"""

import re
from collections.abc import Iterable
from typing import Final

from dhcp.lean.frozen import Frozen
from netsetup.model.kernel import Address, Link, Namespace, Neighbour, Route, Rule
from netsetup.model.owner import Owner
from netsetup.model.pod_interface import PodInterface
from netsetup.model.settings import interface_of, of_interface

DEVCONF4: Final = {"arp_ignore": 19, "route_localnet": 26}


class CreateBridge(Frozen):
    name: str
    mac: str
    mtu: int

    def __str__(self) -> str:
        return f"link add {self.name} type bridge address {self.mac} mtu {self.mtu}"


class CreateTap(Frozen):
    name: str
    alias: str
    queues: int
    owner: Owner | None = None
    """Who may open it without CAP_NET_ADMIN; None for the user and group that carry this out."""

    def __str__(self) -> str:
        owner = f" user {self.owner.uid} group {self.owner.gid}" if self.owner else ""
        return f"tuntap add {self.name} mode tap{' multi_queue' if self.queues > 1 else ''}{owner}"


class CreateMacvtap(Frozen):
    """A macvtap on a pod interface, or beside it on its lower device where that is a macvlan or macvtap itself."""

    name: str
    lower: str
    mac: str
    mtu: int

    def __str__(self) -> str:
        return f"link add {self.name} link {self.lower} address {self.mac} mtu {self.mtu} type macvtap mode bridge"


class DeleteLink(Frozen):
    link: str

    def __str__(self) -> str:
        return f"link delete {self.link}"


class SetAlias(Frozen):
    link: str
    alias: str

    def __str__(self) -> str:
        return f"link set {self.link} alias '{self.alias}'"


class SetMac(Frozen):
    link: str
    mac: str

    def __str__(self) -> str:
        return f"link set {self.link} address {self.mac}"


class SetMtu(Frozen):
    link: str
    mtu: int

    def __str__(self) -> str:
        return f"link set {self.link} mtu {self.mtu}"


class SetMaster(Frozen):
    link: str
    master: str
    """Name of the bridge; empty releases the port."""

    def __str__(self) -> str:
        return f"link set {self.link} master {self.master}" if self.master else f"link set {self.link} nomaster"


class SetUp(Frozen):
    link: str
    up: bool

    def __str__(self) -> str:
        return f"link set {self.link} {'up' if self.up else 'down'}"


class SetAllMulticast(Frozen):
    """Whether a device receives the frames of every multicast group, not only of those that the pod has joined."""

    link: str
    on: bool

    def __str__(self) -> str:
        return f"link set {self.link} allmulticast {'on' if self.on else 'off'}"


class SetAddrGenMode(Frozen):
    link: str
    mode: int

    def __str__(self) -> str:
        return f"link set {self.link} addrgenmode {self.mode}"


class SetLearning(Frozen):
    link: str
    on: bool

    def __str__(self) -> str:
        return f"bridge link set {self.link} learning {'on' if self.on else 'off'}"


class PinMac(Frozen):
    """A forwarding entry that ties a MAC to a bridge port."""

    link: str
    mac: str

    def __str__(self) -> str:
        return f"bridge fdb add {self.mac} dev {self.link} master static sticky"


class SetSysctl(Frozen):
    key: str
    """Path below /proc/sys: ``net/ipv6/conf/eth0/disable_ipv6``."""
    value: str

    @property
    def link(self) -> str:
        """The interface whose setting it is; empty for one of the whole namespace."""
        return interface_of(self.key)

    @property
    def devconf(self) -> int:
        """Its number where a netlink request sets it as well (linux/ip.h), which needs no writable /proc/sys; else 0.

        Only of settings of which the kernel keeps nothing but the value.
        """
        return DEVCONF4.get(self.key.rpartition("/")[2], 0) if self.link and self.key.startswith("net/ipv4/") else 0

    def __str__(self) -> str:
        return f"sysctl {self.key.replace('/', '.')}={self.value}"


class AddAddress(Frozen):
    link: str
    address: Address

    def __str__(self) -> str:
        return f"address add {self.address.cidr} dev {self.link}"


class DeleteAddress(Frozen):
    link: str
    address: Address

    def __str__(self) -> str:
        return f"address delete {self.address.cidr} dev {self.link}"


class AwaitAddresses(Frozen):
    """Wait until no address of the link is tentative: the kernel comes to that a little later, by itself."""

    link: str

    def __str__(self) -> str:
        return f"wait until no address of {self.link} is tentative"


class AddRoute(Frozen):
    """Add a route behind those that are equal but for the next hop, or before them."""

    route: Route
    first: bool = False
    """For IPv4 alone."""

    def __str__(self) -> str:
        return f"route {'prepend' if self.first else 'add'} {self.route.text}"


class MoveRoute(Frozen):
    """Delete a route of another interface and add it at once behind its equals."""

    route: Route

    def __str__(self) -> str:
        return f"route delete and append {self.route.text}"


class AddHostRoute(Frozen):
    """Lead packets for one address out by this link, on which it is."""

    link: str
    address: str

    def __str__(self) -> str:
        return f"route add {self.address} dev {self.link}"


class AddLocalRoute(Frozen):
    """Have the host take packets for an address when they come in by this link, although the address is another's."""

    link: str
    address: str

    def __str__(self) -> str:
        return f"route add local {self.address} dev {self.link} table local"


class DeleteRoute(Frozen):
    route: Route

    def __str__(self) -> str:
        return f"route delete {self.route.text}"


class AddRule(Frozen):
    rule: Rule

    def __str__(self) -> str:
        return f"rule add {self.rule.text}"


class DeleteRule(Frozen):
    rule: Rule

    def __str__(self) -> str:
        return f"rule delete {self.rule.text}"


class AddNeighbour(Frozen):
    link: str
    neighbour: Neighbour

    def __str__(self) -> str:
        return f"neigh add {self.neighbour.text} dev {self.link}"


class DeleteNeighbour(Frozen):
    link: str
    neighbour: Neighbour

    def __str__(self) -> str:
        return f"neigh delete {self.neighbour.text} dev {self.link}"


class LoadTable(Frozen):
    """Load our nftables tables, in one transaction."""

    ruleset: str
    replace: tuple[str, ...] = ()
    """The families in which there is one already; doing without removal saves the kernel's wait for an RCU grace
    period."""

    @property
    def families(self) -> list[str]:
        return re.findall(r"^table (\w+)", self.ruleset, re.MULTILINE)

    def __str__(self) -> str:
        return "; ".join(f"nft load table {family} virt-launcher" for family in self.families)


class DeleteTable(Frozen):
    families: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(f"nft delete table {family} virt-launcher" for family in self.families)


Step = (
    CreateBridge
    | CreateTap
    | CreateMacvtap
    | DeleteLink
    | SetAlias
    | SetMac
    | SetMtu
    | SetMaster
    | SetUp
    | SetAllMulticast
    | SetAddrGenMode
    | SetLearning
    | PinMac
    | SetSysctl
    | AddAddress
    | DeleteAddress
    | AwaitAddresses
    | AddRoute
    | AddHostRoute
    | MoveRoute
    | AddLocalRoute
    | DeleteRoute
    | AddRule
    | DeleteRule
    | AddNeighbour
    | DeleteNeighbour
    | LoadTable
    | DeleteTable
)


def made_by(steps: Iterable[Step]) -> set[str]:
    """The names of the devices that steps make."""
    return {step.name for step in steps if isinstance(step, CreateBridge | CreateTap | CreateMacvtap)}


def sysctl_steps(observed: Namespace, key: str, value: str) -> list[Step]:
    """The step that gives a setting this value, unless it has it. A device that is still to be made has the default."""
    step = SetSysctl(key, value)
    now = observed.sysctl(key)
    if now is None and step.link and observed.link(step.link) is None:
        now = observed.sysctl(of_interface(key, "default"))
    return [] if now == value else [step]


def addr_gen_mode_steps(nic: Link, pod: PodInterface) -> list[Step]:
    """The step that lets the kernel make link-local addresses as it did, unless it does, or has no IPv6 there."""
    mode = pod.link.addr_gen_mode
    return [] if mode is None or nic.addr_gen_mode in (None, mode) else [SetAddrGenMode(nic.name, mode)]
