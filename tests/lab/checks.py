"""Assertions about a guest that has its lease; each reports what differs."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface

from lab.clients import Client, Observed
from lab.namespace import Namespace
from lab.pod import DNS, SEARCH, Pod
from lab.shape import GuestNetwork
from lab.waiting import PATIENCE

_ICMP_OVERHEAD = {False: 28, True: 48}
"""Octets of IP and ICMP header of a ping, by whether it is IPv6."""


def assert_lease(
    client: Client,
    observed: Observed,
    network: GuestNetwork,
    *,
    dns: Sequence[str] = DNS,
    search: Sequence[str] = SEARCH,
) -> None:
    """Assert that the guest has exactly the expected address, routes, MTU and resolver, as far as its client can.

    A client without option 121 has the default route only, one without option 119 the domain of option 15, the first
    of the list. Host routes to gateways and name servers may differ from client to client.
    """
    __tracebackhide__ = True
    assert observed.addresses == (network.address,)
    gateways = [network.router, *(route.gateway for route in network.routes)]
    own_affair = {f"{address}/32" for address in (*gateways, *dns) if address}
    expected = guest_routes(network, classless=client.classless_routes)
    surplus = {route for route in observed.routes - expected if route[0] not in own_affair}
    missing = {route for route in expected - observed.routes if route[0] not in own_affair}
    assert (surplus, missing) == (set(), set()), f"surplus and missing routes of {client.name}"
    assert observed.router == network.router or not client.classless_routes or network.router is None
    assert observed.mtu == network.mtu
    assert observed.nameservers == tuple(dns)
    assert observed.search == (tuple(search) if client.search_list else tuple(search[:1]))


def guest_routes(network: GuestNetwork, *, classless: bool) -> set[tuple[str, str]]:
    """All IPv4 routes that a guest has, as (destination, gateway), the connected one included."""
    routes = {(route.destination, route.gateway) for route in network.routes} if classless else set()
    subnet = IPv4Interface(network.address).network
    if subnet.prefixlen < 32:
        routes.add((str(subnet), "0.0.0.0"))
    if network.router:
        routes.add(("0.0.0.0/0", network.router))
    return routes


def assert_traffic(pod: Pod, client: Client) -> None:
    """Assert that the guest reaches the targets of its network, also at full MTU, and is reached at its address."""
    __tracebackhide__ = True
    network = pod.shape.guest
    assert network, f"{pod.shape.name}: no guest network"
    own = str(IPv4Interface(network.address).ip)
    targets = {
        name: address
        for name, address in network.reaches.items()
        if name not in network.silent and (client.classless_routes or name not in network.by_classless_route)
    }
    unreached = {name: address for name, address in targets.items() if not pings(pod.guest, address)}
    assert unreached == {}, f"not reached from the guest; of {targets}"
    for target in list(targets.values())[-1:]:
        assert pings(pod.guest, target, size=network.mtu), f"no packet of {network.mtu} bytes to {target}"
    if targets:
        assert pings(pod.node, own), "the node does not reach the guest"
    if "neighbour" in targets:
        assert pings(pod.neighbour, own), "the neighbour does not reach the guest"


def pings(namespace: Namespace, address: str, *, size: int | None = None, source: str | None = None) -> bool:
    """Whether an address answers a ping; `size` is that of the whole IP packet, which must not be fragmented.

    The first request may be lost while neighbours on the path are resolved, hence two of them.
    """
    options = ["-M", "do", "-s", str(size - _ICMP_OVERHEAD[":" in address])] if size else []
    options += ["-I", source] if source else []
    command = ["ping", "-q", "-n", "-c", "1", "-W", "1", *options, address]
    return any(namespace.run(command, check=False).returncode == 0 for _ in range(2))


@contextlib.contextmanager
def lossless(namespace: Namespace, address: str) -> Iterator[None]:
    """Assert that every ping sent meanwhile, twenty a second, is answered."""
    __tracebackhide__ = True
    process = namespace.popen(["ping", "-q", "-n", "-i", "0.05", "-W", "1", address], stdout=subprocess.PIPE)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=PATIENCE)
    counts = re.search(r"(\d+) packets transmitted, (\d+) received", printed)
    assert counts, printed
    assert int(counts[1]) > 0
    assert int(counts[1]) - int(counts[2]) <= 1, f"{printed}; the last one may still be on its way"
