"""A guest that attacks its pod: processes of the pod are closed to it, at whatever address they listen.
What the guest needs passes, and so does what another program leads to a process of its own."""

from __future__ import annotations

import re
import select
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lab.agent import DIRECT, Agent
from lab.checks import pings
from lab.masqueraded import ROUTER_LINK_LOCAL, Masqueraded
from lab.pod import MakePod, Pod
from lab.rawclient import RawClient
from lab.reach import Server, seen_by, serving
from lab.sniffer import Sniffer
from lab.waiting import wait_until
from lab.wire import Wire
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, PadN
from scapy.layers.l2 import Ether
from scapy.packet import Raw

pytestmark = pytest.mark.root

OUTSIDE = {4: "192.0.2.1", 6: "2001:db8::1"}
ANY = {4: "0.0.0.0", 6: "::"}
OPEN = {"annotations": {"virt-launcher.io/pod-services": "open"}}
ISTIO = {"annotations": {"sidecar.istio.io/inject": "true"}}
OWN, OTHER = {4: "10.244.2.5", 6: "fd00:10:244:3::5"}, {4: "10.244.2.77", 6: "fd00:10:244:3::77"}
NET1 = {4: "172.20.0.1", 6: "fd00:20::1"}
LINK_LOCAL = f"{ROUTER_LINK_LOCAL}%eth0"
BROADCAST = ("255.255.255.255", "10.0.2.255", "224.0.0.1", "ff02::1%eth0")


@pytest.fixture
def make_vm(make_pod: MakePod) -> Iterator[Callable[..., Masqueraded]]:
    """A masqueraded VM with one port of its own, in a pod with a second interface."""
    vms: list[Masqueraded] = []

    def make(**options: Any) -> Masqueraded:
        pod = make_pod("ovn-kubernetes")
        add_second_interface(pod)
        vms.append(Masqueraded(pod, interface={"ports": [{"port": 80}]}, **options))
        return vms[-1]

    yield make
    for vm in vms:
        vm.__exit__(None, None, None)


def add_second_interface(pod: Pod) -> None:
    pod.pod.ip(
        f"link add net1 type veth peer name net1 netns {pod.neighbour.name}",
        *(f"addr add {address}/{64 if version == 6 else 24} dev net1" for version, address in NET1.items()),
        "link set net1 up",
    )
    pod.neighbour.ip("link set net1 up")


def addresses(vm: Masqueraded, version: int) -> list[str]:
    """Where a process of the pod can listen that the guest has a route to: bridge, pod interface, another one."""
    gateways = [vm.gateway4] if version == 4 else [vm.gateway6, LINK_LOCAL]
    return [*gateways, vm.address(version), NET1[version]]


def dropped(vm: Masqueraded) -> int:
    listed = vm.inside.run(["nft", "list", "counter", "inet", "virt-launcher", "pod"]).stdout
    return int(re.findall(r"packets (\d+)", listed)[0])


def assert_dropped(vm: Masqueraded, attack: Callable[[], socket.socket]) -> None:
    """Assert that what an attack sends is counted; it may be sent again, by TCP, while this waits."""
    before = dropped(vm)
    with attack():
        wait_until(lambda: dropped(vm) > before)


def has_nothing(server: Server) -> bool:
    return not select.select([server.socket], [], [], 0)[0]


def send(vm: Masqueraded, protocol: str, address: str, port: int, payload: bytes = b"attack") -> socket.socket:
    """Open a connection from the guest, without waiting for it, or send a datagram."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with vm.guest.entered():
        attacker = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
        to = socket.getaddrinfo(address, port, family)[0][4]
    attacker.setblocking(False)
    attacker.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if protocol == "tcp":
        attacker.connect_ex(to)
    else:
        attacker.sendto(payload, to)
    return attacker


@pytest.mark.parametrize("version", [4, 6])
def test_what_listens_in_the_pod_is_closed(make_vm: Callable[..., Masqueraded], version: int) -> None:
    """Also while isolation is off, which is about the network."""
    vm = make_vm(metadata={"annotations": {"virt-launcher.io/isolation": "off"}})
    for protocol in ("tcp", "udp"):
        for address in addresses(vm, version):
            for listening in {ANY[version], ANY[version] if address == LINK_LOCAL else address}:
                with serving(vm.inside, protocol, 99, listening) as server:
                    assert_dropped(vm, lambda p=protocol, a=address: send(vm, p, a, 99))
                    assert has_nothing(server), (protocol, address, listening)
    with serving(vm.inside, "sctp", 99, ANY[version]) as server:
        assert seen_by(server, vm.guest, addresses(vm, version)[0]) == ""
    assert "packets: of the guest, to processes of the pod itself" in vm.agent.run("status").stdout


def test_no_detour_leads_there(make_vm: Callable[..., Masqueraded]) -> None:
    """To all on the link, in fragments, behind an extension header."""
    vm = make_vm()
    header = Ether(src=vm.network["mac"], dst="02:00:00:00:00:00") / IPv6(src=vm.guest6, dst=vm.gateway6)
    hidden = header / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]) / UDP(sport=9, dport=98) / Raw(b"attack")
    with serving(vm.inside, "udp", 99, "0.0.0.0") as server4, serving(vm.inside, "udp", 98, "::") as server6:
        for address in BROADCAST:
            assert_dropped(vm, lambda a=address: send(vm, "udp", a, 98 if ":" in a else 99))
        assert_dropped(vm, lambda: send(vm, "udp", vm.gateway4, 99, bytes(3000)))
        assert_dropped(vm, lambda: send(vm, "udp", vm.gateway6, 98, bytes(3000)))
        before = dropped(vm)
        with RawClient(vm.guest) as guest:
            guest.send(bytes(hidden))
            wait_until(lambda: dropped(vm) > before)
        assert has_nothing(server4)
        assert has_nothing(server6)


@pytest.mark.parametrize("by", ["annotation", "flag"])
def test_it_is_opened_and_closed_again(make_vm: Callable[..., Masqueraded], by: str) -> None:
    """What the guest has opened meanwhile does not stay open."""
    vm = make_vm(metadata=OPEN if by == "annotation" else {})
    if by == "flag":
        vm.agent.prestart("--vmi", vm.file, "--open-pod-services")
    for version in (4, 6):
        for protocol in ("tcp", "udp"):
            with serving(vm.inside, protocol, 99, ANY[version]) as server:
                for address in addresses(vm, version):
                    with send(vm, protocol, address, 99):
                        assert server.answer(), (protocol, address)
    assert "pod" not in vm.status()["dropped"]
    with serving(vm.inside, "udp", 99, "0.0.0.0") as server, send(vm, "udp", vm.gateway4, 99) as attacker:
        server.answer()
        vm.write(interface={"ports": [{"port": 80}]})
        vm.prestart()
        attacker.sendto(b"again", (vm.gateway4, 99))
        wait_until(lambda: dropped(vm) == 1)
        assert has_nothing(server)


def test_what_the_guest_needs_passes(make_vm: Callable[..., Masqueraded]) -> None:
    """Ping, neighbour discovery and DHCP; what the pod opens to the guest, with its answers."""
    vm = make_vm()
    vm.guest.ip("neigh flush all")
    for version in (4, 6):
        for address in addresses(vm, version):
            assert pings(vm.guest, address), address
        guest, gateway = (vm.guest4, vm.gateway4) if version == 4 else (vm.guest6, vm.gateway6)
        for protocol in ("tcp", "udp"):
            with serving(vm.guest, protocol, 99, ANY[version]) as server:
                assert seen_by(server, vm.inside, guest) == gateway, protocol
            with serving(vm.guest, protocol, 80, ANY[version]) as server:
                assert seen_by(server, vm.guest, vm.address(version)) == (gateway if protocol == "tcp" else "")
    with RawClient(vm.guest, mac=vm.network["mac"]) as client:
        assert client.discover() is not None
    assert vm.agent.run("doctor").returncode == 0


@pytest.mark.parametrize(("version", "metadata"), [(4, ISTIO), (6, ISTIO), (4, {})])
def test_what_another_program_leads_to_its_process_passes(
    make_vm: Callable[..., Masqueraded], version: int, metadata: dict[str, Any]
) -> None:
    """A mesh's proxy gets the guest's connections by NAT, as Istio's and Linkerd's do, or by a mark and a route to the
    pod itself. The port at which it listens stays closed."""
    vm = make_vm(metadata=metadata)
    word = "ip" if version == 4 else "ip6"
    vm.inside.run(
        ["nft", "-f", "-"],
        stdin=f"""table {word} mesh {{
            chain nat {{ type nat hook prerouting priority -100; iifname "k6t-eth0" tcp dport 443 redirect to :15001; }}
            chain mangle {{
                type filter hook prerouting priority -150;
                iifname "k6t-eth0" udp dport 444 {word} daddr {OUTSIDE[version]} meta mark set 0x539;
            }}
        }}""",
    )
    flag = f"-{version}"
    vm.inside.run(["ip", flag, "rule", "add", "fwmark", "0x539", "lookup", "133"])
    vm.inside.run(["ip", flag, "route", "add", "local", "default", "dev", "lo", "table", "133"])
    guest = vm.guest4 if version == 4 else vm.guest6
    with serving(vm.inside, "tcp", 15001, ANY[version]) as proxy:
        for address in (OUTSIDE[version], vm.address(version)):
            assert seen_by(proxy, vm.guest, address, port=443) == guest, address
        for address in addresses(vm, version):
            assert_dropped(vm, lambda a=address: send(vm, "tcp", a, 15001))
        assert has_nothing(proxy)
    with serving(vm.inside, "udp", 444, ANY[version]) as proxy, send(vm, "udp", OUTSIDE[version], 444):
        assert proxy.answer() == guest


@pytest.mark.parametrize("binding", DIRECT)
def test_a_guest_with_the_pods_address_reaches_nothing_of_the_pod(make_pod: MakePod, binding: str) -> None:
    """Frames to every MAC of the pod, for every address at which a process of it can listen, from one that is not the
    pod's own: isolation is off."""
    pod = make_pod("ovn-kubernetes")
    add_second_interface(pod)
    with Agent(pod, binding=binding) as agent:
        agent.prestart("--no-isolation")
        pod.guest.ip("link set eth0 up")
        macs = [link["address"] for link in pod.pod.ip_json("link show") if link["ifname"] != "lo"]
        mark = bytes(Ether(src=pod.mac, dst="ff:ff:ff:ff:ff:ff") / IP(src=OTHER[4], dst=OUTSIDE[4]) / UDP(sport=4242))
        with (
            serving(pod.pod, "udp", 99, "0.0.0.0") as server4,
            serving(pod.pod, "udp", 98, "::") as server6,
            RawClient(pod.guest) as guest,
            Sniffer(pod.node, "vethpod") as sniffer,
        ):
            wire = Wire(agent, guest, sniffer, mark)
            for mac in [*macs, "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"]:
                ether = Ether(src=pod.mac, dst=mac)
                for target in (OWN[4], NET1[4], "224.0.0.1", "255.255.255.255"):
                    wire.crosses(ether / IP(src=OTHER[4], dst=target) / UDP(sport=9, dport=99) / Raw(b"attack"))
                for target in (OWN[6], NET1[6], "ff02::1"):
                    wire.crosses(ether / IPv6(src=OTHER[6], dst=target) / UDP(sport=9, dport=98) / Raw(b"attack"))
            assert has_nothing(server4)
            assert has_nothing(server6)
