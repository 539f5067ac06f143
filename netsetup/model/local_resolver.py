"""Name servers that only the pod itself can reach, and what answers the VM in their place. Frozen data. Pure."""

from collections.abc import Collection, Iterator
from ipaddress import IPv6Address, ip_address
from typing import Final

from dhcp.lean.frozen import Frozen
from netsetup.model.kernel import AF_INET, AF_INET6

DNS_PORT: Final = 53
UNSPECIFIED: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""What a resolver takes for this host (RFC 1122 §3.2.1.3)."""


class Substitute(Frozen):
    """An address that answers the VM in place of one that only the pod can reach."""

    address: str
    """What the VM sends its queries to."""
    source: str = ""
    """What the pod takes the VM for, where the VM has an address of the pod's; empty where the VM's own will do."""
    mac: str = ""
    """What the DHCP server tells a guest that resolves `address` on its link; empty where a device of ours answers."""


class LocalResolver(Frozen):
    """One of the pod's name servers that only the pod itself can reach."""

    nameserver: str
    """As resolv.conf has it: a loopback address, or one of the pod's own."""
    substitute: Substitute | None = None
    """None where the VM goes without it."""
    fault: str = ""
    """Why it does."""
    udp_port: int = DNS_PORT
    """Where it listens. Docker's does so elsewhere, and has the pod's own queries translated."""
    tcp_port: int = DNS_PORT

    @property
    def target(self) -> str:
        """The address at which it listens."""
        return listening_address(self.nameserver)

    @property
    def family(self) -> int:
        return AF_INET6 if ":" in self.target else AF_INET

    @property
    def ports(self) -> tuple[tuple[str, int], ...]:
        """Protocols, as nft(8) names them, and where it listens."""
        return (("udp", self.udp_port), ("tcp", self.tcp_port))

    @property
    def is_loopback(self) -> bool:
        return ip_address(self.target).is_loopback


def listening_address(nameserver: str) -> str:
    """Where queries for a name server of resolv.conf go: an address without a zone, and IPv4 where that is meant."""
    address = nameserver.partition("%")[0]
    if address in UNSPECIFIED:
        return UNSPECIFIED[address]
    found = ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def is_loopback(nameserver: str) -> bool:
    """Whether a name server is on this host whatever its addresses are."""
    return ip_address(listening_address(nameserver)).is_loopback


def local_resolvers(
    nameservers: Collection[str],
    own: Collection[str],
    ports: Collection[tuple[str, int, int]],
    substitutes: dict[int, Substitute],
    faults: dict[int, str],
) -> tuple[LocalResolver, ...]:
    """Those of the `nameservers` that only the pod can reach.

    Of each family the first has that family's substitute, if there is one; `faults` says why there is none. `own` are
    the pod's addresses, and `ports` those where a name server listens (`Resolver.ports`).
    """
    return tuple(_local_resolvers(nameservers, own, ports, dict(substitutes), dict(faults)))


def _local_resolvers(
    nameservers: Collection[str],
    own: Collection[str],
    ports: Collection[tuple[str, int, int]],
    free: dict[int, Substitute],
    faults: dict[int, str],
) -> Iterator[LocalResolver]:
    listening = {address: (udp, tcp) for address, udp, tcp in ports}
    for nameserver in nameservers:
        target = listening_address(nameserver)
        if not is_loopback(nameserver) and target not in own:
            continue
        family = AF_INET6 if ":" in target else AF_INET
        udp, tcp = listening.get(target, (DNS_PORT, DNS_PORT))
        substitute = free.pop(family, None)
        fault = "" if substitute else f"only the pod itself can reach it, and {faults[family]}"
        yield LocalResolver(nameserver, substitute, fault, udp, tcp)
        faults[family] = "one such server of each family is carried to the VM"
