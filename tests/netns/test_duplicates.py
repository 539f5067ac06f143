"""Duplicate-address detection: only the guest that has its address answers for it, the pod never does.

The pod has a second interface in the same network, with addresses of its own, on which the kernel would answer for all
addresses of the pod.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.agent import DIRECT, Agent
from lab.clients import Dhcpcd
from lab.namespace import Namespace
from lab.pod import MakePod, Pod
from lab.sniffer import Frame, Sniffer
from lab.waiting import wait_until
from scapy.layers.inet6 import ICMPv6ND_NA
from scapy.layers.l2 import ARP

pytestmark = pytest.mark.root

ADDRESS, ADDRESS6 = "10.244.2.5", "fd00:10:244:3::5"
SECOND, SECOND6 = "10.244.2.9", "fd00:10:244:3::9"
SECOND_MAC = "0a:58:0a:f4:02:09"
FREE, TAKEN = 0, 1


@pytest.fixture(params=DIRECT)
def pod(make_pod: MakePod, request: pytest.FixtureRequest) -> Iterator[Pod]:
    """A dual-stack pod with `net1` that has been set up; guest and neighbour detect IPv6 duplicates."""
    pod = make_pod("ovn-kubernetes")
    for namespace in (pod.guest, pod.neighbour):
        namespace.write_sysctl("ipv6/conf/eth0/accept_dad", 1)
    pod.pod.ip(
        f"link add net1 address {SECOND_MAC} type veth peer name veth-net1 netns {pod.node.name}",
        "link set net1 up",
        f"addr add {SECOND}/24 dev net1",
        f"addr add {SECOND6}/64 dev net1 nodad",
    )
    pod.node.ip("link set veth-net1 master switch0", "link set veth-net1 up")
    with Agent(pod, binding=request.param) as agent:
        agent.prestart()
        pod.guest.ip("link set eth0 up")
        yield pod


def test_the_network_finds_the_address_free_until_the_guest_has_it(pod: Pod) -> None:
    with Sniffer(pod.neighbour, "eth0") as sniffer:
        assert probe(pod.neighbour, ADDRESS) == FREE
        assert probe(pod.node, ADDRESS, "switch0") == FREE
        pod.guest.ip(f"addr add {ADDRESS}/24 dev eth0")
        assert probe(pod.neighbour, ADDRESS) == TAKEN
        assert probe(pod.node, ADDRESS, "switch0") == TAKEN
        # the NIC that stays the pod's is found, and by its own address alone
        assert probe(pod.neighbour, SECOND) == TAKEN
        answers = {(answer[ARP].psrc, answer[ARP].hwsrc) for answer in arp_replies(sniffer)}
    assert answers == {(ADDRESS, pod.mac), (SECOND, SECOND_MAC)}


def test_the_guest_finds_its_address_free(pod: Pod) -> None:
    """Probed before it is used (RFC 5227 §2.1.1), announced (§2.3), and probed again by another host that has it."""
    with Sniffer(pod.guest, "eth0") as sniffer:
        assert probe(pod.guest, ADDRESS) == FREE
        pod.guest.run(["busybox", "arping", "-U", "-c", "1", "-I", "eth0", "-s", ADDRESS, ADDRESS], check=False)
        pod.guest.ip(f"addr add {ADDRESS}/24 dev eth0")
        assert probe(pod.guest, ADDRESS) == FREE
        assert [str(answer) for answer in arp_replies(sniffer, outgoing=False)] == []
        assert probe(pod.guest, "10.244.2.6") == TAKEN, "others are asked too, and answer"


def test_a_client_that_probes_gets_its_address(pod: Pod) -> None:
    with Dhcpcd(pod.guest) as client, Sniffer(pod.guest, "eth0") as sniffer:
        assert client.acquire().addresses == (f"{ADDRESS}/24",)
        probes = [f for f in sniffer.frames if f.outgoing and is_probe(f)]
    assert len(probes) >= 3


def test_ipv6_detection_of_the_guest_succeeds(pod: Pod) -> None:
    with Sniffer(pod.guest, "eth0") as sniffer:
        pod.guest.ip(f"addr add {ADDRESS6}/64 dev eth0")
        pod.guest.settle()
    assert duplicates(pod.guest) == []
    assert [str(frame) for frame in sniffer.frames if not frame.outgoing and is_advertisement(frame)] == []


def test_ipv6_detection_in_the_network_finds_the_guest_alone(pod: Pod) -> None:
    """Another host that probes the guest's address finds it free before the guest has it, and taken afterwards."""
    pod.neighbour.ip(f"addr add {ADDRESS6}/64 dev eth0")
    pod.neighbour.settle()
    assert duplicates(pod.neighbour) == []
    pod.neighbour.ip(f"addr del {ADDRESS6}/64 dev eth0")
    pod.guest.ip(f"addr add {ADDRESS6}/64 dev eth0")
    pod.guest.settle()
    with Sniffer(pod.node, "switch0") as sniffer:
        pod.neighbour.ip(f"addr add {ADDRESS6}/64 dev eth0")
        sniffer.wait_for(is_advertisement)
    advertisements = [frame for frame in sniffer.frames if is_advertisement(frame)]
    assert {frame.source for frame in advertisements} == {pod.mac}
    wait_until(lambda: duplicates(pod.neighbour) == [ADDRESS6])


def probe(namespace: Namespace, address: str, interface: str = "eth0") -> int:
    """`arping -D`: FREE without an answer, TAKEN with one."""
    command = ["busybox", "arping", "-D", "-c", "2", "-w", "1", "-I", interface, address]
    return namespace.run(command, check=False).returncode


def duplicates(namespace: Namespace) -> list[str]:
    """The IPv6 addresses for which the kernel has detected a duplicate."""
    links = namespace.ip_json("-6 addr show dadfailed")
    return [address["local"] for link in links for address in link["addr_info"] if address]


def arp_replies(sniffer: Sniffer, outgoing: bool | None = None) -> list[object]:
    frames = (frame for frame in sniffer.frames if outgoing in (None, frame.outgoing))
    return [p for p in (frame.packet() for frame in frames) if ARP in p and p[ARP].op == 2]


def is_advertisement(frame: Frame) -> bool:
    packet = frame.packet()
    return ICMPv6ND_NA in packet and packet[ICMPv6ND_NA].tgt == ADDRESS6


def is_probe(frame: Frame) -> bool:
    packet = frame.packet()
    return ARP in packet and (packet[ARP].psrc, packet[ARP].pdst) == ("0.0.0.0", ADDRESS)
