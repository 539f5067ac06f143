"""Addresses that an isolated guest may have besides its own, and what it was dropped for: by cause and by source."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab.agent import DIRECT, Agent
from lab.pod import MakePod
from lab.rawclient import RawClient
from lab.sniffer import Sniffer
from lab.wire import Wire
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from netsetup.nft.sources import MOST

pytestmark = pytest.mark.root

MAC, VIRTUAL_MAC = "0a:58:0a:f4:02:05", "00:00:5e:00:01:33"
ADDRESS, OUTSIDE = "10.244.2.5", "192.0.2.1"
VIP, NESTED, VIP6 = "10.244.2.200", "10.99.7.7", "fd00:10:244:3::200"
SPRAYED = 500
FURTHER = f"{VIP} 10.99.0.0/16,{VIP6}  fd00:99::/64, {VIRTUAL_MAC}"


def announced(source: str, mac: str = MAC) -> Packet:
    """What keepalived sends for a virtual address that it takes over."""
    ether = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff")
    if ":" not in source:
        return ether / ARP(op=2, hwsrc=mac, psrc=source, pdst=source)
    ether = Ether(src=mac, dst="33:33:00:00:00:01")
    return (
        ether / IPv6(src=source, dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt=source) / ICMPv6NDOptDstLLAddr(lladdr=mac)
    )


def sent(source: str, mac: str = MAC) -> Packet:
    ether = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff")
    if ":" in source:
        return ether / IPv6(src=source, dst="2001:db8::1") / UDP(sport=5, dport=6)
    return ether / IP(src=source, dst=OUTSIDE) / UDP(sport=5, dport=6)


MARK = bytes(sent(ADDRESS) / Raw(b"mark"))
FRAMES: dict[str, Callable[[], Packet]] = {
    "a virtual address": lambda: sent(VIP),
    "its ARP": lambda: announced(VIP),
    "a nested pod": lambda: sent(NESTED),
    "its ARP too": lambda: announced(NESTED),
    "a virtual IPv6 address": lambda: sent(VIP6),
    "its advertisement": lambda: announced(VIP6),
    "a nested pod's IPv6": lambda: sent("fd00:99::7"),
    "a virtual router's MAC": lambda: sent(VIP, VIRTUAL_MAC),
    "a virtual router's ARP": lambda: announced(VIP, VIRTUAL_MAC),
    "a virtual router's advertisement": lambda: announced(VIP6, VIRTUAL_MAC),
}
DROPPED = {
    "mac": {VIRTUAL_MAC: 3},
    "arp": {VIP: 1, NESTED: 1},
    "ipv4": {VIP: 1, NESTED: 1},
    "ipv6": {VIP6: 2, "fd00:99::7": 1},
}


def write(tmp_path: Path, binding: str, further: str | None) -> Path:
    annotations = {"virt-launcher.io/mac": "pod", "virt-launcher.io/further-addresses": further}
    bound: dict[str, Any] = {"bridge": {}} if binding == "bridge" else {"binding": {"name": binding}}
    if binding == "masquerade":
        bound = {"masquerade": {}}
    vmi = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm", "annotations": {k: v for k, v in annotations.items() if v is not None}},
        "spec": {
            "domain": {"memory": {"guest": "64Mi"}, "devices": {"interfaces": [{"name": "default", **bound}]}},
            "networks": [{"name": "default", "pod": {}}],
        },
    }
    file = tmp_path / "vmi.json"
    file.write_text(json.dumps(vmi))
    return file


@pytest.mark.parametrize("binding", DIRECT)
def test_named_when_dropped_and_passing_when_allowed(make_pod: MakePod, tmp_path: Path, binding: str) -> None:
    """A later run takes in the annotation, and its loss; neither ends with a pod that is not set up."""
    pod = make_pod("ovn-kubernetes")
    pod.guest.ip("link set eth0 up")
    with Agent(pod) as agent, RawClient(pod.guest) as guest, Sniffer(pod.node, "vethpod") as sniffer:
        wire = Wire(agent, guest, sniffer, MARK)
        agent.prestart("--vmi", write(tmp_path, binding, None))
        assert [name for name, frame in FRAMES.items() if wire.crosses(frame())] == []
        assert agent.status()["networks"][0]["dropped_sources"] == DROPPED
        assert f"    2 from {VIP6}\n" in wire.status_text()
        doctor = agent.run("doctor").stdout
        assert f"frames of the guest were dropped, another IPv4 source: {VIP} (1), {NESTED} (1)" in doctor
        assert agent.run("prestart", "--vmi", tmp_path / "vmi.json", "--dry-run").stdout.startswith("nothing to do")

        agent.prestart("--vmi", write(tmp_path, binding, FURTHER))
        assert [name for name, frame in FRAMES.items() if not wire.crosses(frame())] == []
        assert not wire.crosses(sent("10.244.2.201"))
        assert not wire.crosses(announced("fd00:10:244:3::201"))
        assert not wire.crosses(sent(ADDRESS, "00:00:5e:00:01:34"))
        assert f"may send from {VIP}/32, 10.99.0.0/16, {VIP6}/128" in wire.status_text()

        refused = agent.run("prestart", "--vmi", write(tmp_path, binding, "10.244.0.0/16"))
        assert refused.returncode == 2
        assert "the further addresses 10.244.0.0/16 hold 10.244.2.1, a gateway; leave them out" in refused.stderr
        assert wire.crosses(sent(VIP)), "nothing was changed"
        agent.prestart("--vmi", write(tmp_path, binding, None))
        assert not wire.crosses(sent(VIP))


def test_behind_the_pod_they_are_left_out(make_pod: MakePod, tmp_path: Path) -> None:
    with Agent(make_pod("flannel")) as agent:
        printed = agent.prestart("--vmi", write(tmp_path, "masquerade", VIP))
        assert any(
            "further addresses are not for a VM that is behind the pod's address" in w for w in printed["warnings"]
        )
        assert agent.prestart("--vmi", tmp_path / "vmi.json")["warnings"] == printed["warnings"]


@pytest.mark.parametrize("binding", DIRECT)
def test_a_guest_that_sprays_sources_costs_no_more(make_pod: MakePod, tmp_path: Path, binding: str) -> None:
    """The sets are bounded, and the tables are taken for what they were loaded as."""
    pod = make_pod("ovn-kubernetes")
    pod.guest.ip("link set eth0 up")
    with Agent(pod) as agent, RawClient(pod.guest) as guest, Sniffer(pod.node, "vethpod") as sniffer:
        agent.prestart("--vmi", write(tmp_path, binding, None))
        wire = Wire(agent, guest, sniffer, MARK)
        assert wire.crosses(sent(ADDRESS))
        for number in range(SPRAYED):
            guest.send(bytes(sent(f"11.0.{number >> 8}.{number & 255}")))
            guest.send(bytes(sent(ADDRESS, f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}")))
            guest.send(bytes(sent(f"fd00::{number + 16:x}")))
        assert not wire.crosses(sent("10.244.2.66"))
        network = agent.status()["networks"][0]
        assert {cause: len(seen) for cause, seen in network["dropped_sources"].items()} == dict.fromkeys(
            ("mac", "ipv4", "ipv6"), MOST
        )
        assert (network["dropped"]["ipv4"], network["dropped"]["mac"]) == (SPRAYED + 1, SPRAYED)
        assert agent.status()["pending"] == []
