"""Isolation: frames that the guest sends with other addresses than its own are dropped and counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.agent import DIRECT, Agent
from lab.pod import MakePod
from lab.rawclient import RawClient
from lab.sniffer import Sniffer
from lab.wire import Wire, same
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Advertise
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6NDOptPrefixInfo,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, LLC, STP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.packet import Packet, Raw

from netsetup.nft.isolation import CAUSES

pytestmark = pytest.mark.root

MAC, OTHER_MAC = "0a:58:0a:f4:02:05", "02:00:00:00:00:66"
ADDRESS, ADDRESS6 = "10.244.2.5", "fd00:10:244:3::5"
OTHER, OTHER6 = "10.244.2.66", "fd00:10:244:3::66"
OUTSIDE, OUTSIDE6 = "192.0.2.1", "2001:db8::1"
BROADCAST, ALL_NODES = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"
LINK_LOCAL = "fe80::1234"

ETHER = Ether(src=MAC, dst=BROADCAST)
ETHER6 = Ether(src=MAC, dst=ALL_NODES)
SERVER = BOOTP(op=2) / DHCP(options=[("message-type", "offer"), "end"])
ADVERTISEMENT = ICMPv6ND_RA(routerlifetime=1800) / ICMPv6NDOptPrefixInfo(prefix="2001:db8:bad::", prefixlen=64)

FORBIDDEN: dict[str, tuple[str, Packet]] = {
    "another MAC": ("mac", Ether(src=OTHER_MAC, dst=BROADCAST) / IP(src=ADDRESS, dst=OUTSIDE) / ICMP()),
    "another MAC, no IP": ("mac", Ether(src=OTHER_MAC, dst=BROADCAST, type=0x88B5) / Raw(bytes(50))),
    "another IPv4 source": ("ipv4", ETHER / IP(src=OTHER, dst=OUTSIDE) / UDP(sport=5, dport=6)),
    "another IPv4 source with options": ("ipv4", ETHER / IP(src=OTHER, dst=OUTSIDE, options=[b"\x01" * 4]) / TCP()),
    "a fragment with another source": (
        "ipv4",
        ETHER / fragment(IP(src=OTHER, dst=OUTSIDE) / UDP() / Raw(bytes(1200)), 576)[1],
    ),
    "no IPv4 source": ("ipv4", ETHER / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=99, dport=99)),
    "another IPv6 source": ("ipv6", ETHER6 / IPv6(src=OTHER6, dst=OUTSIDE6) / ICMPv6EchoRequest()),
    "a fragment with another IPv6 source": (
        "ipv6",
        ETHER6 / IPv6(src=OTHER6, dst=OUTSIDE6) / IPv6ExtHdrFragment(nh=17, offset=9) / Raw(bytes(64)),
    ),
    "no IPv6 source": ("ipv6", ETHER6 / IPv6(src="::", dst="ff02::1") / UDP()),
    "ARP for another address": ("arp", ETHER / ARP(op=2, hwsrc=MAC, psrc=OTHER, pdst=OTHER)),
    "an ARP request of another address": ("arp", ETHER / ARP(op=1, hwsrc=MAC, psrc=OTHER, pdst="10.244.2.1")),
    "a gratuitous ARP of the gateway": ("arp", ETHER / ARP(op=1, hwsrc=MAC, psrc="10.244.2.1", pdst="10.244.2.1")),
    "RARP": ("ethertype", Ether(src=MAC, dst=BROADCAST, type=0x8035) / Raw(bytes(46))),
    "ARP of another MAC": ("arp", ETHER / ARP(op=2, hwsrc=OTHER_MAC, psrc=ADDRESS, pdst=ADDRESS)),
    "NA for another address": (
        "ipv6",
        ETHER6 / IPv6(src=LINK_LOCAL, dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt=OTHER6, S=0, O=1),
    ),
    "a DHCP server": (
        "server",
        ETHER / IP(src=ADDRESS, dst="255.255.255.255") / UDP(sport=67, dport=69) / SERVER,
    ),
    "a DHCP server that answers a neighbour": (
        "server",
        Ether(src=MAC, dst="0a:58:0a:f4:02:06") / IP(src=ADDRESS, dst="10.244.2.6") / UDP(sport=67, dport=69) / SERVER,
    ),
    "a DHCP server behind IP options": (
        "server",
        ETHER / IP(src=ADDRESS, dst="255.255.255.255", options=[b"\x01" * 4]) / UDP(sport=67, dport=69) / SERVER,
    ),
    "a fragmented DHCP server": (
        "server",
        ETHER
        / fragment(IP(src=ADDRESS, dst="255.255.255.255") / UDP(sport=67, dport=69) / SERVER / Raw(bytes(900)), 576)[0],
    ),
    "a DHCPv6 server behind an extension header": (
        "server",
        ETHER6
        / IPv6(src=LINK_LOCAL, dst="ff02::1")
        / IPv6ExtHdrDestOpt()
        / UDP(sport=547, dport=546)
        / DHCP6_Advertise(),
    ),
    "a fragmented DHCPv6 server": (
        "server",
        ETHER6
        / IPv6(src=LINK_LOCAL, dst="ff02::1")
        / IPv6ExtHdrFragment(m=1)
        / UDP(sport=547, dport=546)
        / Raw(bytes(56)),
    ),
    "a router in a fragment behind an extension header": (
        "server",
        ETHER6
        / IPv6(src=LINK_LOCAL, dst="ff02::1", hlim=255)
        / IPv6ExtHdrFragment(m=1)
        / IPv6ExtHdrDestOpt()
        / ADVERTISEMENT,
    ),
    "a DHCPv6 server": (
        "server",
        ETHER6 / IPv6(src=LINK_LOCAL, dst="ff02::1") / UDP(sport=547, dport=546) / DHCP6_Advertise(),
    ),
    "a router": ("server", ETHER6 / IPv6(src=LINK_LOCAL, dst="ff02::1", hlim=255) / ADVERTISEMENT),
    "a router behind an extension header": (
        "server",
        ETHER6 / IPv6(src=LINK_LOCAL, dst="ff02::1", hlim=255) / IPv6ExtHdrDestOpt() / ADVERTISEMENT,
    ),
    "a fragmented router": (
        "server",
        ETHER6
        / IPv6(src=LINK_LOCAL, dst="ff02::1", hlim=255, nh=44)
        / IPv6ExtHdrFragment(nh=58, m=1)
        / Raw(bytes(IPv6(src=LINK_LOCAL, dst="ff02::1") / ADVERTISEMENT)[40:48]),
    ),
    "a redirect": (
        "server",
        ETHER6 / IPv6(src=LINK_LOCAL, dst="ff02::1", hlim=255) / ICMPv6ND_Redirect(tgt=OTHER6, dst=OUTSIDE6),
    ),
    "a VLAN": ("ethertype", Ether(src=MAC, dst=BROADCAST) / Dot1Q(vlan=5) / IP(src=ADDRESS, dst=OUTSIDE) / ICMP()),
    "priority-tagged": (
        "ethertype",
        Ether(src=MAC, dst=BROADCAST) / Dot1Q(vlan=0, prio=3) / ARP(hwsrc=MAC, psrc=ADDRESS),
    ),
    "QinQ": (
        "ethertype",
        Ether(src=MAC, dst=BROADCAST) / Dot1AD(vlan=5) / Dot1Q(vlan=6) / IP(src=ADDRESS, dst=OUTSIDE) / ICMP(),
    ),
    "a VLAN with another source": (
        "ethertype",
        Ether(src=MAC, dst=BROADCAST) / Dot1Q(vlan=5) / IP(src=OTHER, dst=OUTSIDE) / UDP(sport=5, dport=6),
    ),
    "a VLAN with another MAC": ("mac", Ether(src=OTHER_MAC, dst=BROADCAST) / Dot1Q(vlan=5) / IP(src=ADDRESS) / ICMP()),
    "ARP for another address in a VLAN": (
        "ethertype",
        Ether(src=MAC, dst=BROADCAST) / Dot1Q(vlan=7) / ARP(op=2, hwsrc=MAC, psrc=OTHER, pdst=OTHER),
    ),
    "a DHCP server in QinQ": (
        "ethertype",
        Ether(src=MAC, dst=BROADCAST)
        / Dot1AD(vlan=5)
        / Dot1Q(vlan=6)
        / IP(src=ADDRESS, dst="255.255.255.255")
        / UDP(sport=67, dport=68)
        / SERVER,
    ),
    "a router in a priority tag": (
        "ethertype",
        Ether(src=MAC, dst=ALL_NODES) / Dot1Q(vlan=0) / IPv6(src=LINK_LOCAL, dst="ff02::1", hlim=255) / ADVERTISEMENT,
    ),
    "a bridge's BPDU": (
        "ethertype",
        Dot3(src=MAC, dst="01:80:c2:00:00:00", len=38) / LLC(dsap=0x42, ssap=0x42, ctrl=3) / STP(),
    ),
    "another protocol": ("ethertype", Ether(src=MAC, dst=BROADCAST, type=0x88B5) / Raw(bytes(50))),
}

ALLOWED: dict[str, Packet] = {
    "IPv4": ETHER / IP(src=ADDRESS, dst=OUTSIDE) / UDP(sport=1, dport=1),
    "IPv6": ETHER6 / IPv6(src=ADDRESS6, dst=OUTSIDE6) / ICMPv6EchoRequest(),
    "IPv6 link-local": ETHER6 / IPv6(src=LINK_LOCAL, dst="ff02::1") / UDP(sport=1, dport=1),
    "duplicate-address detection": ETHER6 / IPv6(src="::", dst="ff02::1:ff00:5", hlim=255) / ICMPv6ND_NS(tgt=ADDRESS6),
    "NA for its own address": ETHER6 / IPv6(src=ADDRESS6, dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt=ADDRESS6),
    "NA for its link-local address": ETHER6
    / IPv6(src=LINK_LOCAL, dst="ff02::1", hlim=255)
    / ICMPv6ND_NA(tgt=LINK_LOCAL),
    "ARP": ETHER / ARP(hwsrc=MAC, psrc=ADDRESS, pdst="10.244.2.1"),
    "an ARP probe": ETHER / ARP(hwsrc=MAC, psrc="0.0.0.0", pdst=ADDRESS),
    "a fragment": ETHER / fragment(IP(src=ADDRESS, dst=OUTSIDE) / UDP() / Raw(bytes(1200)), 576)[1],
}

MARK = bytes(ETHER / IP(src=ADDRESS, dst=OUTSIDE) / UDP(sport=4242, dport=4242) / Raw(b"mark"))


@pytest.fixture(params=DIRECT)
def wire(make_pod: MakePod, request: pytest.FixtureRequest) -> Iterator[Wire]:
    pod = make_pod("ovn-kubernetes")
    assert pod.mac == MAC
    with Agent(pod, binding=request.param) as agent:
        agent.prestart()
        pod.guest.ip("link set eth0 up")
        with RawClient(pod.guest) as guest, Sniffer(pod.node, "vethpod") as sniffer:
            yield Wire(agent, guest, sniffer, MARK)


def test_lies_are_dropped_and_counted(wire: Wire) -> None:
    expected = dict.fromkeys(wire.dropped(), 0)
    for name, (counter, packet) in FORBIDDEN.items():
        assert not wire.crosses(packet), name
        expected[counter] += 1
        assert wire.dropped() == expected, name
    shown = wire.status_text()
    for counter, count in expected.items():
        assert f"dropped {count} frames of the guest: {CAUSES[counter]}" in shown


def test_the_truth_passes(wire: Wire) -> None:
    for name, packet in ALLOWED.items():
        assert wire.crosses(packet), name
    assert not any(wire.dropped().values())


@pytest.mark.parametrize("binding", DIRECT)
def test_it_can_be_switched_off_and_on(make_pod: MakePod, binding: str) -> None:
    pod = make_pod("ovn-kubernetes")
    _, packet = FORBIDDEN["another IPv4 source"]
    pod.guest.ip("link set eth0 up")
    with (
        Agent(pod, binding=binding) as agent,
        RawClient(pod.guest) as guest,
        Sniffer(pod.node, "vethpod") as sniffer,
    ):
        wire = Wire(agent, guest, sniffer, MARK)
        agent.prestart("--no-isolation")
        assert wire.crosses(packet)
        assert "isolation off" in agent.run("status", check=True).stdout
        agent.prestart()
        assert not wire.crosses(packet)
        agent.prestart("--no-isolation")
        assert wire.crosses(packet)


def test_the_manifest_can_switch_it_off(make_pod: MakePod, tmp_path: Path) -> None:
    manifest = tmp_path / "vmi.json"
    vmi = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm", "annotations": {"virt-launcher.io/isolation": "off"}},
        "spec": {"domain": {"memory": {"guest": "64Mi"}, "devices": {}}},
    }
    manifest.write_text(json.dumps(vmi))
    pod = make_pod("ovn-kubernetes")
    pod.guest.ip("link set eth0 up")
    with Agent(pod) as agent, RawClient(pod.guest) as guest, Sniffer(pod.node, "vethpod") as sniffer:
        wire = Wire(agent, guest, sniffer, MARK)
        agent.prestart("--vmi", manifest)
        assert "isolation off" in agent.run("status", check=True).stdout
        for name in ("another MAC", "another IPv4 source", "another IPv6 source", "ARP for another address", "a VLAN"):
            assert wire.crosses(FORBIDDEN[name][1]), name
        vmi["metadata"]["annotations"]["virt-launcher.io/isolation"] = "perhaps"  # type: ignore[index]
        manifest.write_text(json.dumps(vmi))
        done = agent.run("prestart", "--vmi", manifest)
        assert done.returncode == 2
        assert "metadata.annotations.virt-launcher.io/isolation" in done.stderr


@pytest.mark.parametrize("binding", DIRECT)
def test_a_layer_2_guest_is_held_to_its_mac_alone(make_pod: MakePod, binding: str) -> None:
    pod = make_pod("layer2")
    ether = Ether(src=pod.mac, dst=BROADCAST)
    pod.guest.ip("link set eth0 up")
    with (
        Agent(pod, binding=binding) as agent,
        RawClient(pod.guest) as guest,
        Sniffer(pod.node, "vethpod") as sniffer,
    ):
        agent.prestart()
        for packet, passes in (
            (ether / IP(src="203.0.113.5", dst=OUTSIDE) / UDP(sport=7, dport=7) / Raw(bytes(30)), True),
            (Ether(src=OTHER_MAC, dst=BROADCAST) / IP(src="203.0.113.5", dst=OUTSIDE) / UDP(sport=8, dport=8), False),
        ):
            mark = bytes(ether / IP(src="203.0.113.5", dst=OUTSIDE) / UDP(sport=4242, dport=4242) / Raw(b"mark"))
            sniffer.frames.clear()
            guest.send(bytes(packet))
            guest.send(mark)
            sniffer.wait_for(lambda frame, mark=mark: not frame.outgoing and frame.data.startswith(mark))
            assert any(same(f, bytes(packet)) for f in sniffer.frames if not f.outgoing) is passes
