"""Routes that the kernel would take for the VM's packets."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from lab.scenes import address, eth0, pod, route, with_items

from netsetup.bindings.restore import unrestorable
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    Address,
    Namespace,
    Neighbour,
    NextHop,
    Route,
    Rule,
)
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.request import NetworkRequest
from netsetup.model.routing import (
    first_leg,
    inherited_routes4,
    lookup_tables,
    on_link_destinations6,
    permanent_mac,
    router6_of,
    without_implied,
)
from netsetup.plan import admit, plan_setup
from netsetup.steps import AddRule

HOPS = (NextHop(7, 0, gateway="10.0.0.1"), NextHop(2, 0, gateway="10.0.0.2"), NextHop(2, 0, gateway="10.0.0.3"))


@pytest.mark.parametrize(("interface", "gateway"), [(2, "10.0.0.2"), (7, "10.0.0.1"), (99, "10.0.0.1")])
def test_the_first_leg_of_a_multipath_route(interface: int, gateway: str) -> None:
    leg = first_leg(route("10.9.0.0/16", nexthops=HOPS), interface)
    assert (leg.gateway, leg.nexthops) == (gateway, ())
    assert first_leg(route("10.9.0.0/16", "10.0.0.9"), 2) == route("10.9.0.0/16", "10.0.0.9")


def interface(*routes: Route, **changes: Any) -> PodInterface:
    return PodInterface(eth0(), routes=routes, **changes)


def test_the_kernels_choice_of_ipv4_routes() -> None:
    found = interface(
        route("0.0.0.0/0", "10.0.0.1"),
        route("10.1.0.0/16", "10.0.0.2", metric=20),
        route("10.1.0.0/16", "10.0.0.3", metric=10),
        route("10.2.0.0/16", "10.0.0.4", metric=1, table=100),
        route("10.2.0.0/16", "10.0.0.5", metric=9, table=254),
        route("10.3.0.0/16", "10.0.0.6", table=101),
        route("10.4.0.0/16", "10.0.0.7", tos=8),
        route("10.5.0.0/16", type=6),
        route("10.6.0.0/16"),
        tables=(254, 100),
    )
    chosen = [(r.destination, r.gateway) for r in inherited_routes4(found)]
    assert chosen == [
        ("10.6.0.0/16", ""),
        ("10.2.0.0/16", "10.0.0.5"),
        ("10.1.0.0/16", "10.0.0.3"),
        ("0.0.0.0/0", "10.0.0.1"),
    ]


@pytest.mark.parametrize(
    ("routes", "left"),
    [
        ({"10.1.0.0/16": "10.0.0.1"}, ""),
        ({"10.1.0.0/16": "10.0.0.2"}, "10.1.0.0/16"),
        ({"10.1.0.0/16": "10.0.0.2", "10.1.1.0/24": "10.0.0.1"}, "10.1.0.0/16 10.1.1.0/24"),
        ({"10.1.0.0/16": "10.0.0.1", "10.1.1.0/24": "10.0.0.1"}, ""),
        ({"10.1.0.0/16": "10.0.0.1", "10.1.1.0/24": "10.0.0.2"}, "10.1.1.0/24"),
        ({"10.0.0.128/25": "10.0.0.1"}, "10.0.0.128/25"),  # out of the subnet, which is on the link
        ({"10.0.0.0/16": "10.0.0.1"}, ""),
        ({"10.0.0.0/24": "10.0.0.1"}, ""),
    ],
)
def test_what_the_default_route_implies(routes: dict[str, str], left: str) -> None:
    default = route("0.0.0.0/0", "10.0.0.1")
    listed = [*(route(to, by) for to, by in routes.items()), default]
    assert without_implied(listed, "10.0.0.0/24") == [
        r for r in listed if r.destination in (*left.split(), "0.0.0.0/0")
    ]
    assert without_implied(listed[:-1], "10.0.0.0/24") == listed[:-1]


def test_where_the_kernel_looks() -> None:
    rules = (
        Rule(AF_INET, 32767, 253),
        Rule(AF_INET, 0, 255),
        Rule(AF_INET, 10, 100, source="10.0.0.0/24"),
        Rule(AF_INET, 11, 101, source="10.9.0.0/24"),
        Rule(AF_INET, 12, 102, destination="10.0.0.0/24"),
        Rule(AF_INET, 13, 103, selective=True),
        Rule(AF_INET6, 14, 104),
        Rule(AF_INET, 15, 100),
        Rule(AF_INET, 32766, 254),
    )
    observed = Namespace(rules=rules)
    assert lookup_tables(observed, "10.0.0.5") == (100, 254, 253)
    assert lookup_tables(observed, "10.1.0.5") == (100, 254, 253)
    assert lookup_tables(dataclasses.replace(observed, rules=rules[:4]), "") == (253,)
    ended = dataclasses.replace(observed, routes=(route("0.0.0.0/0", "10.0.0.1"), route("::/0", table=100)))
    assert lookup_tables(ended, "10.0.0.5") == (100, 254)
    assert lookup_tables(observed, "fd00::5", AF_INET6) == (104,)
    assert lookup_tables(Namespace(), "10.0.0.5") == (254,)


def test_the_router_of_ipv6() -> None:
    routes = (
        route("fd01::/64", "fe80::9", metric=1),
        route("::/0", "fe80::2", metric=5),
        route("::/0", "fe80::3", metric=4),
        route("::/0", "fe80::4", metric=1, table=100),
        route("fd02::/64"),
        route("fe80::/64"),
        route("ff00::/8"),
    )
    found = interface(*routes, tables6=(254, 100))
    assert router6_of(found) == routes[2]
    assert router6_of(interface(routes[0], routes[4])) == routes[0]
    assert router6_of(interface(routes[4])) is None
    assert on_link_destinations6(found) == ["fd02::/64"]


def test_a_permanent_neighbours_mac() -> None:
    found = interface(
        neighbours=(Neighbour(AF_INET, "10.0.0.1", ""), Neighbour(AF_INET, "10.0.0.1", "ee:ee:ee:ee:ee:01"))
    )
    assert permanent_mac(found, "10.0.0.1") == "ee:ee:ee:ee:ee:01"
    assert permanent_mac(found, "10.0.0.2") == ""


def test_what_no_user_can_give_back() -> None:
    made = Address(AF_INET6, "fd00::9", 64, flags=0x800)
    of_link = dataclasses.replace(made, address="fe80::9", scope=253)
    found = PodInterface(
        eth0(),
        (made, of_link, address("fd00::1/64")),
        (
            route("::/0", "fe80::1"),
            route("::/0", "fe80::2"),
            route("fd01::/64", "fe80::1"),
            route("::/0", nexthop_id=3),
        ),
    )
    assert list(unrestorable([found])) == [
        "eth0: its address fd00::9/64 is made by the kernel alone (stable-privacy)",
        "eth0: its address fe80::9/64 is made by the kernel alone (stable-privacy)",
        "eth0: the kernel would make one of its routes to ::/0 via fe80::1 and fe80::2",
    ]
    two = [
        PodInterface(eth0(index=n, name=f"eth{n}"), routes=(route("::/0", f"fe80::{n}", interface=n),)) for n in (2, 3)
    ]
    assert [line.partition(":")[0] for line in unrestorable(two)] == ["eth2"]
    for mode in (2, 3):
        other = dataclasses.replace(found, link=eth0(addr_gen_mode=mode), routes=())
        assert [line.split()[3] for line in unrestorable([other])] == ["fd00::9/64"]
    assert not list(unrestorable([interface(route("0.0.0.0/0", "10.0.0.1"), route("0.0.0.0/0", "10.0.0.2"))]))


@pytest.mark.parametrize(("mtus", "mtu"), [((), 1450), ((1400,), 1400), ((1500,), 1450), ((0, 1300, 1400), 1300)])
def test_the_mtu_that_gets_through(mtus: tuple[int, ...], mtu: int) -> None:
    routes = [route("0.0.0.0/0", "10.0.0.1", metrics=(("mtu", size),)) for size in mtus]
    assert interface(*routes, route("10.1.0.0/16", metrics=(("mtu", 576),))).mtu == mtu


@pytest.mark.parametrize(
    ("rules", "added"),
    [
        ([], []),
        ([Rule(AF_INET, 32766, 100)], []),
        ([Rule(AF_INET, 32765, 100)], ["pref 32764 to 10.0.2.0/24 lookup 254"]),
        ([Rule(AF_INET, 1, 100)], ["pref 1 to 10.0.2.0/24 lookup 254"]),
        ([Rule(AF_INET, 2, 100), Rule(AF_INET, 7, 101)], ["pref 1 to 10.0.2.0/24 lookup 254"]),
        ([Rule(AF_INET, 9, 254)], []),
        ([Rule(AF_INET, 9, 255)], []),
        ([Rule(AF_INET6, 9, 100)], []),
        ([Rule(AF_INET, 9, 100, destination="10.0.3.0/24")], []),
        ([Rule(AF_INET, 9, 100, destination="10.0.0.0/8")], ["pref 8 to 10.0.2.0/24 lookup 254"]),
        ([Rule(AF_INET, 9, 100, source="10.0.2.0/24")], []),
        (
            [Rule(AF_INET, 9, 254, source="10.244.1.0/24")],
            ["pref 8 to 10.0.2.0/24 lookup 254", "pref 9 from 10.0.2.0/24 fwmark 0x766c7270 lookup 254"],
        ),
        ([Rule(AF_INET, 9, 254, source="10.245.1.0/24")], []),
        ([Rule(AF_INET, 9, 254, source="10.0.0.0/8")], []),
        ([Rule(AF_INET, 9, 254, source="10.244.1.5/32", selective=True)], []),
    ],
)
def test_rules_that_lead_to_a_masqueraded_vm(rules: list[Rule], added: list[str]) -> None:
    there = with_items(pod(eth0()), "eth0", address("10.244.1.5/24"))
    observed = dataclasses.replace(there, rules=tuple(rules))
    network = admit(observed, NetworkRequest(binding="masquerade"), Resolver())
    steps = plan_setup(observed, [network]).steps
    assert [step.rule.text for step in steps if isinstance(step, AddRule)] == added
