"""A neighbour that attacks the guest: what it disguises does not reach an isolated guest, nor does a protocol that is
served to it. What honest networks send passes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.agent import DIRECT, Agent
from lab.pod import MakePod, Pod
from lab.rawclient import RawClient
from lab.sniffer import Sniffer
from lab.wire import Wire
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    RouterAlert,
    fragment6,
)
from scapy.layers.l2 import ARP, LLC, SNAP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.packet import Packet, Raw

pytestmark = pytest.mark.root

MAC, NODE = "0a:58:0a:f4:02:05", "0e:99:00:00:00:07"
ADDRESS, ADDRESS6 = "10.244.2.5", "fd00:10:244:3::5"
ETHER = Ether(src=NODE, dst="ff:ff:ff:ff:ff:ff")
ETHER6 = Ether(src=NODE, dst="33:33:00:00:00:01")
ROUTER = IPv6(src="fe80::bad", dst="ff02::1", hlim=255) / ICMPv6ND_RA(routerlifetime=1800)
OFFER = (
    IP(src="10.244.2.66", dst="255.255.255.255")
    / UDP(sport=67, dport=68)
    / BOOTP(op=2)
    / DHCP(options=[("message-type", "offer"), "end"])
)
SNAP_HEADER = LLC(dsap=0xAA, ssap=0xAA, ctrl=3)

DISGUISED: dict[str, Packet] = {
    "a router in a priority tag": ETHER6 / Dot1Q(vlan=0) / ROUTER,
    "a router in two tags": ETHER6 / Dot1AD(vlan=0) / Dot1Q(vlan=0) / ROUTER,
    "a router in three tags": ETHER6 / Dot1Q(vlan=0) / Dot1Q(vlan=0) / Dot1Q(vlan=0) / ROUTER,
    "a router in LLC and SNAP": Dot3(src=NODE, dst="33:33:00:00:00:01") / SNAP_HEADER / SNAP(code=0x86DD) / ROUTER,
    "a DHCP server in a priority tag": ETHER / Dot1Q(vlan=0, prio=5) / OFFER,
    "a DHCP server in two tags": ETHER / Dot1Q(vlan=0) / Dot1Q(vlan=0) / OFFER,
    "a DHCP server in LLC and SNAP": Dot3(src=NODE, dst="ff:ff:ff:ff:ff:ff") / SNAP_HEADER / SNAP(code=0x800) / OFFER,
}
HIDDEN: dict[str, Packet] = {
    "a VLAN": ETHER / Dot1Q(vlan=5) / IP(dst=ADDRESS) / ICMP(),
    "another protocol": Ether(src=NODE, dst="ff:ff:ff:ff:ff:ff", type=0x88B5) / Raw(bytes(50)),
    "a first fragment that hides what it carries": ETHER6
    / IPv6(src="fe80::bad", dst="ff02::1", hlim=255)
    / IPv6ExtHdrFragment(nh=60, m=1, id=7)
    / Raw(bytes([58, 1]) + bytes(6)),
}
SERVED: dict[str, Packet] = {
    "a router": ETHER6 / ROUTER,
    "a router behind options for each hop": ETHER6
    / IPv6(src="fe80::bad", dst="ff02::1", hlim=255)
    / IPv6ExtHdrHopByHop(options=[RouterAlert()])
    / ICMPv6ND_RA(routerlifetime=1800),
    "a router behind an option header": ETHER6
    / IPv6(src="fe80::bad", dst="ff02::1", hlim=255)
    / IPv6ExtHdrDestOpt()
    / ICMPv6ND_RA(routerlifetime=1800),
    "a router in one fragment": ETHER6
    / IPv6(src="fe80::bad", dst="ff02::1", hlim=255)
    / IPv6ExtHdrFragment(nh=58, m=0, id=8)
    / ICMPv6ND_RA(routerlifetime=1800),
    "a DHCP server": ETHER / OFFER,
    "a DHCPv6 server from any port": ETHER6 / IPv6(src="fe80::bad", dst="ff02::1") / UDP(sport=9, dport=546),
}
PING = IPv6(src="2001:db8::1", dst=ADDRESS6) / IPv6ExtHdrFragment() / ICMPv6EchoRequest(data=b"x" * 2000)
HONEST: dict[str, Packet] = {
    "ARP": ETHER / ARP(hwsrc=NODE, psrc="10.244.2.1", pdst=ADDRESS),
    "neighbour solicitation": ETHER6
    / IPv6(src="fe80::bad", dst="ff02::1:ff00:5", hlim=255)
    / ICMPv6ND_NS(tgt=ADDRESS6),
    "IPv4": Ether(src=NODE, dst=MAC) / IP(src="192.0.2.1", dst=ADDRESS) / UDP(sport=53, dport=5353),
    "a large ping's first fragment": Ether(src=NODE, dst=MAC) / fragment6(PING, 1280)[0],
    "a large ping's last fragment": Ether(src=NODE, dst=MAC) / fragment6(PING, 1280)[-1],
}
MARK = bytes(Ether(src=NODE, dst=MAC) / IP(src="192.0.2.1", dst=ADDRESS) / UDP(sport=4242, dport=4242) / Raw(b"mark"))


@pytest.fixture(params=DIRECT)
def wired(make_pod: MakePod, request: pytest.FixtureRequest) -> Iterator[tuple[Pod, Agent, Wire]]:
    """From the node to the guest."""
    pod = make_pod("ovn-kubernetes")
    pod.guest.ip("link set eth0 up")
    with (
        Agent(pod, binding=request.param) as agent,
        RawClient(pod.node, "vethpod") as node,
        Sniffer(pod.guest, "eth0") as sniffer,
    ):
        agent.prestart()
        yield pod, agent, Wire(agent, node, sniffer, MARK)


def test_an_isolated_guest_is_not_reached(wired: tuple[Pod, Agent, Wire]) -> None:
    _, _, wire = wired
    for count, (name, packet) in enumerate((DISGUISED | HIDDEN).items(), 1):
        assert not wire.crosses(packet), name
        assert wire.counters()["inward"] == count, name
    for name, packet in SERVED.items():
        assert not wire.crosses(packet), name


def test_without_isolation_what_is_served_is_not_disguised(wired: tuple[Pod, Agent, Wire]) -> None:
    _, agent, wire = wired
    agent.prestart("--no-isolation")
    for name, packet in (DISGUISED | SERVED).items():
        assert not wire.crosses(packet), name
    for name in ("a VLAN", "another protocol") if agent.binding == "bridge" else ():
        assert wire.crosses(HIDDEN[name]), name


def test_honest_frames_pass(wired: tuple[Pod, Agent, Wire]) -> None:
    _, _, wire = wired
    for name, packet in HONEST.items():
        assert wire.crosses(packet), name
    assert wire.counters()["inward"] == 0
