"""One interface of the pod as the CNI left it, and its resolver configuration: frozen data. Pure."""

from typing import Final

from dhcp.lean.frozen import Frozen
from netsetup.model.kernel import AF_INET6, IFA_F_TEMPORARY, TABLE_MAIN, Address, Link, Neighbour, Route


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
    """The permanent ones."""
    tables: tuple[int, ...] = (TABLE_MAIN,)
    """The routing tables in which the kernel looks, in this order, for packets from the first IPv4 address."""
    tables6: tuple[int, ...] = (TABLE_MAIN,)
    """Likewise for the first IPv6 address."""
    sysctls: tuple[tuple[str, str], ...] = ()
    """Settings of this interface that the plan may change, ``net/ipv6/conf/eth0/disable_ipv6``."""
    resolver: Resolver = Resolver()

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

    @property
    def mtu(self) -> int:
        """The largest packet that gets through: the link's MTU, or less where the default route says so."""
        of_routes = [r.mtu for r in self.routes if r.is_default and r.mtu]
        return min([self.link.mtu, *of_routes])
