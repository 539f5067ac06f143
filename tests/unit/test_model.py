"""What the data of a pod says about itself: defaults, routes that the kernel would take, devices found again."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from lab.scenes import address, called, eth0, link_local, nic, pod, route, with_items

from netsetup.bindings.dns import carried_on_link, release_steps
from netsetup.bindings.restore import unrestorable
from netsetup.errors import InvalidRequest
from netsetup.model.identity import as_named_now, interface_of, is_marked, mark_of, own_nic, settings_now
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    FOREVER,
    Address,
    Link,
    Namespace,
    Neighbour,
    NextHop,
    Route,
    Rule,
)
from netsetup.model.local_resolver import LocalResolver, Substitute, listening_address, local_resolvers
from netsetup.model.mac import local_mac, parse_guest_mac
from netsetup.model.owner import LARGEST_ID, Owner, parse_owner
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.private_network import ForwardedPorts, PrivateNetwork
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
from netsetup.model.vm_network import Guest, VMNetwork
from netsetup.plan import admit
from netsetup.resolver import fault_of_name
from netsetup.steps import DeleteRoute, SetSysctl

DEFAULTS = {
    Link: "parent=0 parent_elsewhere=False",
    Address: "scope=0 flags=0 label= broadcast= peer= metric=0 proto=0"
    " valid_seconds=4294967295 preferred_seconds=4294967295 read_at=0",
    Route: "table=254 interface=0 gateway= type=1 scope=0 proto=3 metric=0 tos=0 flags=0 preferred_source= source= via="
    " preference=0 metrics=() nexthops=() expires_seconds=0 nexthop_id=0 raw=",
    NextHop: "flags=0 gateway= via=",
    Neighbour: "state=128 flags=0 extended_flags=0 proto=0",
    Rule: "source= destination= selective=False",
    PodInterface: "addresses=() routes=() neighbours=() tables=(254,) tables6=(254,) sysctls=()"
    " resolver=Resolver(nameservers=(), search=(), options=(), problems=(), ports=()) equal_routes=()",
    Guest: "mac_source=pod address4=None address6=None router4=None router6=None router6_link_local= router_mac="
    " local_resolvers=()",
    VMNetwork: "bridge= queues=1 owner=None isolated=True private=None options=GuestOptions(hostname='', subdomain='',"
    " ntp=(), tftp_server='', boot_file='', private=()) adopted=None adopted_sysctls=() adopted_state=None requested=()"
    " gateway6_mac= gateway4_mac=",
    LocalResolver: "substitute=None fault= udp_port=53 tcp_port=53",
    Substitute: "source= mac=",
    PrivateNetwork: "network4=10.0.2.0/24 network6=fd10:0:2::/120 ports=() kept_ports=() sidecar=None",
}


@pytest.mark.parametrize("model", DEFAULTS)
def test_what_a_field_means_that_a_record_does_not_have(model: type) -> None:
    fields = [f for f in dataclasses.fields(model) if f.default is not dataclasses.MISSING]
    assert " ".join(f"{field.name}={field.default}" for field in fields) == DEFAULTS[model]


# --- addresses --------------------------------------------------------------------------------------------------------

AGEING = Address(AF_INET6, "fd00::5", 64, valid_seconds=100, preferred_seconds=50, read_at=1000)


@pytest.mark.parametrize(
    ("now", "left"),
    [
        (1000, (100, 50, 1000)),
        (1001, (99, 49, 1001)),
        (1100, (0, 0, 1100)),
        (1200, (0, 0, 1200)),
        (990, (100, 50, 1000)),
    ],
)
def test_what_is_left_of_lifetimes(now: int, left: tuple[int, int, int]) -> None:
    then = AGEING.at(now)
    assert (then.valid_seconds, then.preferred_seconds, then.read_at) == left
    assert (AGEING.valid_until, AGEING.preferred_until) == (1100, 1050)


def test_what_does_not_run_out_does_not() -> None:
    lasting = dataclasses.replace(AGEING, valid_seconds=FOREVER, preferred_seconds=FOREVER)
    assert lasting.at(5000).valid_seconds == lasting.at(5000).preferred_seconds == FOREVER
    assert (lasting.valid_until, lasting.preferred_until) == (0, 0)
    assert dataclasses.replace(AGEING, read_at=0).at(5000) == dataclasses.replace(AGEING, read_at=0)
    assert dataclasses.replace(AGEING, read_at=0).valid_until == 0
    assert dataclasses.replace(AGEING, read_at=0).preferred_until == 0


@pytest.mark.parametrize(("by", "is_renewed"), [(0, False), (2, False), (-2, False), (3, True), (-3, True)])
def test_a_second_reading_is_no_renewal(by: int, is_renewed: bool) -> None:
    for field in ("valid_seconds", "preferred_seconds"):
        later = dataclasses.replace(AGEING, **{field: getattr(AGEING, field) + by})
        assert (AGEING.unless_renewed(later) is later) is is_renewed


def test_the_key_of_an_address() -> None:
    assert AGEING.key.valid_seconds == AGEING.key.preferred_seconds == AGEING.key.read_at == 0
    assert Address(AF_INET, "10.0.0.1", 24, flags=0x80 | 0x200).key == Address(AF_INET, "10.0.0.1", 24, flags=0x200)
    assert dataclasses.replace(AGEING, flags=0x100 | 0x800 | 0x40).key.flags == 0x900
    assert AGEING.identity == dataclasses.replace(AGEING, valid_seconds=FOREVER, preferred_seconds=FOREVER, read_at=0)
    assert dataclasses.replace(AGEING, flags=1).restorable is False
    assert Address(AF_INET, "10.0.0.1", 24, flags=1).restorable is True
    assert Address(AF_INET, "10.0.0.1", 24, peer="10.9.9.9").network == "10.9.9.0/24"


# --- routes -----------------------------------------------------------------------------------------------------------

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
    for mode in (2, 3):
        other = dataclasses.replace(found, link=eth0(addr_gen_mode=mode), routes=())
        assert [line.split()[3] for line in unrestorable([other])] == ["fd00::9/64"]
    assert not list(unrestorable([interface(route("0.0.0.0/0", "10.0.0.1"), route("0.0.0.0/0", "10.0.0.2"))]))


# --- devices found again ----------------------------------------------------------------------------------------------

BEFORE = with_items(
    pod(eth0(), nic(3, "net1", "0a:58:0a:f4:02:05")), "eth0", address("10.244.1.5/24", label="eth0:web")
)
NETWORK = admit(BEFORE, NetworkRequest(), Resolver())


@pytest.mark.parametrize(
    ("changes", "is_it"),
    [
        ({}, True),
        ({"name": "lan0"}, True),
        ({"mac": "02:00:00:00:00:99"}, True),
        ({"name": "lan0", "mac": "02:00:00:00:00:99"}, True),  # the other end is the same
        ({"name": "lan0", "mac": "02:00:00:00:00:99", "parent": 77}, False),
        ({"name": "lan0", "parent": 77}, True),
        ({"name": "lan0", "kind": "macvlan"}, False),
        ({"name": "lan0", "mac": "02:00:00:00:00:99", "kind": "macvlan", "parent": 77}, False),
        ({"index": 12}, False),
    ],
)
def test_an_interface_is_its_index_and_mac(changes: dict[str, Any], is_it: bool) -> None:
    observed = dataclasses.replace(BEFORE, links=(eth0(**changes),))
    assert (own_nic(observed, NETWORK.pod) is not None) is is_it


def test_of_two_without_another_end_only_the_mac_counts() -> None:
    recorded = dataclasses.replace(NETWORK.pod, link=eth0(parent=0))
    other = Namespace(links=(eth0(parent=0, name="lan0", mac="02:00:00:00:00:99"),))
    assert own_nic(other, recorded) is None


def test_a_renamed_interface_in_the_record() -> None:
    named = as_named_now(called("eth0", "a-name-of-15-ch")(BEFORE).links, NETWORK)
    assert named.pod.name == "a-name-of-15-ch"
    assert [a.label for a in named.pod.addresses] == ["a-name-of-1:web"]  # cut to what the kernel has room for
    assert dict(named.pod.sysctls)["net/ipv6/conf/a-name-of-15-ch/accept_ra"] == "1"
    assert named.requested == ("eth0", "tap0")
    assert as_named_now(BEFORE.links, NETWORK) is NETWORK


@pytest.mark.parametrize(
    ("alias", "is_ours"),
    [
        ("virt-launcher default", True),
        ("virt-launcher", False),
        ("virt-launcher ", False),
        ("virt-launcher a b", False),
        ("virt-launchers default", False),
        ("", False),
    ],
)
def test_our_mark(alias: str, is_ours: bool) -> None:
    assert is_marked(eth0(alias=alias)) is is_ours
    assert (alias == mark_of("default")) is is_ours


def test_settings_of_others_under_their_present_names() -> None:
    settings = (
        ("net/ipv4/conf/net1/arp_ignore", "0"),
        ("net/ipv4/conf/gone/arp_ignore", "1"),
        ("net/ipv4/ip_forward", "1"),
    )
    links = (eth0(), nic(3, "lan1", "0a:58:0a:f4:02:05"))
    assert settings_now(links, settings, (("net1", 3), ("gone", 9))) == (
        (("net/ipv4/conf/lan1/arp_ignore", "0"), ("net/ipv4/ip_forward", "1")),
        (("lan1", 3),),
    )
    assert interface_of("net/ipv4/conf/net1/arp_ignore") == "net1"
    assert interface_of("net/ipv4/ip_forward") == interface_of("net/a/b/c/d/e") == ""


@pytest.mark.parametrize(
    ("key", "devconf"),
    [
        ("net/ipv4/conf/eth0/arp_ignore", 19),
        ("net/ipv4/conf/eth0/route_localnet", 26),
        ("net/ipv4/conf/eth0/forwarding", 0),
        ("net/ipv6/conf/eth0/arp_ignore", 0),
        ("net/ipv4/arp_ignore", 0),
    ],
)
def test_settings_that_netlink_sets(key: str, devconf: int) -> None:
    assert SetSysctl(key, "1").devconf == devconf


# --- name servers -----------------------------------------------------------------------------------------------------


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


# --- MACs, owners, ports ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mac"),
    [
        ("02:00:00:00:00:0A", "02:00:00:00:00:0a"),
        ("02-00-00-00-00-0a", "02:00:00:00:00:0a"),
        ("0200.0000.000a", "02:00:00:00:00:0a"),
        ("02:00:00:00:00", "six bytes"),
        ("02:00:00:00:00:0a:0b", "six bytes"),
        ("02:00-00:00:00:0a", "six bytes"),
        ("03:00:00:00:00:0a", "multicast"),
        ("00:00:00:00:00:00", "all zero"),
        ("fe:00:00:00:00:0a", "begin with fe"),
        ("02:00:00:00:00:01", "the bridge's own"),
    ],
)
def test_macs_of_guests(text: str, mac: str) -> None:
    if ":" in mac:
        assert parse_guest_mac(text, "02:00:00:00:00:01") == mac
    else:
        with pytest.raises(ValueError, match=mac):
            parse_guest_mac(text, "02:00:00:00:00:01")


def test_macs_of_our_own_never_change() -> None:
    assert local_mac("guest 0a:58:0a:f4:01:05") == "0e:ce:63:dc:3e:09"
    assert {int(local_mac(str(number))[:2], 16) & 3 for number in range(99)} == {2}
    assert len({local_mac(str(number)) for number in range(999)}) == 999


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("107", Owner(107, 107)),
        ("107:36", Owner(107, 36)),
        (f"{LARGEST_ID}:0", Owner(4294967294, 0)),
        (f"0:{LARGEST_ID}", Owner(0, 4294967294)),
        ("4294967295", "at most 4294967294"),
        ("1:4294967295", "at most 4294967294"),
        ("a", "UID or UID:GID"),
        ("1:2:3", "UID or UID:GID"),
        ("12345678901", "UID or UID:GID"),
    ],
)
def test_owners(text: str, owner: Owner | str) -> None:
    if isinstance(owner, Owner):
        assert parse_owner(text) == owner
        assert str(owner) == f"{owner.uid}:{owner.gid}"
    else:
        with pytest.raises(ValueError, match=owner):
            parse_owner(text)


def test_forwarded_ports_in_words() -> None:
    assert (ForwardedPorts("tcp", 80, 80).match, ForwardedPorts("tcp", 80, 80).counter) == ("tcp dport 80", "tcp-80")
    assert (ForwardedPorts("udp", 1, 9).match, ForwardedPorts("udp", 1, 9).counter) == ("udp dport 1-9", "udp-1-9")


def test_a_private_network() -> None:
    own = PrivateNetwork("10.9.8.7/24", "fd09::7/112").canonical()
    assert (own.network4, own.network6) == ("10.9.8.0/24", "fd09::/112")
    assert [own.host(family, 1).cidr for family in (AF_INET, AF_INET6)] == ["10.9.8.1/24", "fd09::1/112"]
    assert own.host(AF_INET6, 2).cidr == "fd09::2/112"
    assert PrivateNetwork("10.9.8.0/30").canonical().network4 == "10.9.8.0/30"
    with pytest.raises(InvalidRequest, match="must be /30 or larger"):
        PrivateNetwork("10.9.8.0/31").canonical()


def test_the_address_that_a_vm_gets() -> None:
    deprecated = address("fd00::1/64", preferred_seconds=0, valid_seconds=50, read_at=1)
    temporary = address("fd00::2/64", flags=1)
    lasting, later = address("fd00::3/64"), address("fd00::4/64")
    newest_first = (later, lasting, temporary, deprecated, link_local("fe80::1"))
    assert PodInterface(eth0(), newest_first).main_address(AF_INET6) == lasting
    assert PodInterface(eth0(), newest_first[2:]).main_address(AF_INET6) == deprecated
    assert PodInterface(eth0(), newest_first[2:3]).main_address(AF_INET6) == temporary
    assert PodInterface(eth0(), newest_first[4:]).main_address(AF_INET6) is None
    assert PodInterface(eth0(), newest_first).main_address(AF_INET) is None


@pytest.mark.parametrize(("mtus", "mtu"), [((), 1450), ((1400,), 1400), ((1500,), 1450), ((0, 1300, 1400), 1300)])
def test_the_mtu_that_gets_through(mtus: tuple[int, ...], mtu: int) -> None:
    routes = [route("0.0.0.0/0", "10.0.0.1", metrics=(("mtu", size),)) for size in mtus]
    assert interface(*routes, route("10.1.0.0/16", metrics=(("mtu", 576),))).mtu == mtu
