"""Which devices a network has whose request leaves them open: pure functions."""

from __future__ import annotations

import dataclasses

import pytest

from launcher.request import SetupRequest
from launcher.vmi.model import InterfaceSpec
from netsetup.bindings.device_names import default_interface, with_devices
from netsetup.errors import InvalidRequest
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    IFF_LOWER_UP,
    IFF_UP,
    RTN_UNICAST,
    Address,
    Link,
    Namespace,
    NextHop,
    Route,
    Rule,
)
from netsetup.model.pod_interface import Resolver
from netsetup.model.request import NetworkRequest
from netsetup.plan import admit

RTN_UNREACHABLE = 7
LO = Link(1, "lo", "", "00:00:00:00:00:00", 65536, 0x9, 0, "", 0, None)


def link(index: int, name: str, **changes: object) -> Link:
    made = Link(index, name, "veth", f"02:00:00:00:00:{index:02x}", 1500, 1, 0, "", 0, None)
    return dataclasses.replace(made, **changes)


def default(interface: int, family: int = AF_INET, **changes: object) -> Route:
    route = Route(family, "0.0.0.0/0" if family == AF_INET else "::/0", interface=interface)
    return dataclasses.replace(route, **changes)


def pod(*links: Link, routes: tuple[Route, ...] = (), **changes: object) -> Namespace:
    return dataclasses.replace(Namespace(links=(LO, *links), routes=routes), **changes)


ETHERNETS = (link(2, "eth0"), link(3, "eth1"))


@pytest.mark.parametrize(
    ("routes", "name"),
    [
        ((), ""),
        ((Route(AF_INET, "10.0.0.0/8", interface=3),), ""),
        ((default(3),), "eth1"),
        ((default(3, metric=200), default(2, metric=100)), "eth0"),
        ((default(3), default(2)), "eth1"),  # of equal ones the kernel takes the first
        ((default(0, nexthops=(NextHop(2, 1), NextHop(3, 1))),), "eth0"),
        ((default(2, AF_INET6), default(3, metric=1024)), "eth1"),  # IPv4 first
        ((default(3, AF_INET6),), "eth1"),
        ((default(1, type=RTN_UNREACHABLE), default(3)), "eth1"),
        ((default(2, table=100), default(3)), "eth1"),
        ((default(2, table=100),), ""),
    ],
)
def test_the_default_routes_interface(routes: tuple[Route, ...], name: str) -> None:
    assert default_interface(pod(*ETHERNETS, routes=routes)) == name


def test_a_table_that_a_rule_looks_up_first_has_the_default_route() -> None:
    routes = (default(2), default(3, table=100, type=RTN_UNICAST))
    rules = (Rule(AF_INET, 100, 100), Rule(AF_INET, 32766, 254))
    assert default_interface(pod(*ETHERNETS, routes=routes, rules=rules)) == "eth1"


TUN = {"kind": "tun"}


@pytest.mark.parametrize(
    ("others", "addresses", "wanted"),
    [
        ((), (), "tap0"),
        ((link(7, "tap0", **TUN),), (), "tap0"),  # an idle one is adopted
        ((link(7, "tap0", **TUN),), (7,), "tap1"),
        ((link(7, "tap0", master=9), link(9, "br7", kind="bridge")), (), "tap1"),
        ((link(7, "tap0", **TUN), link(8, "tap1", **TUN)), (7,), "tap2"),
    ],
)
def test_a_guest_port_of_a_free_name(others: tuple[Link, ...], addresses: tuple[int, ...], wanted: str) -> None:
    used = tuple((index, Address(AF_INET, "192.0.2.1", 24)) for index in addresses)
    observed = pod(*ETHERNETS, *others, addresses=used)
    named = with_devices(observed, {}, {"a": NetworkRequest(any_guest_port=True)})
    assert named["a"].guest_port == wanted
    assert with_devices(observed, {}, {"a": NetworkRequest()})["a"].guest_port == "tap0", "as it was asked for"


def test_a_pod_whose_own_interface_has_the_guest_ports_name() -> None:
    """slirp4netns calls it tap0."""
    observed = pod(link(2, "tap0", **TUN), routes=(default(2),))
    named = with_devices(observed, {}, {"a": NetworkRequest(pod_interface="", any_guest_port=True)})
    assert (named["a"].pod_interface, named["a"].guest_port) == ("tap0", "tap1")
    with pytest.raises(InvalidRequest, match="network a: tap0 is an interface of the pod; name another guest port "):
        with_devices(observed, {}, {"a": NetworkRequest(pod_interface="")})


@pytest.mark.parametrize("has_own", [True, False])
@pytest.mark.parametrize("has_preferred", [True, False])
def test_a_network_that_is_set_up_keeps_its_interface(has_own: bool, has_preferred: bool) -> None:
    """By the schemes it would be net1 now, or where there is none, one that is not there; a name is compared still."""
    first, blue = InterfaceSpec("default"), InterfaceSpec("blue", pod_network=False)

    def asked(present: list[str], *interfaces: InterfaceSpec) -> dict[str, NetworkRequest]:
        return {r.name: r for r in SetupRequest.of(*interfaces).network_requests(present, "pod")}

    carrier = IFF_UP | IFF_LOWER_UP
    before = pod(link(2, "ens3", flags=carrier), link(3, "eth1", flags=carrier), routes=(default(2),))
    named = with_devices(before, {}, asked(["ens3", "eth1"], first, blue))
    recorded = {name: admit(before, request, Resolver()) for name, request in named.items()}
    links = [link(2, "ens3")] + [link(3, "eth1")] * has_own
    links += [link(4, "net1"), link(5, "eth0")] * has_preferred
    now, names = pod(*links, routes=(default(2),)), [one.name for one in links]
    again = with_devices(now, recorded, asked(names, first, blue))
    assert {n: (r.pod_interface, r.guest_port) for n, r in again.items()} == {
        "default": ("ens3", "tap0"),
        "blue": ("eth1", "tap1"),
    }
    explicit = with_devices(now, recorded, asked(names, first, dataclasses.replace(blue, pod_interface="net1")))
    assert explicit["blue"].pod_interface == "net1"


def test_no_two_networks_have_one_device() -> None:
    observed = pod(*ETHERNETS)
    first = NetworkRequest("a", any_guest_port=True)
    named = with_devices(
        observed, {}, {"a": first, "b": NetworkRequest("b", pod_interface="eth1", any_guest_port=True)}
    )
    assert {request.guest_port for request in named.values()} == {"tap0", "tap1"}
    with pytest.raises(InvalidRequest, match="networks a and b would both have the pod interface eth0"):
        with_devices(observed, {}, {"a": first, "b": NetworkRequest("b")})
