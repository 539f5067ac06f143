"""One request: command line and library set a manifest's pod up alike, in whatever order it lists its networks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from lab.agent import Agent
from lab.pod import Pod

pytestmark = pytest.mark.root

UUID = "5d307ca9-b3ef-428c-8861-06e72d69f223"

# `LibvirtDomainManager` alone, as docs/library.md shows it; the networks as it gives them to libvirt.
BY_MANAGER = """
import json, sys
from launcher.manager import LibvirtDomainManager
from launcher.vmi.load import (load_vmi)

manager = LibvirtDomainManager(load_vmi(sys.argv[1]), state_dir=sys.argv[2])
networks = manager.pre_start_hook().networks
print(json.dumps({name: network.interface_xml for name, network in networks.items()}))
"""


def manifest(folder: Path, *interfaces: dict[str, Any], **domain: Any) -> Path:
    """A manifest whose first interface, by the order of `spec.networks`, is on the pod network."""
    names = sorted(interface["name"] for interface in interfaces)
    networks: list[dict[str, Any]] = [{"name": names[0], "pod": {}}]
    networks += [{"name": name, "multus": {"networkName": name}} for name in names[1:]]
    vmi = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm", "annotations": {"virt-launcher.io/isolation": "off"}},
        "spec": {
            "domain": {"memory": {"guest": "64Mi"}, "devices": {"interfaces": list(interfaces)}, **domain},
            "networks": networks,
        },
    }
    file = folder / "vmi.json"
    file.write_text(json.dumps(vmi))
    return file


def test_the_manager_alone_sets_up_what_the_command_line_does(pod: Pod, agent: Agent, tmp_path: Path) -> None:
    """With isolation off, and a MAC that is derived from the firmware's UUID."""
    file = manifest(tmp_path, {"name": "default", "bridge": {}}, firmware={"uuid": UUID})
    by_command = agent.prestart("--vmi", file)["networks"][0]["interface_xml"]
    status = agent.status()["networks"]
    agent.teardown()
    done = pod.pod.run([sys.executable, "-c", BY_MANAGER, file, agent.state_directory])
    assert json.loads(done.stdout) == {"default": by_command}
    assert agent.status()["networks"] == status
    assert (status[0]["isolated"], status[0]["mac_source"]) == (False, "derived")
    agent.teardown()


def test_another_number_of_queues_is_refused(agent: Agent, tmp_path: Path) -> None:
    """The tap has as many as it was made with, and the domain must not ask for others."""
    default = {"name": "default", "bridge": {}}
    agent.prestart("--vmi", manifest(tmp_path, default))
    several = manifest(tmp_path, default, cpu={"cores": 2})
    vmi = json.loads(several.read_text())
    vmi["spec"]["domain"]["devices"]["networkInterfaceMultiqueue"] = True
    several.write_text(json.dumps(vmi))
    done = agent.run("prestart", "--vmi", several)
    assert done.returncode == 2
    assert "network default: set up with 1 queues, not 2; run teardown first" in done.stderr


def test_an_interface_that_cannot_be_served_is_left_out_where_the_manifest_says_so(pod: Pod, tmp_path: Path) -> None:
    """The others keep the places that their networks have in KubeVirt's numbering; `prestart` and `status` say it."""
    pod.pod.ip("link add net3 type veth peer name far3", "link set far3 up", "link set net3 up")
    served = [{"name": "a", "bridge": {}}, {"name": "d", "bridge": {}}]
    unserved = [{"name": "b", "sriov": {}}, {"name": "c", "binding": {"name": "nobodys"}}]
    file = manifest(tmp_path, *served, *unserved)
    with Agent(pod) as agent:
        refused = agent.run("prestart", "--vmi", file)
        assert refused.returncode == 2
        for field in ("interfaces[2].sriov", "interfaces[3].binding.name"):
            assert f"{field}: is not supported: " in refused.stderr
        assert refused.stderr.count("use one of bridge, masquerade, fwd, or let the VM go without this interface") == 2
        assert refused.stderr.count("(annotation virt-launcher.io/unserved-interfaces: left-out)\n") == 2
        vmi = json.loads(file.read_text())
        vmi["metadata"]["annotations"]["virt-launcher.io/unserved-interfaces"] = "left-out"
        file.write_text(json.dumps(vmi))
        for _ in range(2):
            result = agent.prestart("--vmi", file)
            assert [(n["name"], n["pod_interface"]) for n in result["networks"]] == [("a", "eth0"), ("d", "net3")]
            assert [line.partition(": is not supported: ")[2] for line in result["warnings"]] == [
                f"the VM goes without the interface `{name}`" for name in "bc"
            ]
            status = agent.status()
            assert (status["warnings"], status["pending"]) == (result["warnings"], [])
        logged = agent.run("prestart", "--vmi", file, check=True).stderr
        assert logged == "".join(f"virt-launcher: warning: {line}\n" for line in result["warnings"])
        agent.teardown()


def test_networks_keep_their_own_when_the_manifest_names_them_in_another_order(pod: Pod, tmp_path: Path) -> None:
    """Model and boot order belong to a network, not to a place in a list."""
    pod.pod.ip("link add net1 type veth peer name far1", "link set far1 up", "link set net1 up")
    a = {"name": "a", "bridge": {}, "model": "virtio", "bootOrder": 2}
    b = {"name": "b", "bridge": {}, "model": "e1000e", "bootOrder": 1}
    with Agent(pod) as agent:
        first = agent.prestart("--vmi", manifest(tmp_path, a, b))["networks"]
        second = agent.prestart("--vmi", manifest(tmp_path, b, a))["networks"]
        assert [network["name"] for network in first] == ["a", "b"]
        assert [network["name"] for network in second] == ["b", "a"], "in the order of the manifest"
        assert sorted(second, key=lambda network: str(network["name"])) == first
        for network in second:
            element = ElementTree.fromstring(network["interface_xml"])
            shown = {tag: element.find(tag).attrib for tag in ("model", "boot", "alias", "target")}  # type: ignore[union-attr]
            wanted = a if network["name"] == "a" else b
            assert shown["model"]["type"] == wanted["model"]
            assert shown["boot"]["order"] == str(wanted["bootOrder"])
            assert shown["alias"]["name"] == f"ua-{network['name']}"
            assert shown["target"]["dev"] == network["guest_port"]
        agent.teardown()
