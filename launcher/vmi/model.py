"""What one virtual machine asks for: the launcher's own form of a KubeVirt VirtualMachineInstance.

Everything here is data. The manifest's schema is in `launcher.vmi.schema`, the rules that a manifest has to
keep are in `launcher.vmi.admission`; both are imported by `load_vmi` only, because the pre-start hook needs this
module and its time counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from dhcp.lean.frozen import Frozen

if TYPE_CHECKING:
    from os import PathLike

LinkState = Literal["up", "down"]
Bus = Literal["virtio", "sata", "scsi", "usb"]
Cache = Literal["none", "writethrough", "writeback"]
IOMode = Literal["native", "threads"]
DiskDevice = Literal["disk", "cdrom", "lun"]
Protocol = Literal["TCP", "UDP", "SCTP"]
NicModel = Literal["virtio", "e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139"]

GRACE_SECONDS = 30
"""What KubeVirt's controllers take when a manifest has no `terminationGracePeriodSeconds`."""


class ManifestError(ValueError):
    """The manifest is broken or asks for what the launcher cannot do.

    The message is one line and starts with the path of the field, as in
    `spec.domain.cpu.cores: must be at least 1`.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[ManifestError], tuple[str, str]]:
        return type(self), (self.path, self.reason)


class Port(Frozen):
    """A port that is forwarded to the guest, or a range of them."""

    port: int
    protocol: Protocol = "TCP"
    name: str = ""
    last: int | None = None
    """The end of a range that begins with `port`; None for a single one."""


class DHCPOptions(Frozen):
    """What the manifest adds to the DHCP reply of one interface."""

    boot_file: str | None = None
    """Option 67."""
    tftp_server: str | None = None
    """Option 66."""
    ntp: tuple[str, ...] = ()
    """Option 42, IPv4 addresses in canonical form."""
    private: tuple[tuple[int, str], ...] = ()
    """Site-specific options (224–254) as number and text, RFC 3942 section 3."""


class InterfaceSpec(Frozen):
    """One network interface of the guest together with the network that it is attached to."""

    name: str
    binding: str = "bridge"
    """The binding's name (`netsetup.bindings.registry`)."""
    model: NicModel = "virtio"
    mac: str | None = None
    """Lower case, colons; None leaves the choice to the hook."""
    pod_network: bool = True
    multus_network: str | None = None
    """Name of the NetworkAttachmentDefinition; None for the pod network."""
    multus_default: bool = False
    """The attachment takes the pod network's place (Multus `default`): its NIC is the pod's primary one."""
    pod_interface: str | None = None
    """Name of its NIC in the pod; None leaves it to KubeVirt's naming schemes."""
    state: LinkState = "up"
    boot_order: int | None = None
    acpi_index: int | None = None
    pci_address: str | None = None
    queues: int = 1
    """Receive/transmit queue pairs; more than one needs a tap made with IFF_MULTI_QUEUE."""
    ports: tuple[Port, ...] = ()
    dhcp_options: DHCPOptions = DHCPOptions()
    vm_network: str | None = None
    """The guest's IPv4 network behind the pod, canonical CIDR."""
    vm_network6: str | None = None
    """The same for IPv6."""
    mtu: int = 0
    """The largest MTU it shall use (annotation `virt-launcher.io/mtu`); 0 takes what the pod has."""
    sidecar: bool = False
    """Whether Istio's proxy takes the pod's traffic, so that only what bypasses it is forwarded from outside."""
    kept_ports: tuple[int, ...] = ()
    """TCP ports of the pod's loopback address that stay the launcher's, whatever is forwarded."""

    @property
    def is_primary(self) -> bool:
        """Whether its network is the pod's primary one."""
        return self.pod_network or self.multus_default


DEFAULT_INTERFACE = InterfaceSpec(name="default")
"""For a VM whose manifest names neither networks nor interfaces: a virtio NIC bridged to the pod network."""


class CPU(Frozen):
    """The guest's processor topology and model."""

    sockets: int = 1
    cores: int = 1
    threads: int = 1
    model: str | None = None
    """A named model, `host-model` or `host-passthrough`; None lets the accelerator decide."""
    features: tuple[tuple[str, str], ...] = ()
    """Names of CPU features, each with its libvirt policy (`require`, `disable` …)."""

    @property
    def count(self) -> int:
        return self.sockets * self.cores * self.threads


class KernelBoot(Frozen):
    """Direct kernel boot: paths in the launcher's own file system."""

    kernel: str
    initrd: str | None = None
    arguments: str = ""


class Firmware(Frozen):
    """Identity and boot of the machine."""

    uuid: str
    serial: str | None = None
    bios_serial: bool = False
    """SeaBIOS talks on the serial console too."""
    kernel_boot: KernelBoot | None = None


class Disk(Frozen):
    """One disk of the guest; what is behind it is given on the command line by its name."""

    name: str
    device: DiskDevice = "disk"
    bus: Bus = "sata"
    readonly: bool = False
    boot_order: int | None = None
    serial: str | None = None
    cache: Cache | None = None
    io: IOMode | None = None
    pci_address: str | None = None


class Timer(Frozen):
    """A timer of the guest, by libvirt's name."""

    name: str
    present: bool = True
    tick_policy: str | None = None
    track: str | None = None


class Clock(Frozen):
    """The guest's real-time clock."""

    timezone: str | None = None
    """IANA name; None is UTC."""
    offset_seconds: int | None = None
    """From UTC; None is UTC itself at each start."""
    timers: tuple[Timer, ...] = ()


class VirtualMachineInstance(Frozen):
    """A checked request for one virtual machine."""

    name: str
    namespace: str
    memory: int
    """Bytes."""
    firmware: Firmware
    uid: str | None = None
    machine: str = "q35"
    cpu: CPU = CPU()
    clock: Clock = Clock()
    acpi: bool = True
    interfaces: tuple[InterfaceSpec, ...] = (DEFAULT_INTERFACE,)
    disks: tuple[Disk, ...] = ()
    serial_console: bool = True
    rng: bool = False
    balloon: bool = False
    hostname: str = ""
    """The guest's host name: one DNS label."""
    subdomain: str | None = None
    grace_seconds: int = GRACE_SECONDS
    """How long a shutdown may take before the machine is destroyed."""
    isolated: bool = True
    """Whether the guest is held to the addresses of its interfaces (annotation `virt-launcher.io/isolation`)."""
    stable_id: str | None = None
    """The firmware's UUID where the manifest gives it: MACs are derived from it, and outlive the pod."""

    @property
    def domain_name(self) -> str:
        """The libvirt domain's name, as KubeVirt forms it."""
        return f"{self.namespace}_{self.name}"


def load_vmi(path: str | PathLike[str]) -> VirtualMachineInstance:
    """Read and check the manifest at `path`, YAML or JSON.

    Raises ManifestError. Needs no privilege and looks at no other file: whether kernel and disk images exist
    is found out when they are used.
    """
    from launcher.vmi.admission import admit
    from launcher.vmi.schema import read_manifest

    return admit(read_manifest(path))
