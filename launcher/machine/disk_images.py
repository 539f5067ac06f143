"""Checks of disk images and of a kernel, by their paths."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from dhcp.lean.frozen import Frozen
from dhcp.lean.text import is_plain
from launcher.vmi.errors import ManifestError

if TYPE_CHECKING:
    from launcher.vmi.model import VirtualMachineInstance


SG_GET_VERSION_NUM: Final = 0x2282
"""scsi/sg.h: answered by what takes SCSI commands."""


class DiskImage(Frozen):
    """An image file or a block device."""

    path: str
    """Absolute."""
    format: Literal["raw", "qcow2"] = "raw"
    block: bool = False


_QCOW2_HEADER = struct.Struct(">4sIQ56xQ")
"""Magic, version, offset of the backing file's name, and, in version 3, features that a reader must know."""
_QCOW2_MAGIC = b"QFI\xfb"
_EXTERNAL_DATA_FILE = 4


def check_image(option: str, path: str | os.PathLike[str], readonly: bool, backing_files: bool = False) -> DiskImage:
    """The image at `path`, which the option or field `option` names.

    Raises ManifestError unless it is a readable (without `readonly`: writable) file or block device, and, without
    `backing_files`, for a qcow2 image that names another file.
    """
    image = _image(option, path, readonly)
    if image.format == "qcow2" and not backing_files:
        _require_self_contained(option, image.path)
    return image


def is_mounted_readonly(path: str | os.PathLike[str]) -> bool:
    """Whether nobody in this mount namespace can write to the file, because its file system is mounted so."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY) and not Path(path).is_block_device()
    except OSError:
        return False  # for check_image to say


def check_lun(field: str, image: DiskImage) -> None:
    """Raise ManifestError unless the guest can send SCSI commands to what is behind the disk."""
    if problem := _no_lun(image):
        raise ManifestError(field, problem)


def _no_lun(image: DiskImage) -> str:
    """Why the guest cannot send SCSI commands to what is behind a disk; empty when it can."""
    if not image.block:
        return f"{image.path} is a file, and a lun is a SCSI device; use disk"
    try:
        device = os.open(image.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return f"{image.path}: {error.strerror}"
    try:
        fcntl.ioctl(device, SG_GET_VERSION_NUM, bytes(4))  # as QEMU asks
    except OSError:
        return f"{image.path} is no SCSI device; use disk"
    finally:
        os.close(device)
    return ""


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
            raise ManifestError(path, f"{file}: {error.strerror}; mount it into the container") from None


def _image(option: str, path: str | os.PathLike[str], readonly: bool) -> DiskImage:
    absolute = Path(path).absolute()
    if not is_plain(str(absolute)):
        raise ManifestError(option, f"{absolute}: libvirt takes no path that is not plain text; rename it")
    try:
        status = absolute.stat()
    except OSError as error:
        reason = f"{absolute}: {error.strerror}; mount it into the container, or give another --disk NAME=PATH"
        raise ManifestError(option, reason) from None
    block = stat.S_ISBLK(status.st_mode)
    if not block and not stat.S_ISREG(status.st_mode):
        raise ManifestError(option, f"{absolute} is neither a file nor a block device")
    try:
        os.close(os.open(absolute, (os.O_RDONLY if readonly else os.O_RDWR) | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        wanted = "read" if readonly else "read and write"
        reason = f"{absolute}: {error.strerror}; let user {os.geteuid()} {wanted} it (chown, chmod)"
        raise ManifestError(option, reason) from None
    # The format is not probed where a guest writes: it could write a qcow2 header, which may name a backing file of the
    # host, into its raw disk.
    qcow2 = absolute.suffix == ".qcow2" or (is_mounted_readonly(absolute) and _has_qcow2_header(absolute))
    return DiskImage(str(absolute), "qcow2" if qcow2 else "raw", block)


def _has_qcow2_header(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_QCOW2_MAGIC)) == _QCOW2_MAGIC


def _require_self_contained(option: str, path: str) -> None:
    """Raise ManifestError for a qcow2 image that makes QEMU open another file, whichever file that is
    (QEMU docs/interop/qcow2.txt)."""
    with open(path, "rb") as file:
        header = file.read(_QCOW2_HEADER.size)
    if len(header) < 16 or not header.startswith(_QCOW2_MAGIC):
        return  # for QEMU to say
    _, version, backing_file, features = _QCOW2_HEADER.unpack(header.ljust(_QCOW2_HEADER.size, b"\0"))
    for kind, named in (("backing", backing_file), ("data", version >= 3 and features & _EXTERNAL_DATA_FILE)):
        if named:
            raise ManifestError(
                option,
                f"{path} names a {kind} file, which the guest would get too: "
                "give --backing-files, or an image that `qemu-img convert` has made of it",
            )
