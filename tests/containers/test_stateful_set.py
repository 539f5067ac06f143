"""deploy/statefulset.yaml under podman: the disk is in a volume that stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from lab.podman import ROOT, Podman

from deploy.for_podman import for_podman
from launcher.demo.guest_image import build_guest

from .guest import Machine, boot_guest, limit_memory, prepare_files

pytestmark = [pytest.mark.root, pytest.mark.vm]

VOLUME = "root-vm-0"
MARK = b"stays"


def test_what_the_guest_writes_is_in_the_claims_volume(podman: Podman) -> None:
    podman.run("volume", "create", "--opt", "o=uid=107,gid=107", VOLUME)
    volume = Path(podman.run("volume", "inspect", "--format", "{{.Mountpoint}}", VOLUME).stdout.strip())
    volume.rmdir()
    disk = prepare_files(build_guest(), volume) / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    os.chown(disk, 107, 107)

    config, *others, stateful_set = yaml.safe_load_all((ROOT / "deploy/statefulset.yaml").read_text())
    vmi = yaml.safe_load(config["data"]["vmi.yaml"])
    boot_guest(vmi)
    config["data"]["vmi.yaml"] = yaml.safe_dump(vmi)
    limit_memory(stateful_set["spec"]["template"]["spec"])
    made = [each for document in (config, *others, stateful_set) for each in for_podman(document, {})]
    podman.play(yaml.safe_dump_all(made), "--network", "grey")

    machine = Machine(podman, "vm-0-vm")
    machine.await_lease()
    machine.command(f"printf {MARK.decode()} >/dev/vda; sync")
    podman.run("kube", "down", podman.folder / "play.yaml")
    assert disk.read_bytes().startswith(MARK)
