"""The fields of a manifest's hardware that have an effect, by their types. Pure."""

from launcher.manifest.shapes import Quantity, StrictObject


class Switch(StrictObject):
    """Given and not disabled is on."""

    enabled: bool | None = None


class EFISource(StrictObject):
    secure_boot: bool | None = None
    persistent: bool | None = None


class APIC(StrictObject):
    enabled: bool | None = None
    end_of_interrupt: bool | None = None


class Spinlocks(StrictObject):
    enabled: bool | None = None
    spinlocks: int | None = None


class SyNICTimer(StrictObject):
    enabled: bool | None = None
    direct: Switch | None = None


class VendorID(StrictObject):
    enabled: bool | None = None
    vendorid: str | None = None


class Hyperv(StrictObject):
    relaxed: Switch | None = None
    vapic: Switch | None = None
    spinlocks: Spinlocks | None = None
    vpindex: Switch | None = None
    runtime: Switch | None = None
    synic: Switch | None = None
    synictimer: SyNICTimer | None = None
    reset: Switch | None = None
    vendorid: VendorID | None = None
    frequencies: Switch | None = None
    reenlightenment: Switch | None = None
    tlbflush: Switch | None = None
    ipi: Switch | None = None
    evmcs: Switch | None = None


class KVM(StrictObject):
    hidden: bool | None = None


class FeaturesSource(StrictObject):
    acpi: Switch | None = None
    apic: APIC | None = None
    hyperv: Hyperv | None = None
    hyperv_passthrough: Switch | None = None
    kvm: KVM | None = None
    pvspinlock: Switch | None = None
    smm: Switch | None = None


class InputSource(StrictObject):
    name: str
    type: str
    bus: str | None = None


class I6300ESB(StrictObject):
    action: str | None = None


class WatchdogSource(StrictObject):
    name: str
    i6300esb: I6300ESB | None = None


class TPMSource(StrictObject):
    enabled: bool | None = None
    persistent: bool | None = None


class Sound(StrictObject):
    name: str
    model: str | None = None


class Video(StrictObject):
    type: str | None = None


class IOThreads(StrictObject):
    supplemental_pool_thread_count: int | None = None


class Hugepages(StrictObject):
    page_size: Quantity | None = None
