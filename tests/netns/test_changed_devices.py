"""Devices that are renamed or get another MTU while the VM runs, and those that come and go beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab.agent import DIRECT, Agent
from lab.checks import pings
from lab.namespace import Namespace
from lab.pod import GUEST_NIC, MakePod, Pod
from lab.snapshot import Snapshot, assert_restored, take_snapshot

pytestmark = pytest.mark.root

BINDINGS = (*DIRECT, "masquerade")
ALL = pytest.mark.parametrize("binding", BINDINGS)
NAMES = {"eth0": "net9", "k6t-eth0": "br9", "tap0": "vm9"}
SHAPES = ("flannel", "ipv6-addresses", "unusual-routes", "calico")


def rename(namespace: Namespace, old: str, new: str) -> None:
    namespace.ip(f"link set {old} name {new}")


@pytest.mark.parametrize("shape", SHAPES)
@ALL
def test_a_renamed_pod_interface_is_put_back_under_its_new_name(make_pod: MakePod, binding: str, shape: str) -> None:
    pod = make_pod(shape)
    before = take_snapshot(pod.pod)
    with Agent(pod, binding=binding) as agent:
        agent.prestart()
        rename(pod.pod, "eth0", "net9")
        agent.teardown()
        assert not agent.state_directory.exists()
    rename(pod.pod, "net9", "eth0")
    assert_restored(pod.pod, before)


@pytest.mark.parametrize("binding", DIRECT)
def test_labels_go_with_the_name_as_the_kernel_has_them(make_pod: MakePod, binding: str) -> None:
    pod = make_pod("labels")
    before = [a.get("label") for a in pod.pod.ip_json("-4 addr show dev eth0")[0]["addr_info"]]
    with Agent(pod, binding=binding) as agent:
        agent.prestart()
        rename(pod.pod, "eth0", "net9")
        agent.teardown()
    after = [a.get("label") for a in pod.pod.ip_json("-4 addr show dev net9")[0]["addr_info"]]
    assert after == [label.replace("eth0", "net9") for label in before]
    assert after != before


@pytest.mark.parametrize("others", [(), ("k6t-eth0", "tap0")], ids=["interface", "all"])
@ALL
def test_a_renamed_pod_is_served_on_and_put_back(make_pod: MakePod, binding: str, others: tuple[str, ...]) -> None:
    """Status, doctor and prestart take the devices for what they are, whatever they are called."""
    pod = make_pod("flannel", guest_port=False)
    before = take_snapshot(pod.pod)
    with Agent(pod, binding=binding) as agent:
        first = agent.prestart()["networks"][0]
        pid = agent.status()["dhcp"]["pid"]
        for name in ("eth0", *others):
            rename(pod.pod, name, NAMES[name])
        (network,) = agent.status()["networks"]
        assert (network["missing"], network["replaced"], network["pod_interface"]) == ([], False, "net9")
        again = agent.prestart()
        (network,) = again["networks"]
        assert (network["pod_interface"], network["mac"]) == ("net9", first["mac"])
        assert network["guest_port"] == (NAMES["tap0"] if others else "tap0")
        assert again["dhcp"]["pid"] == pid
        status = agent.status()
        assert (status["pending"], status["refused"]) == ([], "")
        assert [port["interface"] for port in status["dhcp"]["ports"]] == [network["guest_port"]]
        assert agent.prestart()["networks"] == [network]
        checks = json.loads(agent.run("doctor", "--output", "json").stdout)["checks"]
        devices = ("record", "pod NIC", "bridge port", "bridge", "nftables table", "guest port", "DHCP server")
        assert [check for check in checks if check["hop"] in devices and check["ok"] is False] == []
        agent.teardown()
    rename(pod.pod, "net9", "eth0")
    assert_restored(pod.pod, before)


@ALL
def test_the_guest_is_still_reached_through_a_renamed_interface(make_pod: MakePod, binding: str) -> None:
    pod = make_pod("flannel")
    with Agent(pod, binding=binding) as agent:
        network = agent.prestart()["networks"][0]
        rename(pod.pod, "eth0", "net9")
        agent.prestart()
        address = agent.status()["networks"][0]["address"]
        gateway = "10.0.2.1" if binding == "masquerade" else "10.244.1.1"
        pod.guest.ip(
            f"link set {GUEST_NIC} address {network['mac']}",
            f"link set {GUEST_NIC} up",
            f"addr add {address} dev {GUEST_NIC}",
            f"route add default via {gateway}",
        )
        assert pings(pod.guest, "192.0.2.1")
        assert pings(pod.node, "10.244.1.3")


def test_another_interface_that_has_taken_the_name_is_left_alone(pod: Pod, agent: Agent) -> None:
    before = take_snapshot(pod.pod)
    agent.prestart()
    rename(pod.pod, "eth0", "net9")
    pod.pod.ip("link add eth0 address 02:00:00:00:07:07 type veth peer name eth0p", "addr add 10.7.7.7/24 dev eth0")
    agent.prestart()
    agent.teardown()
    other = pod.pod.ip_json("addr show dev eth0")[0]
    assert (other["address"], other["addr_info"][0]["local"]) == ("02:00:00:00:07:07", "10.7.7.7")
    assert pod.pod.read_sysctl("ipv4/conf/eth0/arp_ignore") == "0"
    pod.pod.ip("link del eth0", "link set net9 name eth0")
    assert_restored(pod.pod, before)


def test_an_interface_made_anew_after_it_was_renamed_is_handed_over(pod: Pod, agent: Agent) -> None:
    """The CNI's DEL and ADD use the name that it knows."""
    agent.prestart()
    rename(pod.pod, "eth0", "net9")
    agent.prestart()
    pod.pod.ip("link del net9")
    port = pod.shape.nic.node_port
    pod.pod.ip(
        f"link add eth0 address 02:00:00:00:07:07 type veth peer name {port} netns {pod.node.name}",
        "link set eth0 up",
        "addr add 10.244.1.9/24 dev eth0",
    )
    pod.node.ip(f"link set {port} up")
    (network,) = agent.prestart()["networks"]
    assert (network["pod_interface"], network["addresses"][0]) == ("eth0", "10.244.1.9/24")
    agent.teardown()
    assert pod.pod.link("eth0")["address"] == "02:00:00:00:07:07"


@pytest.mark.parametrize("again", [False, True], ids=["", "prestart"])
@ALL
def test_a_renamed_other_interface_gets_its_settings_back(pod: Pod, agent: Agent, binding: str, again: bool) -> None:
    pod.pod.ip("link add other type veth peer name otherp", "link set other up", "link set otherp up")
    pod.pod.settle()
    before = take_snapshot(pod.pod)
    agent.prestart()
    rename(pod.pod, "other", "another")
    if again:
        agent.prestart()
    agent.teardown()
    rename(pod.pod, "another", "other")
    assert_restored(pod.pod, before)


@ALL
def test_an_interface_that_comes_later_gets_back_what_it_had(pod: Pod, agent: Agent, binding: str) -> None:
    """Also one that has the name of an interface which has gone: its settings are its own."""
    pod.pod.ip("link add other type veth peer name otherp")
    pod.pod.write_sysctl("ipv4/conf/other/arp_ignore", 1)
    before = take_snapshot(pod.pod)
    agent.prestart()
    pod.pod.ip("link del other", "link add other type veth peer name otherp")
    pod.pod.write_sysctl("ipv4/conf/other/arp_ignore", 2)
    agent.prestart()
    agent.teardown()
    assert pod.pod.read_sysctl("ipv4/conf/other/arp_ignore") == "2"
    pod.pod.write_sysctl("ipv4/conf/other/arp_ignore", 1)
    assert_settings(pod.pod, before)


def assert_settings(namespace: Namespace, before: Snapshot) -> None:
    assert take_snapshot(namespace).sections["sysctl"] == before.sections["sysctl"]


@pytest.mark.parametrize("mtu", [1300, 1500], ids=["less", "more"])
@ALL
def test_the_vm_follows_the_mtu_of_the_interface(make_pod: MakePod, binding: str, mtu: int) -> None:
    """Tap, bridge, lease and advertisement; teardown leaves the CNI's new value."""
    pod = make_pod("flannel", guest_port=False)
    with Agent(pod, binding=binding) as agent:
        before = take_snapshot(pod.pod)
        agent.prestart()
        pod.pod.ip(f"link set eth0 mtu {mtu}")
        pending = agent.status()["pending"]
        assert f"link set tap0 mtu {mtu}" in pending
        (network,) = agent.prestart()["networks"]
        assert (network["mtu"], f"<mtu size='{mtu}'/>" in network["interface_xml"].replace('"', "'")) == (mtu, True)
        assert {name: pod.pod.link(name)["mtu"] for name in NAMES} == dict.fromkeys(NAMES, mtu)
        assert agent.status()["pending"] == []
        (config,) = agent.prestart("--dry-run")["configs"]
        assert config["mtu"] == mtu
        agent.teardown()
        assert pod.pod.link("eth0")["mtu"] == mtu
        pod.pod.ip(f"link set eth0 mtu {pod.mtu}")
        assert_restored(pod.pod, before)


@ALL
def test_an_mtu_changed_behind_our_back_is_left_by_teardown(pod: Pod, agent: Agent, binding: str) -> None:
    before = take_snapshot(pod.pod)
    agent.prestart()
    pod.pod.ip("link set eth0 mtu 1400")
    agent.teardown()
    assert pod.pod.link("eth0")["mtu"] == 1400
    pod.pod.ip(f"link set eth0 mtu {pod.mtu}")
    assert_restored(pod.pod, before)


@pytest.mark.parametrize("binding", DIRECT)
def test_an_mtu_too_small_for_ipv6(make_pod: MakePod, binding: str) -> None:
    """The kernel takes IPv6 from the interface, which can have none back; IPv4 is served on and put back."""
    pod = make_pod("ipv6-addresses")
    with Agent(pod, binding=binding) as agent:
        agent.prestart()
        pod.pod.ip("link set eth0 mtu 1000")
        (network,) = agent.prestart()["networks"]
        assert network["mtu"] == 1000
        assert agent.status()["pending"] == []
        agent.teardown()
        assert not agent.state_directory.exists()
    assert pod.pod.link("eth0")["mtu"] == 1000


def test_the_limit_of_the_manifest_holds_when_the_mtu_changes(pod: Pod, tmp_path: Path) -> None:
    manifest = tmp_path / "vmi.yaml"
    manifest.write_text(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\n"
        "metadata: {name: vm, annotations: {virt-launcher.io/mtu: '1400'}}\n"
        "spec: {domain: {memory: {guest: 64Mi}, devices: {interfaces: [{name: default, bridge: {}}]}},"
        " networks: [{name: default, pod: {}}]}\n"
    )
    with Agent(pod) as agent:
        found = []
        for mtu in (1450, 1300, 1500):
            pod.pod.ip(f"link set eth0 mtu {mtu}")
            found.append(agent.prestart("--vmi", manifest)["networks"][0]["mtu"])
        assert found == [1400, 1300, 1400]
