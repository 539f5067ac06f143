"""Whether this host has what a VM's hardware needs, before anything is changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from launcher.hardware.elements import FirmwareFiles
from launcher.vmi.errors import ManifestError, Problems
from netsetup.kernel.capabilities import CAP_SYS_CHROOT, has_capability

if TYPE_CHECKING:
    from launcher.vmi.model import VirtualMachineInstance

OVMF: Final = Path("/usr/share/OVMF")
"""Debian's."""
VIRTIOFSD: Final = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")
"""Debian's, of 13 and of 12."""
VSOCK: Final = "/dev/vhost-vsock"
CPU_MAP: Final = Path("/usr/share/libvirt/cpu_map")
"""The CPU models and features that libvirt has: a file for each model."""
HUGE_PAGES: Final = Path("/sys/kernel/mm/hugepages")


def check_hardware(vmi: VirtualMachineInstance) -> None:
    """Raise ManifestError with all that `vmi` asks for and this host has not."""
    problems = Problems()
    for check in _CHECKS:
        with problems:
            check(vmi)
    error = problems.error(str)
    if error is not None:
        raise error


def firmware_files(vmi: VirtualMachineInstance, kept: Path, discarded: Path) -> FirmwareFiles | None:
    """The UEFI firmware of `vmi`, with its variables in the folder `kept` if they outlive the VM; None with SeaBIOS."""
    efi = vmi.hardware.efi
    if efi is None:
        return None
    code, template = _ovmf(efi.secure_boot)
    folder = kept if efi.persistent else discarded
    return FirmwareFiles(str(OVMF / code), str(OVMF / template), str(folder / "efi-variables.fd"))


def _ovmf(secure: bool) -> tuple[str, str]:
    """Code, and variables with Microsoft's keys for secure boot, or without any."""
    return ("OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd") if secure else ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd")


def _check_cpu(vmi: VirtualMachineInstance) -> None:
    if not CPU_MAP.is_dir():
        return  # of another distribution: for libvirt to say
    model = vmi.cpu.model
    if model not in (None, "host-model", "host-passthrough") and not (CPU_MAP / f"x86_{model}.xml").exists():
        raise ManifestError("spec.domain.cpu.model", f"`{model}` is no model that libvirt has: see {CPU_MAP}")
    if not vmi.cpu.features:
        return
    known = (CPU_MAP / "x86_features.xml").read_text()
    for index, (name, _) in enumerate(vmi.cpu.features):
        if f"<feature name='{name}'" not in known and f"<alias name='{name}'" not in known:
            path = f"spec.domain.cpu.features[{index}].name"
            raise ManifestError(path, f"`{name}` is no feature that libvirt has: see {CPU_MAP}/x86_features.xml")


def _check_firmware(vmi: VirtualMachineInstance) -> None:
    if vmi.hardware.efi is None:
        return
    for name in _ovmf(vmi.hardware.efi.secure_boot):
        if not os.access(OVMF / name, os.R_OK):
            raise ManifestError(
                "spec.domain.firmware.bootloader.efi", f"needs {OVMF / name}, which is not there: apt-get install ovmf"
            )


def _check_tpm(vmi: VirtualMachineInstance) -> None:
    if vmi.hardware.tpm is None:
        return
    import shutil

    missing = [name for name in ("swtpm", "swtpm_setup") if shutil.which(name) is None]
    if missing:
        raise ManifestError(
            "spec.domain.devices.tpm",
            f"needs {' and '.join(missing)}, which is not installed: apt-get install swtpm swtpm-tools",
        )


def _check_vsock(vmi: VirtualMachineInstance) -> None:
    if vmi.hardware.vsock and not os.access(VSOCK, os.R_OK | os.W_OK):
        raise ManifestError(
            "spec.domain.devices.autoattachVSOCK", f"needs {VSOCK}, which this container has not: give it the device"
        )


def _check_pages(vmi: VirtualMachineInstance) -> None:
    size = vmi.hardware.page_size
    if not size:
        return
    needed = vmi.memory // size
    try:
        free = int((HUGE_PAGES / f"hugepages-{size // 1024}kB/free_hugepages").read_text())
    except (OSError, ValueError):
        free = 0
    if free < needed:
        raise ManifestError(
            "spec.domain.memory.hugepages.pageSize",
            f"needs {needed} pages of {size >> 20} MiB, of which {free} are free: reserve them on the node",
        )


def _check_cpus(vmi: VirtualMachineInstance) -> None:
    hardware = vmi.hardware
    if not hardware.pinned:
        return
    needed, own = vmi.cpu.count + hardware.pinned_emulator, len(os.sched_getaffinity(0))
    if own < needed:
        raise ManifestError(
            "spec.domain.cpu.dedicatedCpuPlacement",
            f"needs {needed} CPUs for itself, and this container may use {own}: give it more, or ask for fewer",
        )


def _check_machine(vmi: VirtualMachineInstance) -> None:
    """Versions of machine types are QEMU's: of some it has the names, and only it can say which."""
    if vmi.machine in ("q35", "pc"):
        return
    import subprocess

    from launcher.machine.libvirt_driver import EMULATOR

    try:
        listed = subprocess.run([EMULATOR, "-machine", "help"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return  # for libvirt to say
    names = [line.split()[0] for line in listed.splitlines()[1:] if line]
    if vmi.machine not in names:
        raise ManifestError(
            "spec.domain.machine.type", f"`{vmi.machine}` is none of this QEMU's machines: use q35 or pc"
        )


def _check_filesystems(vmi: VirtualMachineInstance) -> None:
    if not vmi.filesystems:
        return
    path = "spec.domain.devices.filesystems"
    if not any(os.access(program, os.X_OK) for program in VIRTIOFSD):
        raise ManifestError(
            path, "needs virtiofsd, which is not installed: apt-get install virtiofsd (Debian 12: qemu-system-common)"
        )
    if os.geteuid() or not has_capability(CAP_SYS_CHROOT):
        raise ManifestError(
            path, "needs root with CAP_SYS_CHROOT, because virtiofsd acts for all users of the guest: run it as root"
        )


_CHECKS: Final = (
    _check_machine,
    _check_cpu,
    _check_firmware,
    _check_tpm,
    _check_vsock,
    _check_pages,
    _check_cpus,
    _check_filesystems,
)
