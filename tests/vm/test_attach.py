"""A VM gets a further network while it runs, and loses it: the guest sees it, and its neighbour loses no frame."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.agent import Agent
from lab.pod import Pod
from lab.snapshot import assert_restored, take_snapshot
from lab.waiting import wait_until

from launcher.demo.guest_image import GuestImage, kernel_arguments

from .entrypoint import Entrypoint
from .machine import manifest

pytestmark = [pytest.mark.vm, pytest.mark.root]

SECOND = "198.51.100.5/24"
KILLED = """
import os, signal, sys
from launcher import cli
from launcher.machine.hotplug import Hotplug
plug = Hotplug.plug
def plug_and_die(self, xml):
    if {plugs}:
        plug(self, xml)
    os.kill(os.getpid(), signal.SIGKILL)
Hotplug.plug = plug_and_die
sys.exit(cli.main())
"""


IMPATIENT = """
import sys
from launcher import cli
from launcher.machine import hotplug
hotplug.RELEASE_SECONDS = 0.3
hotplug.Hotplug.set_link = lambda self, name, link: self._domain.handle.reset()
sys.exit(cli.main())
"""


def vmi(guest: GuestImage, *interfaces: dict[str, Any]) -> dict[str, Any]:
    """A VM with a bridged network of each name, the first of which is the pod network."""
    listed = [{"name": "default"}, *interfaces]
    return manifest(
        guest,
        kernel_arguments(),
        devices={"interfaces": [{"bridge": {}, **each} for each in listed]},
        networks=[
            {"name": each["name"], **({"multus": {"networkName": each["name"]}} if index else {"pod": {}})}
            for index, each in enumerate(listed)
        ],
    )


@pytest.fixture
def pod() -> Iterator[Pod]:
    """A pod with a second interface."""
    with Pod("flannel", guest_port=False) as pod:
        pod.node.ip(f"link add far1 type veth peer name net1 netns {pod.pod.name}", "link set far1 up")
        pod.pod.ip("link set net1 up", f"addr add {SECOND} dev net1")
        yield pod


@pytest.fixture
def directory(pod: Pod) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        yield Path(directory)


def second(pod: Pod) -> list[Any]:
    """What the second interface has, and the names of all."""
    names = [link["ifname"] for link in pod.pod.ip_json("link show")]
    return [names, pod.pod.ip_json("-d addr show dev net1"), pod.pod.ip_json("route show dev net1")]


class Running:
    """A VM that runs, and the verbs that speak to its launcher."""

    def __init__(self, machine: Entrypoint, folder: Path, guest: GuestImage) -> None:
        self.machine = machine
        self._file, self._guest = folder / "changed.yaml", guest

    def verb(self, verb: str, *words: str, code: int = 0) -> str:
        """Its output, or its error; `code` is the exit code that it must have."""
        command = [Agent.program(), verb, "--state-dir", str(self.machine.state_dir), *words]
        done = self.machine.pod.pod.run(command, check=False)
        assert done.returncode == code, (words, done.stderr, self.machine.errors())
        if code:
            assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr if code else done.stdout

    def attach(self, *interfaces: dict[str, Any], code: int = 0) -> str:
        self._file.write_text(yaml.safe_dump(vmi(self._guest, *interfaces)))
        return self.verb("attach", "--vmi", str(self._file), "--output", "json", code=code)

    def networks(self) -> dict[str, dict[str, Any]]:
        status = json.loads(self.verb("status", "--output", "json"))
        assert (status["pending"], status["refused"]) == ([], "")
        return {network["name"]: network for network in status["networks"]}

    def await_carrier(self, nic: str, carrier: str) -> None:
        wait_until(lambda: self.machine.command(f"cat /sys/class/net/{nic}/carrier") == carrier)


def test_a_network_comes_and_goes_while_the_vm_runs(pod: Pod, directory: Path, guest: GuestImage) -> None:
    document = vmi(guest)
    document["spec"]["domain"]["devices"]["interfaces"][0]["bootOrder"] = 1
    machine = Entrypoint(pod, directory, document)
    running = Running(machine, directory, guest)
    lease = machine.await_report("lease")
    before = second(pod)
    address = lease.fields["address"].partition("/")[0]
    pinging = pod.node.popen(["ping", "-i", "0.05", address], stdout=subprocess.PIPE)

    added = json.loads(running.attach({"name": "blue"}))["attached"][0]
    assert (added["pod_interface"], added["guest_port"]) == ("net1", "tap1")
    assert machine.await_report("nic", 2).fields == {
        "uptime": machine.reports("nic")[1].fields["uptime"],
        "interface": "eth1",
        "mac": added["mac"],
        "mtu": str(added["mtu"]),
    }
    assert machine.await_report("lease", 2).fields["address"] == SECOND
    blue = running.networks()["blue"]
    assert (blue["address"], blue["link"], blue["guest_connected"]) == (SECOND, "up", True)
    assert [taken["address"] for taken in blue["leases"]] == [SECOND.partition("/")[0]]
    assert "network blue: the VM has it already" in running.verb("attach", "blue", code=2)

    running.verb("link", "blue", "down")
    running.await_carrier("eth1", "0")
    assert running.networks()["blue"]["link"] == "down"
    assert json.loads(running.attach({"name": "blue", "state": "up"}))["links"] == {"blue": "up"}
    running.await_carrier("eth1", "1")

    assert json.loads(running.attach({"name": "blue", "state": "absent"}))["detached"] == ["blue"]
    machine.await_report("nic-gone")
    assert list(running.networks()) == ["default"]
    assert second(pod) == before

    # libvirt refuses an interface after its network is set up
    assert "boot order" in running.attach({"name": "blue", "bootOrder": 1}, code=1)
    assert list(running.networks()) == ["default"]
    assert second(pod) == before
    running.verb("attach", "blue", "--interface", "net1", "--mac", "02:00:00:00:00:77")
    machine.await_report("lease", 3)
    running.verb("detach", "blue")

    pinging.send_signal(signal.SIGINT)
    said, _ = pinging.communicate(timeout=20)
    answered = [int(number) for number in re.findall(r"icmp_seq=(\d+)", said)]
    assert len(answered) > 10
    assert answered == list(range(1, len(answered) + 1)), "a frame was lost"
    machine.terminate()
    assert machine.await_end() == 0
    machine.assert_pod_restored()
    assert not (machine.state_dir / "launcher.sock").exists()


def test_a_guest_that_does_not_release_its_nic_keeps_the_network(pod: Pod, directory: Path, guest: GuestImage) -> None:
    """Until its machine is reset, as when it reboots: `link` does that here. It has nothing to boot.

    Ports for three more interfaces than it has are there, and no more.
    """
    document = vmi(guest)
    del document["spec"]["domain"]["firmware"]
    document["spec"]["terminationGracePeriodSeconds"] = 1
    machine = Entrypoint(pod, directory, document, program=(sys.executable, "-c", IMPATIENT))
    running = Running(machine, directory, guest)
    wait_until((machine.state_dir / "launcher.sock").exists)
    more = [{"name": "blue"}, {"name": "red"}, {"name": "green"}, {"name": "grey"}]
    assert "the machine has room for 3 more interfaces, not 4" in running.attach(*more, code=2)
    original = second(pod)
    running.attach({"name": "blue"})
    before = second(pod)
    for _ in range(2):
        assert "the guest has not released it within" in running.verb("detach", "blue", code=1)
        assert (running.networks()["blue"]["link"], second(pod)) == ("up", before)
    running.verb("link", "blue", "up")
    wait_until(lambda: list(running.networks()) == ["default"], log=machine.errors)
    assert second(pod) == original
    assert "network blue: detached, now that the guest has released it" in machine.errors()
    machine.terminate()
    assert machine.await_end() == 4
    machine.assert_pod_restored()


@pytest.mark.parametrize("plugs", [False, True], ids=["before", "after"])
def test_a_launcher_that_is_killed_while_it_attaches(pod: Pod, directory: Path, guest: GuestImage, plugs: bool) -> None:
    """The next hook removes what was to be added, or the teardown does, with all the rest."""
    original = take_snapshot(pod.pod)
    program = (sys.executable, "-c", KILLED.format(plugs=plugs))
    machine = Entrypoint(pod, directory, vmi(guest), program=program)
    running = Running(machine, directory, guest)
    wait_until((machine.state_dir / "launcher.sock").exists)
    assert "the launcher" in running.attach({"name": "blue"}, code=1)
    assert machine.await_end() == 128 + signal.SIGKILL
    if plugs:
        words = ["--vmi", str(machine.vmi), "--output", "json"]
        assert [n["name"] for n in json.loads(running.verb("prestart", *words))["networks"]] == ["default"]
        assert list(running.networks()) == ["default"]
    running.verb("teardown")
    assert_restored(pod.pod, original)
