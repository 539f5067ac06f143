"""The launcher's model of a KubeVirt VirtualMachineInstance: checked, frozen data. Pure.

The pre-start hook imports it whether or not there is a manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dhcp.lean.frozen import Frozen
from launcher.hardware.model import Hardware

if TYPE_CHECKING:
    from launcher.volumes.model import Volume
    from netsetup.model.pod_interface import DNSRequest

LinkState = Literal["up", "down"]
Bus = Literal["virtio", "sata", "scsi", "usb"]
Cache = Literal["none", "writethrough", "writeback"]
IOMode = Literal["native", "threads"]
ErrorPolicy = Literal["stop", "ignore", "report", "enospace"]
DiskDevice = Literal["disk", "cdrom", "lun"]
Protocol = Literal["TCP", "UDP", "SCTP"]
NicModel = Literal["virtio", "virtio-transitional", "e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139"]

GRACE_SECONDS = 30
"""KubeVirt's default for a manifest without `terminationGracePeriodSeconds`."""


class Port(Frozen):
    """A TCP, UDP or SCTP port that is forwarded to the guest, or a range of them."""

    port: int
    protocol: Protocol = "TCP"
    name: str = ""
    last: int | None = None
    """The last port of a range that begins with `port`; None for a single port."""
    interfaces: tuple[str, ...] = ()
    """The pod's interfaces at which clients reach it; none for the pod network's alone."""


class DHCPOptions(Frozen):
    """DHCP options that the manifest sets for one interface."""

    boot_file: str | None = None
    """Option 67."""
    tftp_server: str | None = None
    """Option 66."""
    ntp: tuple[str, ...] = ()
    """Option 42, IPv4 addresses in canonical form."""
    private: tuple[tuple[int, str], ...] = ()
    """Site-specific options (224–254) as number and text, RFC 3942 section 3."""


class InterfaceSpec(Frozen):
    """One network interface of the guest, and the network that it is attached to."""

    name: str
    binding: str = "bridge"
    """The binding's name (`netsetup.bindings.registry`)."""
    model: NicModel = "virtio"
    mac: str | None = None
    """Lower case, colons: the spec's, else the one that the cluster reports; None lets the hook choose it."""
    pod_network: bool = True
    multus_network: str | None = None
    """Name of the NetworkAttachmentDefinition; None for the pod network."""
    multus_default: bool = False
    """The attachment replaces the pod network (Multus `default`): its interface is the pod's primary one."""
    ordinal: int = 0
    """Which of the manifest's further networks it has, from 1, for KubeVirt's older scheme (`net1`, …); 0 for its place
    among the request's."""
    pod_interface: str | None = None
    """Name of its pod interface; None for the name of KubeVirt's naming schemes, empty for the default route's."""
    guest_port: str | None = None
    """Name of the VM's end in the pod; None for that of the naming schemes, or another one where it is taken."""
    state: LinkState = "up"
    boot_order: int | None = None
    acpi_index: int | None = None
    pci_address: str | None = None
    queues: int = 1
    """Receive/transmit queue pairs; more than one requires a tap with IFF_MULTI_QUEUE."""
    ports: tuple[Port, ...] = ()
    dhcp_options: DHCPOptions = DHCPOptions()
    vm_network: str | None = None
    """The VM's own IPv4 network (masquerade), canonical CIDR."""
    vm_network6: str | None = None
    """The same for IPv6."""
    mtu: int = 0
    """Upper limit of its MTU (annotation `virt-launcher.io/mtu`); 0 for the pod interface's."""
    sidecar: bool = False
    """Whether Istio's proxy accepts the pod's connections, so that only traffic that bypasses it is forwarded."""
    kept_ports: tuple[int, ...] = ()
    """TCP ports of the pod's loopback address that are never forwarded: the launcher listens there."""

    @property
    def is_primary(self) -> bool:
        """Whether its network is the pod's primary network."""
        return self.pod_network or self.multus_default


DEFAULT_INTERFACE = InterfaceSpec(name="default", pod_interface="")
"""The interface of a VM whose manifest lists neither networks nor interfaces: virtio, bridged to the pod network."""


class CPU(Frozen):
    """The guest's CPU topology and model."""

    sockets: int = 1
    cores: int = 1
    threads: int = 1
    model: str | None = None
    """A named model, `host-model` or `host-passthrough`; None for the accelerator's default."""
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
    """The VM's SMBIOS identity and boot settings."""

    uuid: str
    serial: str | None = None
    bios_serial: bool = False
    """Whether SeaBIOS uses the serial console too."""
    kernel_boot: KernelBoot | None = None


class Disk(Frozen):
    """One disk of the guest; what is behind it is the volume of its name."""

    name: str
    device: DiskDevice = "disk"
    bus: Bus = "sata"
    readonly: bool = False
    boot_order: int | None = None
    serial: str | None = None
    cache: Cache | None = None
    io: IOMode | None = None
    pci_address: str | None = None
    shareable: bool = False
    """Whether other VMs write to it at the same time."""
    error_policy: ErrorPolicy | None = None
    """What QEMU does about a failed read or write; None for its default."""


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
    """Offset from UTC; None for UTC at each start."""
    timers: tuple[Timer, ...] = ()


class VirtualMachineInstance(Frozen):
    """One VM as its manifest describes it, checked."""

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
    filesystems: tuple[str, ...] = ()
    """Names of volumes that the guest mounts by virtiofs."""
    volumes: tuple[Volume, ...] = ()
    """What is behind the disks, by their names; a disk without is given on the command line."""
    hardware: Hardware = Hardware()
    serial_console: bool = True
    rng: bool = False
    balloon: bool = False
    hostname: str = ""
    """The guest's host name: one DNS label."""
    subdomain: str | None = None
    grace_seconds: int = GRACE_SECONDS
    """How long a shutdown may take before the domain is destroyed."""
    isolated: bool = True
    """Whether the guest may send with its own addresses only (annotation `virt-launcher.io/isolation`)."""
    reaches_pod: bool = False
    """Whether the guest reaches processes of the pod itself (annotation `virt-launcher.io/pod-services`)."""
    further_addresses: tuple[str, ...] = ()
    """What an isolated guest may send from besides (annotation `virt-launcher.io/further-addresses`)."""
    hides_clients: bool = False
    """Whether the guest sees its router's address for all clients (annotation `virt-launcher.io/client-addresses`)."""
    stable_id: str | None = None
    """The firmware's UUID, from which MACs are derived that outlive the pod; None for the pod's MACs."""
    dns: DNSRequest | None = None
    """What `dnsPolicy` and `dnsConfig` change of the pod's resolver configuration; None for nothing."""
    left_out: tuple[str, ...] = ()
    """Interfaces that are not served, a line each (annotation `virt-launcher.io/unserved-interfaces`)."""
    warnings: tuple[str, ...] = ()
    """What else the manifest asks for and the VM goes without, a line each."""

    @property
    def domain_name(self) -> str:
        """The libvirt domain's name, as KubeVirt forms it."""
        return f"{self.namespace}_{self.name}"
