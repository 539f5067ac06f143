"""What one VM gets by DHCP: a recorded network → the server's configuration. Pure.

The JSON shape is the DHCP server's own (`dhcp.config`); only addresses, routes and names are decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dhcp.config import SHORTEST_LEASE
from launcher.dhcpconfig.ipv4 import has_default4, ipv4_fields, neighbours4, unserved_routes4
from launcher.dhcpconfig.ipv6 import ipv6_fields, neighbours6, unserved_routes6
from launcher.dhcpconfig.names import (
    MOST_RESOLVERS,
    domain_of,
    has_usable_resolver,
    hostname_of,
    refused_names,
    search_list,
)
from launcher.dhcpconfig.room import lines_without_room
from netsetup.model.mac import is_host_mac

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netsetup.model.vm_network import VMNetwork

FIELDS_OF_OPTIONS = frozenset(("ntp", "tftp_server", "boot_file", "options"))
"""What of the server's configuration comes from a manifest's `dhcpOptions`."""


def client_config(network: VMNetwork, networks: Iterable[VMNetwork] = ()) -> dict[str, object] | None:
    """The configuration of the DHCP server for one network; None where the pod has no address to hand out.

    Made of the record alone; `networks` are all of the VM. Raises NoServerAddress.
    """
    ipv6 = ipv6_fields(network)
    address4, options = network.guest.address4, network.options
    if address4 is None and not ipv6:
        return None
    only_default = not any(other.name != network.name and has_default4(other) for other in networks)
    search = search_list(network.pod.resolver.search, options.subdomain)
    config: dict[str, object] = {
        "interface": network.guest_port,
        "client_mac": network.mac,
        **(ipv4_fields(network, address4, only_default=only_default) if address4 else {}),
        "search": list(search),
        "domain": domain_of(search),
        "hostname": hostname_of(network),
        "mtu": network.mtu,
        "neighbours": {a: mac for a, mac in _neighbours(network).items() if not _fault_of_neighbour(a, mac, network)},
        "ntp": list(options.ntp[:MOST_RESOLVERS]),
        "tftp_server": options.tftp_server,
        "boot_file": options.boot_file,
        "options": {str(number): text for number, text in options.private},
        **ipv6,
    }
    return {key: value for key, value in config.items() if value}


def _neighbours(network: VMNetwork) -> dict[str, str]:
    return {**neighbours4(network), **neighbours6(network)}


def _fault_of_neighbour(address: str, mac: str, network: VMNetwork) -> str:
    """Why the server cannot answer for a permanent neighbour of the pod; empty when it can."""
    if address in (own.address for own in (network.guest.address4, network.guest.address6) if own):
        return "the address is the VM's own"
    return "" if is_host_mac(mac) else "the MAC is no interface's"


def warnings_of(networks: Iterable[VMNetwork], now: int = 0) -> tuple[str, ...]:
    """What the VM goes without although the pod, or its manifest, has it, and why: a line each, none twice.

    `now` is the time by CLOCK_BOOTTIME, in seconds.
    """
    listed = list(networks)
    return tuple(dict.fromkeys(line for network in listed for line in _warnings(network, listed, now)))


def _has_resolver(network: VMNetwork, networks: Iterable[VMNetwork]) -> bool:
    config = client_config(network, networks) or {}
    return "dns" in config or "dns6" in config


def _warnings(network: VMNetwork, networks: Iterable[VMNetwork], now: int) -> Iterable[str]:
    config = client_config(network, networks)
    if config is None:
        return
    yield from (f"network {network.name}: {line}" for line in network.warnings)
    yield from refused_names(network)
    if has_usable_resolver(network) and not any(_has_resolver(other, networks) for other in (network, *networks)):
        yield "the VM has no name server: the pod's are all of the IP version that the VM has no address of"
    for address in (network.guest.address4, network.guest.address6):
        if address and address.valid_until and address.valid_until - now < SHORTEST_LEASE:
            yield f"network {network.name}: {address.cidr} has run out and was not renewed; it is not served"
    for neighbour, mac in _neighbours(network).items():
        if fault := _fault_of_neighbour(neighbour, mac, network):
            yield f"network {network.name}: neighbour {neighbour} at {mac}: {fault}; it is not answered for"
    for server in network.options.ntp[MOST_RESOLVERS:]:
        yield f"NTP server {server}: one of more than {MOST_RESOLVERS}; left out"
    if "client_address" not in config and not FIELDS_OF_OPTIONS.isdisjoint(config):
        yield f"network {network.name}: dhcpOptions are of IPv4, and there is no IPv4 address; left out"
    for line in (*unserved_routes4(network), *unserved_routes6(network), *lines_without_room(config)):
        yield f"network {network.name}: {line}"
