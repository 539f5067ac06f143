"""`run` without a manifest, in containers as a page, deploy/compose.yaml and deploy/vm.container describe them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from lab.podman import IMAGE, ROOT, Podman

from .guest import Machine

pytestmark = [pytest.mark.root, pytest.mark.vm]

DISK_BYTES = 1 << 20
WITH_VALUE = {
    "AddCapability": "--cap-add",
    "AddDevice": "--device",
    "DropCapability": "--cap-drop",
    "PublishPort": "--publish",
    "Sysctl": "--sysctl",
    "User": "--user",
}
"""The options of `podman run` that Podman's generator makes of the keys of a unit (podman-systemd.unit(5))."""


def of_compose() -> tuple[list[str], list[str]]:
    """The options of `podman run`, and the command."""
    service: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]["vm"]
    lists = {"cap_add": "--cap-add", "cap_drop": "--cap-drop", "devices": "--device", "ports": "--publish"}
    options = [f"--user={service['user']}", f"--memory={service['mem_limit']}"]
    options += [f"{option}={value}" for name, option in lists.items() for value in service[name]]
    options += [f"--security-opt={text.removesuffix(':true')}" for text in service["security_opt"]]
    options += [f"--sysctl={name}={value}" for name, value in service["sysctls"].items()]
    return options, service["command"]


def of_unit() -> tuple[list[str], list[str]]:
    """Likewise."""
    options, command = ["--security-opt=no-new-privileges"], []
    section = (ROOT / "deploy/vm.container").read_text().partition("[Container]\n")[2].partition("\n[")[0]
    for key, value in re.findall(r"^(\w+)=(.*)$", section, re.MULTILINE):
        if key in WITH_VALUE:
            values = value.split() if "Capability" in key else [value]
            options += [f"{WITH_VALUE[key]}={each}" for each in values]
        elif key == "PodmanArgs":
            options += shlex.split(value)
        elif key == "Exec":
            command = shlex.split(value)
        else:
            assert key in ("Image", "ContainerName", "NoNewPrivileges", "Volume")
    return options, command


def of_page() -> tuple[list[str], list[str]]:
    """Likewise, of the command in docs/containers.md, whose disk is in another place here."""
    (line,) = re.findall(r"^podman run (.*)$", (ROOT / "docs/containers.md").read_text(), re.MULTILINE)
    words = shlex.split(line)
    image = words.index(f"{IMAGE}:full")
    volume = words.index("--volume")
    command = [word.replace("/disk.qcow2", "/disks/disk.qcow2") for word in words[image + 1 :]]
    return [*words[:volume], *words[volume + 2 : image]], command


@pytest.mark.parametrize("described", [of_compose, of_unit, of_page])
def test_a_vm_starts_from_a_disk_alone(podman: Podman, described: Callable[[], tuple[list[str], list[str]]]) -> None:
    """An empty one, on which the firmware finds nothing: libvirt and QEMU run, and have the network."""
    options, command = described()
    name = described.__name__.replace("_", "-")
    disks = podman.folder / name
    disks.mkdir()
    with (disks / "disk.qcow2").open("wb") as file:
        podman.node.run(["qemu-img", "create", "-q", "-f", "qcow2", file.name, str(DISK_BYTES)])
    run = ("run", "--detach", "--name", name, "--network", "grey", "--no-healthcheck", "--volume", f"{disks}:/disks")
    podman.run(*run, *options, f"{IMAGE}:full", *command, "--log-format", "json")
    machine = Machine(podman, name)
    machine.await_event("network")
    machine.await_event("started")
    podman.run("exec", name, "virt-launcher", "doctor", "--quick")
    podman.run("rm", "--force", "--time", "0", name)
