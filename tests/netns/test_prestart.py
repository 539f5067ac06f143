"""`virt-launcher prestart`: the state that it sets up, its output, and that it can be run again."""

from __future__ import annotations

import json
import os
import stat
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from lab.agent import DIRECT, Agent
from lab.checks import pings
from lab.clients import Dhclient
from lab.pod import MakePod, Pod
from lab.rawclient import DISCOVER, OFFER, RawClient
from lab.snapshot import assert_restored, take_snapshot
from lab.sniffer import Sniffer
from lab.waiting import kill
from scapy.layers.l2 import ARP

pytestmark = pytest.mark.root

BRIDGE = "k6t-eth0"


def test_the_address_is_the_bridges_and_the_nic_is_a_port(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    bridge, nic, port = (pod.pod.link(name) for name in (BRIDGE, "eth0", "tap0"))
    assert bridge["linkinfo"]["info_kind"] == "bridge"
    assert nic["master"] == port["master"] == BRIDGE
    assert {link["operstate"] for link in (nic, bridge)} == {"UP"}
    assert "UP" in port["flags"]
    assert {link["mtu"] for link in (bridge, nic, port)} == {1450}
    assert pod.mac not in {bridge["address"], nic["address"], port["address"]}
    assert bridge["address"] != nic["address"]
    settings = bridge["linkinfo"]["info_data"]
    assert (settings["stp_state"], settings["forward_delay"], settings["mcast_snooping"]) == (0, 0, 0)
    assert nic["linkinfo"]["info_slave_data"]["learning"] is False
    addresses = {
        (link["ifname"], address["local"], address["prefixlen"], address["scope"])
        for link in pod.pod.ip_json("-4 addr show")
        for address in link["addr_info"]
        if link["ifname"] != "lo"
    }
    assert addresses == {(BRIDGE, "10.244.1.3", 32, "host")}


def mtu_manifest(directory: Path, mtu: object) -> Path:
    path = directory / "vmi.json"
    metadata = {"name": "vm", "annotations": {"virt-launcher.io/mtu": str(mtu), "virt-launcher.io/mac": "pod"}}
    spec = {"domain": {"memory": {"guest": "64Mi"}, "devices": {}}}
    manifest = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": metadata, "spec": spec}
    path.write_text(json.dumps(manifest))
    return path


@pytest.mark.parametrize(
    ("shape", "wanted", "mtu"), [("flannel", 1300, 1300), ("cilium", 1400, 1400), ("cilium", 1500, 1450)]
)
def test_the_least_mtu_of_link_route_and_annotation_is_everywhere(
    make_pod: MakePod, shape: str, wanted: int, mtu: int, tmp_path: Path
) -> None:
    pod = make_pod(shape)
    before = take_snapshot(pod.pod)
    with Agent(pod) as agent, Dhclient(pod.guest) as client:
        (network,) = agent.prestart("--vmi", mtu_manifest(tmp_path, wanted))["networks"]
        assert {pod.pod.link(name)["mtu"] for name in (BRIDGE, "tap0")} == {mtu}
        assert pod.pod.link("eth0")["mtu"] == pod.mtu, "the pod's own is not touched"
        assert f"<mtu size='{mtu}'/>" in network["interface_xml"]
        observed = client.acquire()
        assert observed.mtu == mtu
        assert f"interface-mtu {mtu};" in observed.lease
        assert pings(pod.guest, "192.0.2.1", size=mtu)
        agent.prestart("--vmi", mtu_manifest(tmp_path, wanted))
        done = agent.run("prestart", "--vmi", mtu_manifest(tmp_path, 1280))
        assert done.returncode == 2
        assert f"network default: set up with MTU {mtu}, not 1280; run teardown first" in done.stderr
        agent.teardown()
    assert_restored(pod.pod, before)


@pytest.mark.parametrize(
    ("mtu", "message"),
    [
        (1451, "eth0: MTU 1451 is larger than the interface's 1450"),
        (67, "metadata.annotations.virt-launcher.io/mtu: must be a number from 68 to 65535"),
        ("many", "metadata.annotations.virt-launcher.io/mtu: must be a number"),
    ],
)
def test_an_mtu_that_cannot_be_is_refused(pod: Pod, agent: Agent, mtu: object, message: str, tmp_path: Path) -> None:
    before = take_snapshot(pod.pod)
    done = agent.run("prestart", "--vmi", mtu_manifest(tmp_path, mtu))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
    assert_restored(pod.pod, before, within=0)


def test_the_vm_mac_is_pinned_to_the_guest_port(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    printed = pod.pod.run(["bridge", "-j", "fdb", "show", "br", BRIDGE]).stdout
    entries = [entry for entry in json.loads(printed) if entry["mac"] == pod.mac]
    assert [(entry["ifname"], entry["state"]) for entry in entries] == [("tap0", "static")]


def test_what_the_vm_goes_without_is_a_warning_everywhere(make_pod: MakePod) -> None:
    """In prestart's log and JSON, in status and doctor; no exit code changes."""
    pod = make_pod(resolv_conf="nameserver nonsense\nnameserver fe80::1%net1\nsearch good.test a$b -foo.test\n")
    with Agent(pod) as agent:
        warnings = agent.prestart()["warnings"]
        assert [line.partition(":")[0] for line in warnings] == [
            "nameserver nonsense",
            "search a$b",
            "search -foo.test",
            "nameserver fe80",
        ]
        logged = agent.run("prestart").stderr
        assert [line for line in warnings if f"virt-launcher: warning: {line}\n" not in logged] == []
        assert agent.status()["warnings"] == warnings
        told = agent.run("status").stdout.splitlines()
        assert [line for line in warnings if f"warning: {line}" not in told] == []
        checks = json.loads(agent.run("doctor", "--output", "json").stdout)["checks"]
        reported = [check for check in checks if check["hop"] == "lease"]
        assert [(check["ok"], check["finding"]) for check in reported] == [(None, line) for line in warnings]


def test_json_has_the_documented_shape(pod: Pod, agent: Agent) -> None:
    printed = agent.prestart()
    assert set(printed) == {"networks", "dhcp", "elapsed_ms", "warnings"}
    (network,) = printed["networks"]
    element = network.pop("interface_xml")
    assert network == {
        "name": "default",
        "binding": "bridge",
        "pod_interface": "eth0",
        "bridge": BRIDGE,
        "guest_port": "tap0",
        "mac": pod.mac,
        "mtu": 1450,
        "addresses": ["10.244.1.3/24"],
    }
    assert printed["dhcp"] == {"pid": pod.pod.processes()[0]}
    assert set(printed["elapsed_ms"]) == {"discover", "plan", "apply", "serve", "total"}
    assert all(part >= 0 for part in printed["elapsed_ms"].values())
    interface = ElementTree.fromstring(element)
    assert (interface.tag, interface.get("type")) == ("interface", "ethernet")
    described = {child.tag: child.attrib for child in interface}
    assert described["mac"] == {"address": pod.mac}
    assert described["target"] == {"dev": "tap0", "managed": "no"}
    assert described["mtu"] == {"size": "1450"}
    assert described["model"] == {"type": "virtio"}
    assert described["alias"] == {"name": "ua-default"}


def test_text_output_is_the_libvirt_element(agent: Agent) -> None:
    completed = agent.run("prestart", check=True)
    assert ElementTree.fromstring(completed.stdout).tag == "interface"
    assert completed.stderr == ""


@pytest.mark.parametrize("binding", DIRECT)
def test_dhcp_answers_the_moment_prestart_returns(pod: Pod, agent: Agent) -> None:
    pod.guest.ip("link set eth0 up")
    agent.prestart()
    # a single DISCOVER, no repetition
    with RawClient(pod.guest) as client:
        offer = client.discover()
    assert offer
    assert (offer.message_type, offer.yiaddr) == (OFFER, "10.244.1.3")
    assert offer.checksums_are_valid()


def test_one_detached_process_stays_and_holds_nothing_of_the_caller(pod: Pod, agent: Agent) -> None:
    pid = agent.prestart()["dhcp"]["pid"]
    assert pod.pod.processes() == [pid]
    process = Path("/proc", str(pid))
    assert os.getsid(pid) == pid
    for number in ("0", "1"):
        assert (process / "fd" / number).samefile("/dev/null")
    assert (process / "fd" / "2").samefile(agent.state_directory / "dhcp.log")
    kinds = {stat.S_IFMT(descriptor.stat().st_mode) for descriptor in (process / "fd").iterdir()}
    assert stat.S_IFIFO not in kinds


def test_the_server_has_given_its_rights_away(agent: Agent) -> None:
    pid = agent.prestart()["dhcp"]["pid"]
    lines = Path("/proc", str(pid), "status").read_text().splitlines()
    status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    assert "0" not in status["Uid"]
    assert "0" not in status["Gid"]
    assert status["NoNewPrivs"] == ["1"]
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[capabilities][0], 16) == 0, capabilities


@pytest.mark.parametrize("binding", DIRECT)
def test_a_dry_run_prints_the_plan_and_changes_nothing(pod: Pod, agent: Agent) -> None:
    before = take_snapshot(pod.pod)
    dry = agent.run("prestart", "--dry-run", check=True).stdout
    assert_restored(pod.pod, before, within=0)
    assert pod.pod.processes() == []
    assert not agent.state_directory.exists()
    for part in (BRIDGE, "tap0", "10.244.1.3", "eth0"):
        assert part in dry
    planned = json.loads(agent.run("prestart", "--dry-run", "--output", "json", check=True).stdout)
    assert planned["dhcp"] == {"pid": None}
    assert planned["plan"]
    assert_restored(pod.pod, before, within=0)
    done = agent.prestart()
    assert done["networks"] == planned["networks"]


@pytest.mark.parametrize("binding", DIRECT)
def test_run_again_it_changes_nothing_and_prints_the_same(pod: Pod, agent: Agent) -> None:
    first = agent.prestart()
    pod.await_carrier()
    before = take_snapshot(pod.pod)
    assert agent.run("prestart", "--dry-run", check=True).stdout.startswith("nothing to do\n")
    again = agent.prestart()
    assert_restored(pod.pod, before, within=0)
    assert (again["networks"], again["dhcp"]) == (first["networks"], first["dhcp"])


@pytest.mark.parametrize("binding", DIRECT)
def test_run_again_it_brings_a_dead_server_back(pod: Pod, agent: Agent) -> None:
    first = agent.prestart()["dhcp"]["pid"]
    kill(first)
    second = agent.prestart()["dhcp"]["pid"]
    assert second != first
    pod.guest.ip("link set eth0 up")
    with RawClient(pod.guest) as client:
        assert client.discover()


def test_run_again_it_brings_back_what_somebody_broke(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    before = take_snapshot(pod.pod)
    pod.pod.run(["nft", "delete", "table", "bridge", "virt-launcher"])
    pod.pod.ip("link set tap0 nomaster", f"addr flush dev {BRIDGE} scope host")
    agent.prestart()
    assert_restored(pod.pod, before)


def test_without_a_tap_it_makes_its_own(make_pod: MakePod) -> None:
    pod = make_pod(guest_port=False)
    before = take_snapshot(pod.pod)
    with Agent(pod) as agent:
        agent.prestart()
        tap = pod.pod.link("tap0")
        assert (tap["linkinfo"]["info_kind"], tap["linkinfo"]["info_data"]["persist"]) == ("tun", True)
        assert tap["ifalias"].startswith("virt-launcher")
        assert (tap["master"], tap["mtu"]) == (BRIDGE, 1450)
        assert agent.prestart()["dhcp"]["pid"]
        agent.teardown()
    assert_restored(pod.pod, before)


@pytest.mark.parametrize("binding", DIRECT)
def test_the_pod_still_reaches_its_own_address(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    assert pod.pod.run(["ping", "-q", "-c", "1", "-W", "1", "10.244.1.3"], check=False).returncode == 0


@pytest.mark.parametrize("binding", DIRECT)
def test_the_pod_answers_no_duplicate_address_probe(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    pod.guest.ip("link set eth0 up")
    with RawClient(pod.guest) as guest, RawClient(pod.node, "cni0") as node:
        assert guest.who_has("10.244.1.3", timeout=0.2) is None
        assert node.who_has("10.244.1.3", timeout=0.2) is None


@pytest.mark.parametrize("binding", DIRECT)
@pytest.mark.parametrize("shape", ["calico", "kindnet", "ovn-kubernetes"])
def test_the_pod_answers_no_neighbour_solicitation_for_its_ipv6_address(
    make_pod: MakePod, shape: str, binding: str
) -> None:
    pod = make_pod(shape)
    (address,) = [
        address["local"]
        for link in pod.pod.ip_json("-6 addr show dev eth0 scope global")
        for address in link["addr_info"]
        if address  # those that do not match are printed as {}
    ]
    with RawClient(pod.node, "vethpod") as node:
        assert node.who_has6(address) == pod.mac
    with Agent(pod, binding=binding) as agent:
        agent.prestart()
        pod.guest.ip("link set eth0 up")
        with RawClient(pod.guest) as guest, RawClient(pod.node, "vethpod") as node:
            assert guest.who_has6(address, timeout=0.2) is None
            assert node.who_has6(address, timeout=0.2) is None


@pytest.mark.parametrize("binding", DIRECT)
def test_a_second_nic_does_not_answer_for_the_guests_address(make_pod: MakePod, binding: str) -> None:
    """The kernel answers ARP for any address it holds, on whichever interface it is asked."""
    pod = make_pod("ovn-udn")
    own = pod.pod.link("eth0")["address"]
    with RawClient(pod.node, "veth-eth0") as node:
        assert node.who_has("203.203.2.5") == own
        with Agent(pod, binding=binding) as agent:
            agent.prestart()
            assert node.who_has("203.203.2.5", timeout=0.2) is None
            assert node.who_has("10.244.1.6") == own, "its own address it still answers for"
            agent.teardown()
        assert node.who_has("203.203.2.5") == own


@pytest.mark.parametrize("binding", DIRECT)
def test_the_vms_interface_need_not_be_eth0(make_pod: MakePod, binding: str) -> None:
    """OVN-Kubernetes' primary user-defined network: the manifest's status names it, and eth0 stays the kubelet's."""
    pod = make_pod("ovn-udn")
    look = ("addr show dev eth0", "-4 route show table all dev eth0", "-6 route show table all dev eth0")
    before = [pod.pod.ip_json(command) for command in look]
    with Agent(pod, binding=binding) as agent:
        (network,) = agent.prestart()["networks"]
        assert (network["pod_interface"], network["bridge"]) == ("ovn-udn1", "k6t-ovn-udn1")
        assert (network["guest_port"], network["addresses"]) == ("tap0", ["203.203.2.5/24"])
        assert [pod.pod.ip_json(command) for command in look] == before
        assert pings(pod.node, "10.244.1.6")


def test_the_bridge_itself_hears_nothing(pod: Pod, agent: Agent) -> None:
    """Broadcasts, and frames to the bridge's own MAC, never reach the pod's stack, from either side."""
    agent.prestart()
    bridge = pod.pod.link(BRIDGE)["address"]
    pod.guest.ip("link set eth0 up")
    with (
        Sniffer(pod.pod, BRIDGE) as heard,
        Sniffer(pod.pod, "tap0") as passed,
        RawClient(pod.guest) as guest,
        RawClient(pod.node, "cni0") as node,
    ):
        for client in (guest, node):
            client.send(client.message(DISCOVER))
            client.send(client.message(DISCOVER, destination_mac=bridge))
            client.who_has("10.244.1.9", source="10.244.1.3", timeout=0.05)
        passed.wait_for(lambda frame: frame.outgoing and ARP in frame.packet())
        passed.wait_for(lambda frame: not frame.outgoing and ARP in frame.packet())
    assert [str(frame) for frame in heard.frames if not frame.outgoing] == []


@pytest.mark.parametrize("binding", DIRECT)
def test_a_layer2_nic_is_bridged_and_not_served(make_pod: MakePod, binding: str) -> None:
    pod = make_pod("layer2")
    with Agent(pod, binding=binding) as agent:
        printed = agent.prestart()
        assert printed["dhcp"] == {"pid": None}
        assert printed["networks"][0]["addresses"] == []
        assert pod.pod.processes() == []
        # what the network serves itself reaches the guest
        pod.guest.ip("link set eth0 up", "addr add 10.99.0.3/24 dev eth0")
        ping = ["ping", "-q", "-c", "1", "-W", "1", "10.99.0.1"]
        assert pod.guest.run(ping, check=False).returncode == 0
        with RawClient(pod.node, "cni0") as node, RawClient(pod.guest) as guest:
            guest.send(guest.message(1))
            assert any(b"\x63\x82\x53\x63" in frame for frame in node.receive(0.5))


def test_the_namespace_can_be_named_instead_of_entered(pod: Pod, agent: Agent) -> None:
    by_name = pod.node.run(
        [*agent.command("prestart"), "--netns", pod.pod.name, "--output", "json"],
    )
    assert json.loads(by_name.stdout)["networks"][0]["addresses"] == ["10.244.1.3/24"]
    pod.guest.ip("link set eth0 up")
    with RawClient(pod.guest) as client:
        offer = client.discover()
    assert offer
    # the resolver is the pod's, from /etc/netns
    assert offer.addresses(6) == ["10.96.0.10"]
    pod.node.run([*agent.command("teardown"), "--netns", str(pod.pod.path)])
    assert not pod.pod.has_link(BRIDGE)


def test_the_default_state_directory_is_per_namespace(make_pod: MakePod) -> None:
    pods = [make_pod(), make_pod()]
    before = [take_snapshot(pod.pod) for pod in pods]
    command = [Agent.program(), "prestart"]
    for pod in pods:
        pod.pod.run(command)
    for pod, snapshot in zip(pods, before, strict=True):
        pod.pod.run([Agent.program(), "teardown"])
        assert_restored(pod.pod, snapshot)


@pytest.mark.parametrize(("primary", "first"), [("10.244.2.5", 4), ("fd00:10:244:3::5", 6)])
def test_the_primary_family_is_named_first(
    make_pod: MakePod, monkeypatch: pytest.MonkeyPatch, primary: str, first: int
) -> None:
    """It is the family of MY_POD_IP (Kubernetes' downward API), in dual-stack clusters of either order."""
    monkeypatch.setenv("MY_POD_IP", primary)
    with Agent(make_pod("ovn-kubernetes")) as agent:
        addresses = agent.prestart()["networks"][0]["addresses"]
    assert [6 if ":" in address else 4 for address in addresses] == sorted([4, 6], key=lambda family: family != first)
