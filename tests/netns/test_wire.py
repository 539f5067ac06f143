"""Frames that the node receives while a VM is set up, configured by DHCP and torn down: only the VM's."""

from __future__ import annotations

import pytest
from lab.agent import DIRECT, Agent
from lab.checks import pings
from lab.clients import Udhcpc
from lab.monitor import Monitor
from lab.pod import MakePod, Pod
from lab.rawclient import RawClient
from lab.sniffer import Frame, Sniffer
from scapy.layers.inet import IP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether

pytestmark = [pytest.mark.root, pytest.mark.parametrize("binding", DIRECT)]

# the node's bridge is on the path: its own frames must not be counted as the pod's
SHAPES = ["flannel", "calico", "aws", "ptp", "ovn-kubernetes"]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_node_sees_the_vm_and_nothing_else(make_pod: MakePod, shape: str, binding: str) -> None:
    pod = make_pod(shape)
    network = pod.shape.guest
    assert network
    with (
        Monitor(pod.node) as monitor,
        Sniffer(pod.node, "vethpod") as sniffer,
        Agent(pod, binding=binding) as agent,
    ):
        agent.prestart()
        with Udhcpc(pod.guest) as client:
            client.acquire()
            client.renew()
            client.wait_until_bound()
            assert pings(pod.guest, network.reaches["outside"])
        agent.teardown()
        sniffer.close()
        assert monitor.events("vethpod") == []
    sent = [frame for frame in sniffer.frames if not frame.outgoing]
    assert sent, "the ping at least must have passed"
    assert [str(frame) for frame in sniffer.frames if frame.is_dhcp()] == []
    assert {frame.source for frame in sent} == {pod.mac}, listing(sent, pod)
    addresses = {frame.packet()[IP].src for frame in sent if IP in frame.packet()}
    assert addresses == {network.address.partition("/")[0]}


@pytest.mark.parametrize("shape", ["flannel", "calico", "ipv6-addresses"])
def test_no_ipv6_of_the_pods_own_is_heard(make_pod: MakePod, shape: str, binding: str) -> None:
    """With DAD on: moving addresses must not announce them, neither there nor back."""
    pod = make_pod(shape, duplicate_address_detection=True)
    gateway_routes = [r for r in pod.pod.ip_json("-6 route show default") if "gateway" in r]
    with Sniffer(pod.node, "vethpod") as sniffer, Agent(pod, binding=binding) as agent:
        agent.prestart()
        pod.guest.ip("link set eth0 up")
        pod.guest.settle()
        sniffer.close()
    sent = [frame for frame in sniffer.frames if not frame.outgoing]
    assert {frame.source for frame in sent} <= {pod.mac}, listing(sent, pod)
    own = {a["local"] for link in pod.guest.ip_json("-6 addr show") for a in link["addr_info"]} | {"::"}
    # Before the address moves, the pod resolves its gateway's MAC, as it may at any time.
    packets = [frame.packet() for frame in sent if IPv6 in frame.packet() and ICMPv6ND_NS not in frame.packet()]
    assert {packet[IPv6].src for packet in packets} <= own
    asked = [frame.packet() for frame in sent if ICMPv6ND_NS in frame.packet()]
    gateways = {r["gateway"] for r in gateway_routes}
    assert {p[ICMPv6ND_NS].tgt for p in asked if p[IPv6].src not in own} <= gateways


def test_dhcp_of_the_network_does_not_reach_the_guest(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    pod.guest.ip("link set eth0 up")
    with Sniffer(pod.guest, "eth0") as sniffer, RawClient(pod.node, "cni0") as node:
        node.send(node.message(1))  # another client's DISCOVER, broadcast
        offer = bytearray(node.message(2))
        offer[34:38] = b"\0\x43\0\x44"  # a foreign server's OFFER
        node.send(bytes(offer))
        assert pings(pod.node, "192.0.2.1")
        node.send(bytes(Ether(src="02:00:00:00:00:09", dst="ff:ff:ff:ff:ff:ff") / ARP(psrc="10.244.1.9")))
        sniffer.wait_for(lambda frame: frame.source == "02:00:00:00:00:09")
        received = [frame for frame in sniffer.frames if not frame.outgoing]
    assert [str(frame) for frame in received if frame.is_dhcp()] == []


def test_a_frame_with_the_vms_mac_from_the_node_does_not_deafen_the_guest(pod: Pod, agent: Agent) -> None:
    """From a node's bridge port in hairpin mode the pod's bridge must not learn the VM's MAC at the pod interface."""
    agent.prestart()
    pod.guest.ip("link set eth0 up", "addr add 10.244.1.3/24 dev eth0")
    assert pings(pod.node, "10.244.1.3")
    with RawClient(pod.node, "vethpod", mac=pod.mac) as node:
        node.send(bytes.fromhex("ffffffffffff") + bytes.fromhex(pod.mac.replace(":", "")) + b"\x88\xb5" + bytes(50))
    command = ["ping", "-q", "-n", "-c", "1", "-W", "1", "10.244.1.3"]
    assert pod.node.run(command, check=False).returncode == 0


def test_nobody_in_the_pod_answers_arp_for_the_guests_neighbours(make_pod: MakePod, binding: str) -> None:
    """But for the permanent neighbours of the pod: those answer with the MAC the CNI gave them."""
    pod = make_pod("aws")
    network = pod.shape.guest
    assert network
    with Agent(pod, binding=binding) as agent:
        agent.prestart()
        pod.guest.ip("link set eth0 up")
        with RawClient(pod.guest) as guest:
            assert guest.who_has("169.254.1.1", source="10.0.97.30") == network.neighbours["169.254.1.1"]
            assert guest.who_has("10.0.97.30", timeout=0.2) is None
            assert guest.who_has("10.0.97.99", source="10.0.97.30", timeout=0.2) is None


def test_arp_of_the_guest_passes_unchanged(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    pod.guest.ip("link set eth0 up")
    with RawClient(pod.guest) as guest, Sniffer(pod.node, "vethpod") as sniffer:
        assert guest.who_has("10.244.1.1", source="10.244.1.3") == pod.node.link("cni0")["address"]
        request = sniffer.wait_for(lambda frame: not frame.outgoing and ARP in frame.packet())
    assert (request.packet()[ARP].hwsrc, request.packet()[ARP].psrc) == (pod.mac, "10.244.1.3")


def listing(frames: list[Frame], pod: Pod) -> str:
    """Frames of other hosts, as text for a failure's message."""
    return "\n".join(f"{frame.source} {frame}" for frame in frames if frame.source != pod.mac)
