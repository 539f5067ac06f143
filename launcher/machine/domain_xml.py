"""Builds the libvirt domain XML of one VM, without I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.hardware import elements
from launcher.hardware.pci import controllers
from launcher.interface_xml import escape, pci_address_xml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from launcher.machine.accelerator import Accelerator
    from launcher.machine.disk_images import DiskImage
    from launcher.vmi.model import CPU, Clock, Firmware, VirtualMachineInstance


def domain_xml(
    vmi: VirtualMachineInstance,
    *,
    interfaces: Sequence[str],
    accelerator: Accelerator,
    images: Mapping[str, DiskImage] | None = None,
    folders: Mapping[str, str] | None = None,
    console_socket: str | None = None,
    console_log: str | None = None,
    sockets: elements.Sockets | None = None,
    firmware: elements.FirmwareFiles | None = None,
    cpus: Sequence[int] = (),
) -> str:
    """The `<domain>` of `vmi`.

    `interfaces` are the texts of `interface_xml`, `images` the images of the manifest's disks by their names, and
    `folders` the paths of its file systems by theirs. The serial console listens on the unix socket `console_socket`
    and is logged to the file `console_log`; without them its output is discarded. `sockets` are those of the guest
    agent and of VNC, without which there are neither; `firmware` is that of UEFI. `cpus` are those of this container,
    for virtual CPUs that have one each to themselves.
    """
    name, uuid = escape(vmi.domain_name), escape(vmi.firmware.uuid)
    virtio = "virtio-transitional" if vmi.hardware.transitional else "virtio"
    lines = [
        f"<domain type='{accelerator.domain_type}'>",
        f"<name>{name}</name>",
        f"<uuid>{uuid}</uuid>",
        # Whole KiB, rounded up.
        f"<memory unit='KiB'>{-(-vmi.memory // 1024)}</memory>",
        *elements.memory_backing(vmi),
        f"<vcpu placement='static'>{vmi.cpu.count}</vcpu>",
        *elements.io_threads(vmi),
        *elements.pinning(vmi.hardware, vmi.cpu.count, cpus),
        *_sysinfo(vmi.firmware),
        *_os(vmi, firmware),
        *elements.features(vmi, accelerator.name == "kvm"),
        *_cpu(vmi.cpu, accelerator),
        *_clock(vmi.clock),
        # A suspended guest would look like a running one, and nothing would wake it.
        "<pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>",
        "<on_poweroff>destroy</on_poweroff>",
        "<on_reboot>restart</on_reboot>",
        "<on_crash>destroy</on_crash>",
        "<devices>",
        *_controllers(vmi),
        *_disks(vmi, images or {}),
        *elements.filesystems(folders or {}),
        *interfaces,
        *(_serial(console_socket, console_log) if vmi.serial_console else []),
        *elements.devices(vmi, sockets),
        *([f"<rng model='{virtio}'><backend model='random'>/dev/urandom</backend></rng>"] if vmi.rng else []),
        f"<memballoon model='{virtio if vmi.balloon else 'none'}'/>",
        # By this device a guest that panics is distinguished from one that hangs.
        "<panic model='isa'/>",
        "</devices>",
        "</domain>",
    ]
    return "\n".join(lines)


def _sysinfo(firmware: Firmware) -> Iterator[str]:
    if firmware.serial is None:
        return
    yield "<sysinfo type='smbios'><system>"
    yield f"<entry name='uuid'>{escape(firmware.uuid)}</entry>"
    yield f"<entry name='serial'>{escape(firmware.serial)}</entry>"
    yield "</system></sysinfo>"


def _os(vmi: VirtualMachineInstance, firmware: elements.FirmwareFiles | None) -> Iterator[str]:
    yield "<os>"
    yield f"<type arch='x86_64' machine='{escape(vmi.machine)}'>hvm</type>"
    yield from elements.firmware(vmi.hardware, firmware)
    boot = vmi.firmware.kernel_boot
    if boot is not None:
        yield f"<kernel>{escape(boot.kernel)}</kernel>"
        if boot.initrd is not None:
            yield f"<initrd>{escape(boot.initrd)}</initrd>"
        if boot.arguments:
            yield f"<cmdline>{escape(boot.arguments)}</cmdline>"
    if vmi.firmware.bios_serial:
        yield "<bios useserial='yes'/>"
    if vmi.firmware.serial is not None:
        yield "<smbios mode='sysinfo'/>"
    yield "</os>"


def _cpu(cpu: CPU, accelerator: Accelerator) -> Iterator[str]:
    host_model = cpu.model in (None, "host-passthrough", "host-model")
    if not host_model:
        yield "<cpu mode='custom' match='exact' check='none'>"
        yield f"<model fallback='forbid'>{escape(cpu.model or '')}</model>"
    elif accelerator.name == "tcg":
        # TCG cannot offer the host's CPU; this is every feature that it emulates.
        yield "<cpu mode='maximum' check='none'>"
    elif cpu.model == "host-model":
        yield "<cpu mode='host-model' check='partial'>"
    else:
        yield "<cpu mode='host-passthrough' check='none'>"
    yield f"<topology sockets='{cpu.sockets}' dies='1' cores='{cpu.cores}' threads='{cpu.threads}'/>"
    for name, policy in cpu.features:
        yield f"<feature policy='{escape(policy)}' name='{escape(name)}'/>"
    yield "</cpu>"


def _clock(clock: Clock) -> Iterator[str]:
    if clock.timezone is not None:
        yield f"<clock offset='timezone' timezone='{escape(clock.timezone)}'>"
    elif clock.offset_seconds is not None:
        yield f"<clock offset='variable' adjustment='{clock.offset_seconds}' basis='utc'>"
    else:
        yield "<clock offset='utc'>"
    for timer in clock.timers:
        policy = f" tickpolicy='{escape(timer.tick_policy)}'" if timer.tick_policy else ""
        track = f" track='{escape(timer.track)}'" if timer.track else ""
        yield f"<timer name='{timer.name}' present='{'yes' if timer.present else 'no'}'{policy}{track}/>"
    yield "</clock>"


def _controllers(vmi: VirtualMachineInstance) -> Iterator[str]:
    buses = {disk.bus for disk in vmi.disks} | {tablet.bus for tablet in vmi.hardware.tablets}
    yield f"<controller type='usb' model='{'qemu-xhci' if 'usb' in buses else 'none'}'/>"
    if "scsi" in buses:
        yield "<controller type='scsi' index='0' model='virtio-scsi'/>"
    yield from controllers(vmi)


def _disks(vmi: VirtualMachineInstance, images: Mapping[str, DiskImage]) -> Iterator[str]:
    counts = {"vd": 0, "sd": 0}
    threads = elements.disk_threads(vmi)
    for disk in vmi.disks:
        image = images[disk.name]
        prefix = "vd" if disk.bus == "virtio" else "sd"
        device = prefix + drive_letters(counts[prefix])
        counts[prefix] += 1
        kind, attribute = ("block", "dev") if image.block else ("file", "file")
        driver = {
            "cache": disk.cache,
            "io": disk.io,
            "error_policy": disk.error_policy,
            "iothread": threads.get(disk.name),
        }
        model = ""
        if disk.bus == "virtio":
            driver["queues"] = vmi.cpu.count if vmi.hardware.disk_queues else None
            model = " model='virtio-transitional'" if vmi.hardware.transitional else ""
        attributes = "".join(f" {name}='{value}'" for name, value in driver.items() if value)
        yield f"<disk type='{kind}' device='{disk.device}'{model}>"
        yield f"<driver name='qemu' type='{image.format}'{attributes}/>"
        yield f"<source {attribute}='{escape(image.path)}'/>"
        yield f"<target dev='{device}' bus='{disk.bus}'/>"
        if disk.readonly:
            yield "<readonly/>"
        if disk.shareable:
            yield "<shareable/>"
        if disk.serial is not None:
            yield f"<serial>{escape(disk.serial)}</serial>"
        if disk.boot_order is not None:
            yield f"<boot order='{disk.boot_order}'/>"
        if disk.pci_address is not None:
            yield pci_address_xml(disk.pci_address)
        yield "</disk>"


def drive_letters(index: int) -> str:
    """0 → a, 25 → z, 26 → aa, as Linux names its disks."""
    letters = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        letters = chr(ord("a") + letter) + letters
    return letters


def _serial(socket: str | None, log: str | None) -> Iterator[str]:
    yield f"<serial type='{'null' if socket is None else 'unix'}'>"
    if socket is not None:
        yield f"<source mode='bind' path='{escape(socket)}'/>"
    if log is not None:
        # Appended to, so that the file may be truncated while the guest writes.
        yield f"<log file='{escape(log)}' append='on'/>"
    yield "<target type='isa-serial' port='0'/></serial>"
