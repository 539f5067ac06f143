"""The plan of the masquerade binding, and the text of its rules: pure functions, so everything here is data."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from netsetup.bindings.reach import CANDIDATES
from netsetup.errors import DeviceConflict, InvalidRequest
from netsetup.model.identity import ALIAS
from netsetup.model.kernel import AF_INET, AF_INET6, IFF_UP, SCOPE_LINK, Address, Link, Namespace, NextHop, Route
from netsetup.model.pod_interface import Resolver
from netsetup.model.private_network import ISTIO, ForwardedPorts, PrivateNetwork
from netsetup.model.request import NetworkRequest
from netsetup.model.vm_network import VMNetwork
from netsetup.nft.ruleset import BRIDGE, INET, digest_of
from netsetup.plan import (
    admit,
    converge,
    other_sysctls,
    plan_setup,
    plan_teardown,
    wanted_tables,
)
from netsetup.steps import AddAddress, CreateBridge, DeleteTable, LoadTable, SetMac, SetSysctl, Step

REQUEST = NetworkRequest(binding="masquerade")
LO = Link(1, "lo", "", "00:00:00:00:00:00", 65536, 0x9, 0, "", 0, None)
ETH0 = Link(2, "eth0", "veth", "0a:58:0a:f4:01:05", 1450, IFF_UP, 0, "", 0, None)
NET1 = Link(3, "net1", "veth", "0a:58:0a:f4:02:05", 1450, IFF_UP, 0, "", 0, None)
ADDRESS4 = Address(AF_INET, "10.244.1.5", 24)
ADDRESS6 = Address(AF_INET6, "fd00:10:244::5", 64)
LINK_LOCAL = Address(AF_INET6, "fe80::858:aff:fef4:105", 64, scope=SCOPE_LINK)
DEFAULT = Route(AF_INET, "0.0.0.0/0", interface=2, gateway="10.244.1.1")


def settings(name: str, force: bool = True) -> dict[str, str]:
    values = {
        f"net/ipv4/conf/{name}/forwarding": "0",
        f"net/ipv6/conf/{name}/force_forwarding": "0",
        f"net/ipv6/conf/{name}/forwarding": "0",
        f"net/ipv6/conf/{name}/disable_ipv6": "0",
        f"net/ipv6/conf/{name}/accept_ra": "1",
    }
    return {key: value for key, value in values.items() if force or not key.endswith("force_forwarding")}


def world(*addresses: Address, links: tuple[Link, ...] = (), force: bool = True, **changes: Any) -> Namespace:
    sysctls = {k: v for link in (ETH0, *links) for k, v in settings(link.name, force).items()}
    if not force:
        sysctls |= {f"net/ipv6/conf/{name}/forwarding": "0" for name in ("all", "default", "lo")}
    observed = Namespace(
        links=(LO, ETH0, *links),
        addresses=tuple((2, a) for a in addresses or (ADDRESS4, ADDRESS6, LINK_LOCAL)),
        routes=(DEFAULT,),
        sysctls=tuple(sysctls.items()),
    )
    return dataclasses.replace(observed, **changes)


def network_of(observed: Namespace, request: NetworkRequest = REQUEST) -> VMNetwork:
    return admit(observed, request, Resolver())


def text_of(network: VMNetwork) -> str:
    return "".join(wanted_tables([network]).values())


def tables(**digests: str) -> tuple[tuple[str, str], ...]:
    return tuple(digests.items())


def changed(steps: tuple[Step, ...]) -> list[tuple[str, str]]:
    """The settings that steps change, short and in order."""
    return [(s.key.removeprefix("net/"), s.value) for s in steps if isinstance(s, SetSysctl)]


def test_rules_come_first_and_forwarding_last_after_accept_ra() -> None:
    observed = world(links=(NET1,))
    steps = plan_setup(observed, [network_of(observed)]).steps
    assert isinstance(steps[0], LoadTable)
    assert [(s.name, s.mac, s.mtu) for s in steps if isinstance(s, CreateBridge)] == [
        ("k6t-eth0", "02:00:00:00:00:00", 1450)
    ]
    assert [s.address.cidr for s in steps if isinstance(s, AddAddress)] == ["10.0.2.1/24", "fd10:0:2::1/120"]
    assert changed(steps)[-8:] == [
        ("ipv6/conf/tap0/disable_ipv6", "1"),
        ("ipv4/conf/k6t-eth0/forwarding", "1"),
        ("ipv4/conf/eth0/forwarding", "1"),
        ("ipv6/conf/eth0/accept_ra", "2"),
        ("ipv6/conf/net1/accept_ra", "2"),
        ("ipv6/conf/k6t-eth0/forwarding", "1"),
        ("ipv6/conf/k6t-eth0/force_forwarding", "1"),
        ("ipv6/conf/eth0/force_forwarding", "1"),
    ]
    assert not [s for s in steps if isinstance(s, SetMac)], "the pod interface is left alone"


def test_a_kernel_without_force_forwarding_forwards_for_all() -> None:
    observed = world(force=False)
    steps = plan_setup(observed, [network_of(observed)]).steps
    assert changed(steps)[-2:] == [("ipv6/conf/eth0/accept_ra", "2"), ("ipv6/conf/all/forwarding", "1")]
    recorded = dict(other_sysctls(observed, [network_of(observed)]))
    assert {f"net/ipv6/conf/{name}/forwarding" for name in ("all", "default", "lo")} <= recorded.keys()


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [((ADDRESS4, LINK_LOCAL), ["10.0.2.1/24"]), ((ADDRESS6, LINK_LOCAL), ["fd10:0:2::1/120"])],
)
def test_only_families_that_the_pod_has(addresses: tuple[Address, ...], expected: list[str]) -> None:
    observed = world(*addresses)
    network = network_of(observed)
    steps = plan_setup(observed, [network]).steps
    assert [s.address.cidr for s in steps if isinstance(s, AddAddress)] == expected
    forwards4 = ("ipv4/conf/eth0/forwarding", "1") in changed(steps)
    forwards6 = ("ipv6/conf/eth0/force_forwarding", "1") in changed(steps)
    assert (forwards4, forwards6) == (ADDRESS4 in addresses, ADDRESS6 in addresses)
    text = text_of(network)
    assert ("dnat ip to" in text, "dnat ip6 to" in text) == (forwards4, forwards6)


def test_accept_ra_is_put_back_in_a_round_of_its_own() -> None:
    observed = world()
    network = network_of(observed)
    values = dict(observed.sysctls) | {
        "net/ipv6/conf/eth0/accept_ra": "2",
        "net/ipv6/conf/eth0/force_forwarding": "1",
        "net/ipv4/conf/eth0/forwarding": "1",
    }
    during = dataclasses.replace(observed, sysctls=tuple(values.items()), tables=tables(bridge="x", inet="x"))
    first = plan_teardown(during, [network], ()).steps
    assert changed(first) == [("ipv4/conf/eth0/forwarding", "0"), ("ipv6/conf/eth0/force_forwarding", "0")]
    values |= dict(network.pod.sysctls) | {"net/ipv6/conf/eth0/accept_ra": "2"}
    second = plan_teardown(dataclasses.replace(during, sysctls=tuple(values.items())), [network], ()).steps
    assert changed(second) == [("ipv6/conf/eth0/accept_ra", "1")]
    last = plan_teardown(dataclasses.replace(observed, tables=tables(bridge="x", inet="x")), [network], ()).steps
    assert last == (DeleteTable((BRIDGE, INET)),)
    assert not plan_teardown(observed, [network], ())


def test_what_the_cni_changes_meanwhile_is_not_undone() -> None:
    observed = world()
    network = network_of(observed)
    later = dataclasses.replace(
        observed,
        addresses=((2, Address(AF_INET, "10.244.1.9", 24)),),
        routes=(Route(AF_INET, "10.77.0.0/16", interface=2, gateway="10.244.1.1"),),
    )
    assert not plan_teardown(later, [network], ())
    news = converge(later, network, REQUEST, Resolver())
    assert [a.cidr for a in news.pod.addresses] == ["10.244.1.9/24"]
    assert (news.pod.sysctls, news.guest.router6) == (network.pod.sysctls, None)


def test_one_table_missing_or_another_loads_both_again() -> None:
    observed = world()
    network = network_of(observed)
    digest = digest_of(text_of(network))
    for there_are in (
        tables(),
        tables(bridge=digest),
        tables(inet=digest),
        tables(bridge=digest, inet="other"),
    ):
        there = dataclasses.replace(observed, tables=there_are)
        (load,) = [s for s in plan_setup(there, [network]).steps if isinstance(s, LoadTable)]
        assert load.replace == tuple(dict(there_are))
    there = dataclasses.replace(observed, tables=tables(bridge=digest, inet=digest))
    assert not [s for s in plan_setup(there, [network]).steps if isinstance(s, LoadTable)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (PrivateNetwork(network4="10.10.10.3/30"), ("10.10.10.1/30", "10.10.10.2/30")),  # LK01
        (PrivateNetwork(network6="fd10:10:10::/120"), ("fd10:10:10::1/120", "fd10:10:10::2/120")),  # LK02
        (PrivateNetwork(), ("10.0.2.1/24", "10.0.2.2/24")),  # LK03
    ],
)
def test_lk01_to_lk04_gateway_and_guest(wanted: PrivateNetwork, expected: tuple[str, str]) -> None:
    guest = network_of(world(), dataclasses.replace(REQUEST, private=wanted)).guest
    found = [a.cidr for a in (guest.router4, guest.address4, guest.router6, guest.address6) if a]
    assert set(expected) <= set(found)
    assert len(found) == 4  # LK04: each family that is not asked for otherwise has its usual network


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (PrivateNetwork(network4="10.0.2.0/31"), r"vmNetworkCIDR: 10\.0\.2\.0/31 is too small"),  # LK05
        (PrivateNetwork(network6="fd10::/127"), r"vmIPv6NetworkCIDR: fd10::/127 is too small"),  # LK06
        (PrivateNetwork(network4="abc"), r"vmNetworkCIDR: must be a network such as 10\.0\.2\.0/24, is `abc`"),
        (PrivateNetwork(network4="fd10::/120"), r"vmNetworkCIDR: must be an IPv4 network, is `fd10::/120`"),
    ],
)
def test_lk05_lk06_networks_that_cannot_be(wanted: PrivateNetwork, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        network_of(world(), dataclasses.replace(REQUEST, private=wanted))


def test_the_guests_mac_is_never_the_pods_nor_the_bridges() -> None:
    observed = world()
    derived = network_of(observed)
    assert derived.guest.mac_source == "pod"
    assert derived.mac not in (ETH0.mac, "02:00:00:00:00:00")
    assert network_of(observed, dataclasses.replace(REQUEST, stable_id="x")).guest.mac_source == "derived"
    assert network_of(observed, dataclasses.replace(REQUEST, mac="02:00:00:00:00:07")).mac == "02:00:00:00:00:07"
    with pytest.raises(InvalidRequest, match="which is the bridge's own"):
        network_of(observed, dataclasses.replace(REQUEST, mac="02:00:00:00:00:00"))


def test_a_bridge_of_somebody_elses_is_in_the_way_even_with_that_mac() -> None:
    theirs = Link(9, "k6t-eth0", "bridge", "02:00:00:00:00:00", 1450, IFF_UP, 0, "", 0, None)
    observed = world(links=(theirs,))
    with pytest.raises(DeviceConflict, match="k6t-eth0: a bridge of that name exists and is not ours"):
        network_of(observed)
    ours = dataclasses.replace(theirs, alias=f"{ALIAS} default")
    network = network_of(world())
    assert "link delete k6t-eth0" in plan_teardown(world(links=(ours,)), [network], ()).lines()


def test_a_route_of_the_vms_own_bridge_is_no_overlap() -> None:
    ours = Link(9, "k6t-eth0", "bridge", "02:00:00:00:00:00", 1450, IFF_UP, 0, f"{ALIAS} default", 0, None)
    observed = world(links=(ours,))
    own = Route(AF_INET, "10.0.2.0/24", interface=9)
    network_of(dataclasses.replace(observed, routes=(DEFAULT, own)))
    with pytest.raises(InvalidRequest, match=r"10\.0\.2\.0/24 overlaps the route 10\.0\.2\.0/24 dev eth0"):
        network_of(dataclasses.replace(observed, routes=(DEFAULT, dataclasses.replace(own, interface=2))))


@pytest.mark.parametrize(
    ("routes", "addresses", "overlap"),
    [
        (
            (Route(AF_INET, "10.0.2.0/24", interface=2, gateway="10.244.1.1"),),
            (),
            "the route 10.0.2.0/24 via 10.244.1.1",
        ),
        ((Route(AF_INET, "192.0.2.0/24", interface=2, gateway="10.0.2.1"),), (), "the route 192.0.2.0/24 via 10.0.2.1"),
        ((Route(AF_INET, "10.0.2.128/25", table=100, interface=2),), (), "the route 10.0.2.128/25 table 100 dev eth0"),
        ((), (Address(AF_INET, "10.0.2.77", 32),), "the address 10.0.2.77/32 of net1"),
        ((), (Address(AF_INET, "10.0.2.77", 8),), "the address 10.0.2.77/8 of net1"),
        ((), (Address(AF_INET, "10.9.9.9", 32, peer="10.0.2.9"),), "the address 10.9.9.9/32 of net1"),
        ((Route(AF_INET6, "fd10:0:2::/120", type=6),), (), "the route fd10:0:2::/120"),
        ((Route(AF_INET, "10.0.0.0/8", interface=2),), (Address(AF_INET, "10.77.0.1", 8),), ""),
        ((Route(AF_INET, "0.0.0.0/1", interface=3), Route(AF_INET, "128.0.0.0/1", interface=3)), (), ""),
        ((Route(AF_INET6, "::/1", interface=3), Route(AF_INET6, "fd00::/8", interface=3)), (), ""),
    ],
)
def test_what_is_taken(routes: tuple[Route, ...], addresses: tuple[Address, ...], overlap: str) -> None:
    """Refused where the manifest names the network; another one of the family is chosen where it does not."""
    there = world(links=(NET1,))
    owned = tuple((3, address) for address in addresses)
    observed = dataclasses.replace(there, routes=(DEFAULT, *routes), addresses=there.addresses + owned)
    free = network_of(observed, dataclasses.replace(REQUEST, any_vm_network=(AF_INET, AF_INET6)))
    assert free.private is not None
    chosen = (free.private.network4, free.private.network6)
    assert [text.endswith(("10.0.2.0/24", "fd10:0:2::/120")) for text in chosen].count(False) == bool(overlap)
    assert (overlap in "".join(free.warnings)) == bool(overlap) == bool(free.warnings) or not overlap
    later = converge(observed, free, dataclasses.replace(REQUEST, any_vm_network=(AF_INET, AF_INET6)), Resolver())
    assert (later.private, later.warnings) == (free.private, free.warnings)
    if overlap:
        with pytest.raises(InvalidRequest, match=f"overlaps {re.escape(overlap)}.*; choose another one with vm"):
            network_of(observed)


def test_no_network_is_free_in_a_pod_that_has_them_all() -> None:
    everything = [Route(AF_INET, text, interface=2) for text in ("10.0.2.0/24", *CANDIDATES[AF_INET])]
    observed = world(routes=(DEFAULT, *everything))
    with pytest.raises(InvalidRequest, match="choose another one with vmNetworkCIDR"):
        network_of(observed, dataclasses.replace(REQUEST, any_vm_network=(AF_INET,)))


def test_interfaces_by_which_packets_leave() -> None:
    """Those of routes, but for the VM's other networks, ports of a bridge, and what is on every link."""
    links = tuple(dataclasses.replace(NET1, index=i, name=f"net{i}") for i in range(3, 8))
    links = (*links[:-1], dataclasses.replace(links[-1], master=9), dataclasses.replace(NET1, index=8, name='a"b'))
    routes = [Route(AF_INET, "172.20.0.0/24", interface=i) for i in (4, 5, 7, 8)]
    routes += [Route(AF_INET6, "fe80::/64", interface=3), Route(AF_INET6, "::/1", nexthops=(NextHop(6, 1),))]
    observed = world(links=links, routes=(DEFAULT, *routes))
    network = network_of(observed, dataclasses.replace(REQUEST, others=("net5",)))
    assert [one.name for one in network.egress] == ["net4", "net6"]
    gone = dataclasses.replace(observed, routes=(DEFAULT,))
    assert converge(gone, network, REQUEST, Resolver()).egress == network.egress, "they forward still"


def test_what_forwarded_before_still_does() -> None:
    observed = world()
    values = dict(observed.sysctls) | {"net/ipv4/conf/eth0/forwarding": "1"}
    forwarding = dataclasses.replace(observed, sysctls=tuple(values.items()))
    rule = 'iifname "eth0" meta nfproto ipv4 counter name elsewhere drop'
    assert rule in text_of(network_of(observed))
    assert rule not in text_of(network_of(forwarding))


def test_the_same_wishes_give_the_same_digest_and_others_another() -> None:
    def digest(**wishes: Any) -> str:
        wanted = dataclasses.replace(REQUEST, private=PrivateNetwork(**wishes))
        return digest_of(text_of(network_of(world(), wanted)))

    http = ForwardedPorts("tcp", 80, 80)
    assert digest(ports=(http,)) == digest(ports=(http,))
    variants: list[dict[str, Any]] = [{}, {"ports": (http,)}, {"sidecar": ISTIO}, {"reaches_pod": True}]
    variants += [{"ports": (ForwardedPorts("tcp", 80, 80, ("net1",)),)}, {"hides_clients": True}]
    variants += [{"kept_ports": (49152,)}, {"network4": "10.9.0.0/24"}]
    assert len({digest(**wishes) for wishes in variants}) == len(variants)
