"""Which interface of an observed namespace can be handed to a VM. Pure."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Final

from dhcp.lean.frozen import replace
from dhcp.lean.text import is_plain
from netsetup.errors import InterfaceNotFound, InvalidRequest, UnsuitedInterface, UnsupportedInterface
from netsetup.model.identity import is_marked
from netsetup.model.kernel import AF_INET, AF_INET6, IFF_LOOPBACK, Link, Namespace
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.routing import equal_routes, lookup_tables
from netsetup.model.settings import ACCEPT_RA, ARP_IGNORE, FORCE_FORWARDING, FORWARDING4, FORWARDING6, MTU6
from netsetup.model.vm_network import VMNetwork

# In the order in which they are put back: accept_ra after forwarding, see `netsetup.bindings.masquerade`.
SYSCTLS: Final = (
    ARP_IGNORE,
    FORWARDING4,
    "net/ipv4/conf/{}/route_localnet",
    FORCE_FORWARDING,
    FORWARDING6,
    "net/ipv6/conf/{}/disable_ipv6",
    ACCEPT_RA,
    "net/ipv6/conf/{}/accept_dad",
    "net/ipv6/conf/{}/dad_transmits",
    MTU6,
)
"""The settings of each interface that a plan reads or changes."""

NO_MAC: Final = "00:00:00:00:00:00"

AGGREGATE_KINDS: Final = ("bond", "team")
"""Masters that can themselves be handed to a VM in place of their ports."""

ONE_MAC_KINDS: Final = ("macvlan", "macvtap", "ipvlan", "ipvtap")
"""Kinds of pod interfaces of which the lower device lets no second MAC through (ipvlan.rst); the kernel takes none of
them that has a character device as a port."""
OWN_ADDRESS_KINDS: Final = ("ipvlan", "ipvtap")
"""Those that receive only what is for an address of their own."""
PEER_KINDS: Final = ("veth", "netkit", "vxcan")
"""Kinds of which IFLA_LINK is the other end, not a lower device."""
ANY_MAC_KINDS: Final = ("veth", "tun")
"""Kinds that are known to receive frames for any MAC, without a bridge that has them receive all. A macvlan device
drops them, and so does a network card that filters."""


def pod_interface(observed: Namespace, name: str, resolver: Resolver) -> PodInterface:
    """One interface out of an observed namespace.

    Raises InterfaceNotFound, and UnsupportedInterface for one that cannot serve a VM.
    """
    _refuse_taken(name, observed)
    link = observed.link(name)
    if link is None:
        raise InterfaceNotFound(name, [other.name for other in observed.links])
    if not is_plain(name):
        raise UnsupportedInterface(f"{name}: a name that is no text; rename the interface (ip link set … name …)")
    if link.flags & IFF_LOOPBACK:
        raise UnsupportedInterface(f"{link.name}: the loopback device cannot serve a VM")
    routes = observed.routes_of(link.index)
    found = PodInterface(
        link=link,
        addresses=observed.addresses_of(link.index),
        routes=routes,
        equal_routes=equal_routes(observed.routes, link.index, {route.place for route in routes}),
        neighbours=observed.neighbours_of(link.index),
        sysctls=sysctls_of(observed, link),
        resolver=resolver,
    )
    sources = {family: found.main_address(family) for family in (AF_INET, AF_INET6)}
    tables, tables6 = (lookup_tables(observed, a.address if a else "", family) for family, a in sources.items())
    return replace(found, tables=tables, tables6=tables6)


def sysctls_of(observed: Namespace, link: Link) -> tuple[tuple[str, str], ...]:
    """The settings of one interface out of an observed namespace; IPv6's MTU only where it does not follow the link's,
    because a router has advertised less."""
    keys = {pattern.format(link.name) for pattern in SYSCTLS}
    follows = (MTU6.format(link.name), str(link.mtu))
    return tuple(setting for setting in observed.sysctls if setting[0] in keys and setting != follows)


def _refuse_taken(name: str, observed: Namespace) -> None:
    """KubeVirt's launcher renames the NIC, and a device in its place holds the address (its bridge binding)."""
    moved = observed.link(f"{name}-nic")
    if moved is not None:
        raise UnsupportedInterface(
            f"{name}: KubeVirt's own launcher has set this pod up ({moved.name} is there); start the VM in a new pod"
        )


def require_nobodys(observed: Namespace, network: VMNetwork, further: Iterable[str]) -> None:
    """Raises InvalidRequest for further addresses of a VM that hold one of its gateways, name servers or permanent
    neighbours, or one of the pod's own that the VM does not get."""
    pod = network.pod
    blocks = [ip_network(text) for text in further if "/" in text]
    if not blocks:
        return
    others = {r.gateway: "a gateway" for r in pod.routes if r.gateway}
    others |= {hop.gateway: "a gateway" for r in pod.routes for hop in r.nexthops if hop.gateway}
    others |= {n.address: "a permanent neighbour" for n in pod.neighbours}
    others |= {s.partition("%")[0]: "a name server" for s in pod.resolver.nameservers}
    own = {address.address for address in pod.addresses}
    others |= {a.address: "an address of the pod" for _, a in observed.addresses if a.address not in own}
    for address, what in others.items():
        found = next((block for block in blocks if ip_address(address) in block), None)
        if found:
            raise InvalidRequest(
                f"network {network.name}: the further addresses {found} hold {address}, {what}; leave them out"
            )


def is_ethernet(link: Link) -> bool:
    """Whether an interface has frames with MACs."""
    return len(link.mac) == len(NO_MAC) and link.mac != NO_MAC


def require_frames(observed: Namespace, link: Link) -> None:
    """Raises UnsupportedInterface for an interface whose frames, and all that it has, cannot be handed to a VM.

    An UnsuitedInterface where another binding, which needs no frames, may do.
    """
    if not is_ethernet(link):
        raise UnsuitedInterface(link.name, "not an Ethernet device, so it has no frames for a VM")
    require_no_master(observed, link)
    if link.up and not link.carrier:
        raise UnsupportedInterface(
            f"{link.name}: no carrier, nothing could reach the VM; its other end is down or gone, bring that up"
        )


def require_no_master(observed: Namespace, link: Link) -> None:
    """Raises UnsupportedInterface for a port of a device that is not ours: a bridge, a bond, a VRF …"""
    master = master_of(observed, link)
    if master is not None and not is_marked(master):
        itself = f", or give the VM {master.name} itself (podInterfaceName in the manifest's status.interfaces)"
        raise UnsupportedInterface(
            f"{link.name}: a port of the {master.kind or 'other'} device {master.name}; "
            f"release it{itself if master.kind in AGGREGATE_KINDS else ''}"
        )


def master_of(observed: Namespace, link: Link) -> Link | None:
    """The device that a link is a port of; None for none, or one of another namespace."""
    return next((other for other in observed.links if other.index == link.master), None)


def receives_frames_for(link: Link, mac: str) -> bool:
    """Whether a pod interface receives frames for this MAC, and for addresses that it has not."""
    return link.kind not in OWN_ADDRESS_KINDS and (mac == link.mac or link.kind in ANY_MAC_KINDS)


def a_device(link: Link) -> str:
    """``an ipvlan device``, for messages."""
    return f"{with_article(link.kind or 'hardware')} device"


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def require_no_port(observed: Namespace, pod: PodInterface) -> None:
    """Raises InvalidRequest for a port of a bridge of ours: what it was before is only in a record."""
    if pod.link.master:
        master = master_of(observed, pod.link)
        of = master.name if master else "another device"
        raise InvalidRequest(f"{pod.name}: already a port of {of}, and no record says that we made it one")


def devices_on_top(observed: Namespace, link: Link) -> list[Link]:
    """Those that another device of this namespace is the lower device of: macvlan, macvtap, VLAN, tunnels …"""
    return [
        upper
        for upper in observed.links
        if upper.parent == link.index and not upper.parent_elsewhere and upper.kind not in PEER_KINDS
    ]


def require_nothing_on_top(observed: Namespace, link: Link) -> None:
    """Raises UnsuitedInterface for a pod interface whose frames another device receives, too.

    As a port of a bridge, or with its frames forwarded, it has none left for that: the kernel refuses a macvlan's lower
    device as a port, and a tunnel would lose its address. An XDP program stays, and goes on seeing what comes in.
    """
    for upper in devices_on_top(observed, link):
        reason = f"{upper.name}, {a_device(upper)}, is on top of it and would receive nothing any more"
        raise UnsuitedInterface(link.name, reason, f"remove {upper.name}")
