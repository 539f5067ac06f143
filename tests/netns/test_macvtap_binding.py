"""The macvtap binding, which a distribution of its own registers: made by its CNI, or on the pod's own interface."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from lab.agent import Agent
from lab.checks import pings
from lab.doctor import examine
from lab.forked import KILLED, SUCCEEDED, kill, put_back, run_in
from lab.lan import ROUTER, MacvtapGuest, join, octets, probe
from lab.pod import MakePod, Pod
from lab.snapshot import assert_restored, take_snapshot

from netsetup.apply import prepare_pod_network_interfaces
from netsetup.model.request import NetworkRequest

pytestmark = pytest.mark.root

DISTRIBUTION = Path(__file__).parent.parent / "macvtap_binding"
MAC, OTHER = "02:00:00:00:00:05", "02:00:00:00:00:06"
MOST_STEPS = 40


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(DISTRIBUTION))
    monkeypatch.syspath_prepend(str(DISTRIBUTION))


@pytest.fixture
def pod(make_pod: MakePod) -> Pod:
    return make_pod("flannel", guest_port=False)


def manifest(folder: Path, **more: str) -> Path:
    interface = {"name": "lan", "macvtap": {}, **more}
    vmi = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm"},
        "spec": {
            "domain": {"memory": {"guest": "64Mi"}, "devices": {"interfaces": [interface]}},
            "networks": [{"name": "lan", "multus": {"networkName": "lan"}}],
        },
    }
    (folder / "vmi.json").write_text(json.dumps(vmi))
    return folder / "vmi.json"


KINDS = {"macvtap": "net1", "macvlan": "tap1", "veth": "tap1"}
"""The VM's end by the pod interface's kind."""


@pytest.mark.parametrize("kind", KINDS)
def test_the_vm_is_a_host_on_the_network(pod: Pod, tmp_path: Path, kind: str) -> None:
    """With its own MAC alone; the pod keeps what it has, or gets it back."""
    port = KINDS[kind]
    join(pod.node, pod.pod, "net1", kind)
    if port != "net1":
        pod.pod.ip("addr add 192.168.77.9/24 dev net1")
    before = take_snapshot(pod.pod)
    with Agent(pod) as agent:
        (network,) = agent.prestart("--vmi", manifest(tmp_path, macAddress=MAC))["networks"]
        element = ElementTree.fromstring(network["interface_xml"])
        target = element.find("target")
        assert target is not None
        assert (element.get("type"), target.attrib) == ("ethernet", {"dev": port, "managed": "no"})
        (link,) = pod.pod.ip_json(f"addr show dev {port}")
        assert (link["address"], "UP" in link["flags"], link["addr_info"]) == (MAC, True, [])
        guest = MacvtapGuest(pod.pod, port, tmp_path)
        guest.send(probe(OTHER))
        guest.send(probe(MAC))
        assert guest.receive(octets(MAC)).startswith(octets(MAC)), "the network's answer"
        guest.close()
        (status,) = agent.status()["networks"]
        assert (status["dropped"]["mac"], status["guest_connected"]) == (1, None)
        assert port == "net1" or pings(pod.pod, ROUTER)
        examine(agent).assert_names({})
        again = agent.run("prestart", "--vmi", tmp_path / "vmi.json", "--dry-run", check=True)
        assert again.stdout.startswith("nothing to do\n")
        agent.teardown()
        assert_restored(pod.pod, before)


@pytest.mark.parametrize("kind", ["macvtap", "macvlan"])
def test_killed_at_every_step(pod: Pod, tmp_path: Path, kind: str) -> None:
    join(pod.node, pod.pod, "net1", kind)
    original = take_snapshot(pod.pod)
    request = NetworkRequest(name="lan", binding="macvtap", pod_interface="net1", guest_port="tap1", mac=MAC)

    def set_up(state_dir: Path) -> None:
        prepare_pod_network_interfaces([request], state_dir=state_dir)

    def put_back_killed(state_dir: Path) -> None:
        put_back(state_dir)

    for action in (set_up, put_back_killed):
        for number in range(MOST_STEPS):
            if action is put_back_killed:
                assert run_in(pod.pod, set_up, tmp_path) == SUCCEEDED
            status = run_in(pod.pod, action, tmp_path, at=number, fault=kill)
            assert run_in(pod.pod, put_back, tmp_path) == SUCCEEDED, f"killed at step {number}"
            assert_restored(pod.pod, original)
            if status == SUCCEEDED:
                assert number > 2
                break
            assert status == KILLED
        else:
            raise AssertionError(f"{MOST_STEPS} steps and no end")


def test_an_address_that_the_vm_would_not_get_is_refused(pod: Pod, tmp_path: Path) -> None:
    """With the binding that would serve it."""
    join(pod.node, pod.pod, "net1", "macvtap")
    pod.pod.ip("addr add 192.168.77.9/24 dev net1")
    with Agent(pod) as agent:
        refused = agent.run("prestart", "--vmi", manifest(tmp_path))
        assert refused.returncode == 2
        assert "net1: has the address 192.168.77.9/24, which the VM would not get by a macvtap" in refused.stderr
        assert "use the fwd binding" in refused.stderr
