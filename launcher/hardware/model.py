"""What a manifest says of a VM's hardware: checked, frozen data. Pure."""

from __future__ import annotations

from typing import Literal

from dhcp.lean.frozen import Frozen

WatchdogAction = Literal["poweroff", "reset", "shutdown"]
SoundModel = Literal["ich9", "ac97"]
VideoModel = Literal["vga", "virtio", "bochs", "cirrus", "qxl", "ramfb"]
IOThreadsPolicy = Literal["shared", "auto", "supplementalPool"]
Attributes = tuple[tuple[str, str], ...]


class EFI(Frozen):
    """UEFI firmware (OVMF) instead of SeaBIOS."""

    secure_boot: bool = True
    persistent: bool = False
    """Whether its variables outlive the VM."""


class HypervFeature(Frozen):
    """An enlightenment by libvirt's name, with attributes, and the name of one within it that is on too."""

    name: str
    attributes: Attributes = ()
    within: tuple[str, ...] = ()


class Tablet(Frozen):
    """A pointing device with absolute positions."""

    name: str
    bus: Literal["usb", "virtio"] = "usb"


class TPM(Frozen):
    """An emulated TPM 2.0 (swtpm)."""

    persistent: bool = False
    """Whether what it holds outlives the VM."""


class Features(Frozen):
    """What libvirt has in `<features>` besides ACPI; None where the machine type decides."""

    apic: bool = False
    end_of_interrupt: bool | None = None
    smm: bool | None = None
    kvm_hidden: bool | None = None
    pvspinlock: bool | None = None
    hyperv: tuple[HypervFeature, ...] = ()
    hyperv_passthrough: bool = False


class Hardware(Frozen):
    """Devices and settings of one VM."""

    efi: EFI | None = None
    features: Features = Features()
    tablets: tuple[Tablet, ...] = ()
    watchdog: WatchdogAction | None = None
    tpm: TPM | None = None
    graphics: bool = False
    """Whether it has a screen, reached by VNC."""
    video: VideoModel = "vga"
    sound: SoundModel | None = None
    vsock: bool = False
    io_threads: IOThreadsPolicy | None = None
    io_thread_pool: int = 0
    """Threads of the policy `supplementalPool`."""
    own_io_thread: tuple[str, ...] = ()
    """Names of disks that have one to themselves."""
    disk_queues: bool = False
    """Whether virtio disks have as many queues as there are virtual CPUs."""
    page_size: int = 0
    """Octets of the huge pages behind the VM's memory; 0 for ordinary ones."""
    pinned: bool = False
    """Whether each virtual CPU has one of this container's CPUs to itself."""
    pinned_emulator: bool = False
    """Whether QEMU's other threads have one more."""
    transitional: bool = False
    """Whether virtio devices are for guests without virtio 1.0."""
