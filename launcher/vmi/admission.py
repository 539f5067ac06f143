"""Admission of a manifest: KubeVirt's rules and this launcher's limits, decoded manifest → checked VM."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from launcher.manifest import schema as source
from launcher.vmi.checks import (
    check_distinct_pci_addresses,
    check_match,
    check_name,
    check_pci_address,
    check_positive,
    choose,
)
from launcher.vmi.errors import ManifestError
from launcher.vmi.model import (
    CPU,
    GRACE_SECONDS,
    Bus,
    Cache,
    Clock,
    Disk,
    DiskDevice,
    Firmware,
    InterfaceSpec,
    IOMode,
    KernelBoot,
    Timer,
    VirtualMachineInstance,
)
from launcher.vmi.network import admit_network, admit_topology, firmware_uuid, resource_of
from launcher.vmi.quantity import quantity_at

if TYPE_CHECKING:
    from launcher.manifest.objects import Machine
    from launcher.vmi.errors import Problems

BUSES: tuple[Bus, ...] = ("virtio", "sata", "scsi", "usb")
CACHES: tuple[Cache, ...] = ("none", "writethrough", "writeback")
IO_MODES: tuple[IOMode, ...] = ("native", "threads")
POLICIES = ("force", "require", "optional", "disable", "forbid")
TICK_POLICIES = ("delay", "catchup", "merge", "discard")
MEMORY_MINIMUM = 1 << 20
VCPU_MAXIMUM = 255
"""Of a machine without an interrupt remapper."""

_MACHINE = re.compile(r"(?:q35|pc|pc-q35-[\w.+-]+|pc-i440fx-[\w.+-]+)")
_WORD = re.compile(r"[A-Za-z0-9_.+-]{1,64}")


def admit(manifest: source.Manifest, problems: Problems, machine: Machine) -> VirtualMachineInstance | None:
    """Check `manifest`, which is that of `machine`; None when there are `problems`, to which it adds all it finds."""
    metadata, spec, domain = manifest.metadata, manifest.spec, manifest.spec.domain
    devices = domain.devices or source.Devices()
    features = domain.features or source.Features()
    request = admit_network(manifest, problems)
    if spec.architecture not in (None, "", "amd64"):
        problems.add("spec.architecture", f"must be amd64, is {spec.architecture}")
    chipset = (domain.machine and domain.machine.type) or "q35"
    with problems:
        check_match("spec.domain.machine.type", chipset, _MACHINE, "must be q35 or pc, or one of their versions")
    grace = spec.termination_grace_period_seconds
    if grace is not None and grace < 0:
        problems.add("spec.terminationGracePeriodSeconds", "must not be negative")
    with problems:
        cpu = _cpu(domain)
    with problems:
        memory = _memory(domain)
    with problems:
        clock = _clock(domain.clock or source.ClockSource())
    with problems:
        firmware = _firmware(domain.firmware or source.FirmwareSource(), metadata)
    disks = _disks(devices.disks or [], spec.volumes or [], problems)
    if request is None or problems.found:
        return None
    interfaces = tuple(request.interfaces.values())
    with problems:
        _check_boot_orders(interfaces, disks)
    listed = "spec.domain.devices"
    with problems:
        check_distinct_pci_addresses(
            [(f"{listed}.disks[{n}].{d.device}.pciAddress", d.name, d.pci_address) for n, d in enumerate(disks)]
            + [(f"{listed}.interfaces[{n}].pciAddress", i.name, i.pci_address) for n, i in enumerate(interfaces)]
        )
    return VirtualMachineInstance(
        name=metadata.name,
        namespace=metadata.namespace or "default",
        uid=metadata.uid,
        memory=memory,
        firmware=firmware,
        machine=chipset,
        cpu=cpu,
        clock=clock,
        acpi=features.acpi is None or features.acpi.enabled is not False,
        interfaces=interfaces,
        disks=disks,
        serial_console=devices.autoattach_serial_console is not False,
        rng=devices.rng is not None,
        balloon=devices.autoattach_mem_balloon is True,
        hostname=request.hostname or "",
        subdomain=request.subdomain,
        grace_seconds=GRACE_SECONDS if grace is None else grace,
        isolated=request.isolated,
        reaches_pod=request.reaches_pod,
        stable_id=request.stable_id,
        dns=request.dns,
        warnings=_warnings(problems, machine),
    )


def _warnings(problems: Problems, machine: Machine) -> tuple[str, ...]:
    """What the VM goes without, a line each."""
    ignored = [f"{machine.locate(path)}: is ignored: {without}" for path, without in problems.ignored if without]
    return (*machine.notes, *ignored)


def _memory(domain: source.Domain) -> int:
    path = "spec.domain.memory.guest"
    if domain.memory is not None and domain.memory.guest is not None:
        size = quantity_at(path, domain.memory.guest)
    elif (found := resource_of(domain, "memory", "requests", "limits")) is not None:
        path, size = found
    else:
        raise ManifestError(path, "is required, unless spec.domain.resources requests memory")
    if size < MEMORY_MINIMUM:
        raise ManifestError(path, f"must be at least 1Mi, is {size} bytes")
    return size


def _cpu(domain: source.Domain) -> CPU:
    wanted = domain.cpu or source.Processor()
    (sockets, cores, threads), counted = admit_topology(domain)
    features = []
    for index, feature in enumerate(wanted.features or []):
        path = f"spec.domain.cpu.features[{index}]"
        check_match(f"{path}.name", feature.name, _WORD, "must be the name of a CPU feature")
        policy = choose(f"{path}.policy", feature.policy or "require", POLICIES)
        features.append((feature.name, policy))
    if wanted.model:
        check_match("spec.domain.cpu.model", wanted.model, _WORD, "must be the name of a CPU model")
    cpu = CPU(
        sockets=sockets,
        cores=cores,
        threads=threads,
        model=wanted.model or None,
        features=tuple(features),
    )
    if cpu.count > VCPU_MAXIMUM:
        raise ManifestError(counted, f"must not be more than {VCPU_MAXIMUM} virtual CPUs, is {cpu.count}")
    return cpu


def _firmware(wanted: source.FirmwareSource, metadata: source.Metadata) -> Firmware:
    path = "spec.domain.firmware"
    bootloader = wanted.bootloader or source.Bootloader()
    if wanted.serial:
        check_match(f"{path}.serial", wanted.serial, _WORD, "must be up to 64 letters, digits, `_`, `.`, `+`, `-`")
    return Firmware(
        uuid=firmware_uuid(wanted, metadata),
        serial=wanted.serial or None,
        bios_serial=bool(bootloader.bios and bootloader.bios.use_serial),
        kernel_boot=_kernel_boot(wanted.kernel_boot, f"{path}.kernelBoot"),
    )


def _kernel_boot(wanted: source.KernelBootSource | None, path: str) -> KernelBoot | None:
    if wanted is None:
        return None
    container = wanted.container or source.KernelContainer()
    if not container.kernel_path:
        if not container.initrd_path and not wanted.kernel_args:
            return None
        raise ManifestError(f"{path}.container.kernelPath", "is required to boot a kernel directly")
    return KernelBoot(container.kernel_path, container.initrd_path or None, wanted.kernel_args or "")


def _clock(wanted: source.ClockSource) -> Clock:
    path = "spec.domain.clock"
    if wanted.timezone and wanted.utc is not None:
        raise ManifestError(f"{path}.timezone", "must not be given together with utc")
    timers = []
    sources = wanted.timer or source.Timers()
    # The names on the right are libvirt's timer names.
    for name, timer, libvirt_name in (
        ("hpet", sources.hpet, "hpet"),
        ("kvm", sources.kvm, "kvmclock"),
        ("pit", sources.pit, "pit"),
        ("rtc", sources.rtc, "rtc"),
        ("hyperv", sources.hyperv, "hypervclock"),
    ):
        if timer is None:
            continue
        here = f"{path}.timer.{name}"
        policy = getattr(timer, "tick_policy", None) or None
        track = getattr(timer, "track", None) or None
        if policy is not None:
            choose(f"{here}.tickPolicy", policy, TICK_POLICIES)
        if track is not None:
            choose(f"{here}.track", track, ("guest", "wall"))
        timers.append(Timer(libvirt_name, timer.present is not False, policy, track))
    return Clock(
        timezone=wanted.timezone or None,
        offset_seconds=wanted.utc.offset_seconds if wanted.utc else None,
        timers=tuple(timers),
    )


def _disks(disks: list[source.DiskSource], volumes: list[source.Volume], problems: Problems) -> tuple[Disk, ...]:
    names = [volume.name for volume in volumes]
    for index, name in enumerate(names):
        with problems:
            check_name(f"spec.volumes[{index}].name", name, names[:index])
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
            admitted.append(_disk(disk, path))
    # A volume that no disk refers to is attached as well, as KubeVirt does.
    admitted.extend(Disk(name) for name in names if name not in given)
    return tuple(admitted)


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
    if device == "lun" and bus != "scsi":
        raise ManifestError(f"{path}.lun.bus", "must be scsi")
    if device == "lun" and disk.serial:
        raise ManifestError(f"{path}.serial", "is not for a lun, which has the serial number of its own device")
    if disk.io == "native" and disk.cache not in (None, "", "none"):
        raise ManifestError(f"{path}.io", f"must not be native with cache {disk.cache}: it needs cache none")
    if target.pci_address and bus != "virtio":
        raise ManifestError(f"{path}.{device}.pciAddress", f"is for virtio disks, the bus is {bus}")
    check_positive(f"{path}.bootOrder", disk.boot_order)
    if disk.serial:
        check_match(f"{path}.serial", disk.serial, _WORD, "must be up to 64 letters, digits, `_`, `.`, `+`, `-`")
    return Disk(
        name=disk.name,
        device=device,
        bus=bus,
        readonly=device == "cdrom" or bool(target.readonly),
        boot_order=disk.boot_order,
        serial=disk.serial or None,
        cache=choose(f"{path}.cache", disk.cache, CACHES) if disk.cache else "none" if disk.io == "native" else None,
        io=choose(f"{path}.io", disk.io, IO_MODES) if disk.io else None,
        pci_address=check_pci_address(f"{path}.{device}.pciAddress", target.pci_address),
    )


def _check_boot_orders(interfaces: tuple[InterfaceSpec, ...], disks: tuple[Disk, ...]) -> None:
    taken: dict[int, str] = {}
    for kind, devices in (("disks", disks), ("interfaces", interfaces)):
        for device in devices:
            if device.boot_order is None:
                continue
            if device.boot_order in taken:
                raise ManifestError(
                    f"spec.domain.devices.{kind}",
                    f"`{device.name}` has the boot order {device.boot_order} of `{taken[device.boot_order]}`",
                )
            taken[device.boot_order] = device.name
