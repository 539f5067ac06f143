"""Names and resolvers that the VM gets, and those it goes without, because a client would refuse them. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from dhcp.lean.text import fault_of_name
from netsetup.model.local_resolver import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netsetup.model.local_resolver import LocalResolver
    from netsetup.model.vm_network import VMNetwork

MOST_RESOLVERS = 16
"""Of each family: what a router advertisement has room for; no stub resolver uses more than a few."""
MOST_NAMES = 256
"""Of a search list; the messages of an Ethernet have room for some 80."""
MOST_LINES = 20
"""Of what is left out, so that the rest of a long list is one line."""


def search_list(names: tuple[str, ...], subdomain: str = "") -> tuple[str, ...]:
    """The pod's search list, headed by the subdomain's own entry where the VM has one, as Kubernetes does it.

    Without the names that clients refuse, of which one costs some clients the whole list.
    """
    if headed := _headed(names, subdomain):
        names = (headed, *names)
    return tuple(name for name in names if not fault_of_name(name))[:MOST_NAMES]


def _headed(names: tuple[str, ...], subdomain: str) -> str:
    """The subdomain's entry; empty where there is none, or the list has it."""
    service = domain_of(names)
    is_new = subdomain and ".svc." in service and not service.startswith(f"{subdomain}.")
    return f"{subdomain}.{service}" if is_new else ""


def domain_of(search: tuple[str, ...]) -> str:
    """The one domain of option 15: the longest name of a Kubernetes service domain, else the first of the list."""
    services = [name for name in search if ".svc." in name]
    return max(services, key=len) if services else next(iter(search), "")


def hostname_of(network: VMNetwork) -> str:
    """The VM's host name; empty for one that clients refuse."""
    name = network.options.hostname
    return "" if fault_of_name(name) else name


def resolvers(network: VMNetwork, *, ipv6: bool) -> list[str]:
    """The pod's name servers of one family that the VM can reach, without a zone."""
    usable = [server for server in network.pod.resolver.nameservers if not _fault_of_resolver(server, network)]
    servers = dict.fromkeys(_reached_at(server, network) for server in usable)
    return [server for server in servers if (":" in server) == ipv6][:MOST_RESOLVERS]


def _reached_at(server: str, network: VMNetwork) -> str:
    """The address at which the VM reaches a name server: another one where only the pod reaches that itself."""
    local = _local(server, network)
    return local.substitute.address if local and local.substitute else server.partition("%")[0]


def _local(server: str, network: VMNetwork) -> LocalResolver | None:
    return next((local for local in network.guest.local_resolvers if local.nameserver == server), None)


def substitutes_on_link(network: VMNetwork, family: int) -> dict[str, str]:
    """Substitute addresses of name servers on the VM's link that no device there has, each with its MAC."""
    found = [local.substitute for local in network.guest.local_resolvers if local.family == family]
    return {substitute.address: substitute.mac for substitute in found if substitute and substitute.mac}


def has_usable_resolver(network: VMNetwork) -> bool:
    """Whether nothing but its IP version may keep some name server of the pod from the VM."""
    return any(not _fault_of_resolver(server, network) for server in network.pod.resolver.nameservers)


def refused_names(network: VMNetwork) -> Iterator[str]:
    """What of the host name, and of the resolver configuration, the VM goes without, and why: a line each."""
    hostname = network.options.hostname
    if hostname and (fault := fault_of_name(hostname)):
        yield f"host name {hostname}: {fault}; left out"
    yield from network.pod.resolver.problems
    lines = list(_refused_entries(network))
    yield from lines[:MOST_LINES]
    if len(lines) > MOST_LINES:
        yield f"{len(lines) - MOST_LINES} more entries of the resolver configuration are left out"


def _refused_entries(network: VMNetwork) -> Iterator[str]:
    resolver = network.pod.resolver
    for name in (_headed(resolver.search, network.options.subdomain), *resolver.search):
        if name and (fault := fault_of_name(name)):
            yield f"search {name}: {fault}; left out"
    if (count := len(resolver.search)) > MOST_NAMES:
        yield f"search list: {count} names are more than {MOST_NAMES}, which are served"
    for server in resolver.nameservers:
        if fault := _fault_of_resolver(server, network):
            yield f"nameserver {server}: {fault}; left out"
    for ipv6 in (False, True):
        usable = [s for s in resolver.nameservers if (":" in s) == ipv6 and not _fault_of_resolver(s, network)]
        for server in usable[MOST_RESOLVERS:]:
            yield f"nameserver {server}: one of more than {MOST_RESOLVERS}; left out"


def _fault_of_resolver(server: str, network: VMNetwork) -> str:
    """Why the VM cannot reach a name server that the pod reaches; empty when it can."""
    if local := _local(server, network):
        return local.fault
    if is_loopback(server):
        return "only the pod itself can reach it"
    address, _, zone = server.partition("%")
    if ":" not in server or not ipaddress.ip_address(address).is_link_local:
        return ""
    if network.guest.is_routed:
        return "link-local, so it is out of reach behind a router"
    if zone not in ("", network.pod.name, str(network.pod.link.index)):
        return f"link-local on {zone}, which is not the VM's link"
    return ""
