"""Pods of containers: interfaces with other names than eth0, and devices that have the guest port's name already."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab.advice import commands_in
from lab.agent import DIRECT, Agent
from lab.clients import Udhcpc
from lab.pod import MakePod, Pod
from lab.snapshot import assert_restored, take_snapshot

pytestmark = pytest.mark.root


def renamed(pod: Pod, name: str) -> Pod:
    pod.pod.ip(f"link set {pod.interface} name {name}")
    return pod


@pytest.mark.parametrize("name", ["tap0", "ens3", "k8s"])
def test_the_default_routes_interface_is_the_vms_whatever_its_name(make_pod: MakePod, name: str) -> None:
    """Without a manifest, and again for a pod that is set up: its default route is the VM's then."""
    pod = renamed(make_pod(guest_port=False), name)
    before = take_snapshot(pod.pod)
    with Agent(pod) as agent:
        first = agent.prestart()["networks"]
        (network,) = first
        port = "tap1" if name == "tap0" else "tap0"
        assert (network["pod_interface"], network["guest_port"]) == (name, port)
        assert network["addresses"] == ["10.244.1.3/24"]
        assert agent.prestart()["networks"] == first
        agent.teardown()
    assert_restored(pod.pod, before)


def test_a_named_interface_and_guest_port(make_pod: MakePod) -> None:
    pod = make_pod(guest_port=False)
    pod.pod.ip("link add other type veth peer name far", "link set far up", "link set other up")
    pod.pod.ip("addr add 192.0.2.9/24 dev other")
    before = take_snapshot(pod.pod)
    pod.plug_guest("02:00:00:00:00:77", "vm0")
    with Agent(pod) as agent:
        named = ("--interface", "other", "--guest-port", "vm0")
        (network,) = agent.prestart(*named)["networks"]
        assert (network["pod_interface"], network["guest_port"]) == ("other", "vm0")
        pod.guest.ip(f"link set eth0 address {network['mac']}")
        with Udhcpc(pod.guest) as client:
            assert client.acquire().addresses == ("192.0.2.9/24",)
        assert agent.prestart()["networks"] == [network], "what is set up needs no naming"
        for other in (("--interface", "eth0"), ("--guest-port", "tap7")):
            done = agent.run("prestart", *other)
            assert (done.returncode, "it joins other and vm0; run teardown first" in done.stderr) == (2, True)
        agent.teardown()
    pod.pod.ip("link delete vm0")
    assert_restored(pod.pod, before)


@pytest.mark.parametrize("binding", DIRECT)
@pytest.mark.parametrize(
    ("commands", "message"),
    [
        (["addr add 192.0.2.1/24 dev tap0"], "it has the address 192.0.2.1/24"),
        (["link add br9 type bridge", "link set tap0 master br9"], "it is a port of br9"),
        (["link add link tap0 up7 type macvlan"], "up7, a macvlan device, is on top of it"),
    ],
    ids=["address", "port", "macvlan"],
)
def test_a_guest_port_that_is_in_use(pod: Pod, agent: Agent, commands: list[str], message: str) -> None:
    """By another program, which keeps it: the VM gets another one. Asked for by name it is refused, with what to do."""
    pod.pod.ip(*commands)
    before = take_snapshot(pod.pod)
    done = agent.run("prestart", "--guest-port", "tap0") if agent.binding == "bridge" else None
    assert agent.prestart()["networks"][0]["guest_port"] == "tap1"
    agent.teardown()
    assert_restored(pod.pod, before)
    if done is None:
        return
    assert (done.returncode, f"tap0: in use, {message}" in done.stderr) == (2, True), done.stderr
    assert "or name another guest port (--guest-port)" in done.stderr
    assert agent.prestart("--guest-port", "vm9")["networks"][0]["guest_port"] == "vm9"
    agent.teardown()
    (command,) = commands_in(done.stderr)
    pod.pod.run(command)
    assert agent.prestart("--guest-port", "tap0")["networks"][0]["guest_port"] == "tap0"


@pytest.mark.parametrize(("flag", "name"), [("--interface", ""), ("--interface", "a/b"), ("--guest-port", "x" * 16)])
def test_what_is_no_name_of_an_interface(agent: Agent, flag: str, name: str) -> None:
    done = agent.run("prestart", flag, name)
    assert done.returncode == 2
    assert f"argument {flag}: " in done.stderr


def test_a_manifest_names_its_interfaces_itself(agent: Agent, tmp_path: Path) -> None:
    file = tmp_path / "vmi.json"
    file.write_text(json.dumps({"kind": "VirtualMachineInstance"}))
    done = agent.run("prestart", "--vmi", file, "--interface", "eth0")
    assert done.returncode == 2
    assert "--interface and --guest-port are for a VM without a manifest" in done.stderr


def two_networks(folder: Path) -> Path:
    """The manifest of a VM in the pod network and another one."""
    networks = [{"name": "default", "pod": {}}, {"name": "blue", "multus": {"networkName": "blue"}}]
    interfaces = [{"name": network["name"], "bridge": {}} for network in networks]
    spec = {"domain": {"memory": {"guest": "64Mi"}, "devices": {"interfaces": interfaces}}, "networks": networks}
    file = folder / "vmi.json"
    file.write_text(json.dumps({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "vm"}, "spec": spec
    }))  # fmt: skip
    return file


def test_interfaces_of_a_container_by_their_order(pod: Pod, tmp_path: Path) -> None:
    """A container in two networks has eth0 and eth1; no scheme of KubeVirt's names the latter so."""
    pod.pod.ip("link add eth1 type veth peer name far1", "link set far1 up", "link set eth1 up")
    file = two_networks(tmp_path)
    with Agent(pod) as agent:
        by_name = {n["name"]: n for n in agent.prestart("--vmi", file)["networks"]}
        assert (by_name["blue"]["pod_interface"], by_name["blue"]["bridge"]) == ("eth1", "k6t-eth1")
        assert by_name["default"]["pod_interface"] == "eth0"
        agent.teardown()
        pod.pod.ip("link set eth1 name pod16477688c0e")
        by_name = {n["name"]: n for n in agent.prestart("--vmi", file)["networks"]}
        blue = by_name["blue"]
        assert (blue["pod_interface"], blue["bridge"]) == ("pod16477688c0e", "k6t-16477688c0e"), (
            "as KubeVirt names them"
        )
        assert blue["guest_port"] == "tap16477688c0e"
        agent.teardown()


def test_interfaces_that_multus_names(pod: Pod, tmp_path: Path) -> None:
    """By its annotation in a file of a downward-API volume; it tells two of one pod apart that no scheme names."""
    pod.pod.ip("link add lan0 type veth peer name far1", "link set far1 up", "link set lan0 up")
    status = tmp_path / "network-status"
    entries = [{"name": "cbr0", "interface": "eth0", "default": True}, {"name": "default/blue", "interface": "lan0"}]
    status.write_text(json.dumps(entries))
    with Agent(pod) as agent:
        file = two_networks(tmp_path)
        refused = agent.run("prestart", "--vmi", file)
        assert (refused.returncode, "no such interface" in refused.stderr) == (2, True)
        networks = agent.prestart("--vmi", file, "--network-status", status)["networks"]
        assert {n["name"]: n["pod_interface"] for n in networks} == {"default": "eth0", "blue": "lan0"}
        agent.teardown()
        refused = agent.run("prestart", "--vmi", file, "--network-status", tmp_path / "absent")
        assert refused.returncode == 2
        assert "name the file of the network-status annotation" in refused.stderr
