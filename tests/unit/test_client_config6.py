"""What the VM gets over IPv6, for the shapes that CNIs give a pod; and what a configuration of IPv6 must keep."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from lab.vmnetworks import bridged, masqueraded

from dhcp.config import ConfigError, parse_configs
from dhcp.v4.lease import prepare_lease
from dhcp.wire.addresses import parse_mac
from dhcp.wire.addresses6 import parse_ipv6
from launcher.dhcpconfig.client import client_config, warnings_of
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    IFA_F_TEMPORARY,
    IFF_UP,
    SCOPE_LINK,
    Address,
    Link,
    Neighbour,
    NextHop,
    Route,
)
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.vm_network import VMNetwork

MAC, GATEWAY_MAC = "0a:58:0a:f4:01:05", "0a:58:0a:f4:01:01"
DUAL = Resolver(nameservers=("10.96.0.10", "fd00::a", "fe80::1%eth0"), search=("cluster.local",))
ADDRESS = Address(AF_INET6, "fd00:10::5", 64)
CONNECTED = Route(AF_INET6, "fd00:10::/64", interface=2, proto=2, metric=256)


def network(*routes: Route, addresses: tuple[Address, ...] = (ADDRESS,), **more: Any) -> VMNetwork:
    link = Link(2, "eth0", "veth", MAC, 1450, IFF_UP, 0, "", 0, None)
    neighbours = more.pop("neighbours", ())
    tables6 = more.pop("tables6", (254,))
    pod = PodInterface(link, addresses, routes, neighbours, tables6=tables6, resolver=DUAL)
    return bridged(pod, **more)


def default(gateway: str, **more: Any) -> Route:
    return Route(AF_INET6, "::/0", interface=2, gateway=gateway, metric=1024, **more)


def config_of(net: VMNetwork) -> dict[str, object]:
    config = client_config(net)
    assert config is not None
    parse_configs([config])
    return config


def of_ipv6(config: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in config.items() if "6" in key}


def test_ipv6_alone() -> None:
    config = config_of(network(default("fe80::1")))
    assert of_ipv6(config) == {
        "client_address6": "fd00:10::5/128",
        "router6": "fe80::1",
        "dns6": ["fd00::a", "fe80::1"],
    }
    assert {"client_address", "server_address", "dns", "router"}.isdisjoint(config)
    assert (config["search"], config["mtu"]) == (["cluster.local"], 1450)


def test_prefix_is_on_the_link_when_the_routing_table_says_so() -> None:
    assert config_of(network(CONNECTED))["client_address6"] == "fd00:10::5/64"
    assert config_of(network(dataclasses.replace(CONNECTED, gateway="fe80::1")))["client_address6"] == "fd00:10::5/128"


def test_link_local_gateway_with_its_mac_where_it_is_known() -> None:
    neighbour = Neighbour(AF_INET6, "fe80::1", GATEWAY_MAC)
    config = config_of(network(default("fe80::1"), neighbours=(neighbour,)))
    assert (config["router6_lladdr"], config["neighbours"]) == (GATEWAY_MAC, {"fe80::1": GATEWAY_MAC})
    config = config_of(network(default("fe80::1"), gateway6_mac=GATEWAY_MAC))
    assert config["router6_lladdr"] == GATEWAY_MAC
    assert "neighbours" not in config, "it answers for itself"


def test_a_global_gateways_mac_is_kept_fresh() -> None:
    config = config_of(network(default("fd00:10::1"), gateway6_mac=GATEWAY_MAC))
    named = ("router6", "router6_lladdr", "uplink6")
    assert [config.get(name) for name in named] == ["fd00:10::1", GATEWAY_MAC, "eth0"]
    config = config_of(network(default("fd00:10::1")))
    assert [config.get(name) for name in named] == ["fd00:10::1", None, "eth0"]
    neighbour = Neighbour(AF_INET6, "fd00:10::1", GATEWAY_MAC)
    config = config_of(network(default("fd00:10::1"), neighbours=(neighbour,)))
    assert [config.get(name) for name in named] == ["fd00:10::1", GATEWAY_MAC, None]


def test_best_default_route() -> None:
    routes = [
        default("fe80::3", table=100),
        dataclasses.replace(default("fe80::2"), metric=2048),
        default("fe80::1"),
        default("fe80::4", table=99),
    ]
    assert config_of(network(*routes))["router6"] == "fe80::1"
    assert config_of(network(*routes, tables6=(100, 254)))["router6"] == "fe80::3"


def test_first_hop_of_a_multipath_route() -> None:
    hops = (NextHop(2, 1, gateway="fe80::8"), NextHop(2, 1, gateway="fe80::9"))
    assert config_of(network(Route(AF_INET6, "::/0", nexthops=hops)))["router6"] == "fe80::8"


def test_routes_are_told_where_there_is_no_default_one() -> None:
    routes = [
        Route(AF_INET6, "fd00:96::/112", interface=2, gateway="fe80::1"),
        Route(AF_INET6, "fd00:97::/112", interface=2, gateway="fe80::1"),
        Route(AF_INET6, "fd00:98::/112", interface=2, gateway="fe80::2", metric=2048),
    ]
    config = config_of(network(*routes))
    assert config["routes6"] == [
        {"destination": "fd00:96::/112", "gateway": "fe80::1"},
        {"destination": "fd00:97::/112", "gateway": "fe80::1"},
    ]
    assert "router6" not in config
    assert "routes6" not in config_of(network(default("fe80::1"), *routes))


def test_default_route_without_a_gateway() -> None:
    """All addresses are on the link, as they were on the pod's; link-local ones and the VM's own are by themselves."""
    others = ("fe80::/64", "fd00:10::5/128", "fd00:77::/64", "ff00::/8")
    config = config_of(network(*(Route(AF_INET6, destination, interface=2) for destination in ("::/0", *others))))
    assert of_ipv6(config).keys() == {"client_address6", "dns6", "on_link6"}
    assert config["on_link6"] == ["2000::/3", "fc00::/7", "::/0", "fd00:77::/64"]
    assert "on_link6" not in config_of(network(default("fe80::1"), Route(AF_INET6, "fd00:77::/64", interface=2)))


def test_an_ipv6_next_hop_of_the_ipv4_default_route() -> None:
    """A router of ours stands for it; the guest has no subnet, so that every client takes it."""
    routes = [Route(AF_INET, "10.0.0.0/24", interface=2), Route(AF_INET, "0.0.0.0/0", interface=2, via="fe80::1")]
    routes += [Route(AF_INET, f"10.{n}.0.0/16", interface=2, via=via) for n, via in ((7, "fe80::1"), (8, "fe80::2"))]
    net = network(*routes, addresses=(Address(AF_INET, "10.0.0.5", 24),), gateway4_mac=GATEWAY_MAC)
    config = config_of(net)
    router = "169.254.75.10"
    assert (config["client_address"], config["router"], config["server_address"]) == ("10.0.0.5/32", router, router)
    assert config["neighbours"] == {router: GATEWAY_MAC}
    assert config["routes"] == [{"destination": "10.0.0.0/24", "gateway": "0.0.0.0"}]
    assert [line.partition(" via ")[0] for line in warnings_of([net])] == ["network default: IPv4 route 10.8.0.0/16"]
    unknown = dataclasses.replace(net, gateway4_mac="")
    assert "router" not in config_of(unknown)
    assert config_of(unknown)["client_address"] == "10.0.0.5/24"
    lines = [line.partition(" via ")[0].rpartition(" ")[2] for line in warnings_of([unknown])]
    assert sorted(lines) == ["10.7.0.0/16", "10.8.0.0/16", "default"]


def test_oldest_lasting_address() -> None:
    """As the kernel lists them, the newest first."""
    addresses = (
        Address(AF_INET6, "fd00:10::9", 64),
        Address(AF_INET6, "fd00:10::8", 64, flags=IFA_F_TEMPORARY),
        Address(AF_INET6, "fd00:10::5", 64),
        Address(AF_INET6, "fd00:10::4", 64, preferred_seconds=0),
        Address(AF_INET6, "fe80::5", 64, SCOPE_LINK),
    )
    assert config_of(network(addresses=addresses))["client_address6"] == "fd00:10::5/128"
    assert config_of(network(addresses=addresses[3:]))["client_address6"] == "fd00:10::4/128"


@pytest.mark.parametrize("net", [network(addresses=()), network(mtu=1279)])
def test_nothing_to_serve(net: VMNetwork) -> None:
    assert client_config(net) is None
    assert not net.serves6


def test_both_families() -> None:
    config = config_of(network(default("fe80::1"), addresses=(Address(AF_INET, "10.0.0.5", 24), ADDRESS)))
    assert (config["client_address"], config["client_address6"]) == ("10.0.0.5/32", "fd00:10::5/128")
    assert (config["dns"], config["dns6"]) == (["10.96.0.10"], ["fd00::a", "fe80::1"])


def test_masquerade() -> None:
    """The bridge is the router, under the link-local address that the kernel makes of its MAC."""
    config = config_of(masqueraded(network(default("fd00:10::1")).pod))
    assert of_ipv6(config) == {
        "client_address6": "fd10:0:2::2/120",
        "router6": "fe80::ff:fe00:0",
        "router6_lladdr": "02:00:00:00:00:00",
        "dns6": ["fd00::a"],
    }


# --- the server's configuration ---------------------------------------------------------------------------------------

BASE = {"client_mac": MAC, "client_address6": "fd00::5/128"}


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({"client_address6": "fd00::5"}, "client_address6", "prefix length"),
        ({"client_address6": "fd00::5/129"}, "client_address6", "prefix length"),
        ({"client_address6": "fe80::5/64"}, "client_address6", "not link-local"),
        ({"client_address6": "ff02::1/64"}, "client_address6", "unicast"),
        ({"client_address6": "::/64"}, "client_address6", "unicast"),
        ({"client_address6": "::1/128"}, "client_address6", "unicast"),
        ({"client_address6": "fd00::5/0"}, "client_address6", "whole Internet"),
        ({"router6": "fd00::1"}, "router6_lladdr", "is required"),
        ({"router6": "fd00::5", "router6_lladdr": GATEWAY_MAC}, "router6", "another host"),
        ({"router6": "ff02::2"}, "router6", "unicast"),
        ({"router6": "fe80::1", "router6_lladdr": "01:00:00:00:00:00"}, "router6_lladdr", "multicast"),
        ({"routes6": [{"destination": "fd00::/48"}]}, "routes6", "names the gateway"),
        ({"router6": "fe80::1", "routes6": [{"destination": "::/0", "gateway": "fe80::2"}]}, "routes6", "same gateway"),
        ({"router6": "fe80::1", "routes6": [{"destination": "fd00::1/48"}]}, "routes6[0].destination", "bits set"),
        ({"router6": "fe80::1", "routes6": ["fd00::/48"]}, "routes6[0]", "an object"),
        ({"router6": "fe80::1", "routes6": [{"destination": "fd00::/48", "x": "y"}]}, "routes6[0].x", "unknown"),
        ({"dns6": ["10.0.0.1"]}, "dns6[0]", "not an IPv6 address"),
        ({"dns6": ["fe80::1%eth0"]}, "dns6[0]", "not an IPv6 address"),
        ({"dns6": ["fd00::1"] * 17}, "dns6", "17 are more"),
        ({"uplink6": "eth0"}, "uplink6", "is for a client_address6 and"),
        ({"router6": "fe80::1", "uplink6": "eth0"}, "uplink6", "not link-local"),
        ({"router6": "fd00::1", "uplink6": "a/b"}, "uplink6", "the name of an interface"),
        ({"options6": {"23": "0x00"}}, "options6.23", "a field of its own"),
        ({"options6": {"82": "59"}}, "options6.82", "60 to 86400"),
        ({"options6": {"59": ""}}, "options6.59", "empty"),
        ({"options6": {"59": "0xz"}}, "options6.59", "hex"),
        ({"options6": {"65535": "x"}}, "options6.65535", "1 to 65534"),
        ({"mtu": 1279}, "mtu", "too small for IPv6"),
        ({"neighbours": {"fd00::5": GATEWAY_MAC}}, "neighbours", "must stay unanswered"),
        ({"neighbours": {"fd00::x": GATEWAY_MAC}}, "neighbours.fd00::x", "not an IPv6 address"),
        ({"options": {"108": "1800"}}, "server_address", "is required for option 108"),
        ({"client_address6": None, "dns6": ["fd00::1"]}, "client_address", "is required"),
    ],
    ids=str,
)
def test_refused_by_path(fields: dict[str, object], path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_configs({**BASE, **fields})
    assert str(error.value).startswith(f"{path}: ")
    assert reason in str(error.value)


def test_identifiers_of_servers_differ_by_client_alone() -> None:
    """The same before and after a migration, whatever the port's MAC is there."""

    def duid(client_mac: str, interface_mac: str) -> bytes:
        port = prepare_lease(parse_configs({**BASE, "client_mac": client_mac})[0], parse_mac(interface_mac)).ipv6
        assert port
        return port.duid

    assert duid(MAC, "02:00:00:00:00:01") == duid(MAC, "02:00:00:00:00:02") != duid(GATEWAY_MAC, "02:00:00:00:00:01")


def test_addresses_of_another_family_are_not_answered_for() -> None:
    neighbours = {"169.254.1.1": GATEWAY_MAC, "fe80::1": GATEWAY_MAC}
    port = prepare_lease(parse_configs({**BASE, "neighbours": neighbours})[0], parse_mac("02:00:00:00:00:01"))
    assert port.ipv6
    assert set(port.arp) == {bytes((169, 254, 1, 1))}
    assert set(port.ipv6.neighbours) == {parse_ipv6("fe80::1"), parse_ipv6("fe80::fc:1")}


@pytest.mark.parametrize(
    ("server", "served"),
    [("fe80::1%eth0", ["fe80::1"]), ("fe80::1%2", ["fe80::1"]), ("fe80::1", ["fe80::1"]), ("fe80::1%net1", [])],
)
def test_a_link_local_resolver_is_for_its_own_link(server: str, served: list[str]) -> None:
    net = network()
    net = dataclasses.replace(net, pod=dataclasses.replace(net.pod, resolver=Resolver(nameservers=(server,))))
    assert config_of(net).get("dns6", []) == served
    assert [line.partition(": ")[0] for line in warnings_of([net])] == ([] if served else [f"nameserver {server}"])


@pytest.mark.parametrize("server", ["fe80::1%eth0", "fe80::1"])
def test_a_guest_behind_a_router_reaches_no_link_local_resolver(server: str) -> None:
    net = masqueraded(dataclasses.replace(network().pod, resolver=Resolver(nameservers=("fd00::a", server))))
    assert config_of(net)["dns6"] == ["fd00::a"]
    assert [line.partition(": ")[0] for line in warnings_of([net])] == [f"nameserver {server}"]


def test_routes_that_one_advertisement_cannot_have_are_reported() -> None:
    others = [Route(AF_INET6, f"fd01:{n:x}::/64", interface=2, gateway="fe80::1") for n in range(60)]
    assert warnings_of([network(default("fe80::1"), *others)]) == ()
    (line,) = warnings_of([network(*others)])
    assert line == "network default: router advertisements have room for only 42 of 60 IPv6 routes"
    elsewhere = Route(AF_INET6, "fd02::/64", interface=2, gateway="fe80::2")
    (line,) = warnings_of([network(default("fe80::1"), elsewhere)])
    assert "fd02::/64 via fe80::2" in line
