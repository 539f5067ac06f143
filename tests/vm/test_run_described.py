"""`virt-launcher run` without a manifest."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.pod import MakePod

from .boot_sector import bootable_disk
from .entrypoint import Entrypoint

pytestmark = [pytest.mark.vm, pytest.mark.root]


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        yield Path(directory)


def test_a_disk_and_user_data_are_enough(make_pod: MakePod, directory: Path) -> None:
    disk, user_data = directory / "root.img", directory / "user-data.yaml"
    disk.write_bytes(bootable_disk())
    user_data.write_text("#cloud-config\npassword: of-the-user\n")
    pod = make_pod(guest_port=False)
    options = ("--disk", f"root={disk}", "--cloud-init", user_data, "--memory", "128Mi", "--cpus", "2", "--name", "web")
    machine = Entrypoint(pod, directory, None, *options)
    assert machine.await_end() == 0, machine.errors()
    assert "booted" in machine.console
    assert machine.event("ended") == {"how": "powered off"}
    assert "default_web runs" in machine.errors()
    assert "of-the-user" not in machine.errors()
    assert not (machine.state_dir / "volumes").exists()
    machine.assert_pod_restored()
