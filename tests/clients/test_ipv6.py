"""Real clients in pods with IPv6, none told a word about the network: what they end with, and that it works."""

from __future__ import annotations

import socket
from ipaddress import IPv6Interface

import pytest
from lab.agent import DIRECT, Agent
from lab.checks import pings
from lab.clients.ipv6 import CLIENTS6, Client6, Dhclient6, Dhcpcd6, Dibbler, KernelOnly, Networkd6, Observed6
from lab.monitor import Monitor
from lab.namespace import Namespace
from lab.pod import RESOLV_CONF, SEARCH, MakePod, Pod
from lab.rawclient import RawClient
from lab.shape import GuestNetwork6, load_shape, shape_names
from lab.sniffer import Frame, Sniffer
from lab.waiting import wait_until
from scapy.layers.inet import UDP
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6ND_RS, IPv6
from scapy.layers.l2 import Ether

pytestmark = pytest.mark.root

DNS6 = "fd00:10:96::a"
DUAL_RESOLVER = f"{RESOLV_CONF}nameserver {DNS6}\n"
SHAPES6 = [name for name in shape_names() if load_shape(name).guest6]


@pytest.fixture(params=SHAPES6)
def pod6(request: pytest.FixtureRequest, make_pod: MakePod) -> Pod:
    return pod_of(make_pod, request.param)


def pod_of(make_pod: MakePod, shape: str) -> Pod:
    """A pod whose gateway answers, as one on a node that has been up for a while does."""
    pod = make_pod(shape, resolv_conf=DUAL_RESOLVER)
    network = pod.shape.guest6
    assert network
    gateway = network.reaches.get("gateway", network.reaches["outside"])
    wait_until(lambda: pings(pod.pod, gateway), log=lambda: "the laboratory's node does not answer")
    pod.pod.ip("neigh flush dev eth0")
    return pod


def test_kernel_and_dhclient_in_every_shape(pod6: Pod) -> None:
    """The kernel alone gets route and MTU; with dhclient the address comes too, and traffic flows."""
    check(pod6, Dhclient6)
    network = pod6.shape.guest6
    assert network
    for name, address in network.reaches.items():
        assert pings(pod6.guest, address), f"{name} is not reached"
    outside, own = network.reaches["outside"], str(IPv6Interface(network.address).ip)
    assert pings(pod6.guest, outside, size=network.mtu)
    assert not pings(pod6.guest, outside, size=network.mtu + 1)
    assert pings(pod6.node, own), "the node does not reach the guest"
    if "neighbour" in network.reaches:
        assert pings(pod6.neighbour, own), "the neighbour does not reach the guest"


@pytest.mark.parametrize("client", [c for c in CLIENTS6 if c is not Dhclient6], ids=lambda c: c.name)
@pytest.mark.parametrize("shape", ["calico", "ovn-kubernetes"])
def test_every_client(make_pod: MakePod, shape: str, client: type[Client6]) -> None:
    """Behind a link-local gateway, and behind a global one."""
    check(pod_of(make_pod, shape), client)


def check(pod: Pod, client: type[Client6]) -> None:
    network = pod.shape.guest6
    assert network
    with Agent(pod) as agent, client(pod.guest) as running:
        agent.prestart()
        assert_ipv6(running, running.acquire6(), network)


def assert_ipv6(client: Client6, observed: Observed6, network: GuestNetwork6) -> None:
    assert observed.addresses == ((network.address,) if client.manages_addresses else ())
    assert observed.routers == (network.router,)
    assert set(observed.on_link) == ({network.on_link} if network.on_link else set())
    assert observed.mtu == network.mtu
    if client.manages_resolver:
        assert observed.nameservers6 == {DNS6}
        assert set(observed.search) == (set(SEARCH) if client.search_list else set())


@pytest.mark.parametrize("binding", DIRECT)
def test_both_families_at_once(make_pod: MakePod, binding: str) -> None:
    pod = pod_of(make_pod, "calico")
    assert pod.shape.guest
    with Agent(pod, binding=binding) as agent, Networkd6(pod.guest) as client:
        agent.prestart()
        client.acquire6()
        client.wait_until_bound()
        observed = client.observe()
        assert observed.addresses == (pod.shape.guest.address,)
        assert pings(pod.guest, "192.0.2.1")
        assert pings(pod.guest, "2001:db8::1")


@pytest.mark.parametrize("client", [Dhclient6, Dibbler, Dhcpcd6], ids=lambda c: c.name)
def test_a_disk_that_has_been_in_another_pod(make_pod: MakePod, client: type[Client6]) -> None:
    """The client asks whether its old address is right (RFC 8415 §18.2.3), and learns that it is not."""
    pod = pod_of(make_pod, "calico")
    network = pod.shape.guest6
    assert network
    with Agent(pod) as agent, client(pod.guest) as running:
        agent.prestart()
        agent.serve(client_address6="fd00:10:244:1::99/128")
        assert running.acquire6().addresses == ("fd00:10:244:1::99/128",)
        running.kill()
        pod.guest.ip("link set eth0 down", "addr flush dev eth0 scope global")
        agent.prestart()
        running.start()
        wait_until(lambda: running.observe6().addresses == (network.address,))
        agent.wait_for_log("message=CONFIRM")


def test_ipv6_alone(make_pod: MakePod) -> None:
    """DISCOVER gets silence; option 108, where it is configured, says that no IPv4 will come (RFC 8925)."""
    pod = pod_of(make_pod, "aws-v6")
    pod.guest.ip("link set eth0 up")
    with Agent(pod) as agent:
        agent.prestart()
        with RawClient(pod.guest) as client:
            assert client.replies(client.message(1, parameters=[1, 3, 108])) == []
            agent.serve(server_address="169.254.75.10", options={"108": "1800"})
            assert client.replies(client.message(1, parameters=[1, 3])) == []
            (offer,) = client.replies(client.message(1, parameters=[1, 3, 108]), expected=1)
            assert (offer.message_type, offer.yiaddr, offer.number(108)) == (2, "0.0.0.0", 1800)


@pytest.mark.parametrize("binding", DIRECT)
def test_the_guests_duplicate_detection_finds_its_address_free(make_pod: MakePod, binding: str) -> None:
    pod = make_pod("calico", duplicate_address_detection=True, resolv_conf=DUAL_RESOLVER)
    with Agent(pod, binding=binding) as agent, Dhclient6(pod.guest) as client:
        agent.prestart()
        with Sniffer(pod.guest, "eth0") as sniffer:
            assert client.acquire6().addresses == ("fd00:10:244:1::5/128",)
        probes = [frame.packet() for frame in sniffer.frames if frame.outgoing and ICMPv6ND_NS in frame.packet()]
        assert ("::", "fd00:10:244:1::5") in {(probe[IPv6].src, probe[ICMPv6ND_NS].tgt) for probe in probes}
        with RawClient(pod.node, "vethpod") as node:
            pod.guest.ip("link set eth0 down")
            assert node.who_has6("fd00:10:244:1::5", timeout=0.3) is None, "the pod answers for the VM's address"


def is_served(frame: Frame) -> bool:
    """Whether it is DHCPv6, a router solicitation or a router advertisement."""
    packet = frame.packet()
    dhcp = UDP in packet and not {packet[UDP].sport, packet[UDP].dport}.isdisjoint({546, 547})
    return dhcp or ICMPv6ND_RA in packet or ICMPv6ND_RS in packet


@pytest.fixture
def foreign_advertisement() -> bytes:
    router = Ether(src="02:00:00:00:00:77", dst="33:33:00:00:00:01") / IPv6(src="fe80::77", dst="ff02::1", hlim=255)
    return bytes(router / ICMPv6ND_RA(routerlifetime=1800))


@pytest.mark.parametrize("binding", DIRECT)
def test_what_we_serve_does_not_cross(make_pod: MakePod, foreign_advertisement: bytes, binding: str) -> None:
    """Neither the guest's questions to the node, nor the network's own advertisements to the guest."""
    pod = pod_of(make_pod, "calico")
    with Agent(pod, binding=binding) as agent, Dhclient6(pod.guest) as client:
        agent.prestart()
        with Sniffer(pod.node, "vethpod") as node, Sniffer(pod.guest, "eth0") as guest:
            send(pod.node, "vethpod", foreign_advertisement)
            client.acquire6()
            assert pings(pod.guest, "2001:db8::1")
        assert [str(frame) for frame in node.frames if not frame.outgoing and is_served(frame)] == []
        assert "fe80::77" not in str(guest)


def test_what_we_do_not_serve_passes(pod: Pod, agent: Agent, foreign_advertisement: bytes) -> None:
    agent.prestart()
    pod.guest.ip("link set eth0 up")
    with Sniffer(pod.guest, "eth0") as guest:
        send(pod.node, "vethpod", foreign_advertisement)
        guest.wait_for(lambda frame: ICMPv6ND_RA in frame.packet())


@pytest.mark.parametrize("binding", DIRECT)
def test_no_packet_has_the_mac_of_the_pods_own(make_pod: MakePod, binding: str) -> None:
    pod = pod_of(make_pod, "ovn-kubernetes")
    with Agent(pod, binding=binding) as agent, Dhclient6(pod.guest) as client:
        agent.prestart()
        with Sniffer(pod.node, "vethpod") as node:
            client.acquire6()
            assert pings(pod.guest, "2001:db8::1")
        assert {frame.source for frame in node.frames if not frame.outgoing} == {pod.mac}


def test_a_server_that_is_stopped_takes_its_router_back(make_pod: MakePod) -> None:
    pod = pod_of(make_pod, "calico")
    with Agent(pod) as agent, KernelOnly(pod.guest) as client:
        agent.prestart()
        client.acquire6()
        agent.teardown()
        wait_until(lambda: not client.observe6().routers)


@pytest.mark.parametrize("binding", DIRECT)
def test_the_pod_has_its_ipv6_back(make_pod: MakePod, binding: str) -> None:
    pod = pod_of(make_pod, "ovn-kubernetes")
    with Agent(pod, binding=binding) as agent:
        agent.prestart()
        assert not pings(pod.pod, "2001:db8::1")
        agent.teardown()
    assert pings(pod.pod, "2001:db8::1")


@pytest.mark.parametrize("binding", DIRECT)
def test_a_gateway_that_does_not_answer_costs_the_route_alone_and_for_the_time(make_pod: MakePod, binding: str) -> None:
    """The next advertisement is a moment to ask again: the second one comes after sixteen seconds."""
    pod = pod_of(make_pod, "ovn-kubernetes")
    pod.node.ip("addr del fd00:10:244:3::1/64 dev switch0")
    with Agent(pod, binding=binding) as agent, Networkd6(pod.guest) as client:
        agent.prestart()
        client.start()
        wait_until(lambda: client.observe6().addresses)
        assert client.observe6().routers == ()
        pod.node.ip("addr add fd00:10:244:3::1/64 dev switch0 nodad")
        wait_until(lambda: client.observe6().routers == ("fe80::fc:1",))
        assert pings(pod.guest, "2001:db8::1")
        agent.wait_for_log("before=")


@pytest.mark.parametrize("binding", DIRECT)
def test_a_gateway_that_gets_another_mac_is_found_again(make_pod: MakePod, binding: str) -> None:
    """The guest doubts its neighbour when nothing comes back; its question makes the server ask the gateway."""
    pod = pod_of(make_pod, "kindnet")
    with Agent(pod, binding=binding) as agent, Dhclient6(pod.guest) as client:
        agent.prestart()
        for name, value in (("base_reachable_time_ms", 1000), ("delay_first_probe_time", 1)):
            pod.guest.write_sysctl(f"ipv6/neigh/eth0/{name}", value)
        client.acquire6()
        assert pings(pod.guest, "2001:db8::1")
        pod.node.ip("link set vethpod address 02:00:00:00:77:01")
        pod.node.ip("neigh flush dev vethpod")
        with Monitor(pod.guest, "route") as routes:
            wait_until(lambda: pings(pod.guest, "2001:db8::1"))
            assert [event for event in routes.events() if event.startswith("Deleted default")] == []
        agent.wait_for_log("mac=02:00:00:00:77:01")


def send(namespace: Namespace, interface: str, frame: bytes) -> None:
    with namespace.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((interface, 0))
        sender.send(frame)
