"""The fwd binding: what it makes of a pod, and what passes between guest and network where no bridge is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.checks import lossless, pings
from lab.masqueraded import manifest
from lab.pod import MakePod, Pod
from lab.rawclient import RawClient
from lab.sniffer import Sniffer
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

pytestmark = pytest.mark.root

ADDRESS, GATEWAY = "10.244.1.3", "10.244.1.1"


@pytest.fixture
def agent(pod: Pod) -> Iterator[Agent]:
    """Its pod is set up, and the guest has its address by hand."""
    with Agent(pod, binding="fwd") as agent:
        agent.prestart()
        pod.guest.ip("link set eth0 up", f"addr add {ADDRESS}/24 dev eth0", f"route add default via {GATEWAY}")
        yield agent


def dropped(agent: Agent) -> dict[str, int]:
    counts: dict[str, int] = agent.status()["networks"][0]["dropped"]
    return counts


def test_no_bridge_is_between_and_the_interface_keeps_its_mac(pod: Pod, agent: Agent) -> None:
    nic, port, keeper = (pod.pod.link(name) for name in ("eth0", "tap0", "k6t-eth0"))
    assert "master" not in nic
    assert "master" not in port
    assert nic["address"] == pod.mac != keeper["address"]
    assert "ALLMULTI" in nic["flags"]
    assert pod.pod.ip_json("addr show dev eth0")[0]["addr_info"] == []
    (kept,) = pod.pod.ip_json("addr show dev k6t-eth0")[0]["addr_info"]
    assert (kept["local"], kept["prefixlen"], kept["scope"]) == (ADDRESS, 32, "host")
    assert pod.pod.run(["bridge", "-j", "link", "show"]).stdout.strip() in ("", "[]")


def test_guest_and_network_reach_each_other(pod: Pod, agent: Agent) -> None:
    for target in (GATEWAY, "10.244.1.4", "192.0.2.1"):
        assert pings(pod.guest, target), target
        assert pings(pod.guest, target, size=1450), target
    assert pings(pod.node, ADDRESS)
    assert pings(pod.neighbour, ADDRESS)
    counts = dropped(agent)
    counts.pop("own")  # the kernel reports the multicast groups that it leaves when the address moves, or tries to
    assert not any(counts.values())


def test_nothing_of_the_pods_own_leaves_with_the_vms_mac(pod: Pod, agent: Agent) -> None:
    """Be it routed there, or sent by a program's own packet socket."""
    with Sniffer(pod.node, "vethpod") as node, RawClient(pod.pod, "eth0", mac=pod.mac) as inside:
        pod.pod.run(["ping", "-q", "-c", "1", "-W", "1", "-I", "eth0", "10.244.1.88"], check=False)
        arp = Ether(src=pod.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=pod.mac, psrc=ADDRESS, pdst="10.244.1.77")
        with pytest.raises(OSError, match="No buffer space"):
            inside.send(bytes(arp))
        assert pings(pod.guest, GATEWAY)
        node.wait_for(lambda frame: not frame.outgoing and ICMP in frame.packet())  # what was sent before is here, too
        sent = [frame.packet() for frame in node.frames if not frame.outgoing]
    assert {packet[ARP].pdst for packet in sent if ARP in packet} <= {GATEWAY}
    assert dropped(agent)["own"] > 1


def test_the_guest_reaches_nothing_in_the_pod(pod: Pod, agent: Agent) -> None:
    """Not by the MAC of the device that it is connected to, and not by the address that a bridge keeps there."""
    mac = pod.pod.link("tap0")["address"]
    with RawClient(pod.guest) as guest, Sniffer(pod.pod, "k6t-eth0") as keeper:
        for target in (ADDRESS, "10.244.1.99"):
            guest.send(bytes(Ether(src=pod.mac, dst=mac) / IP(src=ADDRESS, dst=target) / UDP(sport=9, dport=9)))
        assert pings(pod.guest, GATEWAY)
        assert [str(frame) for frame in keeper.frames] == []
    received = pod.pod.run(["nstat", "-asz", "IpInReceives", "UdpNoPorts"], check=False).stdout
    assert "UdpNoPorts                      0 " in received, received


def test_what_is_no_ip_comes_in_for_a_guest_alone_that_is_not_isolated(pod: Pod, agent: Agent) -> None:
    odd = {
        "a VLAN": Ether(src="02:00:00:00:00:09", dst=pod.mac)
        / Dot1Q(vlan=5)
        / IP(dst=ADDRESS)
        / UDP()
        / Raw(b"odd-vlan"),
        "LLDP": Ether(src="02:00:00:00:00:09", dst=pod.mac, type=0x88CC) / Raw(b"y" * 40 + b"odd-lldp"),
    }
    mark = bytes(Ether(src="02:00:00:00:00:09", dst=pod.mac) / IP(dst=ADDRESS) / UDP() / Raw(b"the mark"))
    for isolated in (True, False):
        agent.prestart(*([] if isolated else ["--no-isolation"]))
        for name, packet in odd.items():
            with Sniffer(pod.guest, "eth0") as guest, RawClient(pod.node, "vethpod") as node:
                node.send(bytes(packet))
                node.send(mark)
                guest.wait_for(lambda frame: frame.data.endswith(b"the mark"))
                came = any(frame.data.endswith(bytes(packet)[-8:]) for frame in guest.frames)
            assert came is not isolated, name
        if isolated:
            assert dropped(agent)["inward"] == len(odd)


def test_rules_are_replaced_without_a_packet_lost(pod: Pod, agent: Agent) -> None:
    assert pings(pod.node, ADDRESS)
    with lossless(pod.node, ADDRESS):
        for _ in range(4):
            agent.prestart("--no-isolation")
            agent.prestart()


def test_a_guest_port_that_was_made_anew_is_connected_again(make_pod: MakePod) -> None:
    """Its number is another one, and it is by numbers that the kernel hands frames on."""
    pod = make_pod(guest_port=False)
    with Agent(pod, binding="fwd") as agent:
        agent.prestart()
        pod.pod.ip("link del tap0")
        assert "a device that they name was made anew" in agent.run("doctor").stdout
        agent.prestart()
        assert agent.run("prestart", "--dry-run", check=True).stdout.startswith("nothing to do\n")
        listed = pod.pod.run(["nft", "list", "table", "netdev", "virt-launcher"]).stdout
        assert 'fwd to "tap0"' in listed
        pod.pod.ip("link set tap0 name other")
        agent.prestart()
        listed = pod.pod.run(["nft", "list", "table", "netdev", "virt-launcher"]).stdout
        assert 'fwd to "other"' in listed
        agent.teardown()


def test_a_mac_of_the_manifest_works_on_veth(make_pod: MakePod, tmp_path: Path) -> None:
    """As any does there; that another kind of interface would not let it through, is said (test_pod_interface)."""
    mac = "52:54:00:00:00:77"
    pod = make_pod(guest_mac=mac)
    with Agent(pod) as agent:
        vmi = manifest(interface={"binding": {"name": "fwd"}, "macAddress": mac})
        del vmi["spec"]["domain"]["devices"]["interfaces"][0]["masquerade"]
        (tmp_path / "vmi.json").write_text(json.dumps(vmi))
        assert agent.prestart("--vmi", tmp_path / "vmi.json")["networks"][0]["mac"] == mac
        pod.guest.ip("link set eth0 up", f"addr add {ADDRESS}/24 dev eth0", f"route add default via {GATEWAY}")
        assert pings(pod.guest, "192.0.2.1")
        assert pings(pod.node, ADDRESS)
        (known,) = [n["lladdr"] for n in pod.node.ip_json("neigh show dev cni0") if n["dst"] == ADDRESS]
        assert known == mac


def test_a_lost_table_lets_the_pod_answer_nobody(pod: Pod, agent: Agent) -> None:
    """Somebody flushes all rules: nothing is handed on, and still the pod answers for nothing that is the VM's."""
    pod.pod.run(["nft", "flush", "ruleset"])
    pod.node.ip("neigh flush all")
    with RawClient(pod.node, "cni0") as node:
        assert node.who_has(ADDRESS, timeout=0.3) is None
    known = [*pod.node.command(["ip", "neigh", "replace", ADDRESS, "lladdr", pod.mac, "dev", "cni0"])]
    subprocess.run(known, check=True)
    assert not pings(pod.node, ADDRESS)
    pod.node.ip("neigh flush all", f"neigh del {ADDRESS} dev cni0")
    agent.prestart()
    assert pings(pod.node, ADDRESS)
