"""Admission of disks: KubeVirt's rules, decoded disks → checked ones, in the manifest's order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dhcp.lean.frozen import replace
from launcher.vmi.checks import check_match, check_name, check_pci_address, check_positive, choose
from launcher.vmi.errors import ManifestError
from launcher.vmi.model import Bus, Cache, Disk, DiskDevice, ErrorPolicy, IOMode
from launcher.volumes import schema as source
from launcher.volumes.model import Seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.vmi.errors import Problems
    from launcher.volumes.model import Volume

BUSES: tuple[Bus, ...] = ("virtio", "sata", "scsi", "usb")
CACHES: tuple[Cache, ...] = ("none", "writethrough", "writeback")
IO_MODES: tuple[IOMode, ...] = ("native", "threads")
ERROR_POLICIES: tuple[ErrorPolicy, ...] = ("stop", "ignore", "report", "enospace")
_SERIAL = re.compile(r"[A-Za-z0-9_.+-]{1,64}")


def admit_disks(
    disks: Sequence[source.DiskSource],
    listed: Sequence[source.Volume],
    volumes: Sequence[Volume],
    problems: Problems,
    *,
    mounted: Sequence[str] = (),
) -> tuple[Disk, ...]:
    """Check the disks of a manifest, each of which has one of the `listed` volumes behind it.

    `volumes` are those of them without problems; disks with `problems` are left out. Those named `mounted` are file
    systems, and no disks.
    """
    names = [volume.name for volume in listed]
    seeds = {volume.name for volume in volumes if isinstance(volume, Seed)}
    admitted: list[Disk] = []
    given: list[str] = []
    for index, disk in enumerate(disks):
        path = f"spec.domain.devices.disks[{index}]"
        with problems:
            check_name(f"{path}.name", disk.name, given)
            if disk.name not in names:
                raise ManifestError(f"{path}.name", f"no volume of spec.volumes is named `{disk.name}`")
        given.append(disk.name)
        with problems:
            one = _disk(disk, path)
            admitted.append(_seed_disk(one, path) if one.name in seeds else one)
    # A volume that no disk refers to is attached as well, as KubeVirt does.
    for name in dict.fromkeys(names):
        if name not in given and name not in mounted:
            admitted.append(_seed_disk(Disk(name), "") if name in seeds else Disk(name))
    return tuple(admitted)


def _seed_disk(disk: Disk, path: str) -> Disk:
    """The disk of a seed image, which is not to be written to; on SATA, QEMU has such CD-ROMs alone."""
    if disk.device == "lun":
        raise ManifestError(f"{path}.lun", f"is for SCSI devices, which `{disk.name}` is not: use disk or cdrom")
    return replace(disk, device="cdrom" if disk.bus == "sata" else disk.device, readonly=True)


def _disk(disk: source.DiskSource, path: str) -> Disk:
    candidates: tuple[tuple[DiskDevice, source.DiskTarget | None], ...] = (
        ("disk", disk.disk),
        ("cdrom", disk.cdrom),
        ("lun", disk.lun),
    )
    targets = [(device, target) for device, target in candidates if target is not None]
    if len(targets) > 1:
        raise ManifestError(path, "must be one of disk, cdrom and lun, is several")
    device, target = targets[0] if targets else ("disk", source.DiskTarget())
    bus = choose(f"{path}.{device}.bus", target.bus or "sata", BUSES)
    if device == "cdrom" and bus == "virtio":
        raise ManifestError(f"{path}.cdrom.bus", "must not be virtio: a CD-ROM is sata, scsi or usb")
    if device == "cdrom" and target.readonly is False:
        raise ManifestError(f"{path}.cdrom.readonly", "must not be false")
    if device == "disk" and bus == "sata" and target.readonly:
        raise ManifestError(
            f"{path}.disk.readonly", "is not for sata disks: set disk.bus to virtio, or make it a cdrom"
        )
    if device == "lun" and bus != "scsi":
        raise ManifestError(f"{path}.lun.bus", "must be scsi")
    if device == "lun" and disk.serial:
        raise ManifestError(f"{path}.serial", "is not for a lun, which has the serial number of its own device")
    if disk.io == "native" and disk.cache not in (None, "", "none"):
        raise ManifestError(f"{path}.io", f"must not be native with cache {disk.cache}: it needs cache none")
    if target.pci_address and bus != "virtio":
        raise ManifestError(f"{path}.{device}.pciAddress", f"is for virtio disks, the bus is {bus}")
    uncached = disk.io == "native" or disk.shareable is True
    if disk.shareable and disk.cache not in (None, "", "none"):
        raise ManifestError(f"{path}.cache", f"must be none where VMs share the disk, is {disk.cache}")
    check_positive(f"{path}.bootOrder", disk.boot_order)
    if disk.serial:
        check_match(f"{path}.serial", disk.serial, _SERIAL, "must be up to 64 letters, digits, `_`, `.`, `+`, `-`")
    return Disk(
        name=disk.name,
        device=device,
        bus=bus,
        readonly=device == "cdrom" or bool(target.readonly),
        boot_order=disk.boot_order,
        serial=disk.serial or None,
        cache=choose(f"{path}.cache", disk.cache, CACHES) if disk.cache else "none" if uncached else None,
        io=choose(f"{path}.io", disk.io, IO_MODES) if disk.io else None,
        shareable=disk.shareable is True,
        error_policy=choose(f"{path}.errorPolicy", disk.error_policy, ERROR_POLICIES) if disk.error_policy else None,
        pci_address=check_pci_address(f"{path}.{device}.pciAddress", target.pci_address),
    )
