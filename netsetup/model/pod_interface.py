"""One interface of the pod as the CNI left it, and its resolver configuration: frozen data. Pure."""

from collections.abc import Iterable
from typing import Final

from dhcp.lean.frozen import Frozen, replace
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    IFA_F_TEMPORARY,
    PROTO_KERNEL,
    TABLE_MAIN,
    Address,
    Link,
    Neighbour,
    Route,
)


class Resolver(Frozen):
    """What resolv.conf(5) says, with each entry that cannot be used in `problems`."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    ports: tuple[tuple[str, int, int], ...] = ()
    """The UDP and TCP port of a name server on this host, by its address, where they are not 53."""


MOST_NAMESERVERS: Final = 3
MOST_SEARCHES: Final = 32
"""What Kubernetes lets a pod with a `dnsConfig` have."""


class DNSRequest(Frozen):
    """What a VM asks for besides its pod's resolver configuration, or in place of it, as Kubernetes' `dnsConfig`."""

    replaces: bool = False
    """Whether nothing of the pod's is used (the `dnsPolicy` None)."""
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    """``ndots:5``, or a name alone."""


class PodInterface(Frozen):
    """One interface of the pod as the CNI left it: all that is needed to serve it to a VM and to put it back."""

    link: Link
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    """The routes through this interface in every table, the kernel's own included."""
    neighbours: tuple[Neighbour, ...] = ()
    """Those that somebody has configured, permanent, proxied or managed; not what the kernel has resolved."""
    tables: tuple[int, ...] = (TABLE_MAIN,)
    """The routing tables in which the kernel looks, in this order, for packets from the first IPv4 address."""
    tables6: tuple[int, ...] = (TABLE_MAIN,)
    """Likewise for the first IPv6 address."""
    sysctls: tuple[tuple[str, str], ...] = ()
    """Settings of this interface that the plan may change, ``net/ipv6/conf/eth0/disable_ipv6``."""
    resolver: Resolver = Resolver()
    equal_routes: tuple[Route, ...] = ()
    """Where other interfaces have routes that differ from these only in next hop, metrics or source: all of them, in
    the kernel's order, which takes the first."""

    @property
    def name(self) -> str:
        return self.link.name

    def global_addresses(self, family: int) -> tuple[Address, ...]:
        return tuple(a for a in self.addresses if a.family == family and a.is_global)

    def main_address(self, family: int) -> Address | None:
        """The address a VM gets, the first that the CNI gave; None when there is no global one.

        The kernel lists IPv6 addresses newest first, and some of them are worse than others.
        """
        addresses = self.global_addresses(family)
        if family == AF_INET6:
            addresses = tuple(reversed(addresses))
            lasting = [a for a in addresses if a.preferred_seconds and not a.flags & IFA_F_TEMPORARY]
            return next(iter([*lasting, *addresses]), None)
        return next(iter(addresses), None)

    def at(self, now: int) -> "PodInterface":
        """The interface as it would be by now: addresses with what is left of their lifetimes.

        Those that have run out are not there, nor what the kernel removes with them: their own routes, those that have
        them as the source, and with the last IPv4 address all of IPv4.
        """
        present = tuple(a.at(now) for a in self.addresses)
        left = tuple(a for a in present if a.valid_seconds)
        if present == self.addresses and left == present:
            return self
        gone = {a.address for a in present if not a.valid_seconds}
        networks = {a.network for a in present if not a.valid_seconds} - {a.network for a in left}
        families = {AF_INET6, *(a.family for a in left)} if gone else {AF_INET, AF_INET6}
        routes = tuple(
            route
            for route in self.routes
            if route.family in families
            and route.preferred_source not in gone
            and route.destination.partition("/")[0] not in gone
            and not (route.proto == PROTO_KERNEL and route.destination in networks)
        )
        return replace(self, addresses=left, routes=routes)

    def with_renewed(self, present: Iterable[Address]) -> "PodInterface":
        """With the lifetimes that its addresses have now, where they were set anew."""
        readings = {a.identity: a for a in present}
        addresses = tuple(a.unless_renewed(readings.get(a.identity, a)) for a in self.addresses)
        return self if addresses == self.addresses else replace(self, addresses=addresses)

    @property
    def mtu(self) -> int:
        """The largest packet that gets through: the link's MTU, or less where the default route says so."""
        of_routes = [r.mtu for r in self.routes if r.is_default and r.mtu]
        return min([self.link.mtu, *of_routes])
