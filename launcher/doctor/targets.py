"""IP families of a network as `doctor` checks them: expected peers and received answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import ip_network

from dhcp.wire.addresses import parse_ipv4
from dhcp.wire.addresses6 import parse_ipv6
from netsetup.model.kernel import AF_INET, AF_INET6, Route
from netsetup.model.routing import inherited_routes4, permanent_mac, router6_of
from netsetup.model.vm_network import VMNetwork

BEYOND = "198.51.100.1"
"""TEST-NET-2 (RFC 5737): unassigned, so only the first router can answer with an ICMP error."""
BEYOND6 = "2001:db8:ffff::1"
"""Likewise (RFC 3849)."""


class Side(Enum):
    """The two ends of the path through the pod."""

    NODE = "pod interface"
    GUEST = "guest port"


class Target(Enum):
    """Destinations of the IP probes."""

    GATEWAY = 0
    BEYOND = 1
    """An address behind the gateway, with a time to live that ends at the gateway."""


@dataclass(slots=True)
class Answers:
    """Received answers; MACs and addresses are text."""

    holders: set[str] = field(default_factory=set)
    """MACs on the node's side that claim the VM's address."""
    servers: set[tuple[str, str]] = field(default_factory=set)
    """(address, MAC) of DHCP servers on the node's side."""
    own_servers: set[tuple[str, str]] = field(default_factory=set)
    """Those of them that offer just the VM's address."""
    routers: set[tuple[str, str]] = field(default_factory=set)
    """(address, MAC) of senders of router advertisements there."""
    gateway_mac: str = ""
    guests: set[str] = field(default_factory=set)
    """MACs on the guest's side that answer for the VM's address."""
    other_macs: set[str] = field(default_factory=set)
    """Other MACs than the VM's that the guest sent from."""
    vm_mac_seen: bool = False
    """Whether a frame with the VM's MAC came from the guest."""
    returned: set[Target] = field(default_factory=set)
    """Those from which, or on the way to which, an IP packet came back, be it an ICMP error."""
    large: bool = False
    """Whether a packet as large as the VM's MTU got to the gateway."""
    small: bool = False
    """Whether a small one got there."""
    echoed: bool = False
    """Whether the gateway itself replies to ping."""
    crosses: dict[Side, bool] = field(default_factory=dict)
    """Whether frames that came in on a side left by the other; a side is missing when there were none to judge by."""


@dataclass(frozen=True, slots=True)
class Family:
    """One IP family of a network."""

    is_ipv6: bool
    address: str
    """The VM's; empty where it is served none."""
    outer_address: str
    """The VM's address on the node's side: its own, or the pod's where the pod routes."""
    gateway: str = ""
    """That of the default route if there is one; empty without any."""
    beyond: str = ""
    """An address behind the gateway."""
    is_default: bool = False
    """Whether the gateway is that of a default route."""
    routers: frozenset[str] = frozenset()
    """All gateways of the pod's routes."""
    permanent_mac: str = ""
    """The gateway's, where the CNI left a permanent neighbour."""
    answers: Answers = field(default_factory=Answers, compare=False)

    @property
    def resolution(self) -> str:
        """How a neighbour's MAC is resolved."""
        return "neighbour solicitations" if self.is_ipv6 else "ARP"

    @property
    def dhcp(self) -> str:
        return "DHCPv6" if self.is_ipv6 else "DHCP"

    def packed(self, address: str) -> bytes:
        """An address of this family in network order; empty for none."""
        return (parse_ipv6 if self.is_ipv6 else parse_ipv4)(address) if address else b""


def families_of(network: VMNetwork) -> tuple[Family, ...]:
    """The families that the VM is served; where that is none, IPv4 without an address, so that frames are received."""
    families = []
    if network.guest.address4 or not network.serves6:
        families.append(_ipv4(network))
    if network.guest.address6 and network.serves6:
        families.append(_ipv6(network, network.guest.address6.address))
    return tuple(families)


def _ipv4(network: VMNetwork) -> Family:
    outer_address = next((address.address for address in network.pod.global_addresses(AF_INET)), "")
    if network.guest.address4 is None:
        return Family(False, "", outer_address)
    routes = [route for route in inherited_routes4(network.pod) if route.gateway]
    family = Family(False, network.guest.address4.address, outer_address)
    return _through(routes[-1], routes, family, network) if routes else family  # the default one comes last


def _ipv6(network: VMNetwork, address: str) -> Family:
    outer, route = network.pod.main_address(AF_INET6), router6_of(network.pod)
    family = Family(True, address, outer.address if outer else "")
    routes = [route for route in network.pod.routes if route.family == AF_INET6]
    return _through(route, routes, family, network) if route else family


def _through(route: Route, routes: Iterable[Route], family: Family, network: VMNetwork) -> Family:
    """The family with the gateway of a route, which is one of all its `routes`."""
    return replace(
        family,
        gateway=route.gateway,
        beyond=(BEYOND6 if family.is_ipv6 else BEYOND) if route.is_default else _host_of(route.destination),
        is_default=route.is_default,
        routers=frozenset(gateways_of(routes)),
        permanent_mac=permanent_mac(network.pod, route.gateway),
    )


def gateways_of(routes: Iterable[Route]) -> set[str]:
    """The gateways that routes lead through, those of multipath routes among them."""
    legs = [(route.gateway, *(hop.gateway for hop in route.nexthops)) for route in routes]
    return {gateway for leg in legs for gateway in leg if gateway}


def _host_of(destination: str) -> str:
    network = ip_network(destination)
    return str(network[min(1, network.num_addresses - 1)])
