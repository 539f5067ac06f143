"""What the VM gets over IPv6: a recorded network → the fields of the server's configuration. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from launcher.dhcpconfig.names import resolvers, substitutes_on_link
from netsetup.model.kernel import AF_INET6
from netsetup.model.routing import (
    destinations6_through,
    on_link_destinations6,
    permanent_mac,
    router6_of,
    usable_routes6,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netsetup.model.kernel import Address
    from netsetup.model.pod_interface import PodInterface
    from netsetup.model.vm_network import VMNetwork


ASSIGNED6 = ("2000::/3", "fc00::/7")
"""All global and unique local unicast addresses (RFC 4291 §2.4, RFC 4193)."""


def ipv6_fields(network: VMNetwork) -> dict[str, object]:
    """The fields that say what is served over IPv6; none where there is no address, or the link carries no IPv6.

    The server keeps the MAC of a gateway with a global address fresh: the VM cannot resolve it.
    """
    guest, address = network.guest, network.guest.address6
    if address is None or not network.serves6:
        return {}
    fields: dict[str, object] = {"dns6": resolvers(network, ipv6=True)}
    fields |= {"lease_end6": address.valid_until, "preferred_end6": address.preferred_until}
    if guest.router6:
        router = {"router6": guest.router6_link_local, "router6_lladdr": guest.router_mac}
        return {"client_address6": f"{address.address}/{address.prefixlen}", **router, **fields}
    pod = network.pod
    fields = {"client_address6": f"{address.address}/{prefix_length6(address, pod)}", **fields}
    route = router6_of(pod)
    if (route is None or not route.is_default) and (on_link := _on_link6(address, pod)):
        fields["on_link6"] = on_link
    if route is None:
        return fields
    permanent = permanent_mac(pod, route.gateway)
    if mac := permanent or network.gateway6_mac:
        fields["router6_lladdr"] = mac
    if not permanent and not ipaddress.ip_address(route.gateway).is_link_local:
        fields["uplink6"] = pod.name
    if route.is_default:
        return {**fields, "router6": route.gateway}
    return {
        **fields,
        "routes6": [{"destination": d, "gateway": route.gateway} for d in destinations6_through(route.gateway, pod)],
    }


def _on_link6(address: Address, pod: PodInterface) -> list[str]:
    """What the VM resolves itself, as the pod did: prefixes on the link besides the address's own.

    NetworkManager ignores prefixes that begin with ::, so a default route without a gateway is given by its parts, too.
    """
    own = {address.network, f"{address.address}/128"}
    prefixes = [destination for destination in on_link_destinations6(pod) if destination not in own]
    return [*(ASSIGNED6 if "::/0" in prefixes else ()), *prefixes]


def unserved_routes6(network: VMNetwork) -> Iterator[str]:
    """The pod's IPv6 routes that the VM does not get, a line each: an advertisement is that of one router."""
    if network.guest.router6 or not network.serves6:
        return
    router = router6_of(network.pod)
    for route in usable_routes6(network.pod):
        if router and route.gateway not in ("", router.gateway):
            yield f"IPv6 route {route.text}: a router advertisement is for one router, {router.gateway}; left out"


def neighbours6(network: VMNetwork) -> dict[str, str]:
    """Permanent neighbours of the pod, which the server resolves for the VM, as they may not answer."""
    if network.guest.router6 or not network.serves6:
        return {}
    permanent = {n.address: n.mac for n in network.pod.neighbours if n.family == AF_INET6 and n.mac}
    return {**permanent, **substitutes_on_link(network, AF_INET6)}


def prefix_length6(address: Address, pod: PodInterface) -> int:
    """Of the prefix that is on the link according to the routing table, as with IPv4; 128 when none is."""
    on_link = {
        route.destination
        for route in pod.routes
        if route.family == AF_INET6 and route.table in pod.tables6 and not route.gateway and not route.nexthops
    }
    return address.prefixlen if address.network in on_link else 128
