"""The part of KubeVirt's VirtualMachineInstance schema that the launcher supports.

Only types are checked here; values are checked by `launcher.vmi.admission`. A field that is not declared is refused by
name. Fields that concern the cluster and not this host are declared as `object` and ignored.
"""

from __future__ import annotations

import msgspec

Quantity = str | int | float
"""A Kubernetes quantity before it is parsed, e.g. `128Mi`."""


class StrictObject(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Base of the objects that refuse undeclared fields."""


class Metadata(msgspec.Struct, kw_only=True):
    """The object's metadata; all other fields (labels, owners …) are the cluster's and ignored."""

    name: str
    namespace: str | None = None
    uid: str | None = None
    annotations: dict[str, str] | None = None


class Feature(StrictObject):
    name: str
    policy: str | None = None


class Processor(StrictObject):
    cores: int | None = None
    sockets: int | None = None
    threads: int | None = None
    model: str | None = None
    features: list[Feature] | None = None


class Memory(StrictObject):
    guest: Quantity | None = None


class Resources(StrictObject):
    requests: dict[str, Quantity] | None = None
    limits: dict[str, Quantity] | None = None
    overcommit_guest_overhead: object = None


class Machine(StrictObject):
    type: str | None = None


class BIOS(StrictObject):
    use_serial: bool | None = None


class Bootloader(StrictObject):
    bios: BIOS | None = None
    efi: object = None


class KernelContainer(StrictObject):
    """Kernel and initrd: in a cluster files of `image`, here paths in the launcher's own file system."""

    kernel_path: str | None = None
    initrd_path: str | None = None
    image: object = None
    image_pull_policy: object = None
    image_pull_secret: object = None


class KernelBootSource(StrictObject):
    kernel_args: str | None = None
    container: KernelContainer | None = None


class FirmwareSource(StrictObject):
    uuid: str | None = None
    serial: str | None = None
    bootloader: Bootloader | None = None
    kernel_boot: KernelBootSource | None = None


class Switch(StrictObject):
    enabled: bool | None = None


class Features(StrictObject):
    acpi: Switch | None = None


class TimerSource(StrictObject):
    present: bool | None = None
    tick_policy: str | None = None
    track: str | None = None


class Timers(StrictObject):
    hpet: TimerSource | None = None
    kvm: TimerSource | None = None
    pit: TimerSource | None = None
    rtc: TimerSource | None = None
    hyperv: TimerSource | None = None


class UTC(StrictObject):
    offset_seconds: int | None = None


class ClockSource(StrictObject):
    utc: UTC | None = None
    timezone: str | None = None
    timer: Timers | None = None


class DiskTarget(StrictObject):
    bus: str | None = None
    readonly: bool | None = None
    pci_address: str | None = None


class DiskSource(StrictObject):
    name: str
    disk: DiskTarget | None = None
    cdrom: DiskTarget | None = None
    lun: DiskTarget | None = None
    boot_order: int | None = None
    serial: str | None = None
    cache: str | None = None
    io: str | None = None


class PortSource(StrictObject):
    port: int
    protocol: str | None = None
    name: str | None = None


class PortRange(StrictObject):
    start: int
    end: int
    protocol: str | None = None


class PrivateOption(StrictObject):
    option: int
    value: str


class DHCPOptionsSource(StrictObject):
    boot_file_name: str | None = None
    tftp_server_name: str | None = None
    ntp_servers: list[str] | None = None
    private_options: list[PrivateOption] | None = None


class PluginBinding(StrictObject):
    name: str


class Interface(StrictObject):
    name: str
    bridge: StrictObject | None = None
    masquerade: StrictObject | None = None
    sriov: object = None
    macvtap: object = None
    passt: object = None
    slirp: object = None
    binding: PluginBinding | None = None
    mac_address: str | None = None
    model: str | None = None
    state: str | None = None
    boot_order: int | None = None
    acpi_index: int | None = None
    pci_address: str | None = None
    ports: list[PortSource] | None = None
    port_ranges: list[PortRange] | None = None
    dhcp_options: DHCPOptionsSource | None = None


class Devices(StrictObject):
    disks: list[DiskSource] | None = None
    interfaces: list[Interface] | None = None
    rng: StrictObject | None = None
    autoattach_pod_interface: bool | None = None
    autoattach_serial_console: bool | None = None
    autoattach_mem_balloon: bool | None = None
    autoattach_graphics_device: bool | None = None
    network_interface_multiqueue: bool | None = None


class Domain(StrictObject):
    devices: Devices | None = None
    machine: Machine | None = None
    cpu: Processor | None = None
    memory: Memory | None = None
    resources: Resources | None = None
    firmware: FirmwareSource | None = None
    features: Features | None = None
    clock: ClockSource | None = None


class PodNetwork(StrictObject):
    vm_network_cidr: str | None = msgspec.field(name="vmNetworkCIDR", default=None)
    vm_network_cidr6: str | None = msgspec.field(name="vmIPv6NetworkCIDR", default=None)


class MultusNetwork(StrictObject):
    network_name: str
    default: bool | None = None


class Network(StrictObject):
    name: str
    pod: PodNetwork | None = None
    multus: MultusNetwork | None = None


class Volume(msgspec.Struct, kw_only=True):
    """A volume by its name; its source is ignored, because its image is given on the command line."""

    name: str


class DNSOption(StrictObject):
    name: str | None = None
    value: str | None = None


class DNSConfig(StrictObject):
    nameservers: list[str] | None = None
    searches: list[str] | None = None
    options: list[DNSOption] | None = None


class Spec(StrictObject):
    domain: Domain
    networks: list[Network] | None = None
    volumes: list[Volume] | None = None
    architecture: str | None = None
    hostname: str | None = None
    subdomain: str | None = None
    termination_grace_period_seconds: int | None = None
    dns_config: DNSConfig | None = None
    dns_policy: str | None = None
    # Scheduling and probes of the pod: the cluster's.
    affinity: object = None
    eviction_strategy: object = None
    liveness_probe: object = None
    node_selector: object = None
    priority_class_name: object = None
    readiness_probe: object = None
    scheduler_name: object = None
    tolerations: object = None
    topology_spread_constraints: object = None


class InterfaceStatus(msgspec.Struct, rename="camel", kw_only=True):
    """What the cluster reports of one interface."""

    name: str | None = None
    mac: str | None = None
    pod_interface_name: str | None = None


class Status(msgspec.Struct, rename="camel", kw_only=True):
    """What the launcher uses of the cluster's status: interfaces, and how VMs migrate."""

    interfaces: list[InterfaceStatus] | None = None
    migration_transport: str | None = None


class Manifest(StrictObject):
    api_version: str
    kind: str
    metadata: Metadata
    spec: Spec
    status: Status | None = None
