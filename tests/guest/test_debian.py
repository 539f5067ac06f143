"""A Debian 13 system with cloud-init, booted by the manifest that people have. Without KVM it takes minutes."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.agent import Agent
from lab.pod import DNS, SEARCH, MakePod, Pod
from lab.waiting import wait_until
from vm.entrypoint import Entrypoint

from .debian import ARGUMENTS, DebianGuest, debian_guest

pytestmark = [pytest.mark.vm, pytest.mark.root]

BOOT_SECONDS = 600
ADDRESSES = "ip -o address show scope global | awk '{print $2, $4}'"
ADDRESS, ADDRESS6, MTU = "192.168.103.70", "fd00:10:244:1::5", 1440
"""Of the shape `calico`."""


@pytest.fixture(scope="module")
def guest() -> DebianGuest:
    return debian_guest()


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        yield Path(directory)


class Login:
    """The superuser over SSH, from the node."""

    def __init__(self, pod: Pod, directory: Path) -> None:
        self._pod, self._key = pod, directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._key], check=True)

    @property
    def public_key(self) -> str:
        return self._key.with_suffix(".pub").read_text().strip()

    def run(self, command: str, address: str = ADDRESS) -> str | None:
        """What a command prints; None while nobody can log in, or where it fails."""
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=20"]
        options += ["ServerAliveInterval=5", "ServerAliveCountMax=4"]  # a guest that goes down ends no connection
        words = ["ssh", "-i", str(self._key), *(word for option in options for word in ("-o", option))]
        done = self._pod.node.run([*words, f"root@{address}", command], check=False, timeout=60)
        return done.stdout.strip() if done.returncode == 0 else None


def firmware(guest: DebianGuest, boots: str) -> dict[str, Any]:
    """How it boots: its disk by UEFI, or the kernel directly, whose paths are the launcher's."""
    if boots == "efi":
        return {"bootloader": {"efi": {"secureBoot": False}}}
    kernel = {"kernelPath": str(guest.kernel), "initrdPath": str(guest.initrd)}
    return {"kernelBoot": {"kernelArgs": ARGUMENTS, "container": kernel}}


def manifest(guest: DebianGuest, key: str, boots: str) -> dict[str, Any]:
    """As it is written for a cluster."""
    user_data = f"#cloud-config\ndisable_root: false\nssh_authorized_keys: ['{key}']\n"
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "debian"},
        "spec": {
            "runStrategy": "Always",
            "template": {
                "spec": {
                    "hostname": "front",
                    "domain": {
                        "cpu": {"cores": 1},
                        "memory": {"guest": "1Gi"},
                        "firmware": firmware(guest, boots),
                        "devices": {
                            "disks": [
                                {"name": "root", "disk": {"bus": "virtio"}},
                                {"name": "init", "disk": {"bus": "virtio"}},
                            ],
                            "interfaces": [{"name": "default", "bridge": {}}],
                            "rng": {},
                        },
                    },
                    "networks": [{"name": "default", "pod": {}}],
                    "terminationGracePeriodSeconds": 120,
                    "volumes": [
                        {"name": "root", "containerDisk": {"image": "registry.example/debian:13"}},
                        {
                            "name": "init",
                            "cloudInitNoCloud": {"userData": user_data},
                        },
                    ],
                }
            },
        },
    }


def assert_agent_tells(machine: Entrypoint) -> None:
    """The guest's own agent has what was served, routes among it."""
    command = [Agent.program(), "status", "--state-dir", machine.state_dir, "--output", "json"]
    guest = json.loads(machine.pod.pod.run(command).stdout)["guest"]
    assert (guest["hostname"], guest["problem"], guest["differences"]) == ("front", "", [])
    assert guest["system"].startswith("Debian GNU/Linux 13")
    assert any(route["destination"] == "0.0.0.0/0" for route in guest["routes"])


@pytest.mark.parametrize("boots", ["efi", "kernel"])
def test_debian(make_pod: MakePod, directory: Path, guest: DebianGuest, boots: str) -> None:
    """It has its network by DHCP and what cloud-init was given. By UEFI it keeps its addresses over a reboot; by its
    kernel its agent says what it has, and it is woken when it suspends itself."""
    pod = make_pod("calico", guest_port=False)
    login = Login(pod, directory)
    machine = Entrypoint(pod, directory, manifest(guest, login.public_key, boots), "--volumes", guest.volumes)

    def boot_id() -> str | None:
        return login.run("cat /proc/sys/kernel/random/boot_id")

    def seen() -> str:
        return machine.console[-4000:] + machine.errors()

    wait_until(boot_id, BOOT_SECONDS, log=seen)
    assert login.run("hostname") == "front"
    assert login.run("test -d /sys/firmware/efi && echo efi || echo kernel") == boots
    assert login.run("cat /sys/class/net/e*/mtu") == str(MTU)
    assert login.run("cloud-init status --wait >/dev/null; cloud-id") == "nocloud"
    resolver = login.run("resolvectl --no-pager status") or ""
    assert DNS[0] in resolver
    assert all(name in resolver for name in SEARCH)
    assert login.run("hostname", ADDRESS6) == "front"
    addresses = login.run(ADDRESSES)
    assert addresses
    first = boot_id()
    if boots == "kernel":
        assert_agent_tells(machine)
        login.run("systemctl suspend")
        wait_until(lambda: {"asleep", "woken"} <= {line.get("event") for line in machine.log()}, BOOT_SECONDS, log=seen)
        assert boot_id() == first
    if boots == "efi":
        login.run("systemctl reboot")
        wait_until(lambda: boot_id() not in (None, first), BOOT_SECONDS, log=seen)
        assert login.run(ADDRESSES) == addresses
    machine.terminate()
    assert machine.await_end(BOOT_SECONDS) == 0
    machine.assert_pod_restored()
