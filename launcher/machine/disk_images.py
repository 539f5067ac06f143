"""The images of a VM's disks, given on the command line by the names of the manifest's volumes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dhcp.lean.frozen import Frozen
from launcher.vmi.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.vmi.model import VirtualMachineInstance


class DiskImage(Frozen):
    """An image file or a block device."""

    path: str
    """Absolute."""
    format: Literal["raw", "qcow2"] = "raw"
    block: bool = False


def find_images(vmi: VirtualMachineInstance, given: Mapping[str, str | os.PathLike[str]]) -> dict[str, DiskImage]:
    """The image of each disk of `vmi`, by the disk's name.

    Raises ManifestError for a disk without an image, an image without a disk, and a path that is not a readable (for
    a writable disk: writable) file or block device.
    """
    names = [disk.name for disk in vmi.disks]
    for name in given:
        if name not in names:
            raise ManifestError(f"--disk {name}", f"the manifest has no volume `{name}`")
    for name in names:
        if name not in given:
            raise ManifestError("spec.volumes", f"`{name}` has no image: give --disk {name}=PATH")
    return {disk.name: _image(disk.name, given[disk.name], disk.readonly) for disk in vmi.disks}


def check_kernel(vmi: VirtualMachineInstance) -> None:
    """Raise ManifestError if a file of a direct kernel boot cannot be read."""
    boot = vmi.firmware.kernel_boot
    if boot is None:
        return
    base = "spec.domain.firmware.kernelBoot.container"
    for path, file in ((f"{base}.kernelPath", boot.kernel), (f"{base}.initrdPath", boot.initrd)):
        if file is None:
            continue
        try:
            with open(file, "rb"):
                pass
        except OSError as error:
            raise ManifestError(path, f"{file}: {error.strerror}") from None


def _image(name: str, path: str | os.PathLike[str], readonly: bool) -> DiskImage:
    absolute = Path(path).absolute()
    try:
        status = absolute.stat()
    except OSError as error:
        raise ManifestError(f"--disk {name}", f"{absolute}: {error.strerror}") from None
    block = stat.S_ISBLK(status.st_mode)
    if not block and not stat.S_ISREG(status.st_mode):
        raise ManifestError(f"--disk {name}", f"{absolute} is neither a file nor a block device")
    if not os.access(absolute, os.R_OK if readonly else os.R_OK | os.W_OK):
        raise ManifestError(f"--disk {name}", f"{absolute}: not permitted")
    # The format is never probed: a guest could write a qcow2 header, which may name a backing file of the host,
    # into its raw disk.
    qcow2 = absolute.suffix == ".qcow2"
    return DiskImage(str(absolute), "qcow2" if qcow2 else "raw", block)
