"""What the VM's own network must not overlap: what the pod reaches elsewhere, which the VM then could not. Pure."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from netsetup.errors import InvalidRequest
from netsetup.model.kernel import AF_INET, AF_INET6, Namespace
from netsetup.model.pod_interface import PodInterface


def require_no_overlap(observed: Namespace, pod: PodInterface, text: str, field: str, bridge: str) -> None:
    """Refuses what the kernel could take for the VM's: an address or a gateway in its network `text`, and a route to it
    or to a part of it.

    A wider route is none of that: the longest prefix decides, in the table that the binding's rules have looked in
    first. What is on our own `bridge` is the VM's. Raises InvalidRequest that names the manifest's `field`.
    """
    network = ip_network(text)
    family = AF_INET if network.version == 4 else AF_INET6
    ours = observed.link(bridge)
    names = {link.index: link.name for link in observed.links}

    def refuse(what: str) -> InvalidRequest:
        return InvalidRequest(f"{pod.name}: the VM's network {text} overlaps {what}; choose another one with {field}")

    for index, address in observed.addresses:
        other = names.get(index, "")
        if address.family != family or other == bridge:
            continue
        ends = [ip_address(end) for end in (address.address, address.peer) if end]
        if any(end in network for end in ends) or _lies_within(address.network, network):
            raise refuse(f"the address {address.cidr} of {other}")
    for route in observed.routes:
        if route.family != family or (ours and route.interface == ours.index):
            continue
        gateways = [gateway for gateway in (route.gateway, *(hop.gateway for hop in route.nexthops)) if gateway]
        if _lies_within(route.destination, network) or any(ip_address(gateway) in network for gateway in gateways):
            by = f" dev {names[route.interface]}" if route.interface in names else ""
            raise refuse(f"the route {route.text}{by}")
    for server in pod.resolver.nameservers:
        if ip_address(server.partition("%")[0]) in network:
            raise refuse(f"the name server {server}")


def _lies_within(inner: str, network: IPv4Network | IPv6Network) -> bool:
    """Whether a network of the same family is this one, or a part of it."""
    found = ip_network(inner)
    return found.prefixlen >= network.prefixlen and found.network_address in network
