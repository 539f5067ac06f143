"""A pod whose network changes while `serve --keep-admin` is there, and nobody calls `prestart`."""

from __future__ import annotations

import select
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from lab.agent import Agent
from lab.monitor import Monitor
from lab.namespace import Namespace
from lab.pod import MakePod, Pod
from lab.rawclient import ACK, NAK, RawClient, Reply
from lab.vmnetworks import manifest
from lab.waiting import wait_until

from launcher.following.follower import LONGEST_SECONDS
from launcher.following.kernel_events import KernelEvents
from netsetup.record import FILE

pytestmark = pytest.mark.root

STORM = 1000


class Followed:
    """`serve --keep-admin` beside a pod, whose resolv.conf it sees as a file among others; a context manager."""

    def __init__(self, agent: Agent, *words: str | Path) -> None:
        self.agent = agent
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        program, _, *usual = agent.command("prestart")
        agent.prestart("--phase", "network", *words)
        self.process = subprocess.Popen(
            [program, "serve", "--netns", agent.namespace.name, "--keep-admin", *usual, *words],
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        wait_until(lambda: self.agent.status()["dhcp"], log=self.log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            assert self.process.wait(10) == 0, self.log()
        finally:
            self.process.kill()
            self._log.close()

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def convergences(self) -> int:
        return int(self.agent.status()["history"]["convergences"])


def join(agent: Agent) -> None:
    """Give the guest the VM's MAC."""
    (network,) = agent.status()["networks"]
    agent.pod.guest.ip(f"link set eth0 address {network['mac']}", "link set eth0 up")


def offer(client: RawClient) -> Reply:
    reply = client.discover()
    assert reply is not None
    return reply


@pytest.mark.parametrize("binding", ["bridge", "masquerade"])
def test_what_changes_is_served(make_pod: MakePod, binding: str) -> None:
    """Each by one change of the pod, and nothing else; at its end the pod is left to whoever has set it up."""
    pod = make_pod()
    with Agent(pod, binding=binding) as agent, Followed(agent) as followed:
        join(agent)
        record = agent.state_directory / FILE
        resolv_conf = pod.pod.configuration / "resolv.conf"
        with RawClient(pod.guest) as client:
            before = offer(client)
            pod.pod.ip("link set eth0 mtu 1300")
            wait_until(lambda: offer(client).number(26) == 1300, log=followed.log)
            resolv_conf.write_text("nameserver 192.0.2.1\n")
            wait_until(lambda: offer(client).addresses(6) == ["192.0.2.1"], log=followed.log)
            (resolv_conf.parent / "new").write_text("nameserver 192.0.2.2\n")
            (resolv_conf.parent / "new").rename(resolv_conf)
            wait_until(lambda: offer(client).addresses(6) == ["192.0.2.2"], log=followed.log)
            assert 3 <= followed.convergences() <= 6, "a file is seen half-written on a busy machine"
            pod.pod.ip("route add 10.77.0.0/16 dev eth0")
            if binding == "bridge":
                wait_until(lambda: ("10.77.0.0/16", "0.0.0.0") in offer(client).routes(), log=followed.log)
                pod.pod.ip("neigh add 10.244.1.77 lladdr 02:00:00:00:00:77 dev eth0")
                wait_until(lambda: "02:00:00:00:00:77" in record.read_text(), log=followed.log)
            request = client.request(before)
            assert request is not None
            assert request.message_type == ACK
        assert agent.status()["pending"] == []


@pytest.mark.parametrize("binding", ["bridge", "masquerade"])
def test_an_interface_goes_and_comes(make_pod: MakePod, binding: str) -> None:
    """Without its interface the guest is served on, and `status` says why; with another one it gets what that has."""
    pod = make_pod()
    with Agent(pod, binding=binding) as agent, Followed(agent) as followed:
        join(agent)
        with RawClient(pod.guest) as client:
            before = offer(client).yiaddr
            pod.pod.ip("link delete eth0")
            reason = "eth0: the interface has left this network namespace"
            wait_until(lambda: agent.status()["history"]["not_taken_in"] == reason, log=followed.log)
            assert f"what has changed in the pod is not taken in: {reason}\n" in agent.run("status").stdout
            assert offer(client).yiaddr == before
            pod.node.ip(f"link add vethnew type veth peer name eth0 netns {pod.pod.name}", "link set vethnew up")
            pod.pod.ip("link set eth0 up", "addr add 10.244.9.9/24 dev eth0", "route add default via 10.244.9.1")
            wait_until(lambda: agent.status()["networks"][0]["pod_addresses"][0] == "10.244.9.9/24", log=followed.log)
            assert agent.status()["history"]["not_taken_in"] == ""
            assert followed.log().count("not taken in: ") == 1
            wait_until(lambda: (offer(client).yiaddr == before) is (binding == "masquerade"), log=followed.log)
            renewal = client.renew(before)
            assert renewal is not None
            assert renewal.message_type == (ACK if binding == "masquerade" else NAK)


@pytest.mark.parametrize("bindings", [("bridge", "fwd"), ("fwd", "bridge"), ("masquerade", "bridge")])
def test_an_interface_that_has_gone_keeps_no_other_from_being_followed(
    make_pod: MakePod, tmp_path: Path, bindings: tuple[str, str]
) -> None:
    pod = make_pod()
    pod.node.ip(f"link add far1 type veth peer name net1 netns {pod.pod.name}", "link set far1 up")
    pod.pod.ip("link set net1 up", "addr add 198.51.100.5/24 dev net1")
    vmi = manifest(tmp_path / "vmi.json", default=bindings[0], blue=bindings[1])
    with Agent(pod) as agent, Followed(agent, "--vmi", vmi) as followed:
        reason = "net1: the interface has left this network namespace"

        def not_taken_in() -> str:
            return str(agent.status()["history"]["not_taken_in"])

        pod.pod.ip("link delete net1")
        wait_until(lambda: not_taken_in() == reason, log=followed.log)
        pod.pod.ip("link set eth0 mtu 1300")
        wait_until(lambda: agent.status()["networks"][0]["mtu"] == 1300, log=followed.log)
        wait_until(lambda: not_taken_in() == reason, log=followed.log)
        pod.node.ip(f"link add far2 type veth peer name net1 netns {pod.pod.name}", "link set far2 up")
        pod.pod.ip("link set net1 up", "addr add 198.51.100.6/24 dev net1")
        wait_until(lambda: agent.status()["networks"][1]["address"] == "198.51.100.6/24", log=followed.log)
        wait_until(lambda: not_taken_in() == "", log=followed.log)
        assert followed.log().count(reason) == 1


def test_an_interface_of_a_preferred_name_changes_nothing(make_pod: MakePod, tmp_path: Path) -> None:
    """A network that got eth1, for want of a net1, keeps that when a net1 comes; when eth1 goes, that is the reason."""
    pod = make_pod()
    pod.pod.ip("link add eth1 type veth peer name far1", "link set far1 up", "link set eth1 up")
    vmi = manifest(tmp_path / "vmi.json", default="bridge", blue="bridge")
    with Agent(pod) as agent, Followed(agent, "--vmi", vmi) as followed:

        def blue() -> dict[str, object]:
            return dict(agent.status()["networks"][1])

        before = blue()
        pod.pod.ip("link add net1 type veth peer name far2", "link set eth0 mtu 1300")
        wait_until(lambda: agent.status()["networks"][0]["mtu"] == 1300, log=followed.log)
        assert "not taken in" not in followed.log()
        assert agent.prestart("--phase", "network", "--vmi", vmi)["networks"][1]["pod_interface"] == "eth1"
        assert blue() == before
        pod.pod.ip("link delete eth1")
        reason = "eth1: the interface has left this network namespace"
        wait_until(lambda: agent.status()["history"]["not_taken_in"] == reason, log=followed.log)
        done = agent.run("prestart", "--phase", "network", "--vmi", vmi)
        assert (done.returncode, reason in done.stderr) == (2, True), done.stderr


def test_a_storm_costs_one_convergence_or_two(pod: Pod, agent: Agent) -> None:
    batch = "".join(f"route add 10.{100 + n // 250}.{n % 250}.0/24 dev eth0\n" for n in range(STORM))
    with Followed(agent) as followed:
        began = time.monotonic()
        pod.pod.run(["ip", "-batch", "-"], stdin=batch)
        took = time.monotonic() - began
        record = agent.state_directory / FILE
        wait_until(lambda: f"10.{100 + (STORM - 1) // 250}.{(STORM - 1) % 250}.0" in record.read_text())
        wait_until(lambda: followed.convergences() > 0, log=followed.log)
        assert followed.convergences() <= 2 + took / LONGEST_SECONDS
        assert agent.status()["pending"] == []


def test_the_router_is_advertised_at_once(make_pod: MakePod) -> None:
    pod = make_pod("ipv6-addresses")

    def advertisements() -> int:
        return sum(port["advertisements"] for port in agent.status()["dhcp"]["ports"])

    with Agent(pod) as agent, Followed(agent) as followed:
        pod.guest.ip("link set eth0 up")
        wait_until(lambda: agent.status()["networks"][0]["guest_connected"])
        before = advertisements()
        pod.pod.ip("link set eth0 mtu 1300")
        wait_until(lambda: followed.convergences() == 1, log=followed.log)
        wait_until(lambda: advertisements() > before, log=followed.log)


def test_what_a_guest_does_is_not_looked_at() -> None:
    """The neighbours its traffic has the pod look for, the MACs that a bridge learns, and its port's carrier."""
    with Namespace("pod") as pod, Namespace("guest") as guest:
        for namespace in (pod, guest):
            namespace.sysctl(ipv6__conf__default__disable_ipv6=1)
        pod.ip("link add br0 type bridge", f"link add tap0 type veth peer name eth0 netns {guest.name}")
        pod.ip("link set tap0 master br0 up", "link set br0 up", "addr add 192.0.2.1/24 dev br0")
        pod.sysctl(ipv4__neigh__br0__mcast_solicit=1, ipv4__neigh__br0__retrans_time_ms=10)
        guest.ip("link set eth0 up", "addr add 192.0.2.2/24 dev eth0")
        pod.await_up("br0")
        with pod.entered():
            events = KernelEvents()
        with Monitor(pod, "neigh link") as monitor:
            assert not events.drain()
            guest.run(["ping", "-c", "1", "-w", "5", "192.0.2.1"])
            with pod.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"nobody is there", ("192.0.2.99", 9))
            wait_until(lambda: any("192.0.2.99" in e and "FAILED" in e for e in monitor.events()), log=monitor.events)
            assert select.select([events], [], [], 0)[0] == [], "it does not even wake"
            for is_news in (True, False):  # what is heard of an interface for the first time is
                for state, operstate in (("down", "DOWN"), ("up", "UP")):
                    guest.ip(f"link set eth0 {state}")
                    wait_until(lambda operstate=operstate: pod.link("br0")["operstate"] == operstate)
                assert events.drain() is is_news
            pod.ip("neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev br0")
            assert events.drain(), "one that somebody configures"
            pod.ip("neigh del 192.0.2.77 dev br0")
            assert events.drain(), "and removes"
        events.close()


def test_a_masqueraded_pod_without_an_address_serves_on(make_pod: MakePod) -> None:
    """Router and lease stay, and it is said once; `prestart` refuses, and an address that comes back heals it."""
    pod = make_pod()
    with Agent(pod, binding="masquerade") as agent, Followed(agent) as followed:
        join(agent)
        reason = "eth0: has no address to masquerade behind"
        address = agent.status()["networks"][0]["pod_addresses"][0]
        with RawClient(pod.guest) as client:
            before, router = offer(client).yiaddr, pod.pod.ip_json("-4 addr show dev k6t-eth0")
            pod.pod.ip(f"addr del {address} dev eth0")
            wait_until(lambda: agent.status()["history"]["not_taken_in"] == reason, log=followed.log)
            assert offer(client).yiaddr == before
            assert pod.pod.ip_json("-4 addr show dev k6t-eth0") == router
            refused = agent.run("prestart", "--phase", "network")
            assert (refused.returncode, reason in refused.stderr) == (2, True), refused.stderr
            assert "has no address to masquerade behind" in agent.run("doctor").stdout
            pod.pod.ip(f"addr add {address} dev eth0")
            wait_until(lambda: agent.status()["history"]["not_taken_in"] == "", log=followed.log)
            assert offer(client).yiaddr == before
        assert followed.log().count(reason) == 1
        assert "DHCP server" not in followed.log(), followed.log()
