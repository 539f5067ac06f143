"""Admission of a VM's hardware: KubeVirt's rules, decoded manifest → checked data. ManifestError names the field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dhcp.lean.frozen import replace
from launcher.hardware.features import admit_features
from launcher.hardware.model import EFI, TPM, Features, Hardware, Tablet
from launcher.hardware.schema import FeaturesSource
from launcher.manifest import schema as source
from launcher.vmi.checks import check_name, check_positive, choose
from launcher.vmi.errors import ManifestError
from launcher.vmi.quantity import quantity_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.hardware.model import IOThreadsPolicy, SoundModel, VideoModel, WatchdogAction
    from launcher.hardware.schema import InputSource
    from launcher.vmi.errors import Problems

WATCHDOG_ACTIONS: tuple[WatchdogAction, ...] = ("reset", "poweroff", "shutdown")
SOUND_MODELS: tuple[SoundModel, ...] = ("ich9", "ac97")
VIDEO_MODELS: tuple[VideoModel, ...] = ("vga", "virtio", "bochs", "cirrus", "qxl", "ramfb")
IO_THREADS: tuple[IOThreadsPolicy, ...] = ("shared", "auto", "supplementalPool")
IO_THREADS_MAXIMUM = 64
EFI_MEMORY_MINIMUM = 256 << 20
"""OVMF boots a small kernel with that, and not with half of it."""
HUGE_PAGES = (2 << 20, 1 << 30)
"""Sizes that x86-64 has."""

_DEVICES = "spec.domain.devices"


def admit_hardware(domain: source.Domain, machine: str, problems: Problems) -> Hardware:
    """Check what `domain` says of hardware, for a machine of that type; what has `problems` is left out."""
    devices = domain.devices or source.Devices()
    hardware = Hardware(
        tablets=_tablets(devices, problems),
        tpm=TPM(devices.tpm.persistent is True) if devices.tpm and devices.tpm.enabled is not False else None,
        graphics=devices.autoattach_graphics_device is not False,
        vsock=devices.autoattach_vsock is True,
        disk_queues=devices.block_multi_queue is True,
        transitional=devices.use_virtio_transitional is True,
    )
    with problems:
        hardware = replace(hardware, features=admit_features(domain.features or FeaturesSource()))
    with problems:
        hardware = replace(hardware, efi=_efi(domain.firmware, hardware.features, machine))
    with problems:
        hardware = replace(hardware, watchdog=_watchdog(devices))
    with problems:
        hardware = replace(hardware, sound=_sound(devices))
    with problems:
        hardware = _with_video(hardware, devices)
    with problems:
        hardware = _with_io_threads(hardware, domain)
    with problems:
        hardware = replace(hardware, page_size=_page_size(domain))
    with problems:
        return _with_pinning(hardware, domain.cpu or source.Processor())
    return hardware


def check_memory(hardware: Hardware, memory: int) -> None:
    """Raise ManifestError for less memory than the firmware needs, which would hang or crash in it."""
    if hardware.efi is not None and memory < EFI_MEMORY_MINIMUM:
        raise ManifestError("spec.domain.memory.guest", f"must be at least 256Mi for UEFI, is {memory} bytes")


def _efi(firmware: source.FirmwareSource | None, features: Features, machine: str) -> EFI | None:
    bootloader = firmware.bootloader if firmware else None
    wanted = bootloader.efi if bootloader else None
    if bootloader is None or wanted is None:
        return None
    path = "spec.domain.firmware.bootloader"
    if bootloader.bios is not None:
        raise ManifestError(path, "must be one of bios and efi, is both")
    secure = wanted.secure_boot is not False
    if secure and not features.smm:
        raise ManifestError(
            f"{path}.efi.secureBoot", "needs system management mode: set features.smm, or secureBoot to false"
        )
    if secure and not machine.startswith(("q35", "pc-q35")):
        raise ManifestError(f"{path}.efi.secureBoot", f"needs the machine q35, is on {machine}")
    return EFI(secure, wanted.persistent is True)


def _tablets(devices: source.Devices, problems: Problems) -> tuple[Tablet, ...]:
    names: list[str] = []
    tablets = []
    for index, wanted in enumerate(devices.inputs or []):
        with problems:
            tablets.append(_tablet(wanted, f"{_DEVICES}.inputs[{index}]", names))
        names.append(wanted.name)
    if not names and devices.autoattach_input_device:
        return (Tablet("default-0"),)
    return tuple(tablets)


def _tablet(wanted: InputSource, path: str, names: Sequence[str]) -> Tablet:
    check_name(f"{path}.name", wanted.name, names)
    choose(f"{path}.type", wanted.type, ("tablet",))
    bus = choose(f"{path}.bus", wanted.bus or "usb", ("usb", "virtio"))
    return Tablet(wanted.name, "usb" if bus == "usb" else "virtio")


def _watchdog(devices: source.Devices) -> WatchdogAction | None:
    if devices.watchdog is None:
        return None
    path = f"{_DEVICES}.watchdog"
    check_name(f"{path}.name", devices.watchdog.name, ())
    if devices.watchdog.i6300esb is None:
        raise ManifestError(path, "needs a model: give i6300esb")
    return choose(f"{path}.i6300esb.action", devices.watchdog.i6300esb.action or "reset", WATCHDOG_ACTIONS)


def _sound(devices: source.Devices) -> SoundModel | None:
    if devices.sound is None:
        return None
    check_name(f"{_DEVICES}.sound.name", devices.sound.name, ())
    return choose(f"{_DEVICES}.sound.model", devices.sound.model or "ich9", SOUND_MODELS)


def _with_video(hardware: Hardware, devices: source.Devices) -> Hardware:
    if devices.video is None or not devices.video.type:
        return hardware
    if not hardware.graphics:
        raise ManifestError(f"{_DEVICES}.video", "is for a VM with graphics: leave out autoattachGraphicsDevice")
    return replace(hardware, video=choose(f"{_DEVICES}.video.type", devices.video.type, VIDEO_MODELS))


def _with_io_threads(hardware: Hardware, domain: source.Domain) -> Hardware:
    disks = (domain.devices or source.Devices()).disks or []
    for index, disk in enumerate(disks):
        if disk.dedicated_io_thread and (disk.disk is None or disk.disk.bus != "virtio"):
            raise ManifestError(f"{_DEVICES}.disks[{index}].dedicatedIOThread", "is for virtio disks: set its disk.bus")
    own = tuple(disk.name for disk in disks if disk.dedicated_io_thread)
    hardware = replace(hardware, own_io_thread=own)
    if not domain.io_threads_policy:
        return hardware
    policy = choose("spec.domain.ioThreadsPolicy", domain.io_threads_policy, IO_THREADS)
    pool, path = 0, "spec.domain.ioThreads.supplementalPoolThreadCount"
    if policy == "supplementalPool":
        pool = (domain.io_threads.supplemental_pool_thread_count if domain.io_threads else None) or 0
        check_positive(path, pool)
        if pool > IO_THREADS_MAXIMUM:
            raise ManifestError(path, f"must be at most {IO_THREADS_MAXIMUM}, is {pool}")
    return replace(hardware, io_threads=policy, io_thread_pool=pool)


def _page_size(domain: source.Domain) -> int:
    wanted = domain.memory.hugepages if domain.memory else None
    if wanted is None:
        return 0
    path = "spec.domain.memory.hugepages.pageSize"
    if wanted.page_size is None:
        raise ManifestError(path, "is required")
    size = quantity_at(path, wanted.page_size)
    if size not in HUGE_PAGES:
        raise ManifestError(path, f"must be 2Mi or 1Gi, is {wanted.page_size}")
    return size


def _with_pinning(hardware: Hardware, cpu: source.Processor) -> Hardware:
    pinned, emulator = cpu.dedicated_cpu_placement is True, cpu.isolate_emulator_thread is True
    if emulator and not pinned:
        raise ManifestError("spec.domain.cpu.isolateEmulatorThread", "is for dedicated CPUs: set dedicatedCpuPlacement")
    return replace(hardware, pinned=pinned, pinned_emulator=emulator)
