"""Admission of a manifest: KubeVirt's rules and this launcher's limits, decoded manifest → checked VM.

ManifestError names the first field that is invalid or not supported.
"""

from __future__ import annotations

import re
import uuid

from dhcp.config import LARGEST_MTU, SMALLEST_MTU
from dhcp.lean.frozen import replace
from launcher.vmi import schema as source
from launcher.vmi.checks import (
    check_distinct_pci_addresses,
    check_match,
    check_name,
    check_pci_address,
    check_positive,
    choose,
)
from launcher.vmi.dns import admit_dns
from launcher.vmi.errors import ManifestError
from launcher.vmi.interfaces import admit_interfaces
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
from launcher.vmi.quantity import parse_quantity

BUSES: tuple[Bus, ...] = ("virtio", "sata", "scsi", "usb")
CACHES: tuple[Cache, ...] = ("none", "writethrough", "writeback")
IO_MODES: tuple[IOMode, ...] = ("native", "threads")
POLICIES = ("force", "require", "optional", "disable", "forbid")
TICK_POLICIES = ("delay", "catchup", "merge", "discard")
MEMORY_MINIMUM = 1 << 20
VCPU_MAXIMUM = 255
"""Of a machine without an interrupt remapper."""

_UUID_NAMESPACE = uuid.UUID("0f3f0f0c-5f0e-4f0c-9a4e-6f8a3b1f6a70")
_MACHINE = re.compile(r"(?:q35|pc|pc-q35-[\w.+-]+|pc-i440fx-[\w.+-]+)")
_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_OBJECT_NAME = re.compile(r"[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?")
ANNOTATIONS = "virt-launcher.io/"
ISTIO_ANNOTATION = "sidecar.istio.io/inject"
MIGRATION_PORTS = (49152, 49153)
"""TCP ports at which KubeVirt's libvirt receives a VM that migrates: direct and block migration."""

_WORD = re.compile(r"[A-Za-z0-9_.+-]{1,64}")


def admit(manifest: source.Manifest) -> VirtualMachineInstance:
    """Check `manifest` and return the VM that it describes. Raises ManifestError."""
    if not manifest.api_version.startswith("kubevirt.io/"):
        raise ManifestError("apiVersion", f"must be kubevirt.io/v1, is {manifest.api_version}")
    metadata, spec, domain = manifest.metadata, manifest.spec, manifest.spec.domain
    namespace = metadata.namespace or "default"
    check_match("metadata.name", metadata.name, _OBJECT_NAME, "must be lower-case letters, digits, `-` and `.`")
    check_match("metadata.namespace", namespace, _LABEL, "must be a DNS label")
    if spec.architecture not in (None, "", "amd64"):
        raise ManifestError("spec.architecture", f"must be amd64, is {spec.architecture}")
    machine = (domain.machine and domain.machine.type) or "q35"
    check_match("spec.domain.machine.type", machine, _MACHINE, "must be q35 or pc, or one of their versions")
    for path, label in (("spec.hostname", spec.hostname), ("spec.subdomain", spec.subdomain)):
        if label:
            check_match(path, label, _LABEL, "must be a DNS label")
    grace = spec.termination_grace_period_seconds
    if grace is not None and grace < 0:
        raise ManifestError("spec.terminationGracePeriodSeconds", "must not be negative")

    devices = domain.devices or source.Devices()
    if devices.autoattach_graphics_device:
        raise ManifestError("spec.domain.devices.autoattachGraphicsDevice", "is not supported: the console is serial")
    cpu = _cpu(domain)
    mtu, sidecar, kept_ports = _mtu(metadata), _has_sidecar(metadata), _migration_ports(manifest.status)
    interfaces = tuple(
        replace(interface, mtu=mtu, sidecar=sidecar, kept_ports=kept_ports)
        for interface in admit_interfaces(spec, devices, cpu.count, manifest.status)
    )
    disks = _disks(devices.disks or [], spec.volumes or [])
    _check_boot_orders(interfaces, disks)
    listed = "spec.domain.devices"
    check_distinct_pci_addresses(
        [(f"{listed}.disks[{n}].{d.device}.pciAddress", d.name, d.pci_address) for n, d in enumerate(disks)]
        + [(f"{listed}.interfaces[{n}].pciAddress", i.name, i.pci_address) for n, i in enumerate(interfaces)]
    )
    features = domain.features or source.Features()
    firmware = _firmware(domain.firmware or source.FirmwareSource(), metadata, namespace)
    return VirtualMachineInstance(
        name=metadata.name,
        namespace=namespace,
        uid=metadata.uid,
        memory=_memory(domain),
        firmware=firmware,
        machine=machine,
        cpu=cpu,
        clock=_clock(domain.clock or source.ClockSource()),
        acpi=features.acpi is None or features.acpi.enabled is not False,
        interfaces=interfaces,
        disks=disks,
        serial_console=devices.autoattach_serial_console is not False,
        rng=devices.rng is not None,
        balloon=devices.autoattach_mem_balloon is True,
        hostname=spec.hostname or metadata.name.split(".")[0][:63].rstrip("-"),
        subdomain=spec.subdomain or None,
        grace_seconds=GRACE_SECONDS if grace is None else grace,
        isolated=_annotation(metadata, "isolation", ("on", "off")) == "on",
        reaches_pod=_annotation(metadata, "pod-services", ("closed", "open")) == "open",
        stable_id=firmware.uuid if _annotation(metadata, "mac", ("stable", "pod")) == "stable" else None,
        dns=admit_dns(spec.dns_policy, spec.dns_config),
    )


def _has_sidecar(metadata: source.Metadata) -> bool:
    """Whether the annotation requests Istio's sidecar proxy in the pod."""
    return (metadata.annotations or {}).get(ISTIO_ANNOTATION, "").lower() == "true"


def _migration_ports(status: source.Status | None) -> tuple[int, ...]:
    """The TCP ports at which a launcher receives a VM that migrates; none for migration over unix sockets."""
    transport = status.migration_transport if status else None
    return MIGRATION_PORTS if transport and transport.lower() != "unix" else ()


def _annotation(metadata: source.Metadata, name: str, values: tuple[str, ...]) -> str:
    """The value of the annotation `virt-launcher.io/<name>`; without it, the first of `values`."""
    value = (metadata.annotations or {}).get(f"{ANNOTATIONS}{name}", values[0])
    return choose(f"metadata.annotations.{ANNOTATIONS}{name}", value, values)


def _mtu(metadata: source.Metadata) -> int:
    """The largest MTU of the VM's interfaces (annotation `virt-launcher.io/mtu`); 0 without it."""
    value = (metadata.annotations or {}).get(f"{ANNOTATIONS}mtu")
    if value is None:
        return 0
    if not value.isascii() or not value.isdecimal() or not SMALLEST_MTU <= int(value) <= LARGEST_MTU:
        raise ManifestError(
            f"metadata.annotations.{ANNOTATIONS}mtu", f"must be a number from {SMALLEST_MTU} to {LARGEST_MTU}"
        )
    return int(value)


def _quantity(path: str, value: source.Quantity) -> int:
    try:
        return parse_quantity(value)
    except ValueError as error:
        raise ManifestError(path, str(error)) from None


def _resource(domain: source.Domain, name: str, *kinds: str) -> tuple[str, int] | None:
    """The first of the resource lists `kinds` that holds `name`, as path and value."""
    resources = domain.resources or source.Resources()
    lists = {"requests": resources.requests or {}, "limits": resources.limits or {}}
    for kind in kinds:
        if name in lists[kind]:
            path = f"spec.domain.resources.{kind}.{name}"
            return path, _quantity(path, lists[kind][name])
    return None


def _memory(domain: source.Domain) -> int:
    path = "spec.domain.memory.guest"
    if domain.memory is not None and domain.memory.guest is not None:
        size = _quantity(path, domain.memory.guest)
    elif (found := _resource(domain, "memory", "requests", "limits")) is not None:
        path, size = found
    else:
        raise ManifestError(path, "is required, unless spec.domain.resources requests memory")
    if size < MEMORY_MINIMUM:
        raise ManifestError(path, f"must be at least 1Mi, is {size} bytes")
    return size


def _cpu(domain: source.Domain) -> CPU:
    wanted = domain.cpu or source.Processor()
    base = "spec.domain.cpu"
    topology = {"sockets": wanted.sockets, "cores": wanted.cores, "threads": wanted.threads}
    for part, value in topology.items():
        check_positive(f"{base}.{part}", value)
    if not any(topology.values()):
        # Without a topology, the CPUs of the container's resources become sockets, rounded up.
        found = _resource(domain, "cpu", "limits", "requests")
        if found is not None:
            base, topology["sockets"] = found
            check_positive(base, found[1])
    features = []
    for index, feature in enumerate(wanted.features or []):
        path = f"spec.domain.cpu.features[{index}]"
        check_match(f"{path}.name", feature.name, _WORD, "must be the name of a CPU feature")
        policy = choose(f"{path}.policy", feature.policy or "require", POLICIES)
        features.append((feature.name, policy))
    if wanted.model:
        check_match("spec.domain.cpu.model", wanted.model, _WORD, "must be the name of a CPU model")
    cpu = CPU(
        sockets=topology["sockets"] or 1,
        cores=topology["cores"] or 1,
        threads=topology["threads"] or 1,
        model=wanted.model or None,
        features=tuple(features),
    )
    if cpu.count > VCPU_MAXIMUM:
        raise ManifestError(base, f"must not be more than {VCPU_MAXIMUM} virtual CPUs, is {cpu.count}")
    return cpu


def _firmware(wanted: source.FirmwareSource, metadata: source.Metadata, namespace: str) -> Firmware:
    path = "spec.domain.firmware"
    bootloader = wanted.bootloader or source.Bootloader()
    if bootloader.efi is not None:
        raise ManifestError(f"{path}.bootloader.efi", "is not supported: the machine boots with SeaBIOS")
    if wanted.serial:
        check_match(f"{path}.serial", wanted.serial, _WORD, "must be up to 64 letters, digits, `_`, `.`, `+`, `-`")
    try:
        identity = uuid.UUID(wanted.uuid) if wanted.uuid else _derived_uuid(metadata, namespace)
    except ValueError:
        raise ManifestError(f"{path}.uuid", f"must be a UUID, is `{wanted.uuid}`") from None
    return Firmware(
        uuid=str(identity),
        serial=wanted.serial or None,
        bios_serial=bool(bootloader.bios and bootloader.bios.use_serial),
        kernel_boot=_kernel_boot(wanted.kernel_boot, f"{path}.kernelBoot"),
    )


def _derived_uuid(metadata: source.Metadata, namespace: str) -> uuid.UUID:
    """A UUID that is the same at every start of a VM, so that a guest's licences and machine-id stay valid."""
    return uuid.uuid5(_UUID_NAMESPACE, f"{namespace}/{metadata.name}")


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
        policy, track = timer.tick_policy or None, timer.track or None
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


def _disks(disks: list[source.DiskSource], volumes: list[source.Volume]) -> tuple[Disk, ...]:
    names = [volume.name for volume in volumes]
    for index, name in enumerate(names):
        check_name(f"spec.volumes[{index}].name", name, names[:index])
    admitted: list[Disk] = []
    for index, disk in enumerate(disks):
        path = f"spec.domain.devices.disks[{index}]"
        check_name(f"{path}.name", disk.name, [other.name for other in admitted])
        if disk.name not in names:
            raise ManifestError(f"{path}.name", f"no volume of spec.volumes is named `{disk.name}`")
        admitted.append(_disk(disk, path))
    # A volume that no disk refers to is attached as well, as KubeVirt does.
    used = {disk.name for disk in admitted}
    admitted.extend(Disk(name) for name in names if name not in used)
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
