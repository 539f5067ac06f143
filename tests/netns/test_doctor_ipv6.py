"""`virt-launcher doctor` and IPv6: each fault is reported at its hop only; node and guest are undisturbed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from lab.agent import Agent
from lab.checks import pings
from lab.clients import Udhcpc
from lab.clients.ipv6 import Dhclient6
from lab.doctor import examine, hops_of
from lab.masqueraded import Masqueraded
from lab.namespace import Namespace
from lab.pod import RESOLV_CONF, MakePod, Pod
from lab.sniffer import Sniffer
from lab.waiting import wait_until
from scapy.layers.inet import UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, IPv6

pytestmark = pytest.mark.root

BRIDGED, PROXIED, ALONE = "ovn-kubernetes", "calico", "aws-v6"
"""Shapes: a bridge with a global gateway, a link-local gateway with routes for each pod, and IPv6 only."""
VM = {BRIDGED: "fd00:10:244:3::5", PROXIED: "fd00:10:244:1::5", ALONE: "2600:1f18::7"}
NEIGHBOUR_MAC = "0e:99:00:00:00:01"
LEASE = "fd00:10:244:3::100,fd00:10:244:3::110,64,120"


def built(make_pod: MakePod, shape: str) -> Pod:
    """A pod whose gateway answers, as on a node that has been up for a while."""
    pod = make_pod(shape, resolv_conf=f"{RESOLV_CONF}nameserver fd00:10:96::a\n")
    wait_until(lambda: pings(pod.pod, "2001:db8::1"), log=lambda: "the laboratory's node does not answer")
    return pod


def configure(pod: Pod) -> None:
    """Set the guest's addresses of both families by hand, without a route: none is needed on the link."""
    guest, guest6 = pod.shape.guest, pod.shape.guest6
    assert guest6
    pod.guest.ip("link set eth0 up", f"addr add {guest6.address} dev eth0 nodad")
    if guest:
        pod.guest.ip(f"addr add {guest.address} dev eth0")


@dataclass(frozen=True)
class Fault:
    """A fault injected into a pod whose guest has its addresses, and the expected findings."""

    shape: str
    inject: Callable[[Pod], object]
    wrong: Mapping[str, str]
    unseen: Set[str] = frozenset()


def on_node(*lines: str) -> Callable[[Pod], object]:
    return lambda pod: pod.node.ip(*lines)


def filter_ipv6(pod: Pod) -> None:
    chain = "add chain bridge filter forward { type filter hook forward priority 0; }"
    rule = "add rule bridge filter forward meta protocol ip6 drop"
    pod.pod.run(["nft", f"add table bridge filter; {chain}; {rule}"])


def run_dnsmasq(namespace: Namespace, interface: str, *options: str) -> None:
    """Start a DHCPv6 server, or a router that advertises itself; returns when its sockets are open."""
    log = namespace.configuration / "dnsmasq.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", f"--interface={interface}"]
    files = [f"--dhcp-leasefile={log.parent}/leases", f"--log-facility={log}", "--user=root"]
    namespace.popen([*command, *files, *options])
    wait_until(lambda: log.exists() and "dnsmasq-dhcp" in log.read_text())


FAULTS = {
    "duplicate address": Fault(
        BRIDGED,
        lambda pod: pod.neighbour.ip(f"addr add {VM[BRIDGED]}/64 dev eth0 nodad"),
        {"pod network": f"another host, MAC {NEIGHBOUR_MAC}, has {VM[BRIDGED]} too → find it"},
    ),
    "foreign DHCPv6 server": Fault(
        BRIDGED,
        lambda pod: run_dnsmasq(pod.neighbour, "eth0", f"--dhcp-range={LEASE}"),
        {"pod network": f"^another DHCPv6 server, fe80::[0-9a-f:]+ at MAC {NEIGHBOUR_MAC}, answers .* → turn it off"},
    ),
    "foreign router": Fault(
        BRIDGED,
        lambda pod: run_dnsmasq(pod.neighbour, "eth0", "--enable-ra", "--dhcp-range=fd00:10:244:3::,ra-only"),
        {"pod network": f"^another router, fe80::[0-9a-f:]+ at MAC {NEIGHBOUR_MAC}, advertises itself → turn it off"},
    ),
    "gateway gone": Fault(
        BRIDGED,
        on_node("addr del fd00:10:244:3::1/64 dev switch0"),
        {"gateway": "fd00:10:244:3::1 does not answer neighbour solicitations → look on the node"},
        {"node"},
    ),
    "link-local gateway gone": Fault(
        PROXIED,
        on_node("addr del fe80::ecee:eeff:feee:eeee/64 dev vethpod"),
        {"gateway": "fe80::ecee:eeff:feee:eeee does not answer neighbour solicitations"},
        {"node"},
    ),
    "route to the pod lost": Fault(
        BRIDGED,
        on_node("route del fd00:10:244:3::/64 dev switch0"),
        {"node": f"fd00:10:244:3::1 is there, but no IP packet comes back .*`ip route get {VM[BRIDGED]}`"},
    ),
    "route to the pod lost, link-local gateway": Fault(
        PROXIED,
        on_node(f"route del {VM[PROXIED]} dev vethpod"),
        {"node": f"^fe80::ecee:eeff:feee:eeee is there, but no IP packet comes back .*`ip route get {VM[PROXIED]}`"},
    ),
    "route to the pod lost, permanent neighbour": Fault(
        ALONE, on_node(f"route del {VM[ALONE]} dev vethpod"), {"node": "fe80::1 is there, but no IP packet comes back"}
    ),
    "node's end of a smaller MTU": Fault(
        ALONE, on_node("link set vethpod mtu 1400"), {"node": "packets of 1500 bytes do not come back from fe80::1"}
    ),
    "IPv6 filtered on the bridge": Fault(
        BRIDGED,
        filter_ipv6,
        {"bridge": "(?s)^IPv6 that comes in on eth0 does not leave by tap0 .*IPv6 that comes in on tap0 does not"},
    ),
    "guest without its address": Fault(
        ALONE,
        lambda pod: pod.guest.ip(f"addr del {VM[ALONE]}/128 dev eth0"),
        {"guest": f"does not answer neighbour solicitations for {VM[ALONE]}, and .* no DHCPv6 message"},
    ),
    "no carrier at the guest": Fault(
        ALONE, lambda pod: pod.guest.ip("link set eth0 down"), {"guest": "tap0 has no carrier"}
    ),
    "pod NIC down": Fault(
        BRIDGED,
        lambda pod: pod.pod.ip("link set eth0 down"),
        {"pod NIC": "^eth0 is down"},
        {"pod network", "gateway", "node"},
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_named_and_nothing_else(make_pod: MakePod, fault: Fault) -> None:
    pod = built(make_pod, fault.shape)
    with Agent(pod) as agent:
        agent.prestart()
        configure(pod)
        fault.inject(pod)
        examine(agent).assert_names(fault.wrong, fault.unseen)


def test_the_gateways_own_advertisements_are_no_fault(make_pod: MakePod) -> None:
    pod = built(make_pod, BRIDGED)
    run_dnsmasq(pod.node, "switch0", "--enable-ra", "--dhcp-range=fd00:10:244:3::,ra-only")
    with Agent(pod) as agent:
        agent.prestart()
        configure(pod)
        examine(agent).assert_names({})


def test_a_gateway_that_never_answered(make_pod: MakePod) -> None:
    """It cannot be advertised, and the finding is at the gateway; when it answers again, it is advertised at once."""
    pod = make_pod(BRIDGED)
    pod.node.ip("addr del fd00:10:244:3::1/64 dev switch0")
    with Agent(pod) as agent:
        agent.prestart()
        configure(pod)
        examine(agent).assert_names({"gateway": "fd00:10:244:3::1 does not answer"}, {"DHCP server", "node"})
        pod.node.ip("addr add fd00:10:244:3::1/64 dev switch0 nodad")
        wait_until(lambda: agent.run("doctor").returncode == 0)  # the server advertises once it has its answer
        examine(agent).assert_names({})


def test_a_server_that_offers_something_else(make_pod: MakePod) -> None:
    pod = built(make_pod, PROXIED)
    with Agent(pod) as agent:
        agent.prestart()
        configure(pod)
        agent.serve(client_address6="fd00:10:244:1::99/128")
        offered = f"it offers fd00:10:244:1::99 by DHCPv6, not {VM[PROXIED]} → run `virt-launcher prestart` again"
        examine(agent).assert_names({"DHCP server": offered})
        agent.prestart()
        examine(agent).assert_names({})


def test_a_server_that_advertises_no_router(make_pod: MakePod) -> None:
    pod = built(make_pod, PROXIED)
    with Agent(pod) as agent:
        agent.prestart()
        configure(pod)
        agent.serve(router6=None, router6_lladdr=None)
        examine(agent).assert_names(
            {"DHCP server": "but advertises no router, though fe80::ecee:eeff:feee:eeee is there"}
        )


@pytest.mark.parametrize("shape", [BRIDGED, PROXIED])
def test_a_guest_that_uses_ipv4_alone_is_no_fault(make_pod: MakePod, shape: str) -> None:
    pod = built(make_pod, shape)
    with Agent(pod) as agent, Udhcpc(pod.guest) as client:
        agent.prestart()
        client.acquire()
        report = examine(agent)
        report.assert_names({})
        assert f"it uses IPv4 alone: it has not requested {VM[shape]}" in report.text


def test_a_guest_that_lost_its_address(make_pod: MakePod) -> None:
    pod = built(make_pod, ALONE)
    with Agent(pod) as agent, Dhclient6(pod.guest) as client:
        agent.prestart()
        client.acquire6()
        examine(agent).assert_names({})
        pod.guest.ip(f"addr del {VM[ALONE]}/128 dev eth0")
        lost = f"was given {VM[ALONE]}, but does not answer neighbour solicitations for it now"
        examine(agent).assert_names({"guest": lost})


def test_a_guest_with_another_mac(make_pod: MakePod) -> None:
    pod = make_pod(ALONE, guest_mac="52:54:00:00:00:99")
    with Agent(pod) as agent:
        agent.prestart()
        configure(pod)
        answers = f"answers for {VM[ALONE]} with MAC 52:54:00:00:00:99, not {pod.mac}"
        examine(agent).assert_names({"guest": answers}, {"node", "lease", "guest port"})


@pytest.mark.parametrize("shape", [BRIDGED, PROXIED, ALONE])
def test_masquerade_has_no_finding(make_pod: MakePod, shape: str) -> None:
    pod = built(make_pod, shape)
    with Masqueraded(pod) as masqueraded, Sniffer(pod.node, "vethpod") as node:
        report = examine(masqueraded.agent)
        report.assert_names({})
        assert report.hops == hops_of(ipv4=pod.shape.guest is not None, ipv6=True)
        node.close()
    assert {frame.source for frame in node.frames if not frame.outgoing} == {pod.mac}
    assert [str(frame) for frame in node.frames if not frame.outgoing and UDP in frame.packet()] == []


@pytest.mark.parametrize(
    ("shape", "inject", "wrong"),
    [
        (
            BRIDGED,
            lambda pod: pod.pod.ip("route del default via fd00:10:244:3::1 dev eth0"),
            {"pod NIC": "eth0 has lost the default route through fd00:10:244:3::1 → give it back"},
        ),
        (
            PROXIED,
            lambda pod: pod.pod.ip("route del default"),
            {"pod NIC": r"eth0 has lost the default route through 169\.254\.1\.1 → give it back"},
        ),
        (
            ALONE,
            lambda pod: pod.pod.ip("neigh del fe80::1 dev eth0"),
            {"pod NIC": "eth0 has lost the permanent neighbour fe80::1, at 2a:09:74:cd:c4:62 → give it back"},
        ),
        (
            BRIDGED,
            lambda pod: pod.neighbour.ip(f"addr add {VM[BRIDGED]}/64 dev eth0 nodad"),
            {"pod network": f"another host, MAC {NEIGHBOUR_MAC}, has {VM[BRIDGED]} too"},
        ),
        (
            PROXIED,
            on_node(f"route del {VM[PROXIED]} dev vethpod"),
            {"node": f"no IP packet comes back .*`ip route get {VM[PROXIED]}`"},
        ),
        (
            ALONE,
            lambda pod: pod.guest.ip("addr del fd10:0:2::2/120 dev eth0"),
            {"guest": "does not answer neighbour solicitations for fd10:0:2::2"},
        ),
        (
            BRIDGED,
            lambda pod: pod.pod.ip("addr del fd10:0:2::1/120 dev k6t-eth0"),
            {"bridge": "k6t-eth0 does not have fd10:0:2::1/120"},
        ),
    ],
    ids=["route", "IPv4 route", "permanent neighbour", "duplicate", "node's route", "guest", "router's address"],
)
def test_a_fault_with_masquerade(
    make_pod: MakePod, shape: str, inject: Callable[[Pod], object], wrong: Mapping[str, str]
) -> None:
    pod = built(make_pod, shape)
    with Masqueraded(pod) as masqueraded:
        inject(pod)
        examine(masqueraded.agent).assert_names(wrong)


@pytest.mark.parametrize("shape", [BRIDGED, PROXIED])
def test_nobody_is_disturbed(make_pod: MakePod, shape: str) -> None:
    """The node receives the VM's MAC and addresses only; the guest those of its gateway or an unused address."""
    pod = built(make_pod, shape)
    with Agent(pod) as agent:
        agent.prestart()
        configure(pod)
        with Sniffer(pod.node, "vethpod") as node, Sniffer(pod.guest, "eth0") as guest:
            examine(agent).assert_names({})
        sent = [frame for frame in node.frames if not frame.outgoing]
        assert {frame.source for frame in sent} == {pod.mac}
        own = {link_local_of(pod.mac), VM[shape], "::"}
        assert {frame.packet()[IPv6].src for frame in sent if IPv6 in frame.packet()} <= own
        heard = [frame.packet() for frame in guest.frames if not frame.outgoing]
        asked = [packet for packet in heard if ICMPv6ND_NS in packet]
        gateway = pod.node.link("switch0" if shape == BRIDGED else "vethpod")["address"]
        port = pod.pod.link("tap0")["address"]
        assert {packet.src for packet in asked} == {gateway, port}
        assert {packet[IPv6].src for packet in asked if packet.src == port} == {link_local_of(port)}
        assert [packet for packet in asked if packet[IPv6].src == "::"] == []
        assert {packet.src for packet in heard if ICMPv6ND_NA in packet} <= {gateway}
        assert [packet.summary() for packet in heard if UDP in packet] == []


def link_local_of(mac: str) -> str:
    from dhcp.probe.dhcp6 import link_local

    return link_local(mac)


def test_a_guest_that_looks_for_another_holder_is_not_turned_away(make_pod: MakePod) -> None:
    """Also where the node's bridge port in hairpin mode returns the pod's requests."""
    with ExitStack() as stack:
        pod = make_pod(BRIDGED, duplicate_address_detection=True)
        agent = stack.enter_context(Agent(pod))
        agent.prestart()
        pod.node.ip("link set vethpod type bridge_slave hairpin on")
        pod.guest.sysctl(ipv6__conf__eth0__dad_transmits=3)
        pod.guest.ip("link set eth0 up", f"addr add {VM[BRIDGED]}/128 dev eth0", "addr add 10.244.2.5/24 dev eth0")
        assert pod.guest.ip_json("-6 addr show tentative dev eth0")
        examine(agent)
        pod.guest.settle()
        assert pod.guest.ip_json("-6 addr show dadfailed dev eth0") == []
        examine(agent).assert_names({})
