"""`virt-launcher doctor`: a healthy pod has no finding, and each fault is reported at its hop and at no other."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab.advice import follow_findings
from lab.agent import DIRECT, Agent, binding_field
from lab.checks import pings
from lab.clients import Dhcpcd, Udhcpc
from lab.doctor import BEYOND_THE_NIC, HOPS, examine, hops_of
from lab.namespace import Namespace
from lab.pod import MakePod, Pod
from lab.rawclient import RawClient
from lab.shape import load_shape, shape_names
from lab.snapshot import assert_restored, take_snapshot
from lab.sniffer import Sniffer
from lab.waiting import PATIENCE, kill, wait_until
from scapy.layers.dhcp import DHCP
from scapy.layers.l2 import ARP

from netsetup.apply import prepare_pod_network_interfaces
from netsetup.bindings.registry import BUILT_IN
from netsetup.model.request import NetworkRequest

pytestmark = pytest.mark.root

OTHER_MAC = "52:54:00:00:00:99"
# the VM's interface is the pod's eth0 in all but ovn-udn, where a manifest would have to name another
SHAPES = [name for name in shape_names() if load_shape(name).interface == "eth0"]


@pytest.mark.parametrize("binding", DIRECT)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_healthy_pod_has_no_finding(make_pod: MakePod, shape: str, binding: str) -> None:
    pod = make_pod(shape)
    with Agent(pod, binding=binding) as agent, Udhcpc(pod.guest) as client:
        agent.prestart()
        if pod.shape.guest:
            client.acquire()
        else:
            pod.guest.ip("link set eth0 up")
        address6 = give_ipv6(pod, agent)
        report = examine(agent)
    hops = hops_of(ipv4=bool(pod.shape.guest) or not address6, ipv6=bool(address6), binding=binding)
    unserved = ["lease"] if address6 and not pod.shape.guest else []  # the pod's name server is one of IPv4
    report.assert_names({}, set(unserved))
    assert report.hops == hops + unserved


def give_ipv6(pod: Pod, agent: Agent) -> str:
    """Set the VM's IPv6 address in the guest by hand, if it is served one."""
    address: str = agent.status()["networks"][0]["address6"]
    if address:
        pod.guest.ip(f"addr add {address} dev eth0 nodad")
    return address


@dataclass(frozen=True)
class Fault:
    """A fault injected into a pod whose guest has its lease, and the expected findings."""

    inject: Callable[[Pod], object]
    wrong: Mapping[str, str]
    unseen: Set[str] = frozenset()
    shape: str = "flannel"


def in_pod(*lines: str) -> Callable[[Pod], object]:
    return lambda pod: pod.pod.ip(*lines)


def on_node(*lines: str) -> Callable[[Pod], object]:
    return lambda pod: pod.node.ip(*lines)


def nft(*commands: str) -> Callable[[Pod], object]:
    return lambda pod: pod.pod.run(["nft", "; ".join(commands)])


def filter_bridged(pod: Pod) -> None:
    chain = "add chain bridge filter forward { type filter hook forward priority 0; policy drop; }"
    pod.pod.run(["nft", f"add table bridge filter; {chain}"])


def make_tap_anew(pod: Pod) -> None:
    """Replace the tap by a new one of the same name, as a VM does that makes its own; the server has the old one."""
    pod.pod.ip("link del tap0")
    pod.plug_guest(pod.mac)
    pod.pod.ip("link set tap0 mtu 1450 master k6t-eth0 up")
    pod.pod.run(["bridge", "link", "set", "dev", "tap0", "learning", "off"])
    pod.pod.run(["bridge", "fdb", "add", pod.mac, "dev", "tap0", "master", "static", "sticky"])
    pod.pod.write_sysctl("ipv6/conf/tap0/disable_ipv6", 1)
    pod.guest.ip("link set eth0 up", "addr add 10.244.1.3/24 dev eth0", "route add default via 10.244.1.1")


def start_dnsmasq(pod: Pod, *options: str) -> None:
    """Start a DHCP server on the node, which pings for three seconds before it offers an address."""
    ready = pod.node.configuration / "dnsmasq.log"
    ready.parent.mkdir(parents=True, exist_ok=True)
    pod.node.popen(
        [
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--bind-interfaces",
            "--interface=cni0",
            "--except-interface=lo",
            "--dhcp-range=10.244.1.100,10.244.1.110,255.255.255.0,120",
            f"--dhcp-leasefile={ready.parent}/leases",
            f"--log-facility={ready}",
            "--user=root",
            *options,
        ]
    )
    wait_until(lambda: ready.exists() and "sockets bound exclusively" in ready.read_text())


def test_the_networks_own_server_is_no_finding(pod: Pod, agent: Agent) -> None:
    """It is at the gateway, and offers what the CNI has given the pod; our table keeps it from the guest."""
    with Udhcpc(pod.guest) as client:
        agent.prestart()
        client.acquire()
        start_dnsmasq(pod, f"--dhcp-host={pod.mac},10.244.1.3", "--no-ping")
        report = examine(agent)
        report.assert_names({})
        assert "the network's own DHCP server, 10.244.1.1 at MAC" in report.text
        pod.pod.run(["nft", "delete table bridge virt-launcher"])
        examine(agent).assert_names({"nftables table": "is gone", "pod network": "another DHCP server"})


FAULTS = {
    "guest port of another MTU": Fault(
        in_pod("link set tap0 mtu 1400"), {"guest port": "tap0 has MTU 1400, not 1450 → run `virt-launcher prestart`"}
    ),
    "pod NIC of a smaller MTU": Fault(
        in_pod("link set eth0 mtu 1400"),
        {"pod NIC": r"eth0 has MTU 1400, less than the 1450 .* → run `virt-launcher prestart`"},
    ),
    "pod NIC of a larger MTU": Fault(
        in_pod("link set eth0 mtu 1500"), {"pod NIC": r"eth0 has MTU 1500, more than the 1450 .* → run `virt-launcher"}
    ),
    "bridge of a smaller MTU": Fault(
        in_pod("link set k6t-eth0 mtu 1400"), {"bridge": "k6t-eth0 has MTU 1400, not 1450 → in the pod: `ip link set"}
    ),
    "node's end of a smaller MTU": Fault(
        on_node("link set vethpod mtu 1400"), {"node": "packets of 1450 bytes do not come back from 10.244.1.1"}
    ),
    "node's end of a smaller MTU, silent gateway": Fault(
        on_node("link set vethpod mtu 1400"), {"node": "packets of 1440 bytes do not come back"}, shape="calico"
    ),
    "foreign DHCP server": Fault(start_dnsmasq, {"pod network": r"another DHCP server, 10\.244\.1\.1 at MAC"}),
    "guest port down": Fault(in_pod("link set tap0 down"), {"guest port": "tap0 is down"}, {"guest"}),
    "pod NIC down": Fault(in_pod("link set eth0 down"), {"pod NIC": "^eth0 is down"}, BEYOND_THE_NIC),
    "duplicate address": Fault(
        lambda pod: pod.neighbour.ip("addr add 10.244.1.3/24 dev eth0"),
        {"pod network": r"another host, MAC 0e:99:00:00:00:01, has 10\.244\.1\.3 too"},
    ),
    "route to the pod lost": Fault(
        on_node("route del 10.244.1.0/24 dev cni0"), {"node": r"10\.244\.1\.1 is there, but no IP packet comes back"}
    ),
    "route to the pod lost, silent gateway": Fault(
        on_node("route del 192.168.103.70 dev vethpod"), {"node": "no IP packet comes back"}, shape="calico"
    ),
    "route to the pod lost, permanent neighbour": Fault(
        on_node("route del 10.0.97.30 dev vethpod"), {"node": "no IP packet comes back"}, shape="aws"
    ),
    "gateway gone": Fault(
        on_node("addr del 10.244.1.1/24 dev cni0"), {"gateway": r"10\.244\.1\.1 does not answer ARP"}, {"node"}
    ),
    "table gone": Fault(nft("delete table bridge virt-launcher"), {"nftables table": "our table is gone"}),
    "table changed": Fault(
        nft("delete table bridge virt-launcher", 'add table bridge virt-launcher { comment "0" ; }'),
        {"nftables table": "not the one of this set-up"},
    ),
    "bridged frames filtered": Fault(
        filter_bridged, {"bridge": "(?s)in on eth0 does not leave by tap0.*in on tap0 does not leave by eth0.*nft list"}
    ),
    "learning on": Fault(
        in_pod("link set eth0 type bridge_slave learning on"), {"bridge port": "eth0 learns MACs.* → run .*prestart"}
    ),
    "no carrier at the guest": Fault(
        lambda pod: pod.guest.ip("link set eth0 down"), {"guest": "tap0 has no carrier → no VM is behind it"}
    ),
    "no carrier at the node": Fault(
        on_node("link set vethpod down"), {"pod NIC": "eth0 has no carrier → look at its other end"}, BEYOND_THE_NIC
    ),
    "pod NIC off the bridge": Fault(
        in_pod("link set eth0 nomaster"), {"bridge port": "eth0 is not a port of k6t-eth0"}
    ),
    "guest port off the bridge": Fault(
        in_pod("link set tap0 nomaster"), {"guest port": "tap0 is not a port of k6t-eth0; .* is not pinned"}
    ),
    "bridge gone": Fault(in_pod("link del k6t-eth0"), {"bridge": "^k6t-eth0 is gone"}, {"bridge port", "guest port"}),
    "bridge down": Fault(in_pod("link set k6t-eth0 down"), {"bridge": "k6t-eth0 is down"}),
    "address not kept": Fault(
        in_pod("addr flush dev k6t-eth0 scope host"), {"bridge": r"k6t-eth0 does not have 10\.244\.1\.3"}
    ),
    "address back on the pod NIC": Fault(
        in_pod("addr add 10.244.1.3/24 dev eth0"), {"pod NIC": r"eth0 has 10\.244\.1\.3/24"}
    ),
    "pod answers ARP": Fault(
        lambda pod: pod.pod.sysctl(ipv4__conf__eth0__arp_ignore=0), {"pod NIC": "arp_ignore is 0, not 3"}
    ),
    "pod NIC gone": Fault(
        in_pod("link del eth0"),
        {"pod NIC": "eth0 has left"},
        {"bridge port", "bridge", "guest port", *BEYOND_THE_NIC},
    ),
    "guest port gone": Fault(in_pod("link del tap0"), {"guest port": "^tap0 is gone"}, {"guest"}),
    "guest port in use": Fault(
        in_pod("addr add 10.9.9.9/24 dev tap0"),
        {"guest port": r"tap0: in use, .* address 10\.9\.9\.9/24 → take that away"},
        {"pod NIC", "bridge port", "bridge"},
    ),
    "bridge of another owner": Fault(
        in_pod("link del k6t-eth0", "link add k6t-eth0 type bridge"),
        {"bridge": "a bridge of that name exists"},
        {"pod NIC", "bridge port", "guest port"},
    ),
    "guest port made anew": Fault(make_tap_anew, {"DHCP server": "does not serve tap0 as it is now"}),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_named_and_nothing_else(make_pod: MakePod, fault: Fault) -> None:
    pod = make_pod(fault.shape)
    with Agent(pod) as agent, Udhcpc(pod.guest) as client:
        agent.prestart()
        client.acquire()
        give_ipv6(pod, agent)
        fault.inject(pod)
        report = examine(agent)
        report.assert_names(fault.wrong, fault.unseen)
        follow_findings(pod, agent, report, agent.prestart)


def make_bare_tap_anew(pod: Pod) -> None:
    """Nobody but the VM has to do with it: it is up, and nothing knows of it."""
    pod.pod.ip("link del tap0")
    pod.plug_guest(pod.mac)
    pod.pod.ip("link set tap0 mtu 1450 up")
    pod.pod.write_sysctl("ipv6/conf/tap0/disable_ipv6", 1)
    pod.guest.ip("link set eth0 up", "addr add 10.244.1.3/24 dev eth0", "route add default via 10.244.1.1")


def take_frames_away(pod: Pod) -> None:
    chain = 'add chain netdev thief c { type filter hook ingress device "tap0" priority -10; policy drop; }'
    pod.pod.run(["nft", f"add table netdev thief; {chain}"])


FWD_FAULTS = {
    **{
        name: FAULTS[name]
        for name in (
            "guest port of another MTU",
            "pod NIC of a smaller MTU",
            "node's end of a smaller MTU",
            "node's end of a smaller MTU, silent gateway",
            "foreign DHCP server",
            "pod NIC down",
            "duplicate address",
            "route to the pod lost",
            "route to the pod lost, permanent neighbour",
            "gateway gone",
            "no carrier at the guest",
            "no carrier at the node",
            "bridge down",
            "address not kept",
            "address back on the pod NIC",
            "pod answers ARP",
        )
    },
    "guest port down": Fault(in_pod("link set tap0 down"), {"guest port": "tap0 is down"}, {"guest"}),
    "netdev table gone": Fault(
        nft("delete table netdev virt-launcher"), {"nftables table": "netdev family is gone: no frame is forwarded"}
    ),
    "bridge table gone": Fault(nft("delete table bridge virt-launcher"), {"nftables table": "our table is gone"}),
    "table changed": Fault(
        nft("delete table netdev virt-launcher", 'add table netdev virt-launcher { comment "0" ; }'),
        {"nftables table": "not the one of this set-up"},
    ),
    "rules flushed": Fault(
        nft("flush chain netdev virt-launcher tap0-ipv4"), {"nftables table": "rules of our table were changed"}
    ),
    "frames taken away": Fault(
        take_frames_away, {"nftables table": r"(?s)in on tap0 does not leave by eth0 → something else drops or"}
    ),
    "multicast filtered": Fault(
        in_pod("link set eth0 allmulticast off"),
        {"pod NIC": "eth0 filters multicast, .* → run `virt-launcher prestart`"},
    ),
    "pod NIC with another MAC": Fault(
        in_pod(f"link set eth0 address {OTHER_MAC}"), {"pod NIC": f"eth0 has MAC {OTHER_MAC}, not aa:"}
    ),
    "keeper gone": Fault(in_pod("link del k6t-eth0"), {"bridge": "^k6t-eth0 is gone"}),
    "guest port gone": Fault(
        in_pod("link del tap0"), {"guest port": "^tap0 is gone", "nftables table": "a device that they name"}, {"guest"}
    ),
    "guest port made anew": Fault(
        make_bare_tap_anew,
        {"DHCP server": "does not serve tap0 as it is now", "nftables table": "a device that they name was made anew"},
    ),
    "pod NIC gone": Fault(
        in_pod("link del eth0"),
        {"pod NIC": "eth0 has left"},
        {"nftables table", "bridge", "guest port", *BEYOND_THE_NIC},
    ),
}


@pytest.mark.parametrize("fault", FWD_FAULTS.values(), ids=FWD_FAULTS.keys())
def test_a_fault_with_fwd(make_pod: MakePod, fault: Fault) -> None:
    """Named, and nothing else; and what `prestart` can put right, it does."""
    pod = make_pod(fault.shape)
    with Agent(pod, binding="fwd") as agent, Udhcpc(pod.guest) as client:
        agent.prestart()
        client.acquire()
        give_ipv6(pod, agent)
        fault.inject(pod)
        report = examine(agent)
        report.assert_names(fault.wrong, fault.unseen)
        follow_findings(pod, agent, report, agent.prestart)


EDITS = {
    "chain flushed": "flush chain bridge virt-launcher tap0-ipv4",
    "last chain flushed": "flush chain bridge virt-launcher output",
    "all rules flushed": "flush table bridge virt-launcher",
    "rule added": "insert rule bridge virt-launcher forward accept",
    "rule replaced": "replace rule bridge virt-launcher output handle {last} accept",
    "policy changed": "add chain bridge virt-launcher forward {{ policy drop ; }}",
    "table dormant": "add table bridge virt-launcher {{ flags dormant ; }}",
}
"""What leaves the comment with the digest as it is."""


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_edited_rules_are_named_and_put_right(pod: Pod, agent: Agent, edit: str) -> None:
    agent.prestart()
    with Udhcpc(pod.guest) as client:
        client.acquire()
        listed = pod.pod.run(["nft", "-a", "list", "chain", "bridge", "virt-launcher", "output"]).stdout
        pod.pod.run(["nft", edit.format(last=re.findall(r"handle (\d+)", listed)[-1])])
        examine(agent).assert_names({"nftables table": "rules of our table were changed .* → run `virt-launcher prest"})
        assert "nft load table bridge virt-launcher" in agent.run("status").stdout
        agent.prestart()
        examine(agent).assert_names({})
        assert "out of place" not in agent.run("status").stdout


@pytest.mark.parametrize(
    ("number", "finding"),
    [(signal.SIGKILL, "no DHCP server runs"), (signal.SIGSTOP, r"DHCP server \(pid \d+\): no answer in time → run")],
)
def test_a_dead_server_and_one_that_hangs(pod: Pod, agent: Agent, number: signal.Signals, finding: str) -> None:
    pid = agent.prestart()["dhcp"]["pid"]
    with Udhcpc(pod.guest) as client:
        client.acquire()
        os.kill(pid, number)
        wait_for_signal(pid)
        examine(agent).assert_names({"DHCP server": finding})
        agent.prestart()  # which replaces it
        examine(agent).assert_names({})


def wait_for_signal(pid: int) -> None:
    """Wait until the process is stopped, a zombie or gone."""
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while "State:\tS" in Path("/proc", str(pid), "status").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_without_a_server_a_guest_without_a_lease_is_no_finding_of_its_own(pod: Pod, agent: Agent) -> None:
    kill(agent.prestart()["dhcp"]["pid"])
    pod.guest.ip("link set eth0 up")
    examine(agent).assert_names({"DHCP server": "no DHCP server runs"}, {"guest"})


def test_a_guest_with_another_mac_that_asks_for_a_lease(make_pod: MakePod) -> None:
    pod = make_pod(guest_mac=OTHER_MAC)
    with Agent(pod) as agent, Udhcpc(pod.guest) as client:
        agent.prestart()
        client.start()
        agent.wait_for_log("another MAC")
        examine(agent).assert_names({"guest": f"sends with MAC .*, not {pod.mac}"}, {"guest port"})


def test_a_guest_with_another_mac_and_the_address_set_by_hand(make_pod: MakePod) -> None:
    pod = make_pod(guest_mac=OTHER_MAC)
    with Agent(pod) as agent:
        agent.prestart()
        pod.guest.ip("link set eth0 up", "addr add 10.244.1.3/24 dev eth0")
        answers = f"answers for 10.244.1.3 with MAC {OTHER_MAC}, not {pod.mac}"
        examine(agent).assert_names({"guest": answers}, {"guest port"})


def test_a_guest_that_runs_no_dhcp_client(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    pod.guest.ip("link set eth0 up")
    examine(agent).assert_names({"guest": "does not answer ARP for 10.244.1.3, and .* no DHCP message"})


def test_a_guest_that_lost_its_address(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    with Udhcpc(pod.guest) as client:
        client.acquire()
        pod.guest.ip("addr flush dev eth0")
        examine(agent).assert_names({"guest": "was given 10.244.1.3, but does not answer"})


def test_a_node_that_cannot_find_a_silent_guest_is_not_blamed(make_pod: MakePod) -> None:
    """Where no ARP for the gateway is sent, the node has not learnt the VM's MAC."""
    pod = make_pod("aws")
    with Agent(pod) as agent:
        agent.prestart()
        pod.guest.ip("link set eth0 up")
        examine(agent).assert_names({"guest": "does not answer ARP for 10.0.97.30"}, {"node"})


def test_a_pod_that_is_not_set_up(pod: Pod, agent: Agent) -> None:
    examine(agent).assert_names({"record": "nothing is set up .* → run `virt-launcher prestart`"})


@pytest.mark.parametrize("binding", BUILT_IN)
def test_status_when_the_cni_has_taken_the_interface_away(make_pod: MakePod, binding: str) -> None:
    """What is recorded and what is left is still told, and teardown takes it away."""
    pod = make_pod("calico")
    with Agent(pod, binding=binding) as agent:
        agent.prestart()
        pod.pod.ip("link del eth0")
        status = agent.status()
        (network,) = status["networks"]
        assert (network["binding"], network["missing"], status["pending"]) == (binding, ["eth0"], [])
        assert status["refused"] == "eth0: the interface has left this network namespace"
        assert status["dhcp"]["pid"]
        text = agent.run("status", check=True).stdout
        way = "eth0 (gone) ─ tap0" if binding == "fwd" else "eth0 (gone) ─ k6t-eth0 ─ tap0"
        assert f"network default, {binding}: {way}\n" in text
        assert "`teardown` removes what is left" in text
        assert examine(agent).wrong["pod NIC"].startswith("eth0 has left this network namespace → ")
        assert agent.run("prestart").returncode == 2
        agent.teardown()
        assert not pod.pod.has_link("k6t-eth0")
        status = agent.status()
        assert (status["networks"], status["pending"], status["refused"], status["dhcp"]) == ([], [], "", None)


def test_the_text_has_a_line_for_each_hop(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    with Udhcpc(pod.guest) as client:
        client.acquire()
        pod.pod.ip("link set tap0 mtu 1400")
        completed = agent.run("doctor")
    assert completed.returncode == 1
    lines = completed.stdout.splitlines()
    assert len(lines) == len(HOPS)
    assert [line.split()[0] for line in lines] == ["ok"] * 4 + ["WRONG"] + ["ok"] * 5
    assert "tap0 has MTU 1400, not 1450 → run `virt-launcher prestart` again" in lines[4]


def test_what_the_node_sends_back_is_nobody_elses(pod: Pod, agent: Agent) -> None:
    """A node's bridge port in hairpin mode returns our own requests to the pod, and to the guest."""
    agent.prestart()
    pod.node.ip("link set vethpod type bridge_slave hairpin on")
    with Udhcpc(pod.guest) as client:
        client.acquire()
        examine(agent).assert_names({})


@pytest.mark.parametrize("seconds", [0.3, 3])
def test_a_client_that_probes_its_address_is_not_turned_away(pod: Pod, agent: Agent, seconds: float) -> None:
    """Requests arrive while dhcpcd probes for another host with its address, and while it defends the address."""
    agent.prestart()
    with Dhcpcd(pod.guest) as client:
        client.start()
        agent.wait_for_log("ACK")
        time.sleep(seconds)
        examine(agent)
        client.wait_until_bound()
        examine(agent).assert_names({})
        assert client.observe().addresses == ("10.244.1.3/24",)


def test_a_guest_that_may_send_as_others(pod: Pod, agent: Agent) -> None:
    """A nested VM's MAC beside the guest's own is no fault."""
    agent.prestart("--no-isolation")
    with Udhcpc(pod.guest) as client:
        client.acquire()
        pod.guest.ip("link add nested link eth0 type macvlan mode bridge", "link set nested up")
        with RawClient(pod.guest, "nested") as nested:
            process = agent.namespace.popen([*agent.command("doctor")], stdout=subprocess.PIPE)
            while process.poll() is None:
                nested.send(nested.message(1))
                time.sleep(0.1)
        assert process.returncode == 0, process.communicate()[0]


@pytest.mark.parametrize(("first", "second"), [("bridge", "bridge"), ("bridge", "fwd"), ("fwd", "fwd")])
def test_two_networks_of_one_vm(make_pod: MakePod, tmp_path: Path, first: str, second: str) -> None:
    """Each has its hops, and what both share is said once; and all is put back."""
    pod = make_pod("flannel")
    pod.node.ip("link add br1 type bridge", "addr add 10.50.0.1/24 dev br1", "link set br1 up")
    pod.pod.ip(
        f"link add net1 address 0e:50:00:00:00:03 type veth peer name vethnet1 netns {pod.node.name}",
        "addr add 10.50.0.3/24 dev net1",
        "link set net1 up",
    )
    pod.node.ip("link set vethnet1 master br1", "link set vethnet1 up")
    with Namespace("guest") as another, Agent(pod) as agent:
        another.ip(f"link add eth0 address 0e:50:00:00:00:03 type veth peer name tap1 netns {pod.pod.name}")
        pod.pod.ip("link set tap1 up", "link set tap1 down")
        before = take_snapshot(pod.pod)
        fields = (json.dumps(binding_field(name))[1:-1] for name in (first, second))
        (tmp_path / "vmi.yaml").write_text(TWO_NETWORKS % tuple(fields))
        agent.prestart("--vmi", tmp_path / "vmi.yaml")
        with Udhcpc(pod.guest) as client, Udhcpc(another) as other:
            client.acquire()
            other.acquire()
            assert pings(another, "10.50.0.1")
            report = examine(agent)
            report.assert_names({})
            hops = [hop for name in (first, second) for hop in hops_of(ipv6=False, binding=name)]
            if second == "bridge":
                hops.remove("nftables table")  # of which there is as much to say for one as for the other
            assert sorted(report.hops) == sorted(hops)
            again = agent.run("prestart", "--dry-run", "--vmi", tmp_path / "vmi.yaml", check=True)
            assert again.stdout.startswith("nothing to do\n")
            kill(agent.prestart("--vmi", tmp_path / "vmi.yaml")["dhcp"]["pid"])
            another.ip("addr flush dev eth0")
            pod.pod.ip("link set tap1 mtu 1400")
            examine(agent).assert_names({"DHCP server": "no DHCP server runs", "guest port": "tap1"}, {"guest"})
        agent.teardown()
        assert_restored(pod.pod, before)


TWO_NETWORKS = """
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: vm, annotations: {virt-launcher.io/mac: pod}}
spec:
  domain:
    memory: {guest: 64Mi}
    devices:
      interfaces:
      - {name: default, %s}
      - {name: other, %s}
  networks:
  - {name: default, pod: {}}
  - {name: other, multus: {networkName: other}}
"""


def masqueraded(pod: Pod, agent: Agent) -> None:
    """A pod in the masquerade binding, its guest with an address set by hand and without a server."""
    mac = "02:5a:00:00:00:05"
    with pod.pod.entered():
        request = NetworkRequest(binding="masquerade", mac=mac)
        prepare_pod_network_interfaces([request], state_dir=agent.state_directory)
    pod.guest.ip(f"link set eth0 address {mac} up", "addr add 10.0.2.2/24 dev eth0", "route add default via 10.0.2.1")


@pytest.mark.parametrize("shape", ["flannel", "calico", "aws"])
def test_masquerade(make_pod: MakePod, shape: str) -> None:
    """The pod sends the requests to the node, with its own MAC; nothing identifies the VM."""
    pod = make_pod(shape)
    with Agent(pod) as agent, Sniffer(pod.node, "vethpod") as node:
        masqueraded(pod, agent)
        address6 = give_ipv6(pod, agent)
        report = examine(agent)
        report.assert_names({"DHCP server": "no DHCP server runs"})
        assert set(report.hops) == set(HOPS)
        assert report.hops.count("gateway") == 1 + bool(address6)
        node.close()
    assert {frame.source for frame in node.frames if not frame.outgoing} == {pod.mac}
    assert [str(frame) for frame in node.frames if DHCP in frame.packet()] == []


@pytest.mark.parametrize(
    ("inject", "wrong", "unseen"),
    [
        (in_pod("link set eth0 mtu 1400"), {"pod NIC": "eth0 has MTU 1400"}, set()),
        (nft("delete table inet virt-launcher"), {"nftables table": "inet family is gone"}, set()),
        (nft("flush chain inet virt-launcher guest"), {"nftables table": "rules of our table were changed"}, set()),
        (
            lambda pod: pod.pod.sysctl(ipv4__conf__eth0__forwarding=0),
            {"pod NIC": r"net\.ipv4\.conf\.eth0\.forwarding is 0, not 1"},
            set(),
        ),
        (in_pod("addr flush dev k6t-eth0"), {"bridge": r"k6t-eth0 does not have 10\.0\.2\.1/24"}, set()),
        (on_node("route del 10.244.1.0/24 dev cni0"), {"node": "no IP packet comes back"}, set()),
        (
            lambda pod: pod.neighbour.ip("addr add 10.244.1.3/24 dev eth0"),
            {"pod network": "another host, MAC 0e:99:00:00:00:01"},
            set(),
        ),
        (lambda pod: pod.guest.ip("link set eth0 down"), {"guest": "tap0 has no carrier"}, set()),
        (lambda pod: pod.guest.ip("addr flush dev eth0"), {}, {"guest"}),
    ],
    ids=["MTU", "table", "rules", "forwarding", "address", "route", "duplicate", "carrier", "silent guest"],
)
def test_a_fault_with_masquerade(
    pod: Pod, agent: Agent, inject: Callable[[Pod], object], wrong: dict[str, str], unseen: set[str]
) -> None:
    masqueraded(pod, agent)
    inject(pod)
    examine(agent).assert_names({"DHCP server": "no DHCP server runs", **wrong}, unseen)


def test_without_net_raw_the_capability_is_named(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    drop = ["setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw"]
    completed = agent.run("doctor", prefix=drop)
    assert (completed.returncode, completed.stdout) == (2, "")
    assert "probe eth0: not permitted; the container needs CAP_NET_RAW" in completed.stderr


def test_nobody_is_disturbed(pod: Pod, agent: Agent) -> None:
    """The node receives frames with the VM's MAC only. The guest receives no request that claims another host's
    address, and no probe for its own address from another MAC, for which a client would decline its lease (RFC 5227
    §2.1.1)."""
    agent.prestart()
    with Udhcpc(pod.guest) as client:
        client.acquire()
        neighbours = pod.guest.ip_json("neigh show dev eth0")
        with Sniffer(pod.node, "vethpod") as node, Sniffer(pod.guest, "eth0") as guest:
            examine(agent).assert_names({})
        assert {frame.source for frame in node.frames if not frame.outgoing} == {pod.mac}
        asked = [frame.packet()[ARP] for frame in guest.frames if not frame.outgoing and ARP in frame.packet()]
        assert {packet.hwsrc for packet in asked if packet.psrc == "0.0.0.0"} <= {pod.mac}
        gateway = pod.node.link("cni0")["address"]
        assert {packet.hwsrc for packet in asked if packet.psrc == "10.244.1.1"} == {gateway}
        assert [str(frame) for frame in guest.frames if DHCP in frame.packet()] == []
        known = {entry["dst"] for entry in neighbours}
        new = {entry["dst"]: entry.get("lladdr") for entry in pod.guest.ip_json("neigh show dev eth0")}
        assert {dst for dst in new if dst not in known} <= {"10.244.1.1", "169.254.75.10"}
        assert new["10.244.1.1"] == gateway
        assert pings(pod.guest, "192.0.2.1")
        examine(agent).assert_names({})
