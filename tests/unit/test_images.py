"""Images and kernels that are given by path."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.machine import disk_images
from launcher.machine.disk_images import DiskImage, check_kernel
from launcher.vmi.errors import ManifestError
from launcher.vmi.model import Disk, Firmware, KernelBoot, VirtualMachineInstance
from launcher.volumes.storage import Storage

UUID = "3f2a6b52-7a07-4f64-9d6c-0e5f7b1c2d3e"
VMI = VirtualMachineInstance("testvm", "default", 128 << 20, Firmware(UUID), disks=(Disk("root"),))


def find_images(
    vmi: VirtualMachineInstance, given: Mapping[str, str | Path], *, backing_files: bool = False
) -> dict[str, DiskImage]:
    nowhere = Path("/nowhere")
    return Storage(vmi, given, state_dir=nowhere, folder=nowhere, backing_files=backing_files).make()


def test_format_is_told_by_the_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root.qcow2").write_bytes(b"")
    # What looks like qcow2 inside of a raw image was written by a guest.
    (tmp_path / "root.img").write_bytes(b"QFI\xfb\0\0\0\3")
    assert find_images(VMI, {"root": "root.qcow2"}) == {"root": DiskImage(str(tmp_path / "root.qcow2"), "qcow2")}
    assert find_images(VMI, {"root": "root.img"}) == {"root": DiskImage(str(tmp_path / "root.img"))}


def qcow2(version: int = 3, backing_file: int = 0, features: int = 0) -> bytes:
    return struct.pack(">4sIQ56xQ", b"QFI\xfb", version, backing_file, features) + b"/etc/shadow".ljust(100, b"\0")


@pytest.mark.parametrize(
    ("image", "kind"),
    [(qcow2(2, backing_file=80), "backing"), (qcow2(backing_file=104), "backing"), (qcow2(features=4), "data")],
)
def test_an_image_that_names_another_file_is_refused(tmp_path: Path, image: bytes, kind: str) -> None:
    path = tmp_path / "root.qcow2"
    path.write_bytes(image)
    with pytest.raises(ManifestError, match=f"^--disk root: {path} names a {kind} file.* give --backing-files"):
        find_images(VMI, {"root": path})
    assert find_images(VMI, {"root": path}, backing_files=True) == {"root": DiskImage(str(path), "qcow2")}


@pytest.mark.parametrize("image", [b"", b"QFI\xfb", qcow2(2, features=4), qcow2(features=1)])
def test_an_image_that_names_none_is_taken(tmp_path: Path, image: bytes) -> None:
    (tmp_path / "root.qcow2").write_bytes(image)
    assert find_images(VMI, {"root": tmp_path / "root.qcow2"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "spec.volumes: `root` has no image: give --disk root=PATH, or mount it at /nowhere/root"),
        ({"root": "/proc/self/exe", "other": "/x"}, "--disk other: the manifest has no volume `other`"),
        (
            {"root": "/nowhere"},
            "--disk root: /nowhere: No such file or directory; mount it into the container, or give another "
            "--disk NAME=PATH",
        ),
        ({"root": "/dev"}, "--disk root: /dev is neither a file nor a block device"),
    ],
)
def test_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(ManifestError) as refusal:
        find_images(VMI, given)
    assert str(refusal.value) == message


def test_kernel_must_be_there(tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(b"")
    check_kernel(VMI)
    check_kernel(replace(VMI, firmware=Firmware(UUID, kernel_boot=KernelBoot(str(kernel)))))
    with pytest.raises(ManifestError, match=r"container\.initrdPath: /nowhere: No such file"):
        check_kernel(replace(VMI, firmware=Firmware(UUID, kernel_boot=KernelBoot(str(kernel), "/nowhere"))))


def test_a_lun_on_a_file_is_refused_by_its_field(tmp_path: Path) -> None:
    (tmp_path / "root.img").touch()
    vmi = replace(VMI, disks=(Disk("root", "lun", bus="scsi"),))
    with pytest.raises(ManifestError) as refusal:
        find_images(vmi, {"root": tmp_path / "root.img"})
    assert refusal.value.path == "spec.domain.devices.disks[0].lun"
    assert "root.img is a file" in refusal.value.reason


def test_a_lun_on_a_device_that_takes_no_scsi_commands_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root.img").touch()
    image = DiskImage(str(tmp_path / "root.img"), block=True)
    monkeypatch.setattr(disk_images, "_image", lambda *_: image)
    vmi = replace(VMI, disks=(Disk("root", "lun", bus="scsi"),))
    with pytest.raises(ManifestError, match="is no SCSI device"):
        find_images(vmi, {"root": image.path})
