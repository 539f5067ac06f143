"""A VM that is described on the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from launcher.container import reading
from launcher.container.described import Described, vm_name
from launcher.vmi.errors import ManifestError
from launcher.vmi.model import DEFAULT_INTERFACE, Disk
from launcher.volumes.model import Image, Seed


def test_a_cloud_image_needs_no_more_than_its_path() -> None:
    vmi = reading._load(Described("web", ("root",)), None)
    assert (vmi.name, vmi.hostname, vmi.memory, vmi.cpu.count) == ("web", "web", 2 << 30, 1)
    assert vmi.disks == (Disk("root", bus="virtio", boot_order=1),)
    assert vmi.interfaces == (DEFAULT_INTERFACE,)
    assert vmi.serial_console
    assert vmi.stable_id == vmi.firmware.uuid, "its MAC stays over restarts of the container"


def test_everything_that_flags_can_say() -> None:
    vmi = reading._load(Described("web", ("root", "cd"), ("cd",), "512M", 4, b"\x1f\x8b\0"), None)
    assert (vmi.memory, vmi.cpu.count) == (512_000_000, 4)
    assert vmi.disks[1:] == (
        Disk("cd", "cdrom", "sata", readonly=True),
        Disk("cloud-init", bus="virtio", readonly=True),
    )
    seed = vmi.volumes[2]
    assert isinstance(vmi.volumes[0], Image)
    assert isinstance(seed, Seed)
    assert seed.files[0].content == b"\x1f\x8b\0"


def test_a_disk_may_have_any_name() -> None:
    vmi = reading._load(Described("web", ("cloud-init",), user_data=b"x"), None)
    assert [disk.name for disk in vmi.disks] == ["cloud-init", "cloud-init-"]


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (Described("Web", ("root",)), r"^--name: must be lower-case"),
        (Described("web", ("root",), memory="much"), r"^--memory: `much` is not a quantity"),
        (Described("web", ("root",), cpus=0), r"^--cpus: must be at least 1, is 0"),
        (Described("web", ("a/b",)), r"^--disk: must be letters"),
    ],
)
def test_what_is_wrong_is_named_by_its_flag(described: Described, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        reading._load(described, None)


@pytest.mark.parametrize(
    ("hostname", "name"),
    [("web", "web"), ("Web_1.example", "web-1"), ("-", "vm"), ("", "vm"), ("é" * 70, "vm"), ("a" * 70, "a" * 63)],
)
def test_the_name_is_the_containers(hostname: str, name: str) -> None:
    assert vm_name(hostname) == name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give --vmi FILE, a manifest, or --disk NAME=PATH, the image of a VM without one"),
        (("--vmi", "vmi.yaml", "--memory", "1Gi"), "--memory is for a VM without a manifest: set it in vmi.yaml"),
        (("--disk", "root=/dev/null", "--cloud-init", "/nowhere"), "--cloud-init /nowhere: No such file or directory"),
    ],
)
def test_flags_that_do_not_go_together(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    command = [sys.executable, "-m", "launcher", "run", "--state-dir", str(tmp_path / "state"), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.rstrip().endswith(message), done.stderr
    assert not (tmp_path / "state").exists()
