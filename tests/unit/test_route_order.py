"""The order of routes that differ only in their next hops, and of addresses, put back as it was recorded."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from lab.scenes import address, eth0, pod, route, with_items
from lab.simulated import with_link, with_sysctl

from netsetup.admission import pod_interface
from netsetup.bindings.order import listed4, merge_addresses, merge_routes, route_steps
from netsetup.bindings.restore import restore_steps
from netsetup.model.kernel import Route
from netsetup.model.pod_interface import Resolver
from netsetup.steps import AddRoute, DeleteAddress, DeleteRoute, MoveRoute, SetSysctl, Step

OWN = [route("0.0.0.0/0", f"10.0.0.{n}") for n in (1, 2, 3)]
OTHERS = [route("0.0.0.0/0", f"10.1.0.{n}", interface=3) for n in (1, 2)]


def taken(now: Sequence[Route], steps: Sequence[Step]) -> list[Route]:
    """The routes of one place after these steps."""
    routes = list(now)
    for step in steps:
        match step:
            case AddRoute(found, first):
                routes.insert(0 if first else len(routes), found)
            case DeleteRoute(found):
                routes.remove(found)
            case MoveRoute(found):
                routes.remove(found)
                routes.append(found)
    return routes


@pytest.mark.parametrize("recorded", list(itertools.permutations([*OWN[:2], *OTHERS])))
def test_every_order_comes_back(recorded: tuple[Route, ...]) -> None:
    own = [r for r in recorded if r.interface == 2]
    others = [r for r in recorded if r.interface == 3]
    for there in ([], own[:1], own[1:], [OWN[2]], [own[1], own[0]]):
        for at in range(len(others) + 1):
            now = [*others[:at], *there, *others[at:]]
            steps = route_steps(now, own, recorded, 2)
            assert taken(now, steps) == list(recorded)
            assert not any(isinstance(step, DeleteRoute) and step.route in others for step in steps)
    assert not route_steps(recorded, own, recorded, 2)


def test_of_others_only_what_must_is_moved() -> None:
    now = list(OTHERS)
    assert route_steps(now, [OWN[0]], [OWN[0], *OTHERS], 2) == [AddRoute(OWN[0], first=True)]
    assert route_steps(now, [OWN[0]], [*OTHERS, OWN[0]], 2) == [AddRoute(OWN[0])]
    between = [OTHERS[0], OWN[0], OTHERS[1]]
    assert route_steps(now, [OWN[0]], between, 2) == [AddRoute(OWN[0]), MoveRoute(OTHERS[1])]
    both = [AddRoute(OWN[1], first=True), AddRoute(OWN[0], first=True)]
    assert route_steps(now, OWN[:2], [*OWN[:2], *OTHERS], 2) == both


def test_without_others_there_is_nothing_to_move() -> None:
    assert route_steps([], OWN[:2], (), 2) == [AddRoute(OWN[0]), AddRoute(OWN[1])]
    assert route_steps([OWN[0]], OWN[:2], (), 2) == [AddRoute(OWN[1])]
    assert route_steps([OWN[1], OWN[0]], OWN[:2], (), 2) == [
        DeleteRoute(OWN[0]),
        DeleteRoute(OWN[1]),
        *map(AddRoute, OWN[:2]),
    ]


def test_ipv6_has_no_place_before_others() -> None:
    own, other = route("::/0", "fe80::1"), route("::/0", "fe80::1", interface=3)
    assert route_steps([other], [own], [own, other], 2) == [AddRoute(own), MoveRoute(other)]
    assert route_steps([other], [own], [other, own], 2) == [AddRoute(own)]


def test_ipv6_without_an_order() -> None:
    own, other = route("fe80::/64", proto=2), route("fe80::/64", proto=2, interface=3)
    assert route_steps([other], [own], [own, other], 2) == [AddRoute(own)]
    assert route_steps([other, own], [own], [own, other], 2) == []
    assert route_steps([own, other], [], [own, other], 2) == [DeleteRoute(own)]


@pytest.mark.parametrize(
    ("now", "merged"),
    [([], [1, 2]), ([1, 2], [1, 2]), ([3], [3, 2]), ([1, 3], [1, 3]), ([3, 2], [3, 2]), ([1, 2, 3], [1, 2, 3])],
)
def test_a_new_route_takes_the_place_of_one_that_is_gone(now: list[int], merged: list[int]) -> None:
    found = merge_routes(OWN[:2], [OWN[n - 1] for n in now])
    assert found == [OWN[n - 1] for n in merged]


def test_addresses_as_the_kernel_lists_them() -> None:
    first, second, other = address("10.0.0.5/24"), address("10.0.0.6/24"), address("10.9.0.5/24")
    of_link, of_host = address("10.8.0.5/24", scope=253), address("10.7.0.5/24", scope=254)
    assert listed4([first, second, other]) == [first, other, second]
    assert listed4([first, of_link, other, of_host]) == [of_host, of_link, first, other]
    six, later6 = address("fd00::5/64"), address("fd00::6/64")
    own6 = address("fe80::5/64", scope=253)
    assert merge_addresses([first, six, own6], [other, later6]) == (first, other, later6, six, own6)
    assert merge_addresses([own6, first], []) == (first, own6)
    replaced = address("10.0.0.5/24", metric=9)
    assert merge_addresses([other, first], [replaced]) == (other, replaced)


def test_places() -> None:
    """What an interface, or a table, has one of."""
    four, six = address("10.0.0.5/24", peer="10.0.0.9"), address("fd00::5/64", peer="fd00::9")
    assert four.place == (2, "10.0.0.5", 24, "10.0.0.9")
    assert six.place == (10, "fd00::5", 0, "")
    learnt = route("::/0", "fe80::1", expires_seconds=1800)
    assert learnt.key == route("::/0", "fe80::1")
    assert learnt.place == (10, 254, "::/0", "", 0, 1024)


def test_an_ipv6_address_beyond_the_record_goes() -> None:
    recorded = with_items(pod(eth0()), "eth0", address("fd00::5/64"))
    beyond = with_items(recorded, "eth0", address("fd00::6/64"))
    before = pod_interface(recorded, "eth0", Resolver())
    assert DeleteAddress("eth0", address("fd00::6/64")) in restore_steps(beyond, before)


@pytest.mark.parametrize(("now", "is_set"), [(1401, True), (1400, True), (1399, False)])
def test_an_advertised_mtu_comes_back_if_the_link_has_room(now: int, is_set: bool) -> None:
    recorded = with_sysctl(pod(eth0()), "net/ipv6/conf/eth0/mtu", "1400")
    before = pod_interface(recorded, "eth0", Resolver())
    observed = with_sysctl(with_link(recorded, "eth0", mtu=now), "net/ipv6/conf/eth0/mtu", "1300")
    steps = restore_steps(observed, before)
    assert steps == ([SetSysctl("net/ipv6/conf/eth0/mtu", "1400")] if is_set else [])
