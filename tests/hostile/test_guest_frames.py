"""An isolated guest that attacks its neighbours: what it sends does not reach the network, nor change what a victim
believes. What honest guests need passes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator

import pytest
from lab.agent import DIRECT, Agent
from lab.checks import pings
from lab.namespace import Namespace
from lab.pod import MakePod, Pod
from lab.rawclient import RawClient
from lab.shape import Side, load_shape
from lab.sniffer import Sniffer
from lab.wire import Wire
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Advertise
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6NDOptUnknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
    RouterAlert,
    fragment6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

pytestmark = pytest.mark.root

MAC, OTHER_MAC = "0a:58:0a:f4:02:05", "02:00:00:00:00:66"
ADDRESS, ADDRESS6 = "10.244.2.5", "fd00:10:244:3::5"
NEIGHBOUR, NEIGHBOUR6 = "10.244.2.6", "fd00:10:244:3::6"
GATEWAY, GATEWAY6 = "10.244.2.1", "fd00:10:244:3::1"
OUTSIDE, OUTSIDE6 = "192.0.2.1", "2001:db8::1"
OWN_LINK_LOCAL = "fe80::858:aff:fef4:205"
GATEWAY_LINK_LOCAL = "fe80::858:aff:fef4:201"
SUBSTITUTE = "fe80::fc:1"

ETHER = Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff")
ETHER6 = Ether(src=MAC, dst="33:33:00:00:00:01")


def link(source: str, target: str = "ff02::1") -> Packet:
    """An Ethernet and IPv6 header such as neighbour discovery has."""
    return ETHER6 / IPv6(src=source, dst=target, hlim=255)


def nonce() -> Packet:
    return ICMPv6NDOptUnknown(type=14, len=1, data=b"nonce!")


ADVERTISE = DHCP6_Advertise(trid=7)
OFFER = BOOTP(op=2) / DHCP(options=[("message-type", "offer"), "end"])
ROUTER = ICMPv6ND_RA(routerlifetime=1800)

FORBIDDEN: dict[str, tuple[str, Packet]] = {
    "NA that takes the gateway over": (
        "ipv6",
        link(OWN_LINK_LOCAL) / ICMPv6ND_NA(tgt="fe80::1", R=1, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=MAC),
    ),
    "NA for the router that we speak for": ("ipv6", link(SUBSTITUTE) / ICMPv6ND_NA(tgt=SUBSTITUTE, R=1, S=0, O=1)),
    "NA for the gateway's link-local address": (
        "ipv6",
        link(GATEWAY_LINK_LOCAL) / ICMPv6ND_NA(tgt=GATEWAY_LINK_LOCAL, R=1, S=0, O=1),
    ),
    "NA with another MAC": (
        "ipv6",
        link(ADDRESS6) / ICMPv6ND_NA(tgt=ADDRESS6, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=OTHER_MAC),
    ),
    "NA with its own MAC and another": (
        "ipv6",
        link(ADDRESS6)
        / ICMPv6ND_NA(tgt=ADDRESS6, S=0, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=MAC)
        / ICMPv6NDOptDstLLAddr(lladdr=OTHER_MAC),
    ),
    "NA behind an extension header": (
        "ipv6",
        link(ADDRESS6) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]) / ICMPv6ND_NA(tgt=ADDRESS6, S=0, O=1),
    ),
    "NA in a fragment": (
        "ipv6",
        link(ADDRESS6) / IPv6ExtHdrFragment(nh=58, m=0) / ICMPv6ND_NA(tgt=ADDRESS6, S=0, O=1),
    ),
    "NA without a source": ("ipv6", link("::") / ICMPv6ND_NA(tgt=ADDRESS6, S=0, O=1)),
    "NS with another MAC": (
        "ipv6",
        link(ADDRESS6) / ICMPv6ND_NS(tgt=NEIGHBOUR6) / ICMPv6NDOptSrcLLAddr(lladdr=OTHER_MAC),
    ),
    "NS of another": ("ipv6", link(NEIGHBOUR6) / ICMPv6ND_NS(tgt=GATEWAY6) / ICMPv6NDOptSrcLLAddr(lladdr=MAC)),
    "NS of the gateway": ("ipv6", link("fe80::fc:1") / ICMPv6ND_NS(tgt=NEIGHBOUR6) / ICMPv6NDOptSrcLLAddr(lladdr=MAC)),
    "DAD for a neighbour's address": ("ipv6", link("::", "ff02::1:ff00:6") / ICMPv6ND_NS(tgt=NEIGHBOUR6)),
    "DAD for the gateway's link-local address": ("ipv6", link("::") / ICMPv6ND_NS(tgt=GATEWAY_LINK_LOCAL)),
    "DAD with a MAC": ("ipv6", link("::") / ICMPv6ND_NS(tgt=ADDRESS6) / ICMPv6NDOptSrcLLAddr(lladdr=MAC)),
    "RS with another MAC": ("server", link(OWN_LINK_LOCAL) / ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=OTHER_MAC)),
    "DHCPv6 server from any port": ("server", link(OWN_LINK_LOCAL) / UDP(sport=1547, dport=546) / ADVERTISE),
    "DHCPv6 server in a fragment": (
        "server",
        link(OWN_LINK_LOCAL) / IPv6ExtHdrFragment(nh=17, m=0) / UDP(sport=1547, dport=546) / ADVERTISE,
    ),
    "DHCPv4 server from any port": (
        "server",
        ETHER / IP(src=ADDRESS, dst="255.255.255.255") / UDP(sport=1067, dport=68) / OFFER,
    ),
    "a router behind options for each hop": (
        "server",
        link(OWN_LINK_LOCAL) / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / ROUTER,
    ),
    "a first fragment that hides what it carries": (
        "server",
        link(OWN_LINK_LOCAL) / IPv6ExtHdrFragment(nh=60, m=1, id=7) / Raw(bytes([58, 3]) + bytes(6)),
    ),
    "a first fragment that shows something else behind its end": (
        "server",
        ETHER6
        / IPv6(src=OWN_LINK_LOCAL, dst="ff02::1", hlim=255, plen=16)
        / IPv6ExtHdrFragment(nh=60, m=1, id=7)
        / Raw(bytes([58, 2]) + bytes(6) + bytes(16) + bytes(ICMPv6EchoRequest())),
    ),
    "headers without an end": ("server", link(OWN_LINK_LOCAL) / IPv6ExtHdrDestOpt(nh=60, len=9) / Raw(bytes(6))),
    "an ICMP redirect": (
        "server",
        ETHER / IP(src=ADDRESS, dst=NEIGHBOUR) / ICMP(type=5, code=1, gw=ADDRESS) / IP(src=NEIGHBOUR, dst=OUTSIDE),
    ),
    "an ICMP router advertisement": ("server", ETHER / IP(src=ADDRESS, dst="224.0.0.1") / ICMP(type=9)),
}

PING = IPv6(src=ADDRESS6, dst=OUTSIDE6) / IPv6ExtHdrFragment() / ICMPv6EchoRequest(data=b"x" * 2000)

ALLOWED: dict[str, Packet] = {
    "NA for its own address": link(ADDRESS6) / ICMPv6ND_NA(tgt=ADDRESS6, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=MAC),
    "NA for the address of its MAC": link(OWN_LINK_LOCAL) / ICMPv6ND_NA(tgt=OWN_LINK_LOCAL, S=0, O=1),
    "NS": link(ADDRESS6) / ICMPv6ND_NS(tgt=GATEWAY6) / ICMPv6NDOptSrcLLAddr(lladdr=MAC),
    "DAD with a nonce": link("::", "ff02::1:ff00:5") / ICMPv6ND_NS(tgt=ADDRESS6) / nonce(),
    "DAD for a link-local address that nobody has": link("::") / ICMPv6ND_NS(tgt="fe80::dead:beef"),
    "that link-local address afterwards": link("fe80::dead:beef") / ICMPv6ND_NA(tgt="fe80::dead:beef", S=0, O=1),
    "MLD from no address": ETHER6
    / IPv6(src="::", dst="ff02::16", hlim=1)
    / IPv6ExtHdrHopByHop(options=[RouterAlert()])
    / ICMPv6MLReport2(),
    "a large ping's first fragment": ETHER6 / fragment6(PING, 1280)[0],
    "a large ping's last fragment": ETHER6 / fragment6(PING, 1280)[-1],
    "UDP behind an extension header": ETHER6
    / IPv6(src=ADDRESS6, dst=OUTSIDE6)
    / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
    / UDP(sport=9, dport=9),
    "a protocol that nobody knows": ETHER6 / IPv6(src=ADDRESS6, dst=OUTSIDE6, nh=253) / Raw(bytes(20)),
}

MARK = bytes(ETHER / IP(src=ADDRESS, dst=OUTSIDE) / UDP(sport=4242, dport=4242) / Raw(b"mark"))


@pytest.fixture(params=DIRECT)
def pod_and_agent(make_pod: MakePod, request: pytest.FixtureRequest) -> Iterator[tuple[Pod, Agent]]:
    pod = make_pod("ovn-kubernetes")
    # The gateway's MAC is known at set-up, as on a node that has been up for a while.
    wait_until(lambda: pings(pod.pod, GATEWAY6), during=lambda: None)
    with Agent(pod, binding=request.param) as agent:
        agent.prestart()
        pod.guest.ip("link set eth0 up")
        yield pod, agent


@pytest.fixture
def wire(pod_and_agent: tuple[Pod, Agent]) -> Iterator[Wire]:
    """From the guest to the node."""
    pod, agent = pod_and_agent
    with RawClient(pod.guest) as guest, Sniffer(pod.node, "vethpod") as sniffer:
        yield Wire(agent, guest, sniffer, MARK)


def test_attacks_are_dropped_and_counted(wire: Wire) -> None:
    expected = dict.fromkeys(wire.dropped(), 0)
    for name, (counter, packet) in FORBIDDEN.items():
        assert not wire.crosses(packet), name
        if name == "RS with another MAC":
            continue  # the server answers router solicitations, whatever they say: none crosses, and none is counted
        expected[counter] += 1
        assert wire.dropped() == expected, name


def test_honest_frames_pass(wire: Wire) -> None:
    for name, packet in ALLOWED.items():
        assert wire.crosses(packet), name
    assert not any(wire.dropped().values())


def test_a_guest_takes_few_link_local_addresses(wire: Wire) -> None:
    """One is enough for every guest that is known; the first eight it may keep."""
    passed = [wire.crosses(link(f"fe80::a:{n}") / UDP(sport=1, dport=1)) for n in range(12)]
    assert passed == [True] * 8 + [False] * 4
    assert wire.crosses(link(OWN_LINK_LOCAL) / UDP(sport=1, dport=1))


def test_no_link_local_address_that_the_network_has_shown(wire: Wire, pod_and_agent: tuple[Pod, Agent]) -> None:
    """Neither one that a neighbour sends from, nor one that it is just about to take."""
    pod, _ = pod_and_agent
    taken, tentative = "fe80::6:6", "fe80::7:7"
    source = Ether(src="0e:99:00:00:00:01", dst="33:33:00:00:00:01")
    with RawClient(pod.neighbour) as neighbour, Sniffer(pod.guest, "eth0") as seen:
        for packet in (
            source / IPv6(src="::", dst="ff02::1:ff07:7", hlim=255) / ICMPv6ND_NS(tgt=tentative),
            source / IPv6(src=taken, dst="ff02::1", hlim=255) / UDP(sport=5, dport=6),
        ):
            neighbour.send(bytes(packet))
        seen.wait_for(lambda frame: frame.source == "0e:99:00:00:00:01" and b"\x00\x05\x00\x06" in frame.data)
    for address in (taken, tentative):
        assert not wire.crosses(link(address) / ICMPv6ND_NA(tgt=address, S=0, O=1)), address
        assert not wire.crosses(link("::") / ICMPv6ND_NS(tgt=address)), address
        assert not wire.crosses(link(OWN_LINK_LOCAL) / ICMPv6ND_NA(tgt=address, S=0, O=1)), address


def test_the_neighbour_keeps_its_gateway(pod_and_agent: tuple[Pod, Agent]) -> None:
    pod, _ = pod_and_agent
    pod.neighbour.ip(f"neigh replace fe80::1 lladdr {OTHER_MAC} nud stale dev eth0")
    with RawClient(pod.guest) as guest, Sniffer(pod.neighbour, "eth0") as seen:
        guest.send(bytes(FORBIDDEN["NA that takes the gateway over"][1]))
        guest.send(MARK)
        seen.wait_for(lambda frame: frame.data.startswith(MARK))
    (entry,) = pod.neighbour.ip_json("neigh show fe80::1 dev eth0")
    assert entry["lladdr"] == OTHER_MAC


def test_a_neighbour_gets_its_new_address(pod_and_agent: tuple[Pod, Agent]) -> None:
    """The guest answers each duplicate-address detection as if it were about to take the same address (RFC 4862
    §5.4.3)."""
    pod, _ = pod_and_agent
    pod.neighbour.sysctl(ipv6__conf__eth0__accept_dad=1, ipv6__conf__eth0__enhanced_dad=0)
    new = "fd00:10:244:3::77"
    attack = bytes(link("::", "ff02::1:ff00:77") / ICMPv6ND_NS(tgt=new))
    with RawClient(pod.guest) as guest:
        pod.neighbour.ip(f"addr add {new}/64 dev eth0")
        wait_until(lambda: "tentative" not in state(pod.neighbour, new), during=lambda: guest.send(attack))
    assert "dadfailed" not in state(pod.neighbour, new)


@pytest.mark.parametrize("binding", DIRECT)
def test_a_pod_of_one_family_gives_none_of_the_other(make_pod: MakePod, binding: str) -> None:
    """In an IPv6-only pod the guest has no IPv4 address to send from, and in an IPv4-only pod no global IPv6 one."""
    shape = load_shape("ovn-kubernetes")
    for version, forbidden in (
        (
            6,
            {
                "ipv4": (
                    ETHER / IP(src=NEIGHBOUR, dst=OUTSIDE) / UDP(sport=5, dport=6),
                    ETHER / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=5, dport=6),
                ),
                "arp": (
                    ETHER / ARP(op=2, hwsrc=MAC, psrc=GATEWAY, pdst=NEIGHBOUR),
                    ETHER / ARP(op=1, hwsrc=MAC, psrc=NEIGHBOUR, pdst=NEIGHBOUR),
                ),
            },
        ),
        (
            4,
            {
                "ipv6": (
                    link(ADDRESS6) / UDP(sport=5, dport=6),
                    link(OWN_LINK_LOCAL) / ICMPv6ND_NA(tgt=NEIGHBOUR6, S=0, O=1),
                    link("::") / ICMPv6ND_NS(tgt=NEIGHBOUR6),
                )
            },
        ),
    ):
        commands = tuple(line for line in shape.pod.commands if (":" in line.partition(" dev ")[0]) == (version == 6))
        pod = make_pod(dataclasses.replace(shape, pod=Side(shape.pod.sysctls, commands)))
        mark = MARK if version == 4 else bytes(link(ADDRESS6) / UDP(sport=4242, dport=4242) / Raw(b"mark"))
        pod.guest.ip("link set eth0 up")
        with Agent(pod, binding=binding) as agent:
            agent.prestart()
            with RawClient(pod.guest) as guest, Sniffer(pod.node, "vethpod") as sniffer:
                wire = Wire(agent, guest, sniffer, mark)
                for counter, packets in forbidden.items():
                    for count, packet in enumerate(packets, 1):
                        assert not wire.crosses(packet), packet.summary()
                        assert wire.dropped()[counter] == count, packet.summary()
                if version == 6:
                    discover = BOOTP(chaddr=bytes.fromhex(MAC.replace(":", ""))) / DHCP(
                        options=[("message-type", "discover"), "end"]
                    )
                    asks = ETHER / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / discover
                    assert wire.crosses(asks), "a network that serves IPv4 may be asked"


def state(namespace: Namespace, address: str) -> list[str]:
    """The flags of an address."""
    (link_,) = namespace.ip_json("addr show dev eth0")
    (found,) = [a for a in link_["addr_info"] if a["local"] == address]
    return [flag for flag in ("tentative", "dadfailed") if found.get(flag)]


def wait_until(done: Callable[[], bool], *, during: Callable[[], None], seconds: float = 5) -> None:
    """Repeat something until a condition holds."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come about in time"
        during()
        time.sleep(0.02)
