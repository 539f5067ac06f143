"""Masquerade reaches what the pod reaches, by whatever interface: further networks, tunnels, policy routing."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator

import pytest
from lab.masqueraded import Masqueraded
from lab.pod import MakePod, Pod
from lab.rawclient import RawClient
from lab.reach import seen_by, serving
from lab.snapshot import assert_restored
from lab.tunnel import Tunnel
from lab.waiting import wait_until

pytestmark = pytest.mark.root

DUAL = "ovn-kubernetes"
OUTSIDE = {4: "192.0.2.1", 6: "2001:db8::1"}
ANY = {4: "0.0.0.0", 6: "::"}
NET1 = {4: ("172.20.0.1", "172.20.0.2"), 6: ("fd00:20::1", "fd00:20::2")}
"""Of a second network, the pod's address and its neighbour's."""
TUN = {4: "10.8.0.6", 6: "fd00:8::6"}
FAR = {4: "198.51.100.7", 6: "2001:db8:7::7"}


def add_second_network(pod: Pod, kind: str = "veth") -> None:
    """A network between pod and neighbour that is not the CNI's: a cable, or a tunnel over the pod network."""
    if kind == "veth":
        pod.pod.ip(f"link add net1 type veth peer name net1 netns {pod.neighbour.name}")
    else:
        for namespace, remote in ((pod.pod, "10.244.2.6"), (pod.neighbour, "10.244.2.5")):
            namespace.ip(f"link add net1 type vxlan id 7 dstport 4789 remote {remote} dev eth0")
    for namespace, end in ((pod.pod, 0), (pod.neighbour, 1)):
        namespace.ip(
            f"addr add {NET1[4][end]}/24 dev net1", f"addr add {NET1[6][end]}/64 dev net1 nodad", "link set net1 up"
        )


@contextlib.contextmanager
def vpn(pod: Pod) -> Iterator[Tunnel]:
    """OpenVPN's redirect-gateway: two halves of everything by tun0, which the default route then loses against."""
    with Tunnel(pod.pod, "tun0") as tunnel:
        pod.pod.ip(
            "link set tun0 mtu 1300 up",
            f"addr add {TUN[4]}/24 dev tun0",
            f"addr add {TUN[6]}/64 dev tun0 nodad",
            *(f"route add {half} dev tun0" for half in ("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1")),
        )
        yield tunnel


def asks_through(tunnel: Tunnel, vm: Masqueraded, version: int) -> str:
    """The address that the VPN's other end sees of the guest, which gets its answer; empty for no answer."""
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with vm.guest.entered():
        asking = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    with asking:
        asking.settimeout(5)
        asking.connect((FAR[version], 1234))
        asking.send(b"question")
        seen = tunnel.answer(1234)
        return seen if asking.recv(16) == b"answer" else ""


def assert_put_back(vm: Masqueraded) -> None:
    assert vm.agent.run("prestart", "--vmi", vm.file, "--dry-run").stdout.startswith("nothing to do")
    vm.agent.teardown()
    vm.guest.ip("link set eth0 down")
    assert_restored(vm.inside, vm.original)


@pytest.mark.parametrize("kind", ["veth", "vxlan"])
def test_a_second_network_is_reached_and_reaches_nothing(make_pod: MakePod, kind: str) -> None:
    """Translated to the pod's address there; nobody there reaches the VM, nor others through the pod."""
    pod = make_pod(DUAL)
    add_second_network(pod, kind)
    # Without ports all are forwarded to the VM, that of the tunnel itself among them.
    with Masqueraded(pod, interface={"ports": [{"port": 99, "protocol": "UDP"}]}) as vm:
        for version, (own, other) in NET1.items():
            with serving(pod.neighbour, "tcp", 99, ANY[version]) as server:
                assert seen_by(server, vm.guest, other) == own
            with serving(vm.guest, "udp", 99, ANY[version]) as server:
                assert seen_by(server, pod.neighbour, own) == "", "the VM's ports are on the pod network"
                assert seen_by(server, vm.node, vm.address(version), source=OUTSIDE[version]) == OUTSIDE[version]
            pod.neighbour.ip(f"route add {FAR[version]} via {own} dev net1")
            vm.node.ip(f"addr add {FAR[version]} dev lo" + " nodad" * (version == 6))
            with serving(vm.node, "udp", 99, FAR[version]) as server:
                assert seen_by(server, vm.guest, FAR[version]) == vm.address(version)
                assert seen_by(server, pod.neighbour, FAR[version]) == "", "the pod is nobody else's router"
        assert vm.status()["dropped"]["elsewhere"] > 0
        assert_put_back(vm)


def test_a_vpn_that_comes_and_goes(make_pod: MakePod) -> None:
    """Taken in by the next run; its settings are put back to what it came with, and it may be made anew."""
    pod = make_pod(DUAL)
    with Masqueraded(pod) as vm:
        settings = [f"ipv4/conf/{name}/forwarding" for name in ("tun0", "eth0")]
        with vpn(pod) as tunnel:
            assert pod.pod.read_sysctl(settings[0]) == "0"
            assert "sysctl net.ipv4.conf.tun0.forwarding=1" in vm.agent.status()["pending"]
            vm.prestart()
            for version in (4, 6):
                assert asks_through(tunnel, vm, version) == TUN[version]
            ping = ["ping", "-c", "1", "-W", "1", "-M", "do", "-s", "1300", FAR[4]]
            printed = vm.guest.run(ping, check=False)
            assert re.search(r"mtu ?= ?1300", printed.stdout + printed.stderr), printed
        wait_until(lambda: not pod.pod.has_link("tun0"))
        with serving(vm.node, "udp", 1234, OUTSIDE[4]) as server:
            assert seen_by(server, vm.guest, OUTSIDE[4]) == vm.address(4)
        with vpn(pod) as tunnel:
            pod.pod.write_sysctl("ipv4/conf/tun0/forwarding", 1)  # this one forwarded before
            vm.prestart()
            assert asks_through(tunnel, vm, 4) == TUN[4]
            pod.pod.ip("link set tun0 name vpn0")
            assert_nothing_but_rules_to_do(vm)
            vm.agent.teardown()
            assert pod.pod.read_sysctl("ipv4/conf/vpn0/forwarding") == "1"
            assert pod.pod.read_sysctl("ipv6/conf/vpn0/force_forwarding") == "0"
        wait_until(lambda: not pod.pod.has_link("vpn0"))
        pod.guest.ip("link set eth0 down")
        assert_restored(pod.pod, vm.original)


def assert_nothing_but_rules_to_do(vm: Masqueraded) -> None:
    """Of a renamed interface the rules are loaded anew, by its new name."""
    plan = vm.agent.prestart("--vmi", vm.file, "--dry-run")["plan"]
    assert [step.partition(";")[0] for step in plan] == ["nft load table bridge virt-launcher"]


def test_policy_routing_is_the_pods(make_pod: MakePod) -> None:
    """Answers at the pod's address go back where its own go, though the main table has another default route."""
    pod = make_pod("spiderpool")
    pod.pod.ip("route replace default via 10.7.0.1 dev net1")
    with Masqueraded(pod) as vm:
        for protocol in ("tcp", "udp"):
            with serving(vm.guest, protocol, 80, ANY[4]) as server:
                assert seen_by(server, vm.node, vm.address(4), source=OUTSIDE[4]) == OUTSIDE[4]
                assert seen_by(server, vm.inside, "127.0.0.1") == vm.gateway4
                assert seen_by(server, vm.guest, vm.address(4)) == vm.gateway4
                assert seen_by(server, vm.inside, vm.guest4) == vm.gateway4
        assert_put_back(vm)


def test_a_rule_that_leads_the_pods_address_past_a_vpn_does_not_lead_the_vm(make_pod: MakePod) -> None:
    """As VPN sidecars set it up, so that the pod is still reached: the VM's own connections stay in the tunnel."""
    pod = make_pod(DUAL)
    with vpn(pod) as tunnel:
        pod.pod.ip("rule add pref 100 from 10.244.2.5 lookup 200", "route add default via 10.244.2.1 table 200")
        with Masqueraded(pod) as vm:
            assert asks_through(tunnel, vm, 4) == TUN[4]
            with serving(vm.guest, "tcp", 80, ANY[4]) as server:
                assert seen_by(server, vm.node, vm.address(4), source=OUTSIDE[4]) == OUTSIDE[4]
            pod.pod.ip("neigh del 0.0.0.0 dev tun0")  # of the kernel's own making
            assert_put_back(vm)


@pytest.mark.parametrize("is_vpn", [False, True])
def test_somebody_elses_rules_about_the_vms_network_stay(make_pod: MakePod, is_vpn: bool) -> None:
    """Also beside rules of ours, which alone are deleted, and where one leads as ours does."""
    theirs = ["pref 6000 from 10.0.2.0/24 lookup 100", "pref 9 to 10.0.2.0/24 lookup main"]
    pod = make_pod(DUAL)
    with Masqueraded(pod) as vm:
        if is_vpn:
            vm.inside.ip("rule add pref 5000 lookup 52", "rule add pref 100 from 10.244.2.5 lookup 200")
        vm.inside.ip(*(f"rule add {rule}" for rule in theirs))
        before = vm.inside.ip_json("-4 rule show")
        assert vm.agent.run("prestart", "--vmi", vm.file).returncode == 0
        during = vm.inside.ip_json("-4 rule show")
        assert [rule for rule in during if rule in before] == before
        assert (len(during) > len(before)) is is_vpn
        assert vm.agent.run("prestart", "--vmi", vm.file, "--dry-run").stdout.startswith("nothing to do")
        vm.agent.teardown()
        assert vm.inside.ip_json("-4 rule show") == before


def test_ports_at_another_interface_and_hidden_clients(make_pod: MakePod) -> None:
    """By annotation; a guest with the clients' network of its own answers them, for it does not see their addresses."""
    pod = make_pod(DUAL)
    add_second_network(pod)
    annotations = {
        "virt-launcher.io/port-interfaces": "web=net1, 81 = eth0, 81=net1",
        "virt-launcher.io/client-addresses": "hidden",
    }
    ports = [{"port": 80, "name": "web"}, {"port": 81, "protocol": "UDP"}, {"port": 82}]
    with Masqueraded(pod, interface={"ports": ports}, metadata={"annotations": annotations}) as vm:
        vm.guest.ip("link add docker0 type bridge", "addr add 192.0.2.254/24 dev docker0", "link set docker0 up")
        vm.guest.ip("addr add 172.20.0.254/24 dev docker0")
        for version, (own, _) in NET1.items():
            for protocol, port, at_eth0, at_net1 in (
                ("tcp", 80, False, True), ("udp", 81, True, True), ("tcp", 82, True, False)
            ):  # fmt: skip
                gateway = vm.gateway4 if version == 4 else vm.gateway6
                with serving(vm.guest, protocol, port, ANY[version]) as server:
                    seen = seen_by(server, vm.node, vm.address(version), source=OUTSIDE[version])
                    assert seen == (gateway if at_eth0 else ""), (port, version)
                    seen = seen_by(server, pod.neighbour, own)
                    assert seen == (gateway if at_net1 else ""), (port, version)
        assert vm.status()["forwarded"] == {"tcp-80": 2, "udp-81": 4, "tcp-82": 2}
        assert_put_back(vm)


def test_the_guests_link_shows_none_of_the_pods_other_addresses(make_pod: MakePod) -> None:
    """The pod's kernel would answer ARP for an address on whatever interface it has it."""
    pod = make_pod(DUAL)
    add_second_network(pod)
    with Masqueraded(pod) as vm, RawClient(vm.guest, mac=vm.network["mac"]) as client:
        for address in (NET1[4][0], vm.address(4)):
            assert client.who_has(address, vm.guest4, timeout=0.2) is None
        assert client.who_has(vm.gateway4, vm.guest4) == "02:00:00:00:00:00"


# --- the VM's network -------------------------------------------------------------------------------------------------

TAKEN = (
    (
        ["route add 10.0.2.0/24 via 10.244.2.1"],
        4,
        r"10\.0\.2\.0/24 overlaps the route 10\.0\.2\.0/24 via 10\.244\.2\.1",
    ),
    (["addr add 10.0.2.77/16 dev lo"], 4, r"overlaps the address 10\.0\.2\.77/16 of lo"),
    (["route add blackhole fd10:0:2::80/121"], 6, r"fd10:0:2::/120 overlaps the route fd10:0:2::80/121"),
)


@pytest.mark.parametrize(("commands", "version", "message"), TAKEN)
def test_a_network_that_is_taken_is_refused_only_by_name(
    make_pod: MakePod, commands: list[str], version: int, message: str
) -> None:
    pod = make_pod(DUAL)
    pod.pod.ip(*commands)
    named = {"vmNetworkCIDR": "10.0.2.0/24"} if version == 4 else {"vmIPv6NetworkCIDR": "fd10:0:2::/120"}
    with pytest.raises(AssertionError, match=message) as refused:
        Masqueraded(pod, network=named)
    assert "exit code 2" in str(refused.value)
    assert re.search(r"choose another one with vm(IPv6)?NetworkCIDR", str(refused.value))
    networks = {4: ("10.0.3", "fd10:0:2:"), 6: ("10.0.2", "fd10:0:3:")}[version]
    if "10.0.2.77/16" in commands[0]:
        networks = ("172.31.3", "fd10:0:2:")  # not in the wider network either
    with Masqueraded(pod, networks) as vm:
        (line,) = vm.printed["warnings"]
        assert re.search(message, line)
        assert line in vm.agent.status()["warnings"]
        for family, own in ((4, vm.gateway4), (6, vm.gateway6)):
            with serving(vm.guest, "tcp", 1500, ANY[family]) as server:
                assert seen_by(server, vm.inside, {4: "127.0.0.1", 6: "::1"}[family]) == own
        # It stays, also when the usual one is free again.
        pod.pod.ip(*(command.replace(" add ", " del ") for command in commands))
        assert vm.prestart()["networks"] == vm.printed["networks"]
        pod.pod.ip(*commands)
        vm.prestart()
        assert_put_back(vm)


def test_what_overlaps_the_vms_network_later_is_said(make_pod: MakePod) -> None:
    with Masqueraded(make_pod(DUAL)) as vm:
        vm.inside.ip("route add 10.0.2.128/25 via 10.244.2.1")
        (line,) = vm.prestart()["warnings"]
        assert "10.0.2.0/24 overlaps the route 10.0.2.128/25 via 10.244.2.1" in line
        vm.inside.ip("route del 10.0.2.128/25")
        assert not vm.prestart()["warnings"]
