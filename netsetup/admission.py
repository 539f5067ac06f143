"""Which interface of an observed namespace can be handed to a VM. Pure."""

from typing import Final

from dhcp.lean.frozen import replace
from netsetup.errors import InterfaceNotFound, UnsuitedInterface, UnsupportedInterface
from netsetup.model.identity import is_marked
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    FORCE_FORWARDING,
    FORWARDING4,
    FORWARDING6,
    IFF_LOOPBACK,
    MTU6,
    Link,
    Namespace,
)
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.routing import equal_routes, lookup_tables

# In the order in which they are put back: accept_ra after forwarding, see `netsetup.bindings.masquerade`.
SYSCTLS: Final = (
    "net/ipv4/conf/{}/arp_ignore",
    FORWARDING4,
    "net/ipv4/conf/{}/route_localnet",
    FORCE_FORWARDING,
    FORWARDING6,
    "net/ipv6/conf/{}/disable_ipv6",
    "net/ipv6/conf/{}/accept_ra",
    "net/ipv6/conf/{}/accept_dad",
    "net/ipv6/conf/{}/dad_transmits",
    MTU6,
)
"""The settings of each interface that a plan reads or changes."""

NO_MAC: Final = "00:00:00:00:00:00"

AGGREGATE_KINDS: Final = ("bond", "team")
"""Masters that can themselves be handed to a VM in place of their ports."""


def pod_interface(observed: Namespace, name: str, resolver: Resolver) -> PodInterface:
    """One interface out of an observed namespace.

    Raises InterfaceNotFound, and UnsupportedInterface for one that cannot serve a VM.
    """
    _refuse_taken(name, observed)
    link = observed.link(name)
    if link is None:
        raise InterfaceNotFound(name, [other.name for other in observed.links])
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
    master = next((other for other in observed.links if other.index == link.master), None)
    if master is not None and not is_marked(master):
        itself = f", or give the VM {master.name} itself (podInterfaceName in the manifest's status.interfaces)"
        raise UnsupportedInterface(
            f"{link.name}: a port of the {master.kind or 'other'} device {master.name}; "
            f"release it{itself if master.kind in AGGREGATE_KINDS else ''}"
        )
