"""Admission of a manifest: KubeVirt's rules and this launcher's limits, decoded manifest → checked VM."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from launcher.hardware.admission import admit_hardware, check_memory
from launcher.hardware.pci import check_placement
from launcher.manifest import schema as source
from launcher.vmi.checks import (
    check_match,
    choose,
)
from launcher.vmi.errors import ManifestError
from launcher.vmi.model import (
    CPU,
    GRACE_SECONDS,
    Clock,
    Disk,
    Firmware,
    InterfaceSpec,
    KernelBoot,
    Timer,
    VirtualMachineInstance,
)
from launcher.vmi.network import admit_network, admit_topology, firmware_uuid, resource_of
from launcher.vmi.quantity import quantity_at
from launcher.volumes.admission import admit_volumes
from launcher.volumes.credentials import with_credentials
from launcher.volumes.disks import admit_disks
from launcher.volumes.filesystems import admit_filesystems

if TYPE_CHECKING:
    from launcher.manifest.objects import Machine
    from launcher.vmi.errors import Problems

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
    volumes = admit_volumes(spec.volumes or [], machine.content_of, problems)
    volumes = with_credentials(volumes, spec.access_credentials or [], machine.content_of, problems)
    hardware = admit_hardware(domain, chipset, problems)
    filesystems = admit_filesystems(devices, spec.volumes or [], problems)
    disks = admit_disks(devices.disks or [], spec.volumes or [], volumes, problems, mounted=filesystems)
    if request is None or problems.found:
        return None
    interfaces = tuple(request.interfaces.values())
    with problems:
        _check_boot_orders(interfaces, disks)
    vmi = VirtualMachineInstance(
        name=metadata.name,
        namespace=metadata.namespace or "default",
        uid=metadata.uid,
        memory=memory,
        firmware=firmware,
        machine=chipset,
        cpu=cpu,
        clock=clock,
        acpi=not domain.features or domain.features.acpi is None or domain.features.acpi.enabled is not False,
        interfaces=interfaces,
        disks=disks,
        filesystems=filesystems,
        volumes=volumes,
        hardware=hardware,
        serial_console=devices.autoattach_serial_console is not False,
        rng=devices.rng is not None,
        balloon=devices.autoattach_mem_balloon is True,
        hostname=request.hostname or "",
        subdomain=request.subdomain,
        grace_seconds=GRACE_SECONDS if grace is None else grace,
        isolated=request.isolated,
        reaches_pod=request.reaches_pod,
        further_addresses=request.further_addresses,
        hides_clients=request.hides_clients,
        stable_id=request.stable_id,
        dns=request.dns,
        left_out=problems.lines_of_left_out(machine.locate),
        warnings=_warnings(problems, machine),
    )
    with problems:
        check_placement(vmi)
    with problems:
        check_memory(hardware, memory)
    return vmi


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
