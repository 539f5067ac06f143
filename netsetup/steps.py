"""The single changes a plan is made of: plain data, each one netlink request, one write or one transaction.

Devices are named, not numbered: the index of a bridge is known only when it has been made. Every step may be run
again: what is already there, or already gone, is not an error.
"""

import re
from dataclasses import dataclass

from netsetup.model.kernel import Address, Link, Namespace, Neighbour, Route, Rule
from netsetup.model.pod_interface import PodInterface


@dataclass(frozen=True, slots=True)
class CreateBridge:
    name: str
    mac: str
    mtu: int


@dataclass(frozen=True, slots=True)
class CreateTap:
    name: str
    alias: str
    queues: int


@dataclass(frozen=True, slots=True)
class DeleteLink:
    link: str


@dataclass(frozen=True, slots=True)
class SetAlias:
    link: str
    alias: str


@dataclass(frozen=True, slots=True)
class SetMac:
    link: str
    mac: str


@dataclass(frozen=True, slots=True)
class SetMtu:
    link: str
    mtu: int


@dataclass(frozen=True, slots=True)
class SetMaster:
    link: str
    master: str
    """Name of the bridge; empty releases the port."""


@dataclass(frozen=True, slots=True)
class SetUp:
    link: str
    up: bool


@dataclass(frozen=True, slots=True)
class SetAddrGenMode:
    link: str
    mode: int


@dataclass(frozen=True, slots=True)
class SetLearning:
    link: str
    on: bool


@dataclass(frozen=True, slots=True)
class PinMac:
    """A forwarding entry that ties a MAC to a bridge port."""

    link: str
    mac: str


@dataclass(frozen=True, slots=True)
class SetSysctl:
    key: str
    """Path below /proc/sys: ``net/ipv6/conf/eth0/disable_ipv6``."""
    value: str

    @property
    def link(self) -> str:
        """The interface whose setting it is; empty for one of the whole namespace."""
        parts = self.key.split("/")
        return parts[3] if len(parts) == 5 else ""


@dataclass(frozen=True, slots=True)
class AddAddress:
    link: str
    address: Address


@dataclass(frozen=True, slots=True)
class DeleteAddress:
    link: str
    address: Address


@dataclass(frozen=True, slots=True)
class AwaitAddresses:
    """Wait until no address of the link is tentative: the kernel comes to that a little later, by itself."""

    link: str


@dataclass(frozen=True, slots=True)
class AddRoute:
    route: Route


@dataclass(frozen=True, slots=True)
class AddLocalRoute:
    """Have the host take packets for an address when they come in by this link, although the address is another's."""

    link: str
    address: str


@dataclass(frozen=True, slots=True)
class DeleteRoute:
    route: Route


@dataclass(frozen=True, slots=True)
class AddRule:
    rule: Rule


@dataclass(frozen=True, slots=True)
class DeleteRule:
    rule: Rule


@dataclass(frozen=True, slots=True)
class AddNeighbour:
    link: str
    neighbour: Neighbour


@dataclass(frozen=True, slots=True)
class DeleteNeighbour:
    link: str
    neighbour: Neighbour


@dataclass(frozen=True, slots=True)
class LoadTable:
    """Load our nftables tables, in one transaction."""

    ruleset: str
    replace: tuple[str, ...] = ()
    """The families in which there is one already; doing without removal saves the kernel's wait for an RCU grace
    period."""


@dataclass(frozen=True, slots=True)
class DeleteTable:
    families: tuple[str, ...] = ("bridge",)


Step = (
    CreateBridge
    | CreateTap
    | DeleteLink
    | SetAlias
    | SetMac
    | SetMtu
    | SetMaster
    | SetUp
    | SetAddrGenMode
    | SetLearning
    | PinMac
    | SetSysctl
    | AddAddress
    | DeleteAddress
    | AwaitAddresses
    | AddRoute
    | AddLocalRoute
    | DeleteRoute
    | AddRule
    | DeleteRule
    | AddNeighbour
    | DeleteNeighbour
    | LoadTable
    | DeleteTable
)


def sysctl_steps(observed: Namespace, key: str, value: str) -> list[Step]:
    """The step that gives a setting this value, unless it has it."""
    return [] if observed.sysctl(key) == value else [SetSysctl(key, value)]


def addr_gen_mode_steps(nic: Link, pod: PodInterface) -> list[Step]:
    """The step that lets the kernel make link-local addresses as it did, unless it does."""
    mode = pod.link.addr_gen_mode
    return [] if mode is None or mode == nic.addr_gen_mode else [SetAddrGenMode(nic.name, mode)]


def describe(step: Step) -> str:
    """One line for a person, in the words of ip(8), sysctl(8) and nft(8)."""
    match step:
        case CreateBridge(name, mac, mtu):
            return f"link add {name} type bridge address {mac} mtu {mtu}"
        case CreateTap(name, _, queues):
            return f"tuntap add {name} mode tap{' multi_queue' if queues > 1 else ''}"
        case DeleteLink(link):
            return f"link delete {link}"
        case SetAlias(link, alias):
            return f"link set {link} alias '{alias}'"
        case SetMac(link, mac):
            return f"link set {link} address {mac}"
        case SetMtu(link, mtu):
            return f"link set {link} mtu {mtu}"
        case SetMaster(link, master):
            return f"link set {link} master {master}" if master else f"link set {link} nomaster"
        case SetUp(link, up):
            return f"link set {link} {'up' if up else 'down'}"
        case SetAddrGenMode(link, mode):
            return f"link set {link} addrgenmode {mode}"
        case SetLearning(link, on):
            return f"bridge link set {link} learning {'on' if on else 'off'}"
        case PinMac(link, mac):
            return f"bridge fdb add {mac} dev {link} master static sticky"
        case SetSysctl(key, value):
            return f"sysctl {key.replace('/', '.')}={value}"
        case AddAddress(link, address):
            return f"address add {address.cidr} dev {link}"
        case DeleteAddress(link, address):
            return f"address delete {address.cidr} dev {link}"
        case AwaitAddresses(link):
            return f"wait until no address of {link} is tentative"
        case AddRoute(route):
            return f"route add {route.text}"
        case AddLocalRoute(link, address):
            return f"route add local {address} dev {link} table local"
        case DeleteRoute(route):
            return f"route delete {route.text}"
        case AddRule(rule):
            return f"rule add {rule.text}"
        case DeleteRule(rule):
            return f"rule delete {rule.text}"
        case AddNeighbour(link, neighbour):
            return f"neigh add {neighbour.address} lladdr {neighbour.mac} dev {link}"
        case DeleteNeighbour(link, neighbour):
            return f"neigh delete {neighbour.address} dev {link}"
        case LoadTable(ruleset):
            families = re.findall(r"^table (\w+)", ruleset, re.MULTILINE)
            return "; ".join(f"nft load table {family} virt-launcher" for family in families)
        case DeleteTable(families):
            return "; ".join(f"nft delete table {family} virt-launcher" for family in families)
