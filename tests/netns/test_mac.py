"""The VM's MAC: the manifest's, else the recorded one, else one derived from a stable id, else the pod's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.checks import pings
from lab.pod import MakePod, Pod
from lab.rawclient import RawClient
from lab.snapshot import assert_restored, take_snapshot
from lab.sniffer import Sniffer
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

pytestmark = pytest.mark.root

UUID = "5d307ca9-b3ef-428c-8861-06e72d69f223"


def manifest(folder: Path, *, mac: str | None = None, uuid: str | None = None, annotation: str | None = None) -> Path:
    interface: dict[str, object] = {"name": "default", "bridge": {}}
    if mac:
        interface["macAddress"] = mac
    domain: dict[str, object] = {"memory": {"guest": "64Mi"}, "devices": {"interfaces": [interface]}}
    if uuid:
        domain["firmware"] = {"uuid": uuid}
    vmi = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm", "annotations": {"virt-launcher.io/mac": annotation} if annotation else {}},
        "spec": {"domain": domain, "networks": [{"name": "default", "pod": {}}]},
    }
    file = folder / "vmi.json"
    file.write_text(json.dumps(vmi))
    return file


def source(agent: Agent) -> tuple[str, str]:
    network = json.loads(agent.run("status", "--output", "json", check=True).stdout)["networks"][0]
    return network["mac"], network["mac_source"]


def test_without_a_wish_it_is_the_pods(pod: Pod, agent: Agent) -> None:
    assert agent.prestart()["networks"][0]["mac"] == pod.mac
    assert source(agent) == (pod.mac, "pod")


def test_the_spec_comes_first(agent: Agent, tmp_path: Path) -> None:
    agent.prestart("--vmi", manifest(tmp_path, mac="02:00:00:00:00:42", uuid=UUID))
    assert source(agent) == ("02:00:00:00:00:42", "spec")


def test_a_stable_id_gives_the_same_mac_in_every_pod(make_pod: MakePod, tmp_path: Path) -> None:
    macs = set()
    for shape in ("flannel", "calico"):
        with Agent(make_pod(shape)) as agent:
            agent.prestart("--vmi", manifest(tmp_path, uuid=UUID))
            mac, origin = source(agent)
            assert origin == "derived"
            macs.add(mac)
    assert len(macs) == 1
    first = int(macs.pop()[:2], 16)
    assert first & 3 == 2, "local, and one host's"


def test_without_a_uuid_it_follows_from_namespace_and_name(make_pod: MakePod, tmp_path: Path) -> None:
    found = []
    for shape in ("flannel", "calico"):
        with Agent(make_pod(shape)) as agent:
            agent.prestart("--vmi", manifest(tmp_path))
            found.append(source(agent))
    assert found[0] == found[1]
    assert found[0][1] == "derived"


def test_a_vm_that_is_migrated_keeps_its_mac(agent: Agent, tmp_path: Path) -> None:
    """The cluster reports it; the new pod's launcher has nothing else."""
    path = manifest(tmp_path)
    reported = {"interfaces": [{"name": "default", "mac": "02:00:00:00:00:77", "infoSource": "domain"}]}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": reported}))
    assert agent.prestart("--vmi", path)["networks"][0]["mac"] == "02:00:00:00:00:77"


def test_the_manifest_may_prefer_the_pods(pod: Pod, agent: Agent, tmp_path: Path) -> None:
    agent.prestart("--vmi", manifest(tmp_path, uuid=UUID, annotation="pod"))
    assert source(agent) == (pod.mac, "pod")


def test_the_saved_one_outlives_a_restart(agent: Agent, tmp_path: Path) -> None:
    agent.prestart("--vmi", manifest(tmp_path, mac="02:00:00:00:00:42"))
    assert agent.prestart("--vmi", manifest(tmp_path))["networks"][0]["mac"] == "02:00:00:00:00:42"


def test_the_saved_one_comes_before_a_derived_one(agent: Agent, tmp_path: Path) -> None:
    """The running VM has it; the manifest got its id later."""
    agent.prestart("--vmi", manifest(tmp_path, mac="02:00:00:00:00:42"))
    agent.prestart("--vmi", manifest(tmp_path, uuid=UUID))
    assert source(agent) == ("02:00:00:00:00:42", "spec")


def test_the_bridge_never_learns_it_at_the_pods_port(pod: Pod, agent: Agent) -> None:
    """A frame with the VM's MAC arrives from the node, as from a bridge that returns the guest's broadcasts."""
    agent.prestart()
    pod.guest.ip("link set eth0 up", "addr add 10.244.1.3/24 dev eth0")
    assert pings(pod.node, "10.244.1.3")
    with RawClient(pod.node, "vethpod") as node, Sniffer(pod.pod, "eth0") as port, Sniffer(pod.guest, "eth0") as guest:
        for to in ("ff:ff:ff:ff:ff:ff", pod.mac, "02:00:00:00:00:77"):
            data = bytes(Ether(src=pod.mac, dst=to) / IP(src="10.244.1.3", dst="10.244.1.255") / UDP(sport=9, dport=9))
            node.send(data)
            port.wait_for(lambda frame, data=data: not frame.outgoing and frame.data.startswith(data))
        printed = pod.pod.run(["bridge", "-j", "fdb", "show", "br", "k6t-eth0"]).stdout
        assert {entry["ifname"] for entry in json.loads(printed) if entry["mac"] == pod.mac} == {"tap0"}
        unicast = bytes(
            Ether(src=pod.neighbour.link("eth0")["address"], dst=pod.mac) / IP(dst="10.244.1.3") / UDP(dport=7)
        )
        node.send(unicast)
        guest.wait_for(lambda frame: not frame.outgoing and frame.data.startswith(unicast))
    assert pings(pod.neighbour, "10.244.1.3")


def test_another_one_needs_a_teardown(pod: Pod, agent: Agent, tmp_path: Path) -> None:
    agent.prestart("--vmi", manifest(tmp_path, mac="02:00:00:00:00:42"))
    during = take_snapshot(pod.pod)
    done = agent.run("prestart", "--vmi", manifest(tmp_path, mac="02:00:00:00:00:43"))
    assert done.returncode == 2
    assert "network default: set up with MAC 02:00:00:00:00:42, not 02:00:00:00:00:43" in done.stderr
    assert_restored(pod.pod, during, within=0)


@pytest.mark.parametrize("mac", ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "fe:00:00:00:00:01"])
def test_one_that_cannot_be_a_guests_is_refused(pod: Pod, agent: Agent, tmp_path: Path, mac: str) -> None:
    before = take_snapshot(pod.pod)
    done = agent.run("prestart", "--vmi", manifest(tmp_path, mac=mac))
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "mac" in done.stderr.lower()
    assert_restored(pod.pod, before, within=0)
