"""Name servers that only the pod itself can reach: the VM asks them by another address, and nobody else can."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from lab.agent import Agent
from lab.checks import pings
from lab.clients import Client, Dhclient, Networkd, Udhcpc
from lab.containers import DOMAIN, GATEWAY, ContainerNetwork
from lab.dns import ANSWER, ask, name_server
from lab.pod import GUEST_NIC, MakePod, Pod
from lab.snapshot import assert_restored, take_snapshot
from lab.sniffer import Sniffer
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP

pytestmark = pytest.mark.root

BINDINGS = ("bridge", "fwd", "masquerade")
DOCKER = "127.0.0.11"
ROUTED = "10.0.2.1"


def resolv_conf(*servers: str) -> str:
    return "".join(f"nameserver {server}\n" for server in servers)


@contextlib.contextmanager
def served(pod: Pod, binding: str, client: type[Client] = Udhcpc) -> Iterator[tuple[Agent, tuple[str, ...]]]:
    """A pod that is set up, with a guest that has its lease; the name servers that it got."""
    with Agent(pod, binding=binding) as agent, client(pod.guest) as running:
        printed = agent.prestart()
        pod.guest.ip(f"link set {GUEST_NIC} address {printed['networks'][0]['mac']}")
        yield agent, tuple(running.acquire().nameservers)


@pytest.mark.parametrize("client", [Udhcpc, Dhclient, Networkd], ids=lambda client: client.name)
@pytest.mark.parametrize("binding", BINDINGS)
def test_the_vm_asks_it_by_another_address(make_pod: MakePod, binding: str, client: type[Client]) -> None:
    """By UDP and TCP; the network sees nothing of it, and the pod is put back exactly."""
    pod = make_pod(resolv_conf=resolv_conf(DOCKER))
    original = take_snapshot(pod.pod)
    with name_server(pod.pod, DOCKER), Sniffer(pod.node, "vethpod") as node:
        with served(pod, binding, client) as (agent, servers):
            (server,) = servers
            assert (server == ROUTED) == (binding == "masquerade")
            for tcp in (False, True):
                assert ask(pod.guest, server, tcp=tcp) == ANSWER
                assert ask(pod.pod, DOCKER, tcp=tcp) == ANSWER, "the pod itself asks as before"
            assert ask(pod.guest, DOCKER) == ""
            pod.guest.run(["arping", "-c", "1", "-w", "1", "-I", GUEST_NIC, server], check=False)
            pings(pod.guest, "192.0.2.1")
            agent.teardown()
        pod.guest.ip(f"link set {GUEST_NIC} down")
        assert_restored(pod.pod, original)
        frames = [frame.packet() for frame in node.frames]
    assert any(IP in packet and packet[IP].dst == "192.0.2.1" for packet in frames), "the sniffer sees the guest"
    assert not [p for p in frames if (UDP in p or TCP in p) and 53 in (p.sport, p.dport)]
    assert not [p for p in frames if ARP in p and {p[ARP].pdst, p[ARP].psrc} & {server}]


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.53", "10.244.1.3", "0.0.0.0", "::ffff:127.0.0.1"])
def test_every_address_that_is_the_pods_alone(make_pod: MakePod, binding: str, address: str) -> None:
    pod = make_pod(resolv_conf=resolv_conf(address))
    listening = {"0.0.0.0": "127.0.0.1", "::ffff:127.0.0.1": "127.0.0.1"}.get(address, address)
    with name_server(pod.pod, listening), served(pod, binding) as (_, (server,)):
        assert server not in (address, listening)
        for tcp in (False, True):
            assert ask(pod.guest, server, tcp=tcp) == ANSWER
            assert ask(pod.pod, listening, tcp=tcp) == ANSWER


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_server_that_listens_at_another_port(make_pod: MakePod, binding: str) -> None:
    """As Docker's: packet filters in the container lead the pod's own queries there, and do not see the VM's."""
    pod = make_pod(resolv_conf=resolv_conf(DOCKER))
    with contextlib.ExitStack() as running:
        with name_server(pod.pod, DOCKER, port=36211):
            agent, (server,) = running.enter_context(served(pod, binding))
            assert (ask(pod.guest, server), ask(pod.guest, server, tcp=True)) == (ANSWER, ANSWER)
        with name_server(pod.pod, DOCKER, port=40022):  # started again, it has another one
            agent.prestart()
            assert (ask(pod.guest, server), ask(pod.guest, server, tcp=True)) == (ANSWER, ANSWER)


@pytest.mark.parametrize("binding", ["bridge", "masquerade"])
def test_ipv6(make_pod: MakePod, binding: str) -> None:
    pod = make_pod("ovn-kubernetes", resolv_conf=resolv_conf("::1"))
    original = take_snapshot(pod.pod)
    with name_server(pod.pod, "::1"), Agent(pod, binding=binding) as agent:
        printed = agent.prestart()
        assert printed["warnings"] == []
        (config,) = agent.prestart("--dry-run")["configs"]
        (server,) = config["dns6"]
        pod.guest.write_sysctl(f"ipv6/conf/{GUEST_NIC}/accept_ra", 0)
        pod.guest.ip(f"link set {GUEST_NIC} address {printed['networks'][0]['mac']} up")
        own, router = config["client_address6"], config["router6"]
        pod.guest.ip(f"addr add {own} dev {GUEST_NIC} nodad", f"route add default via {router} dev {GUEST_NIC}")
        pod.guest.await_up(GUEST_NIC)
        with Sniffer(pod.node, "vethpod") as node:
            for tcp in (False, True):
                assert ask(pod.guest, server, tcp=tcp) == ANSWER
                assert ask(pod.pod, "::1", tcp=tcp) == ANSWER
            frames = [frame.packet() for frame in node.frames]
        assert not [p for p in frames if IPv6 in p and server in (p[IPv6].src, p[IPv6].dst)]
        assert ask(pod.guest, "::1") == ""
        agent.teardown()
    pod.guest.ip(f"link set {GUEST_NIC} down")
    assert_restored(pod.pod, original)


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_later_change_is_followed(make_pod: MakePod, binding: str) -> None:
    """Resolvers that come and go between two runs; a run without a change has nothing to do."""
    pod = make_pod()
    original = take_snapshot(pod.pod)
    with name_server(pod.pod, DOCKER), Agent(pod, binding=binding) as agent:
        agent.prestart()

        def servers() -> Any:
            (config,) = agent.prestart("--dry-run")["configs"]
            return config["dns"]

        usual = servers()
        pod.pod.write_resolv_conf(resolv_conf(DOCKER, "10.96.0.10"))
        assert agent.prestart("--dry-run")["plan"]
        agent.prestart()
        substitute, other = servers()
        assert other == "10.96.0.10" != substitute
        assert agent.prestart("--dry-run")["plan"] == []
        assert agent.run("doctor").stdout.count("WRONG") <= 1, "no guest answers"
        pod.pod.write_resolv_conf(resolv_conf(*usual))
        agent.prestart()
        assert servers() == usual
        assert not [r for r in pod.pod.ip_json("route show table all") if r["dst"].startswith("169.254.")]
        assert not [n for n in pod.pod.ip_json("neigh show") if n["dst"].startswith("169.254.")]
        agent.teardown()
    assert_restored(pod.pod, original)


@pytest.mark.parametrize("binding", BINDINGS)
def test_with_a_tap_of_our_own(make_pod: MakePod, binding: str) -> None:
    """Nobody has opened it, so it has no carrier; what leads to the VM is there all the same, and goes with it."""
    pod = make_pod("ovn-kubernetes", guest_port=False, resolv_conf=resolv_conf(DOCKER, "::1"))
    original = take_snapshot(pod.pod)
    with Agent(pod, binding=binding) as agent:
        agent.prestart()
        assert agent.prestart("--dry-run")["plan"] == []
        if binding != "masquerade":
            device = "tap0" if binding == "fwd" else "k6t-eth0"
            (route,) = [r for r in pod.pod.ip_json(f"route show dev {device}") if r["dst"].startswith("169.254.")]
            (neighbour,) = pod.pod.ip_json(f"-4 neigh show dev {device} nud permanent")
            assert route["dst"] == neighbour["dst"]
        agent.teardown()
    assert_restored(pod.pod, original)


@pytest.mark.parametrize("binding", BINDINGS)
def test_what_cannot_be_carried_is_left_out_and_reported(make_pod: MakePod, binding: str) -> None:
    pod = make_pod(resolv_conf=resolv_conf(DOCKER, "127.0.0.1", "::1", "10.96.0.10"))
    with Agent(pod, binding=binding) as agent:
        warnings = agent.prestart()["warnings"]
        (config,) = agent.prestart("--dry-run")["configs"]
        assert len(config["dns"]) == 2
        assert config["dns"][1] == "10.96.0.10"
        assert [line.split()[1] for line in warnings] == ["127.0.0.1:", "::1:"]
        assert all("only the pod itself can reach it" in line and line.endswith("left out") for line in warnings)
        for verb in ("status", "doctor"):
            printed = agent.run(verb).stdout
            assert all(line in printed for line in warnings), verb


@pytest.mark.parametrize("client", [Dhclient, Networkd], ids=lambda client: client.name)
@pytest.mark.parametrize("binding", ["bridge", "fwd"])
def test_without_a_default_route_the_guest_has_one_to_it(make_pod: MakePod, binding: str, client: type[Client]) -> None:
    pod = make_pod("connected-only", resolv_conf=resolv_conf(DOCKER))
    with name_server(pod.pod, DOCKER), served(pod, binding, client) as (_, (server,)):
        assert (ask(pod.guest, server), ask(pod.guest, server, tcp=True)) == (ANSWER, ANSWER)


@pytest.mark.parametrize("binding", BINDINGS)
def test_the_guest_gets_no_further_than_that_port(make_pod: MakePod, binding: str) -> None:
    """Neither elsewhere at the substitute, nor there from an address that is not the VM's."""
    pod = make_pod(resolv_conf=resolv_conf(DOCKER))
    with (
        name_server(pod.pod, DOCKER),
        name_server(pod.pod, DOCKER, "127.0.0.1", port=5353),
        served(pod, binding) as (agent, (server,)),
    ):
        assert ask(pod.guest, server) == ANSWER
        for other, port in ((server, 5353), (DOCKER, 5353), (DOCKER, 53), ("127.0.0.1", 5353)):
            assert ask(pod.guest, other, port=port) == "", (other, port)
        assert not pings(pod.guest, server) or binding == "masquerade"
        assert f"name server {DOCKER}, by {server}" in agent.run("status").stdout


# --- other containers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binding", BINDINGS)
def test_names_of_other_containers(binding: str) -> None:
    """In a network as podman makes it: aardvark-dns, at the gateway, tells containers apart by their addresses."""
    with ContainerNetwork() as network, Agent(network, binding=binding) as agent, Udhcpc(network.guest) as client:
        original = take_snapshot(network.pod)
        printed = agent.prestart()
        assert printed["warnings"] == []
        network.guest.ip(f"link set {GUEST_NIC} address {printed['networks'][0]['mac']}")
        observed = client.acquire()
        assert (observed.nameservers, observed.search) == ((GATEWAY,), (DOMAIN,))
        assert ask(network.guest, GATEWAY, f"database.{DOMAIN}") == network.addresses["database"]
        assert pings(network.guest, network.addresses["database"])
        agent.teardown()
        network.guest.ip(f"link set {GUEST_NIC} down")
        assert_restored(network.pod, original)


@pytest.mark.parametrize("binding", BINDINGS)
def test_names_of_other_containers_by_a_loopback_address(binding: str) -> None:
    """As Docker has it: a server at 127.0.0.11 in the container knows them; here one that forwards to aardvark-dns.

    Where the VM has the pod's address, that one has no way to it, and answers what it knows itself.
    """
    with ContainerNetwork() as network, Agent(network, binding=binding) as agent, Udhcpc(network.guest) as client:
        network.pod.write_resolv_conf(f"search {DOMAIN}\nnameserver {DOCKER}\n")
        with name_server(network.pod, DOCKER, upstream=GATEWAY):
            printed = agent.prestart()
            network.guest.ip(f"link set {GUEST_NIC} address {printed['networks'][0]['mac']}")
            (server,) = client.acquire().nameservers
            assert ask(network.guest, server) == ANSWER
            if binding == "masquerade":
                assert ask(network.guest, server, f"database.{DOMAIN}") == network.addresses["database"]
