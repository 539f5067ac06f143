"""Reachability in the masquerade binding, tested with traffic. MQ, NP and F are scenarios of KubeVirt's own tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.agent import Agent
from lab.masqueraded import Masqueraded, write_manifest
from lab.namespace import Namespace
from lab.pod import MakePod
from lab.rawclient import RawClient
from lab.reach import Server, seen_by, serving
from lab.snapshot import assert_restored, take_snapshot
from lab.sniffer import Sniffer
from lab.waiting import wait_until
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6ND_Redirect

pytestmark = pytest.mark.root

OUTSIDE = {4: "192.0.2.1", 6: "2001:db8::1"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
ANY = {4: "0.0.0.0", 6: "::"}
SHAPES = {4: "flannel", 6: "aws-v6"}
DUAL = "ovn-kubernetes"
ALL = ("tcp", "udp", "sctp")
ISTIO = {"annotations": {"sidecar.istio.io/inject": "True"}}
PASSTHROUGH = "127.0.0.6"


class World:
    """A pod in the masquerade binding, with short tests of reachability."""

    def __init__(self, vm: Masqueraded) -> None:
        self.vm = vm
        self.pod, self.node, self.guest, self.inside = vm.pod, vm.node, vm.guest, vm.inside

    def server(self, protocol: str, port: int, version: int, where: Namespace | None = None) -> Any:
        """A server in the guest, or in another namespace."""
        return serving(where or self.guest, protocol, port, ANY[version])

    def from_outside(self, server: Server, version: int) -> str:
        """The address that the guest sees of a client in the outside world; empty if it is not reached."""
        return seen_by(server, self.node, self.vm.address(version), source=OUTSIDE[version])

    def is_forwarded(self, protocol: str, port: int, version: int) -> bool:
        """Whether a client outside reaches this port of the guest, with its own address."""
        with self.server(protocol, port, version) as server:
            seen = self.from_outside(server, version)
        assert seen in ("", OUTSIDE[version]), "the client's address is kept"
        return bool(seen)

    def is_forwarded_inside(self, protocol: str, port: int, version: int) -> bool:
        """Whether a process of the pod reaches this port of the guest at the loopback address."""
        with self.server(protocol, port, version) as server:
            seen = seen_by(server, self.inside, LOOPBACK[version])
        assert seen in ("", self.gateway(version)), "the guest can answer"
        return bool(seen)

    def is_reached_by_itself(self, protocol: str, port: int, version: int) -> bool:
        """Whether the guest reaches this port of its own at the pod's address."""
        with self.server(protocol, port, version) as server:
            seen = seen_by(server, self.guest, self.vm.address(version))
        assert seen in ("", self.gateway(version)), "the answer comes back the same way"
        return bool(seen)

    def gateway(self, version: int) -> str:
        return self.vm.gateway4 if version == 4 else self.vm.gateway6

    def ways(self, protocol: str, port: int, version: int) -> tuple[bool, bool, bool]:
        """From outside, from inside the pod, by the guest itself."""
        return (
            self.is_forwarded(protocol, port, version),
            self.is_forwarded_inside(protocol, port, version),
            self.is_reached_by_itself(protocol, port, version),
        )


@pytest.fixture
def make_world(make_pod: MakePod) -> Iterator[Any]:
    vms: list[Masqueraded] = []

    def make(shape: str = DUAL, **options: Any) -> World:
        vm = Masqueraded(make_pod(shape), **options)
        vms.append(vm)
        return World(vm)

    yield make
    for vm in vms:
        vm.agent.__exit__(None, None, None)


EVERYWHERE, NOWHERE = (True, True, True), (False, False, False)
DIRECT_ALONE, PROXIED = (True, True, True), (False, True, False)


# --- what is forwarded ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
def test_mq02_mq03_without_ports_everything_is_forwarded(make_world: Any, version: int) -> None:
    """Single stack; the other family has no addresses and no rules."""
    world = make_world(SHAPES[version])
    for protocol in ALL:
        for port in (22, 1500, 49152, 65535):
            assert world.ways(protocol, port, version) == EVERYWHERE, (protocol, port)
    assert world.vm.network["binding"] == "masquerade"
    other = 10 - version
    bridge = world.inside.ip_json("addr show dev k6t-eth0")[0]["addr_info"]
    assert not [a for a in bridge if a["scope"] == "global" and a["family"] == ("inet6" if other == 6 else "inet")]
    table = world.inside.run(["nft", "list", "table", "inet", "virt-launcher"]).stdout
    assert ("dnat ip6" if other == 6 else "dnat ip to") not in table


def test_mq04_both_families(make_world: Any) -> None:
    world = make_world()
    for version in (4, 6):
        for protocol in ALL:
            assert world.ways(protocol, 1500, version) == EVERYWHERE, (protocol, version)


def test_mq05_exactly_the_ports_that_are_declared(make_world: Any) -> None:
    """From outside (F09, F11) and at the loopback address, as port forwarding and probes do (F42, F43)."""
    ports = [{"port": 80}, {"port": 8080, "protocol": "tcp"}, {"port": 53, "protocol": "UDP"}]
    world = make_world(interface={"ports": [*ports, {"port": 7, "protocol": "SCTP"}]})
    declared = {("tcp", 80), ("tcp", 8080), ("udp", 53), ("sctp", 7)}
    for version in (4, 6):
        for protocol in ALL:
            for port in (7, 53, 80, 81, 8080):
                expected = EVERYWHERE if (protocol, port) in declared else NOWHERE
                assert world.ways(protocol, port, version) == expected, (protocol, port, version)


def test_what_is_not_forwarded_is_the_pods_own(make_world: Any) -> None:
    world = make_world(interface={"ports": [{"port": 80}]})
    for version in (4, 6):
        with world.server("tcp", 81, version, world.inside) as server:
            assert world.from_outside(server, version) == OUTSIDE[version]
            assert seen_by(server, world.inside, LOOPBACK[version]) == LOOPBACK[version]
            assert seen_by(server, world.guest, world.vm.address(version)) == ""


@pytest.mark.parametrize("version", [4, 6])
def test_mq07_ranges(make_world: Any, version: int) -> None:
    """MQ06 has no counterpart: there is no feature gate for ranges."""
    ranges = [{"start": 80, "end": 81, "protocol": "TCP"}, {"start": 443, "end": 444}]
    world = make_world(interface={"portRanges": ranges})
    reached = {port for port in (79, 80, 81, 82, 442, 443, 444, 445) if world.is_forwarded("tcp", port, version)}
    assert reached == {80, 81, 443, 444}
    assert world.ways("tcp", 444, version) == EVERYWHERE
    assert world.ways("udp", 80, version) == NOWHERE


def test_mq08_ranges_of_two_protocols(make_world: Any) -> None:
    ranges = [{"start": 1000, "end": 2000}, {"start": 1500, "end": 2500, "protocol": "UDP"}]
    world = make_world(interface={"portRanges": ranges})
    for version in (4, 6):
        for port in (999, 1000, 1499, 1500, 2000, 2001, 2500, 2501):
            tcp, udp = 1000 <= port <= 2000, 1500 <= port <= 2500
            assert world.is_forwarded("tcp", port, version) == tcp, port
            assert world.is_forwarded("udp", port, version) == udp, port


def test_the_ports_of_a_later_run_hold(make_world: Any) -> None:
    world = make_world(interface={"ports": [{"port": 80}]})
    world.vm.write(interface={"ports": [{"port": 81}]})
    world.vm.prestart()
    assert not world.is_forwarded("tcp", 80, 4)
    assert world.is_forwarded("tcp", 81, 4)
    assert world.inside.run(["nft", "list", "tables"]).stdout.count(" virt-launcher\n") == 2


# --- Istio and migration ----------------------------------------------------------------------------------------------


def test_mq09_istio_without_ports(make_world: Any) -> None:
    """From outside only SSH, which the proxy does not accept; inside all but the proxy's own ports."""
    world = make_world(metadata=ISTIO)
    assert world.ways("tcp", 22, 4) == DIRECT_ALONE
    assert world.ways("tcp", 80, 4) == PROXIED
    assert world.ways("tcp", 22, 6) == DIRECT_ALONE
    assert world.ways("tcp", 80, 6) == PROXIED
    for port in (15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053, 15090):
        for version in (4, 6):
            assert not world.is_forwarded_inside("tcp", port, version), port
            _assert_kept(world, "tcp", port, version)
    for version in (4, 6):
        _assert_kept(world, "udp", 15053, version)
        assert world.is_forwarded_inside("udp", 15054, version)


def _assert_kept(world: World, protocol: str, port: int, version: int) -> None:
    """A listener of the pod is found at the loopback address and at the pod's own, by processes of the pod."""
    with world.server(protocol, port, version, world.inside) as proxy:
        assert seen_by(proxy, world.inside, LOOPBACK[version]) == LOOPBACK[version], port
        assert seen_by(proxy, world.inside, world.vm.address(version)) == world.vm.address(version), port


def test_mq09_the_proxy_reaches_the_guest_by_the_pods_address(make_world: Any) -> None:
    """It connects to the client's original destination, from a loopback address, which is translated."""
    world = make_world(metadata=ISTIO)
    with world.server("tcp", 80, 4) as server:
        assert seen_by(server, world.inside, world.vm.address(4), source=PASSTHROUGH) == world.vm.gateway4
        assert seen_by(server, world.inside, LOOPBACK[4], source=PASSTHROUGH) == world.vm.gateway4
    with world.server("tcp", 80, 6) as server:
        assert seen_by(server, world.inside, world.vm.address(6)) == "", "IPv6 has none of that"


def test_without_istio_the_pods_address_is_the_pods_own_inside(make_world: Any) -> None:
    world = make_world()
    with world.server("tcp", 80, 4, world.inside) as server:
        assert seen_by(server, world.inside, world.vm.address(4)) == world.vm.address(4)


def test_mq10_istio_ports_and_migration(make_world: Any) -> None:
    world = make_world(
        metadata=ISTIO,
        status={"migrationTransport": "TCP"},
        interface={"ports": [{"port": 80}, {"port": 49152}, {"port": 15000}]},
    )
    for version in (4, 6):
        assert world.ways("tcp", 80, version) == PROXIED
        assert not world.is_forwarded_inside("tcp", 49152, version)
        with world.server("tcp", 49152, version, world.inside) as launcher:
            assert seen_by(launcher, world.inside, LOOPBACK[version]) == LOOPBACK[version]
        assert world.ways("tcp", 81, version) == NOWHERE
    assert world.is_forwarded_inside("tcp", 15000, 4), "a port that is declared is the guest's, Istio's or not (MQ13)"


@pytest.mark.parametrize("transport", ["Unix", "TCP", None])
def test_migration_ports_stay_the_launchers_inside(make_world: Any, transport: str | None) -> None:
    status = {"migrationTransport": transport} if transport else None
    world = make_world(status=status)
    kept = transport == "TCP"
    for version in (4, 6):
        for port in (49152, 49153):
            assert world.is_forwarded("tcp", port, version), "outside they are the guest's in any case"
            assert world.is_forwarded_inside("tcp", port, version) == (not kept)
        assert world.is_forwarded_inside("tcp", 49154, version)


@pytest.mark.parametrize(
    ("scenario", "ports", "direct", "proxied", "neither"),
    [
        ("MQ11", {"ports": [{"port": 80}, {"port": 8080}]}, (), (80, 8080), (22, 81)),
        ("MQ12", {"ports": [{"port": 22}, {"port": 8080}]}, (22,), (8080,), (80,)),
        ("MQ13", {"ports": [{"port": 15000}]}, (), (15000,), (22, 15001)),
        ("MQ14", {"portRanges": [{"start": 1000, "end": 1500}]}, (), (1000, 1500), (22, 999)),
        ("MQ15", {"portRanges": [{"start": 20, "end": 25}]}, (22,), (20, 25), (19, 26)),
        ("MQ16", {"portRanges": [{"start": 14000, "end": 16000}]}, (), (14000, 15000, 15090, 16000), (22,)),
    ],
)
def test_mq11_to_mq16_istio_with_ports(
    make_world: Any,
    scenario: str,
    ports: dict[str, Any],
    direct: tuple[int, ...],
    proxied: tuple[int, ...],
    neither: tuple[int, ...],
) -> None:
    world = make_world(metadata=ISTIO, interface=ports)
    expected = {
        **dict.fromkeys(neither, NOWHERE),
        **dict.fromkeys(proxied, PROXIED),
        **dict.fromkeys(direct, DIRECT_ALONE),
    }
    for version in (4, 6):
        for port, ways in expected.items():
            assert world.ways("tcp", port, version) == ways, (scenario, port, version)


# --- what the guest reaches -------------------------------------------------------------------------------------------


def test_the_world_sees_the_pods_address(make_world: Any) -> None:
    """F10, and F11 for IPv6."""
    world = make_world()
    for version in (4, 6):
        for protocol in ALL:
            with serving(world.node, protocol, 1234, OUTSIDE[version]) as server:
                assert seen_by(server, world.guest, OUTSIDE[version]) == world.vm.address(version), protocol


def test_mtu_sized_packets_pass_and_larger_ones_are_reported(make_world: Any) -> None:
    """F14."""
    world = make_world()
    mtu = world.vm.network["mtu"]
    links = {name: world.inside.link(name)["mtu"] for name in ("eth0", "k6t-eth0", "tap0")}
    assert links == dict.fromkeys(links, mtu)
    for version, header in ((4, 28), (6, 48)):
        for size, passes in ((mtu, True), (mtu + 1, False)):
            ping = ["ping", "-c", "1", "-W", "1", "-M", "do", "-s", str(size - header), OUTSIDE[version]]
            assert (world.guest.run(ping, check=False).returncode == 0) == passes, (version, size)


def test_the_guest_does_not_get_at_the_pods_loopback_address(make_world: Any) -> None:
    """route_localnet, which in-pod clients need, would open it, and so would a guest's route to 127.0.0.1."""
    world = make_world()
    world.guest.ip("addr del 127.0.0.1/8 dev lo", "route add 127.0.0.1 via 10.0.2.1")
    world.guest.write_sysctl("ipv4/conf/all/route_localnet", 1)
    with world.server("udp", 99, 4, world.inside) as server:
        assert seen_by(server, world.guest, "127.0.0.1") == ""
    assert world.vm.status()["dropped"]["loopback"] > 0


def test_the_vms_network_is_not_reached_past_the_ports(make_world: Any) -> None:
    """A neighbour that routes the VM's network to the pod reaches neither guest nor router."""
    world = make_world(interface={"ports": [{"port": 80}]})
    world.node.ip(
        f"route add 10.0.2.0/24 via {world.vm.address(4)}", f"route add fd10:0:2::/120 via {world.vm.address(6)}"
    )
    for version, guest in ((4, world.vm.guest4), (6, world.vm.guest6)):
        for port in (80, 81):
            with world.server("tcp", port, version) as server:
                assert seen_by(server, world.node, guest) == ""
        with world.server("tcp", 82, version, world.inside) as server:
            assert seen_by(server, world.node, world.gateway(version)) == ""
    assert world.vm.status()["dropped"]["outside"] > 0


@pytest.mark.parametrize(("lost", "counter"), [("raw", "elsewhere"), ("forward", "outside")])
def test_each_of_two_walls_keeps_others_from_the_vms_network(make_pod: MakePod, lost: str, counter: str) -> None:
    """What is not translated is dropped before routing, and where it would be forwarded; here one of them is gone, in a
    pod that was a router before, whose other forwarding is left alone."""
    pod = make_pod(DUAL)
    for family in ("ipv4", "ipv6"):
        pod.pod.write_sysctl(f"{family}/conf/eth0/forwarding", 1)
    with Masqueraded(pod, interface={"ports": [{"port": 80}]}) as vm:
        world = World(vm)
        world.inside.run(["nft", "flush", "chain", "inet", "virt-launcher", lost])
        world.node.ip(f"route add 10.0.2.0/24 via {vm.address(4)}", f"route add fd10:0:2::/120 via {vm.address(6)}")
        for version, guest in ((4, vm.guest4), (6, vm.guest6)):
            before = dropped(world, counter)
            with world.server("udp", 81, version) as server, Sniffer(world.guest, "eth0") as sniffer:
                assert seen_by(server, world.node, guest) == ""
            assert [frame for frame in sniffer.frames if OUTSIDE[version] in frame.packet().summary()] == []
            assert dropped(world, counter) > before, version


def dropped(world: World, counter: str) -> int:
    """How many packets a counter has; `status` reads the table only while it is whole."""
    listed = world.inside.run(["nft", "list", "counter", "inet", "virt-launcher", counter]).stdout
    return int(re.findall(r"packets (\d+)", listed)[0])


def test_the_pod_becomes_nobody_elses_router(make_world: Any) -> None:
    world = make_world()
    world.node.ip(
        f"route add 198.51.100.1 via {world.vm.address(4)}", f"route add 2001:db8:1::1 via {world.vm.address(6)}"
    )
    for version, target in ((4, "198.51.100.1"), (6, "2001:db8:1::1")):
        with world.server("udp", 99, version, world.node) as server:
            assert seen_by(server, world.node, target) == ""
    assert world.vm.status()["dropped"]["elsewhere"] > 0


def test_no_redirect_tells_the_guest_about_itself(make_world: Any) -> None:
    world = make_world()
    with Sniffer(world.guest, "eth0") as sniffer:
        for version in (4, 6):
            for port in range(5000, 5010):
                assert world.is_reached_by_itself("tcp", port, version)
    packets = [frame.packet() for frame in sniffer.frames]
    assert packets
    assert not [p for p in packets if (ICMP in p and p[ICMP].type == 5) or ICMPv6ND_Redirect in p]


def test_the_path_mtu_is_told_to_the_guest(make_world: Any) -> None:
    """An ICMP error about a translated packet belongs to the guest's connection."""
    world = make_world()
    world.node.ip("link set up0 mtu 1300")
    world.node.sysctl(ipv4__ip_forward_use_pmtu=1)
    for target, header in (("198.51.100.1", 28), ("2001:db8:9::1", 48)):
        ping = ["ping", "-c", "1", "-W", "1", "-M", "do", "-s", str(1400 - header), target]
        printed = world.guest.run(ping, check=False)
        assert re.search(r"mtu ?= ?1300", printed.stdout + printed.stderr), printed


def test_a_strict_reverse_path_filter_is_no_obstacle(make_pod: MakePod) -> None:
    pod = make_pod(DUAL)
    pod.pod.sysctl(ipv4__conf__all__rp_filter=1, ipv4__conf__default__rp_filter=1)
    with Masqueraded(pod) as vm:
        assert World(vm).ways("tcp", 80, 4) == EVERYWHERE


# --- the set-up itself ------------------------------------------------------------------------------------------------


def test_np06_what_is_built(make_world: Any) -> None:
    world = make_world()
    bridge = world.inside.link("k6t-eth0")
    assert (bridge["address"], bridge["mtu"]) == ("02:00:00:00:00:00", 1400)
    addresses = {
        f"{a['local']}/{a['prefixlen']}"
        for a in world.inside.ip_json("addr show dev k6t-eth0")[0]["addr_info"]
        if not a.get("tentative")
    }
    assert addresses == {"10.0.2.1/24", "fd10:0:2::1/120", "fe80::ff:fe00:0/64"}
    assert world.inside.link("tap0")["master"] == "k6t-eth0"
    assert world.vm.network["addresses"] == ["10.244.2.5/24", "fd00:10:244:3::5/64"]
    assert world.inside.link("eth0")["address"] == world.pod.mac
    assert world.vm.network["mac"] not in (world.pod.mac, bridge["address"])
    # The pod forwards by these interfaces alone: it has not become a router.
    for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        assert world.inside.read_sysctl(setting) == world.pod.neighbour.read_sysctl(setting), "as in another pod"


def test_np11_with_a_bridged_second_nic_twice(make_pod: MakePod, make_world: Any) -> None:
    pod = make_pod(DUAL)
    pod.pod.ip(
        f"link add net1 type veth peer name net1 netns {pod.node.name}",
        "addr add 172.20.0.1/24 dev net1",
        "link set net1 up",
    )
    pod.node.ip("link set net1 up")
    wait_until(lambda: "fe80:" in str(pod.pod.ip_json("addr show dev net1 up")))  # which it gets with its carrier
    vm = Masqueraded(pod, secondary=["blue"])
    with vm:
        assert [n["binding"] for n in vm.printed["networks"]] == ["masquerade", "bridge"]
        again = vm.prestart()
        assert again["networks"] == vm.printed["networks"]
        assert vm.agent.run("prestart", "--vmi", vm.file, "--dry-run").stdout.startswith("nothing to do")
        world = World(vm)
        assert world.ways("tcp", 80, 4) == EVERYWHERE
        vm.agent.teardown()
        assert_restored(pod.pod, vm.original)


@pytest.mark.parametrize("shape", ["flannel", "aws-v6", DUAL, "calico", "kindnet", "ptp", "ipv6-disabled", "ovn-udn"])
def test_everything_is_put_back(make_pod: MakePod, shape: str) -> None:
    pod = make_pod(shape)
    status = None
    if pod.shape.interface != "eth0":
        status = {"interfaces": [{"name": "default", "podInterfaceName": pod.shape.interface}]}
    with Masqueraded(pod, status=status) as vm:
        assert vm.agent.run("prestart", "--vmi", vm.file, "--dry-run").stdout.startswith("nothing to do")
        vm.agent.teardown()
        pod.guest.ip("link set eth0 down")
        assert_restored(pod.pod, vm.original)


def test_tables_of_others_stay(make_pod: MakePod) -> None:
    pod = make_pod(DUAL)
    others = """
        table inet nat { chain prerouting { type nat hook prerouting priority -100; tcp dport 1 redirect to :2; }; }
        table ip virt-launcher { chain forward { type filter hook forward priority 5; counter accept; }; }
    """
    pod.pod.run(["nft", "-f", "-"], stdin=others)
    listed = pod.pod.run(["nft", "list", "ruleset"]).stdout
    with Masqueraded(pod) as vm:
        during = pod.pod.run(["nft", "list", "ruleset"]).stdout
        assert during.startswith(listed.rstrip())
        vm.agent.teardown()
    assert pod.pod.run(["nft", "list", "ruleset"]).stdout == listed


@pytest.mark.parametrize("family", ["inet", "bridge"])
def test_a_lost_table_is_loaded_again(make_world: Any, family: str) -> None:
    world = make_world(interface={"ports": [{"port": 80}]})
    loaded = world.inside.run(["nft", "list", "tables"]).stdout.splitlines()
    world.inside.run(["nft", "delete", "table", family, "virt-launcher"])
    world.vm.prestart()
    assert sorted(world.inside.run(["nft", "list", "tables"]).stdout.splitlines()) == sorted(loaded)
    assert world.ways("tcp", 80, 4) == EVERYWHERE
    assert not world.is_forwarded("tcp", 81, 4)


def test_custom_networks(make_pod: MakePod) -> None:
    """F09, F11: leading zeros are decimal; the smallest networks are /30 and /126 (LK01)."""
    pod = make_pod(DUAL)
    networks = {"vmNetworkCIDR": "10.10.010.0/30", "vmIPv6NetworkCIDR": "fd10:0010:10::/126"}
    with Masqueraded(pod, ("10.10.10", "fd10:10:10:"), network=networks) as vm:
        world = World(vm)
        for version in (4, 6):
            assert world.ways("tcp", 1500, version) == EVERYWHERE
        vm.agent.teardown()
        pod.guest.ip("link set eth0 down")
        assert_restored(pod.pod, vm.original)


@pytest.mark.parametrize(
    "commands",
    [
        ["route add 10.0.0.0/8 via 10.244.2.1", "route add fd10::/16 dev eth0"],
        ["route add blackhole 10.0.0.0/8", "route add blackhole fd10::/16"],
        ["addr add 10.77.0.1/8 dev lo", "addr add fd10::1/16 dev lo"],
        ["route add 0.0.0.0/1 dev eth0", "route add 128.0.0.0/1 dev eth0", "route add ::/1 dev eth0"],
        # A VPN's table, looked in before the main one: its wider route, and its default.
        ["rule add pref 5000 lookup 52", "route add 10.0.0.0/8 dev eth0 table 52"],
        ["-6 rule add pref 5000 lookup 52", "-6 route add fd00::/8 dev eth0 table 52"],
        ["rule add pref 32764 not fwmark 0xca6c lookup 51820", "route add default dev eth0 table 51820"],
    ],
)
def test_a_wider_route_is_no_overlap(make_pod: MakePod, commands: list[str]) -> None:
    """The kernel takes the longest prefix: the VM is reached, and everything is put back."""
    pod = make_pod(DUAL)
    for command in commands:
        pod.pod.run(["ip", *command.split()])
    with Masqueraded(pod) as vm:
        for version in (4, 6):
            with serving(vm.guest, "tcp", 1500, ANY[version]) as server:
                seen = seen_by(server, vm.inside, LOOPBACK[version])
            assert seen == (vm.gateway4 if version == 4 else vm.gateway6)
        vm.agent.teardown()
        pod.guest.ip("link set eth0 down")
        assert_restored(pod.pod, vm.original)


def test_another_network_or_binding_needs_a_teardown(make_world: Any) -> None:
    world = make_world()
    world.vm.write(network={"vmNetworkCIDR": "10.9.0.0/24"})
    done = world.vm.agent.run("prestart", "--vmi", world.vm.file)
    assert done.returncode == 2
    assert "the VM's networks are 10.0.2.0/24 and fd10:0:2::/120; run teardown first" in done.stderr
    done = world.vm.agent.run("prestart")
    assert done.returncode == 2
    assert "network default: its binding is masquerade, not bridge; run teardown first" in done.stderr


def test_a_pod_without_an_address_cannot_be_masqueraded(make_pod: MakePod) -> None:
    with pytest.raises(AssertionError, match=r"no address to masquerade behind; use the bridge or fwd binding"):
        Masqueraded(make_pod("layer2"))


def test_the_guest_may_not_have_the_bridges_mac(make_pod: MakePod) -> None:
    with pytest.raises(AssertionError, match=r"macAddress: must not be 02:00:00:00:00:00"):
        Masqueraded(make_pod("flannel"), interface={"macAddress": "02:00:00:00:00:00"})


def test_connections_are_counted_by_port(make_world: Any) -> None:
    world = make_world(interface={"ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]})
    for _ in range(3):
        assert world.is_forwarded("tcp", 80, 4)
    assert world.is_forwarded("udp", 53, 6)
    assert world.vm.status()["forwarded"] == {"tcp-80": 3, "udp-53": 1}
    text = world.vm.agent.run("status").stdout
    assert "network default, masquerade: eth0 ─ k6t-eth0 ─ tap0" in text
    assert "VM's address 10.0.2.2/24" in text
    assert "forwarded 3 connections: tcp-80" in text


def test_offloads_are_never_switched_off(make_pod: MakePod) -> None:
    pod = make_pod(DUAL)
    before = {name: pod.pod.run(["ethtool", "-k", name]).stdout for name in ("eth0", "tap0")}
    with Masqueraded(pod):
        assert {name: pod.pod.run(["ethtool", "-k", name]).stdout for name in ("eth0", "tap0")} == before


def test_dhcp_tells_the_vms_own_network(make_world: Any) -> None:
    world = make_world("flannel")
    with RawClient(world.guest, mac=world.vm.network["mac"]) as client:
        offer = client.discover()
    assert offer is not None
    assert (offer.yiaddr, offer.address(1), offer.addresses(3)) == ("10.0.2.2", "255.255.255.0", ["10.0.2.1"])
    assert (offer.address(54), offer.number(26), offer.routes()) == ("10.0.2.1", 1450, [])


def test_doctor_finds_a_setting_that_is_gone(make_world: Any) -> None:
    world = make_world()
    assert "forwarding" not in world.vm.agent.run("doctor").stdout
    world.inside.write_sysctl("ipv4/conf/eth0/forwarding", 0)
    world.inside.write_sysctl("bridge/bridge-nf-call-iptables", 1)
    done = world.vm.agent.run("doctor")
    assert done.returncode == 1
    assert "net.ipv4.conf.eth0.forwarding is 0, not 1" in done.stdout
    assert "net.bridge.bridge-nf-call-iptables is 1, not 0" in done.stdout


@pytest.mark.parametrize("mtu", [1279, 1280])
def test_an_mtu_with_and_without_ipv6(make_pod: MakePod, tmp_path: Path, mtu: int) -> None:
    """The kernel gives a device of less than 1280 bytes no IPv6 (RFC 8200 §5): the VM has IPv4 alone."""
    pod = make_pod(DUAL)
    before = take_snapshot(pod.pod)
    file = write_manifest(tmp_path, metadata={"annotations": {"virt-launcher.io/mtu": str(mtu)}})
    with Agent(pod) as agent:
        (network,) = agent.prestart("--vmi", file)["networks"]
        assert network["mtu"] == mtu
        own = [entry["local"] for entry in pod.pod.ip_json("addr show dev k6t-eth0 scope global")[0]["addr_info"]]
        assert own == ["10.0.2.1", *(["fd10:0:2::1"] if mtu >= 1280 else [])]
        assert agent.run("prestart", "--vmi", file, "--dry-run").stdout.startswith("nothing to do")
        agent.teardown()
    assert_restored(pod.pod, before)


def test_a_pod_interface_that_loses_ipv6_with_its_mtu_is_put_back(make_pod: MakePod) -> None:
    pod = make_pod(DUAL)
    settings = ("ipv4/conf/eth0/forwarding", "bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables")
    before = [link["ifname"] for link in pod.pod.ip_json("link show")], list(map(pod.pod.read_sysctl, settings))
    with Agent(pod, binding="masquerade") as agent:
        agent.prestart()
        pod.pod.ip("link set eth0 mtu 1279")
        assert agent.prestart()["networks"][0]["mtu"] == 1279
        agent.teardown()
    after = [link["ifname"] for link in pod.pod.ip_json("link show")], list(map(pod.pod.read_sysctl, settings))
    assert after == before
    assert "virt-launcher" not in pod.pod.run(["nft", "list", "tables"]).stdout
