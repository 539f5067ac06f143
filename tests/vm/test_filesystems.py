"""Volumes that a guest mounts by virtiofs."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Boot
from .machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.root]


def test_guest_mounts_folders(boot: Boot, tmp_path: Path, state_dir: Path) -> None:
    """A claim is written to; of a ConfigMap the guest has a copy, which ends with the VM."""
    volumes = tmp_path / "volumes"
    for name, file in (("data", "from-outside"), ("settings", "app.conf")):
        (volumes / name).mkdir(parents=True)
        (volumes / name / file).write_text("as it was")
    machine = boot(
        "--volumes",
        str(volumes),
        devices={"filesystems": [{"name": "data", "virtiofs": {}}, {"name": "settings", "virtiofs": {}}]},
        volumes=[
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "settings", "configMap": {"name": "settings"}},
        ],
    )
    machine.await_report("up")
    assert _mounted(machine, "data") == "from-outside"
    assert machine.command("cat /data/from-outside") == "as it was"
    machine.command("echo changed >/data/from-inside")
    assert (volumes / "data/from-inside").read_text() == "changed\n"
    assert _mounted(machine, "settings") == "app.conf"
    machine.command("echo changed >/settings/app.conf")
    assert (volumes / "settings/app.conf").read_text() == "as it was"
    machine.terminate()
    assert machine.await_end() == 0
    assert not (state_dir / "volumes").exists()


def _mounted(machine: Machine, tag: str) -> str:
    return machine.command(f"mkdir /{tag}; mount -t virtiofs {tag} /{tag}; ls /{tag}")
