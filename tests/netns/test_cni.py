"""Pods that real CNI plugins add and delete, as a container runtime does before and after the program."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab.agent import DIRECT, Agent
from lab.checks import assert_lease, pings
from lab.clients import CLIENTS, Client, Dhclient, Dhcpcd, Networkd, Udhcpc
from lab.cni import CniPod, Plugin
from lab.doctor import examine
from lab.masqueraded import write_manifest
from lab.reach import seen_by, serving
from lab.shape import OUTSIDE, GuestNetwork, Route
from lab.snapshot import assert_restored, take_snapshot
from lab.sniffer import Sniffer

pytestmark = pytest.mark.root

GATEWAY, ADDRESS, NEIGHBOUR = "10.244.1.1", "10.244.1.2", "10.244.1.3"
ADDRESS6 = "fd00:10:244:1::2/64"
IPAM = {"type": "host-local", "ranges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:10:244:1::/64"}]]}
DEFAULTS = {"routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}
BRIDGE = {"type": "bridge", "bridge": "cni0", "isDefaultGateway": True, "hairpinMode": True}
PORT = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}


SETTINGS = ((4, "arp_ignore"), (4, "forwarding"), (6, "disable_ipv6"), (6, "accept_dad"), (6, "addr_gen_mode"))


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of plugins, and the network that a guest behind them must get."""

    plugins: tuple[Plugin, ...]
    guest: GuestNetwork

    @property
    def address(self) -> str:
        return self.guest.address


CHAINS = {
    "bridge": Chain(
        ({**BRIDGE, "mtu": 1400, "ipam": {**IPAM, "routes": [{"dst": "10.96.0.0/12"}]}},),
        GuestNetwork(f"{ADDRESS}/24", 1400, GATEWAY),  # its other route is implied by the default one
    ),
    # the subnet is not on-link: the host-side veth is the only neighbour
    "ptp": Chain(
        ({"type": "ptp", "mtu": 1400, "ipam": {**IPAM, **DEFAULTS}},),
        GuestNetwork(f"{ADDRESS}/32", 1400, GATEWAY, (Route(f"{GATEWAY}/32", "0.0.0.0"),)),
    ),
    "bridge, tuning, portmap, firewall": Chain(
        (
            {**BRIDGE, "ipam": IPAM},
            {"type": "tuning", "mac": "02:00:00:00:00:21", "mtu": 1300, "sysctl": {"net.ipv4.ip_default_ttl": "63"}},
            {"type": "portmap", "capabilities": {"portMappings": True}, "runtimeConfig": {"portMappings": [PORT]}},
            {"type": "firewall"},
        ),
        GuestNetwork(f"{ADDRESS}/24", 1300, GATEWAY),
    ),
}


@pytest.mark.parametrize("binding", DIRECT)
@pytest.mark.parametrize("client", [Udhcpc, Dhclient, Networkd], ids=lambda client: client.name)
@pytest.mark.parametrize("name", CHAINS)
def test_set_up_lease_traffic_teardown_and_del(name: str, client: type[Client], binding: str) -> None:
    guest = CHAINS[name].guest
    with CniPod(CHAINS[name].plugins) as pod, Agent(pod, binding=binding) as agent:
        neighbour = pod.add_neighbour()
        before = take_snapshot(pod.pod)
        (network,) = agent.prestart()["networks"]
        assert set(network["addresses"]) == {f"{ADDRESS}/24", ADDRESS6}
        assert network["mac"] == pod.mac
        with client(pod.guest) as running:
            assert_lease(running, running.acquire(), guest)
            for target in (GATEWAY, NEIGHBOUR, OUTSIDE):
                assert pings(pod.guest, target), target
            assert pings(pod.guest, OUTSIDE, size=guest.mtu)
            assert pings(pod.node, ADDRESS)
            assert pings(neighbour, ADDRESS)
            assert name != "bridge, tuning, portmap, firewall" or is_connected(pod)
        agent.teardown()
        assert_restored(pod.pod, before)
        assert pings(pod.pod, OUTSIDE)
        pod.delete()
        assert not pod.pod.has_link("eth0")
        assert ADDRESS not in pod.reserved()


@pytest.mark.parametrize("binding", DIRECT)
@pytest.mark.parametrize("name", ["bridge", "ptp"])
def test_the_container_is_killed_and_its_network_deleted(name: str, binding: str) -> None:
    """The runtime calls DEL while everything is set up; teardown then takes away what is left, and that is all ours."""
    with CniPod(CHAINS[name].plugins) as pod, Agent(pod, binding=binding) as agent:
        agent.prestart()
        pod.delete()
        assert pod.reserved() == []
        doctor = agent.run("doctor")
        assert doctor.returncode == 1
        assert doctor.stdout.startswith(
            "WRONG pod NIC         eth0 has left this network namespace → the CNI has taken"
        )
        agent.teardown()
        assert [link["ifname"] for link in pod.pod.ip_json("link show")] == ["lo", "tap0"]
        assert pod.pod.run(["nft", "list", "ruleset"]).stdout == ""
        assert pod.pod.processes() == []
        assert not agent.state_directory.exists()
        again = agent.run("teardown", check=True)
        assert "nothing was set up" in again.stderr


@pytest.mark.parametrize("binding", DIRECT)
def test_a_pod_is_deleted_and_made_anew_in_the_same_namespace(binding: str) -> None:
    """As after a failed ADD further down a chain: the old record is of an interface that is no more."""
    with CniPod(CHAINS["bridge"].plugins) as pod, Agent(pod, binding=binding) as agent:
        agent.prestart()
        pod.delete()
        agent.teardown()
        pod.add()
        (network,) = agent.prestart()["networks"]
        assert "10.244.1.3/24" in network["addresses"]


@pytest.mark.parametrize(
    ("name", "client", "binding"),
    [("bridge", client, "bridge") for client in CLIENTS]
    + [("ptp", Dhclient, "bridge"), ("bridge", Udhcpc, "fwd"), ("ptp", Dhclient, "fwd")],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_pod_that_is_made_anew_behind_our_back(
    name: str, client: type[Client], binding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DEL and ADD while the pod is set up: the hook, run again, sets up the new interface, and the guest gets a NAK.

    Isolation drops frames with its old address, so only the server receives its ARP for the server. "Within two
    seconds" is counted from the NAK, without the time that the client itself waits after a NAK.
    """
    monkeypatch.setattr(Dhcpcd, "probing", False)
    with CniPod(CHAINS[name].plugins) as pod, Agent(pod, binding=binding) as agent, client(pod.guest) as running:
        mac = agent.prestart()["networks"][0]["mac"]
        agent.serve(lease_seconds=20, t1_seconds=2, t2_seconds=18)
        assert running.acquire().addresses == (CHAINS[name].address,)
        pod.delete()
        pod.add()
        anew = of_nic(pod)
        with Sniffer(pod.guest, "eth0") as guest:
            (network,) = agent.prestart()["networks"]
            assert (network["mac"], set(network["addresses"])) == (mac, {"10.244.1.3/24", "fd00:10:244:1::3/64"})
            if not running.clock:
                running.renew()
            refused = guest.wait_for(lambda frame: not frame.outgoing and frame.is_dhcp(6), timeout=10).time
        wanted = (CHAINS[name].address.replace(ADDRESS, "10.244.1.3"),)
        while running.addresses() != wanted or not pings(pod.guest, OUTSIDE):
            assert time.monotonic() - refused < running.sulks + 2, running.log()
            time.sleep(0.02)
        assert pings(pod.node, "10.244.1.3")
        assert agent.run("prestart", "--dry-run", check=True).stdout.startswith("nothing to do\n")
        agent.teardown()
        assert of_nic(pod) == anew
        assert pings(pod.pod, OUTSIDE)


def test_a_masqueraded_pod_that_is_made_anew(tmp_path: Path) -> None:
    """The VM's own network is unchanged, so the VM's lease is, too; its packets leave with the new address."""
    with CniPod(CHAINS["bridge"].plugins) as pod, Agent(pod) as agent, Udhcpc(pod.guest) as running:
        # Not the pod's: one in 64 MACs that the kernel draws begins with fe, which a manifest must not give.
        mac = "02:00:00:00:00:77"
        pod.guest.ip(f"link set eth0 address {mac}")
        manifest = write_manifest(tmp_path, interface={"macAddress": mac})
        agent.prestart("--vmi", manifest)
        running.acquire()
        assert pings(pod.guest, OUTSIDE)
        pod.delete()
        pod.add()
        anew = of_nic(pod)
        agent.prestart("--vmi", manifest)
        assert running.addresses() == ("10.0.2.2/24",)
        with serving(pod.node, "udp", 7777, OUTSIDE) as server:
            assert seen_by(server, pod.guest, OUTSIDE) == "10.244.1.3"
        assert agent.run("prestart", "--vmi", manifest, "--dry-run", check=True).stdout.startswith("nothing to do\n")
        agent.teardown()
        assert of_nic(pod) == anew
        assert pings(pod.pod, OUTSIDE)


@pytest.mark.parametrize("binding", DIRECT)
def test_a_pod_that_is_made_anew_is_not_put_back_as_the_old_one(binding: str) -> None:
    with CniPod(CHAINS["bridge"].plugins) as pod, Agent(pod, binding=binding) as agent:
        agent.prestart()
        pod.delete()
        pod.add()
        anew = of_nic(pod)
        assert "the CNI has made eth0 anew" in agent.run("status", check=True).stdout
        agent.teardown()
        assert of_nic(pod) == anew


MACVLAN = {"type": "macvlan", "master": "up0", "ipam": {**IPAM, **DEFAULTS}}


def test_macvlan_is_refused_with_what_to_use_instead() -> None:
    """And what is named works: the guest gets its lease, and the pod is put back."""
    with CniPod([MACVLAN]) as pod:
        before = take_snapshot(pod.pod)
        with Agent(pod) as agent:
            refused = agent.run("prestart")
            assert refused.returncode == 2
            message = "eth0: a macvlan device lets no second MAC through; use the fwd or masquerade binding\n"
            assert message in refused.stderr
            assert_restored(pod.pod, before)
        pod.node.ip("addr add 10.244.1.1/24 dev up1", "addr add fd00:10:244:1::1/64 dev up1 nodad")
        for binding in ("fwd", "masquerade"):
            with Agent(pod, binding=binding) as agent, Udhcpc(pod.guest) as client:
                pod.guest.ip(f"link set eth0 address {agent.prestart()['networks'][0]['mac']}")
                client.acquire()
                assert pings(pod.guest, GATEWAY), binding
                agent.teardown()
                assert_restored(pod.pod, before)
        pod.delete()


@pytest.mark.parametrize("client", [Udhcpc, Dhclient, Networkd], ids=lambda client: client.name)
def test_fwd_on_macvlan(client: type[Client]) -> None:
    """Node behind the lower device, and another pod on it, over both families and with all that a guest resolves."""
    with CniPod([MACVLAN]) as pod, Agent(pod, binding="fwd") as agent:
        pod.node.ip(f"addr add {GATEWAY}/24 dev up1", "addr add fd00:10:244:1::1/64 dev up1 nodad")
        neighbour = pod.add_neighbour()
        before = take_snapshot(pod.pod)
        assert "ALLMULTI" not in pod.pod.link("eth0")["flags"]
        agent.prestart()
        assert "ALLMULTI" in pod.pod.link("eth0")["flags"]
        with client(pod.guest) as running:
            assert_lease(running, running.acquire(), GuestNetwork(f"{ADDRESS}/24", 1500, GATEWAY))
            pod.guest.ip(f"addr replace {ADDRESS6} dev eth0 nodad")
            for target in (GATEWAY, NEIGHBOUR, "fd00:10:244:1::1", "fd00:10:244:1::3"):
                assert pings(pod.guest, target), target
            # None of them knows the guest's MAC any more: its answer to their multicast is all that helps.
            for other in (pod.node, neighbour):
                other.ip("neigh flush all")
                for own in (ADDRESS, ADDRESS6.partition("/")[0]):
                    assert pings(other, own), (other.role, own)
            assert examine(agent).wrong == {}
        assert agent.run("prestart", "--dry-run", check=True).stdout.startswith("nothing to do\n")
        agent.teardown()
        assert_restored(pod.pod, before)
        assert pings(pod.pod, NEIGHBOUR)


def test_a_macvlan_pod_that_is_made_anew(tmp_path: Path) -> None:
    """With the MAC it had, the VM goes on; with another one it cannot, and that is said."""
    mac = "02:00:00:00:00:31"
    fixed = [MACVLAN, {"type": "tuning", "mac": mac}]
    with CniPod(fixed) as pod, Agent(pod, binding="fwd") as agent:
        assert agent.prestart()["networks"][0]["mac"] == mac
        pod.delete()
        pod.add()
        (network,) = agent.prestart()["networks"]
        assert (network["mac"], set(network["addresses"])) == (mac, {"10.244.1.3/24", "fd00:10:244:1::3/64"})
        agent.teardown()
    with CniPod([MACVLAN]) as pod, Agent(pod, binding="fwd") as agent:
        agent.prestart()
        pod.delete()
        pod.add()
        anew = of_nic(pod)
        refused = agent.run("prestart")
        assert refused.returncode == 2
        assert f"a macvlan device lets no MAC through but its own {pod.pod.link('eth0')['address']}" in refused.stderr
        agent.teardown()
        assert of_nic(pod) == anew


def of_nic(pod: CniPod) -> list[object]:
    """The part of the snapshot about the pod interface: link, addresses, routes and settings."""
    pod.pod.settle()
    commands = ("-d addr show dev eth0", "-4 route show table all dev eth0", "-6 route show table all dev eth0")
    settings = [f"ipv{family}/conf/eth0/{name}" for family, name in SETTINGS]
    return [*map(pod.pod.ip_json, commands), *map(pod.pod.read_sysctl, settings)]


def is_connected(pod: CniPod) -> bool:
    """Whether a port of the node is forwarded to the guest's, as portmap is configured."""
    with pod.guest.entered():
        server = socket.create_server((ADDRESS, PORT["containerPort"]))
    with server, pod.node.entered(), socket.create_connection((GATEWAY, PORT["hostPort"]), timeout=3) as client:
        accepted, _ = server.accept()
        with accepted:
            accepted.sendall(b"hello")
            return client.recv(5) == b"hello"
