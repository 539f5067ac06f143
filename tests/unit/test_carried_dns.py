"""Name servers that only the pod itself can reach: which, and what takes their place."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from lab.scenes import address, eth0, pod, route, with_items

from dhcp.lean.text import fault_of_name
from netsetup.bindings.dns import carried_on_link, release_steps
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    Address,
    Namespace,
    Neighbour,
    Route,
)
from netsetup.model.local_resolver import Substitute, listening_address, local_resolvers
from netsetup.model.pod_interface import Resolver
from netsetup.model.request import NetworkRequest
from netsetup.plan import admit
from netsetup.steps import DeleteRoute


@pytest.mark.parametrize(
    ("nameserver", "at"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("::ffff:127.0.0.11", "127.0.0.11"),
        ("fe80::1%eth0", "fe80::1"),
        ("FD00::1", "fd00::1"),
    ],
)
def test_where_a_name_server_listens(nameserver: str, at: str) -> None:
    assert listening_address(nameserver) == at


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("a" * 63, ""),
        ("a" * 64, "a label longer than 63 characters"),
        (".".join(["a" * 63] * 3 + ["a" * 61]), ""),
        (".".join(["a" * 63] * 3 + ["a" * 62]), "longer than 253 characters"),
        ("a..b", "an empty label"),
        ("a_b-c.d", ""),
        ("-a", "a label is letters, digits, and within it `-` and `_`"),
        ("a.b_", "a label is letters, digits, and within it `-` and `_`"),
    ],
)
def test_names_that_clients_take(name: str, fault: str) -> None:
    assert fault_of_name(name) == fault


def test_one_of_each_family_is_carried() -> None:
    substitutes = {AF_INET: Substitute("169.254.76.1")}
    found = local_resolvers(
        ("127.0.0.1", "10.0.0.5", "127.0.0.2", "9.9.9.9", "::1"),
        ("10.0.0.5",),
        (("127.0.0.1", 1053, 2053),),
        substitutes,
        {AF_INET: "none", AF_INET6: "the VM has no IPv6"},
    )
    assert [(r.nameserver, bool(r.substitute), r.udp_port, r.tcp_port) for r in found] == [
        ("127.0.0.1", True, 1053, 2053),
        ("10.0.0.5", False, 53, 53),
        ("127.0.0.2", False, 53, 53),
        ("::1", False, 53, 53),
    ]
    assert found[1].fault.endswith("one such server of each family is carried to the VM")
    assert found[3].fault == "only the pod itself can reach it, and the VM has no IPv6"
    assert [r.is_loopback for r in found] == [True, False, True, True]
    assert [r.family for r in found] == [AF_INET, AF_INET, AF_INET, AF_INET6]
    assert substitutes == {AF_INET: Substitute("169.254.76.1")}


def carried(observed: Namespace, name: str = "eth0", **changes: Any) -> list[tuple[str, str]]:
    """The addresses that take the place of the pod's name servers, and what the pod takes the VM for."""
    network = admit(observed, NetworkRequest(pod_interface=name), Resolver(("127.0.0.11", "::1")))
    resolvers = carried_on_link(observed, network, "02:00:00:00:00:01", **changes).guest.local_resolvers
    return [(r.substitute.address, r.substitute.source) if r.substitute else ("", r.fault) for r in resolvers]


@pytest.mark.parametrize(
    ("index", "first4", "first6"),
    [
        (2, "169.254.76.5", "fd76:6c64:6e73::4"),
        (5, "169.254.76.11", "fd76:6c64:6e73::a"),
        (126, "169.254.76.253", "fd76:6c64:6e73::fc"),
        (127, "169.254.77.1", "fd76:6c64:6e73::fe"),
        (64 * 127 - 1, "169.254.139.253", "fd76:6c64:6e73::3f7e"),
        (64 * 127, "169.254.76.1", "fd76:6c64:6e73::3f80"),
    ],
)
def test_each_interface_has_a_pair_of_its_own(index: int, first4: str, first6: str) -> None:
    default = route("::/0", "fe80::1", interface=index)
    observed = with_items(pod(eth0(index=index)), "eth0", address("10.0.0.5/24"), address("fd00::5/64"), default)
    (four, source4), (six, _) = carried(observed)
    assert (four, six) == (first4, first6)
    assert int(source4.rpartition(".")[2]) == int(four.rpartition(".")[2]) + 1


@pytest.mark.parametrize(
    ("taken", "pair"),
    [
        (Neighbour(AF_INET, "169.254.76.5", "ee:ee:ee:ee:ee:01"), "169.254.76.7"),
        (Neighbour(AF_INET, "169.254.76.6", "ee:ee:ee:ee:ee:01"), "169.254.76.7"),
        (Neighbour(AF_INET, "169.254.76.7", "ee:ee:ee:ee:ee:01"), "169.254.76.5"),
        (route("10.0.0.0/8", "169.254.76.6", flags=4), "169.254.76.7"),
        (route("169.254.76.0/24"), "169.254.77.1"),
        (route("0.0.0.0/0", "10.0.0.1"), "169.254.76.5"),
        (address("169.254.76.6/32"), "169.254.76.7"),
    ],
)
def test_a_pair_that_is_taken_is_passed_over(taken: Address | Neighbour | Route, pair: str) -> None:
    observed = with_items(with_items(pod(eth0()), "eth0", address("10.0.0.5/24")), "eth0", taken)
    assert carried(observed)[0][0] == pair


def test_why_a_name_server_is_left_out() -> None:
    four = with_items(pod(eth0()), "eth0", address("10.0.0.5/24"))
    assert carried(four)[1] == ("", "only the pod itself can reach it, and the VM has no IPv6 address")
    six = with_items(pod(eth0()), "eth0", address("fd00::5/64"))
    assert [fault.partition(", and ")[2] for _, fault in carried(six)] == [
        "the VM has no IPv4 address",
        "the pod has no IPv6 default route, by which the VM would send to its substitute",
    ]
    other = with_items(six, "eth0", route("fd01::/64", "fe80::1"))
    assert carried(other)[1][0] == ""
    routed = with_items(six, "eth0", route("::/0", "fe80::1"))
    assert carried(routed)[1][0]
    assert carried(routed, without6="it cannot")[1] == ("", "only the pod itself can reach it, and it cannot")
    full = with_items(four, "eth0", route("169.254.0.0/16"))
    assert carried(full)[0][1].endswith("every address that could take its place is in the pod's routes")


def test_what_is_ours_on_a_device_of_somebody_else() -> None:
    ends = ["169.254.75.255", "169.254.76.0", "169.254.139.255", "169.254.140.0"]
    routes = [route(f"{end}/32") for end in ends] + [route("169.254.80.0/24"), route("169.254.80.1/32", "10.0.0.1")]
    routes += [route("fd76:6c64:6e73::5/128"), route("fd76:6c64:6e73::/64"), route("fd77::5/128")]
    routes += [route("169.254.80.2/32", table=100), route("169.254.80.3/32", type=6)]
    steps = release_steps(dataclasses.replace(pod(eth0()), routes=tuple(routes)), "eth0")
    gone = [step.route.destination for step in steps if isinstance(step, DeleteRoute)]
    assert gone == ["169.254.76.0/32", "169.254.139.255/32", "fd76:6c64:6e73::5/128"]
