"""The libvirt elements of a VM's hardware. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dhcp.lean.frozen import Frozen, replace
from launcher.interface_xml import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from launcher.hardware.model import Features, Hardware, HypervFeature
    from launcher.vmi.model import VirtualMachineInstance

AGENT_CHANNEL: Final = "org.qemu.guest_agent.0"
"""The port at which a guest's QEMU agent listens."""


class Sockets(Frozen):
    """Paths of the unix sockets at which QEMU listens."""

    agent: str
    vnc: str


class FirmwareFiles(Frozen):
    """UEFI firmware: its code, the template of its variables, and where these are kept."""

    code: str
    template: str
    variables: str


def firmware(hardware: Hardware, files: FirmwareFiles | None) -> Iterator[str]:
    """What `<os>` has of UEFI."""
    if hardware.efi is None or files is None:
        return
    secure = "yes" if hardware.efi.secure_boot else "no"
    yield f"<loader readonly='yes' secure='{secure}' type='pflash'>{escape(files.code)}</loader>"
    yield f"<nvram template='{escape(files.template)}'>{escape(files.variables)}</nvram>"


def features(vmi: VirtualMachineInstance, kvm: bool) -> Iterator[str]:
    wanted = effective_features(vmi.hardware.features, kvm)
    yield "<features>"
    if vmi.acpi:
        yield "<acpi/>"
    if wanted.apic:
        eoi = "" if wanted.end_of_interrupt is None else f" eoi='{_state(wanted.end_of_interrupt)}'"
        yield f"<apic{eoi}/>"
    if wanted.hyperv_passthrough:
        yield "<hyperv mode='passthrough'/>"
    elif wanted.hyperv:
        yield "<hyperv mode='custom'>"
        yield from map(_enlightenment, wanted.hyperv)
        yield "</hyperv>"
    if wanted.kvm_hidden is not None:
        yield f"<kvm><hidden state='{_state(wanted.kvm_hidden)}'/></kvm>"
    for name, state in (("pvspinlock", wanted.pvspinlock), ("smm", wanted.smm)):
        if state is not None:
            yield f"<{name} state='{_state(state)}'/>"
    yield "</features>"


def effective_features(wanted: Features, kvm: bool) -> Features:
    """Those of `wanted` that there are: without KVM there are no enlightenments and no paravirtual spinlocks."""
    if kvm:
        return wanted
    return replace(wanted, hyperv=(), hyperv_passthrough=False, pvspinlock=None)


def _enlightenment(feature: HypervFeature) -> str:
    attributes = "".join(f" {name}='{escape(value)}'" for name, value in feature.attributes)
    within = "".join(f"<{name} state='on'/>" for name in feature.within)
    end = f">{within}</{feature.name}>" if within else "/>"
    return f"<{feature.name} state='on'{attributes}{end}"


def _state(on: bool) -> str:
    return "on" if on else "off"


def memory_backing(vmi: VirtualMachineInstance) -> Iterator[str]:
    """What is behind the VM's memory; virtiofsd maps it, too."""
    size = vmi.hardware.page_size // 1024
    pages = f"<hugepages><page size='{size}' unit='KiB'/></hugepages>" if size else ""
    shared = "<source type='memfd'/><access mode='shared'/>" if vmi.filesystems else ""
    if pages or shared:
        yield f"<memoryBacking>{pages}{shared}</memoryBacking>"


def filesystems(folders: Mapping[str, str]) -> Iterator[str]:
    """A virtiofs device for each folder, which a guest mounts by the folder's name."""
    for name, path in folders.items():
        yield "<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs'/>"
        # In a container virtiofsd may not make namespaces of its own.
        yield "<binary><sandbox mode='chroot'/></binary>"
        yield f"<source dir='{escape(path)}'/><target dir='{escape(name)}'/></filesystem>"


def pinning(hardware: Hardware, vcpus: int, cpus: Sequence[int]) -> Iterator[str]:
    """Each virtual CPU on one of `cpus`, and QEMU's other threads on the one after these, or on all of these."""
    if not hardware.pinned:
        return
    used = list(cpus[:vcpus])
    emulator = str(cpus[vcpus]) if hardware.pinned_emulator else ",".join(map(str, used))
    yield "<cputune>"
    for vcpu, cpu in enumerate(used):
        yield f"<vcpupin vcpu='{vcpu}' cpuset='{cpu}'/>"
    yield f"<emulatorpin cpuset='{emulator}'/>"
    yield "</cputune>"


def disk_threads(vmi: VirtualMachineInstance) -> Mapping[str, int]:
    """The I/O thread of each virtio disk that has one, from 1 on, by the disk's name."""
    hardware = vmi.hardware
    virtio = [disk.name for disk in vmi.disks if disk.bus == "virtio"]
    own = [name for name in virtio if name in hardware.own_io_thread]
    shared = [name for name in virtio if name not in own] if hardware.io_threads else []
    most = {"shared": 1, "auto": 2 * vmi.cpu.count, "supplementalPool": hardware.io_thread_pool}
    count = min(len(shared), most[hardware.io_threads]) if hardware.io_threads else 0
    threads = {name: 1 + index % count for index, name in enumerate(shared)}
    return threads | {name: count + 1 + index for index, name in enumerate(own)}


def io_threads(vmi: VirtualMachineInstance) -> Iterator[str]:
    if count := max(disk_threads(vmi).values(), default=0):
        yield f"<iothreads>{count}</iothreads>"


def devices(vmi: VirtualMachineInstance, sockets: Sockets | None) -> Iterator[str]:
    """The devices that are neither disk, network interface, console, random numbers nor balloon."""
    hardware = vmi.hardware
    if sockets is not None:
        yield "<channel type='unix'>"
        yield f"<source mode='bind' path='{escape(sockets.agent)}'/>"
        yield f"<target type='virtio' name='{AGENT_CHANNEL}'/></channel>"
    for tablet in hardware.tablets:
        yield f"<input type='tablet' bus='{tablet.bus}'><alias name='ua-{escape(tablet.name)}'/></input>"
    if hardware.watchdog:
        yield f"<watchdog model='i6300esb' action='{hardware.watchdog}'/>"
    if hardware.tpm is not None:
        kept = "yes" if hardware.tpm.persistent else "no"
        yield "<tpm model='tpm-crb'>"
        yield f"<backend type='emulator' version='2.0' persistent_state='{kept}'/></tpm>"
    if hardware.sound:
        # What the guest plays is discarded.
        yield f"<sound model='{hardware.sound}'/><audio id='1' type='none'/>"
    if hardware.graphics and sockets is not None:
        yield f"<graphics type='vnc'><listen type='socket' socket='{escape(sockets.vnc)}'/></graphics>"
        yield f"<video><model type='{hardware.video}' heads='1'/></video>"
    else:
        yield "<video><model type='none'/></video>"
    if hardware.vsock:
        yield "<vsock model='virtio'><cid auto='yes'/></vsock>"
