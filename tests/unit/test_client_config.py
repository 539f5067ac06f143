"""What the VM gets by DHCP, for the shapes that CNIs give a pod."""

from __future__ import annotations

import dataclasses
import re

import pytest
from lab.vmnetworks import bridged

from dhcp.config import parse_configs
from launcher.dhcpconfig.client import client_config, warnings_of
from launcher.dhcpconfig.ipv4 import NoServerAddress, free_server_address
from launcher.dhcpconfig.names import domain_of, search_list
from launcher.request import SetupRequest
from launcher.vmi.model import DHCPOptions, InterfaceSpec
from netsetup.model.kernel import AF_INET, IFF_UP, SCOPE_LINK, TABLE_MAIN, Address, Link, Neighbour, NextHop, Route
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.vm_network import GuestOptions, VMNetwork

MAC = "0a:58:0a:f4:01:05"
CLUSTER = Resolver(
    nameservers=("10.96.0.10", "fd00::a"), search=("default.svc.cluster.local", "svc.cluster.local", "cluster.local")
)


def network(
    cidr: str, *routes: Route, neighbours: tuple[Neighbour, ...] = (), resolver: Resolver = CLUSTER
) -> VMNetwork:
    link = Link(2, "eth0", "veth", MAC, 1450, IFF_UP, 0, "", 0, None)
    address, length = cidr.split("/")
    pod = PodInterface(link, (Address(AF_INET, address, int(length)),), routes, neighbours, resolver=resolver)
    return bridged(pod)


def route(destination: str, gateway: str = "", **more: object) -> Route:
    return Route(AF_INET, destination, interface=2, gateway=gateway, scope=0 if gateway else SCOPE_LINK, **more)


def config_of(net: VMNetwork, **options: str) -> dict[str, object]:
    config = client_config(dataclasses.replace(net, options=GuestOptions(**options)))
    assert config is not None
    parse_configs([config])
    return config


def routes_of(config: dict[str, object]) -> list[tuple[str, str]]:
    return [(r["destination"], r["gateway"]) for r in config.get("routes", ())]  # type: ignore[attr-defined]


def test_flannel() -> None:
    config = config_of(
        network(
            "10.244.1.5/24",
            route("0.0.0.0/0", "10.244.1.1"),
            route("10.244.0.0/16", "10.244.1.1"),
            route("10.244.1.0/24", proto=2),
        ),
        hostname="vm",
    )
    assert config["client_address"] == "10.244.1.5/24"
    assert config["router"] == config["server_address"] == "10.244.1.1"
    assert routes_of(config) == [], "the default route says where 10.244.0.0/16 leads"
    assert config["dns"] == ["10.96.0.10"]
    assert config["domain"] == "default.svc.cluster.local"
    assert (config["hostname"], config["mtu"], config["client_mac"]) == ("vm", 1450, MAC)


def test_calico() -> None:
    config = config_of(network("192.168.103.70/32", route("0.0.0.0/0", "169.254.1.1"), route("169.254.1.1/32")))
    assert config["client_address"] == "192.168.103.70/32"
    assert config["router"] == config["server_address"] == "169.254.1.1"
    assert routes_of(config) == [("169.254.1.1/32", "0.0.0.0")]


def test_ptp_has_no_connected_route_so_the_vm_gets_a_32() -> None:
    config = config_of(
        network(
            "10.84.1.16/24",
            route("0.0.0.0/0", "10.84.1.1"),
            route("10.84.1.0/24", "10.84.1.1"),
            route("10.84.1.1/32"),
        )
    )
    assert config["client_address"] == "10.84.1.16/32"
    assert routes_of(config) == [("10.84.1.1/32", "0.0.0.0")]


def test_without_a_default_route_there_is_no_router_and_the_server_takes_a_free_address() -> None:
    config = config_of(network("192.168.10.118/24", route("192.168.10.0/24", proto=2)))
    assert "router" not in config
    assert config["server_address"] == "169.254.75.10"
    assert "routes" not in config


def test_the_server_address_avoids_what_the_pod_speaks_of() -> None:
    taken = (Neighbour(AF_INET, "169.254.75.10", "ee:ee:ee:ee:ee:ee"),)
    net = network("10.0.0.5/24", route("169.254.75.11/32"), route("10.9.0.0/16", "169.254.75.12"), neighbours=taken)
    assert free_server_address(net.pod) == "169.254.75.13"
    with pytest.raises(NoServerAddress, match="eth0: no free server address"):
        free_server_address(network("10.0.0.5/24", route("169.254.0.0/16")).pod)


def test_permanent_neighbours_are_answered_for() -> None:
    neighbour = Neighbour(AF_INET, "169.254.1.1", "2a:09:74:cd:c4:62")
    net = network("10.0.97.30/32", route("0.0.0.0/0", "169.254.1.1"), route("169.254.1.1/32"), neighbours=(neighbour,))
    assert config_of(net)["neighbours"] == {"169.254.1.1": "2a:09:74:cd:c4:62"}


def test_the_best_default_wins_and_other_kinds_of_route_do_not_disturb() -> None:
    config = config_of(
        network(
            "10.0.0.5/24",
            route("0.0.0.0/0", "10.0.0.2", metric=200),
            route("0.0.0.0/0", "10.0.0.1", metric=100),
            route("10.9.0.0/16", type=6),
            route("10.8.0.0/16", "10.0.0.9", table=100),
            Route(
                AF_INET, "10.7.0.0/16", nexthops=(NextHop(2, 1, gateway="10.0.0.3"), NextHop(2, 1, gateway="10.0.0.4"))
            ),
            route("10.0.0.0/24", proto=2),
        )
    )
    assert config["router"] == "10.0.0.1"
    assert routes_of(config) == [("10.7.0.0/16", "10.0.0.3")]


def test_policy_routing_decides_by_the_address_of_the_vm() -> None:
    """spiderpool: the main table's default belongs to another interface, a rule leads to a table of this one's own."""
    net = network(
        "10.7.168.202/16",
        route("0.0.0.0/0", "10.7.0.1", table=100),
        route("10.7.0.0/16", table=100),
        route("10.9.0.0/16", "10.7.0.2"),
        route("10.8.0.0/16", "10.7.0.3", table=101),
    )
    pod = dataclasses.replace(net.pod, tables=(100, TABLE_MAIN))
    config = config_of(dataclasses.replace(net, pod=pod))
    assert (config["client_address"], config["router"]) == ("10.7.168.202/16", "10.7.0.1")
    assert routes_of(config) == [("10.9.0.0/16", "10.7.0.2")]


def test_a_default_route_without_gateway_is_handed_on_as_on_link() -> None:
    config = config_of(network("10.0.0.5/32", route("0.0.0.0/0")))
    assert "router" not in config
    assert routes_of(config) == [("0.0.0.0/0", "0.0.0.0")]


def test_an_interface_without_address_is_not_served() -> None:
    link = Link(2, "eth0", "veth", MAC, 1450, IFF_UP, 0, "", 0, None)
    assert client_config(bridged(PodInterface(link))) is None


def test_options_of_the_manifest() -> None:
    wanted = DHCPOptions(boot_file="boot.ipxe", tftp_server="tftp", ntp=("192.0.2.1",), private=((240, "value"),))
    interface = InterfaceSpec("default", dhcp_options=wanted)
    options = SetupRequest.of(interface).guest_options(interface, "")
    config = client_config(dataclasses.replace(network("10.0.0.5/24"), options=options))
    assert config is not None
    assert (config["boot_file"], config["tftp_server"], config["ntp"]) == ("boot.ipxe", "tftp", ["192.0.2.1"])
    assert config["options"] == {"240": "value"}


@pytest.mark.parametrize(
    ("search", "subdomain", "expected"),
    [
        (CLUSTER.search, "sub", ("sub.default.svc.cluster.local", *CLUSTER.search)),
        (("sub.default.svc.cluster.local", "x"), "sub", ("sub.default.svc.cluster.local", "x")),
        (("example.com",), "sub", ("example.com",)),
        (CLUSTER.search, "", CLUSTER.search),
        ((), "sub", ()),
    ],
)
def test_a_subdomain_heads_the_search_list(search: tuple[str, ...], subdomain: str, expected: tuple[str, ...]) -> None:
    assert search_list(search, subdomain) == expected


@pytest.mark.parametrize(
    ("search", "domain"),
    [
        (("svc.cluster.local", "default.svc.cluster.local"), "default.svc.cluster.local"),
        (("example.com", "a.very.long.example.com"), "example.com"),
        ((), ""),
    ],
)
def test_the_one_domain(search: tuple[str, ...], domain: str) -> None:
    assert domain_of(search) == domain


@pytest.mark.parametrize("hostname", ["a$b", "-vm", "vm_", "a b", "ü", "x" * 64, "a..b"])
def test_a_host_name_that_clients_refuse_is_left_out_and_reported(hostname: str) -> None:
    net = network("10.0.0.5/24")
    config = config_of(net, hostname=hostname)
    assert "hostname" not in config
    (line,) = warnings_of([dataclasses.replace(net, options=GuestOptions(hostname=hostname))])
    assert line.startswith(f"host name {hostname}: ")


def test_a_subdomain_that_makes_the_name_too_long_is_left_out() -> None:
    service = f"ns.svc.{'.'.join(['x' * 60] * 4)}"
    assert search_list((service,), "a" * 63) == (service,)


def test_what_an_earlier_record_has_that_clients_refuse_is_left_out_and_reported() -> None:
    """Earlier versions recorded names that they could encode."""
    net = network(
        "10.0.0.5/24", resolver=Resolver(search=("_tcp.test", "good.test"), problems=("search a..b: an empty label",))
    )
    assert config_of(net)["search"] == ["good.test"]
    assert [line.partition(":")[0] for line in warnings_of([net, net])] == ["search a..b", "search _tcp.test"]


def test_more_resolvers_than_anything_has_room_for_are_left_out_and_reported() -> None:
    servers = tuple(f"192.0.2.{n}" for n in range(1, 20))
    net = network("10.0.0.5/24", resolver=Resolver(nameservers=servers))
    assert config_of(net)["dns"] == list(servers[:16])
    assert [line.partition(":")[0] for line in warnings_of([net])] == [
        f"nameserver {server}" for server in servers[16:]
    ]


def many(count: int, gateway: str = "10.0.0.7") -> list[Route]:
    return [route(f"10.{n // 256 + 1}.{n % 256}.0/24", gateway) for n in range(count)]


def test_routes_that_the_default_implies_are_not_sent() -> None:
    config = config_of(
        network(
            "10.0.0.5/24",
            route("0.0.0.0/0", "10.0.0.1"),
            route("10.0.0.0/24", proto=2),
            route("10.1.0.0/16", "10.0.0.7"),
            route("10.1.2.0/24", "10.0.0.1"),  # not implied: 10.1.0.0/16 leads elsewhere
            route("10.2.0.0/16", "10.0.0.1"),
            route("10.2.3.0/24", "10.0.0.1"),
            route("10.0.0.128/25", "10.0.0.1"),  # nor this one: 10.0.0.0/24 is on the link
            route("10.3.0.0/16"),
            route("10.3.4.5/32", "10.0.0.1"),  # nor this
        )
    )
    assert sorted(routes_of(config)) == [
        ("10.0.0.128/25", "10.0.0.1"),
        ("10.1.0.0/16", "10.0.0.7"),
        ("10.1.2.0/24", "10.0.0.1"),
        ("10.3.0.0/16", "0.0.0.0"),
        ("10.3.4.5/32", "10.0.0.1"),
    ]


def test_with_a_default_route_on_another_network_nothing_is_implied() -> None:
    """The guest may prefer that one."""
    net = network("10.0.0.5/24", route("0.0.0.0/0", "10.0.0.1"), *many(3, "10.0.0.1"))
    other = dataclasses.replace(network("10.9.0.5/24", route("0.0.0.0/0", "10.9.0.1")), name="other")
    layer2 = dataclasses.replace(network("10.9.0.5/24"), name="other")
    for networks, count in (([net, other], 3), ([net, layer2], 0), ([net], 0)):
        config = client_config(net, networks)
        assert config
        assert len(routes_of(config)) == count


def test_a_route_for_a_type_of_service_is_not_for_all_packets() -> None:
    net = network("10.0.0.5/24", route("10.7.0.0/16", "10.0.0.1", tos=16), route("10.7.0.0/16", "10.0.0.7", metric=50))
    assert routes_of(config_of(net)) == [("10.7.0.0/16", "10.0.0.7")]


@pytest.mark.parametrize(
    ("count", "patterns"),
    [
        (40, []),
        (60, [r"of 576 octets, .* only 5\d of 61 routes, 0 of 3 search names, 0 of 1 domain name$"]),
        (200, [r"of 1450 octets have room for only 16\d of 201 routes,", r"of 576 octets, .* only 5\d of 201 routes,"]),
    ],
)
def test_routes_without_room_are_reported(count: int, patterns: list[str]) -> None:
    lines = warnings_of([network("10.0.0.5/24", *many(count))])
    assert len(lines) == len(patterns)
    for pattern, line in zip(patterns, lines, strict=True):
        assert re.search(pattern, line), line


def test_names_without_room_are_reported() -> None:
    search = tuple(f"a{n}.{'x' * 50}{n}.test" for n in range(32))
    lines = warnings_of([network("10.0.0.5/24", resolver=Resolver(search=search))])
    largest, smallest, networkd = lines
    assert re.search(r"of 1450 octets have room for only 2\d of 32 search names$", largest)
    assert re.search(r"of 576 octets, .* have room for only \d of 32 search names$", smallest)
    assert networkd.endswith("systemd-networkd reads only 4 of 32 search names")
