"""The fields of manifests that have an effect, by their types. Pure.

Values are checked by `launcher.vmi.admission`. A field that is not declared here is one of `launcher.manifest.fields`,
or unknown. `launcher.manifest.decode` reads by the annotations.
"""

from launcher.hardware.schema import (
    EFISource,
    FeaturesSource,
    Hugepages,
    InputSource,
    IOThreads,
    Sound,
    TPMSource,
    Video,
    WatchdogSource,
)
from launcher.manifest.shapes import OpenObject, Quantity, StrictObject
from launcher.volumes.schema import AccessCredential, DiskSource, FilesystemSource, Volume


class Metadata(OpenObject):
    """The object's metadata."""

    name: str
    namespace: str | None = None
    uid: str | None = None
    labels: dict[str, str] | None = None
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
    dedicated_cpu_placement: bool | None = None
    isolate_emulator_thread: bool | None = None


class Memory(StrictObject):
    guest: Quantity | None = None
    hugepages: Hugepages | None = None


class Resources(StrictObject):
    requests: dict[str, Quantity] | None = None
    limits: dict[str, Quantity] | None = None


class Machine(StrictObject):
    type: str | None = None


class BIOS(StrictObject):
    use_serial: bool | None = None


class Bootloader(StrictObject):
    bios: BIOS | None = None
    efi: EFISource | None = None


class KernelContainer(StrictObject):
    """Kernel and initrd: in a cluster files of `image`, here paths in the launcher's own file system."""

    kernel_path: str | None = None
    initrd_path: str | None = None


class KernelBootSource(StrictObject):
    kernel_args: str | None = None
    container: KernelContainer | None = None


class FirmwareSource(StrictObject):
    uuid: str | None = None
    serial: str | None = None
    bootloader: Bootloader | None = None
    kernel_boot: KernelBootSource | None = None


class PlainTimer(StrictObject):
    present: bool | None = None


class TickingTimer(StrictObject):
    present: bool | None = None
    tick_policy: str | None = None


class RTCTimer(StrictObject):
    present: bool | None = None
    tick_policy: str | None = None
    track: str | None = None


class Timers(StrictObject):
    hpet: TickingTimer | None = None
    kvm: PlainTimer | None = None
    pit: TickingTimer | None = None
    rtc: RTCTimer | None = None
    hyperv: PlainTimer | None = None


class UTC(StrictObject):
    offset_seconds: int | None = None


class ClockSource(StrictObject):
    utc: UTC | None = None
    timezone: str | None = None
    timer: Timers | None = None


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


BINDING_FIELDS = ("bridge", "masquerade", "sriov", "macvtap", "passt", "passt_binding", "slirp", "binding")
"""Fields of an interface that select its binding; `binding` gives any other binding by its name."""


class Interface(StrictObject):
    name: str
    bridge: StrictObject | None = None
    masquerade: StrictObject | None = None
    sriov: object = None
    macvtap: object = None
    passt: object = None
    passt_binding: object = None
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
    filesystems: list[FilesystemSource] | None = None
    interfaces: list[Interface] | None = None
    rng: StrictObject | None = None
    autoattach_pod_interface: bool | None = None
    autoattach_serial_console: bool | None = None
    autoattach_mem_balloon: bool | None = None
    autoattach_graphics_device: bool | None = None
    autoattach_input_device: bool | None = None
    autoattach_vsock: bool | None = None
    block_multi_queue: bool | None = None
    inputs: list[InputSource] | None = None
    sound: Sound | None = None
    tpm: TPMSource | None = None
    use_virtio_transitional: bool | None = None
    video: Video | None = None
    watchdog: WatchdogSource | None = None
    network_interface_multiqueue: bool | None = None


class Domain(StrictObject):
    devices: Devices | None = None
    machine: Machine | None = None
    cpu: Processor | None = None
    memory: Memory | None = None
    resources: Resources | None = None
    firmware: FirmwareSource | None = None
    features: FeaturesSource | None = None
    io_threads: IOThreads | None = None
    io_threads_policy: str | None = None
    clock: ClockSource | None = None


class PodNetwork(StrictObject):
    vm_network_cidr: str | None = None
    vm_network_cidr6: str | None = None


class MultusNetwork(StrictObject):
    network_name: str
    default: bool | None = None


class Network(StrictObject):
    name: str
    pod: PodNetwork | None = None
    multus: MultusNetwork | None = None
    resource_claim: object = None


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
    access_credentials: list[AccessCredential] | None = None
    architecture: str | None = None
    hostname: str | None = None
    subdomain: str | None = None
    termination_grace_period_seconds: int | None = None
    dns_config: DNSConfig | None = None
    dns_policy: str | None = None


class InterfaceStatus(OpenObject):
    """What the cluster reports of one interface."""

    name: str | None = None
    mac: str | None = None
    pod_interface_name: str | None = None


class Status(OpenObject):
    """What the launcher uses of the cluster's status: interfaces, and how VMs migrate."""

    interfaces: list[InterfaceStatus] | None = None
    migration_transport: str | None = None


class Manifest(StrictObject):
    """A VirtualMachineInstance."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: Spec
    status: Status | None = None


class TemplateMetadata(OpenObject):
    """The metadata of a template, which has no name of its own."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Template(StrictObject):
    """Of a VirtualMachineInstance."""

    metadata: TemplateMetadata | None = None
    spec: object = None


class Matcher(StrictObject):
    """The instance type or the preference of a VirtualMachine: by name, or with its `spec` in place."""

    name: str | None = None
    kind: str | None = None
    spec: object = None
    infer_from_volume: str | None = None
    infer_from_volume_failure_policy: str | None = None
    revision_name: object = None


class MachineSpec(StrictObject):
    """Of a VirtualMachine: its template, and when the cluster runs it."""

    template: Template
    run_strategy: str | None = None
    running: bool | None = None
    instancetype: Matcher | None = None
    preference: Matcher | None = None
    data_volume_templates: object = None
    live_update_features: object = None
    update_volumes_strategy: object = None


class ReplicaSetSpec(StrictObject):
    """Of a VirtualMachineInstanceReplicaSet."""

    template: Template
    paused: object = None
    replicas: object = None
    selector: object = None


class MachineTemplate(StrictObject):
    """Of a VirtualMachine."""

    spec: MachineSpec
    metadata: TemplateMetadata | None = None


class PoolSpec(StrictObject):
    """Of a VirtualMachinePool."""

    virtual_machine_template: MachineTemplate
    autohealing: object = None
    max_unavailable: object = None
    name_generation: object = None
    paused: object = None
    replicas: object = None
    scale_in_strategy: object = None
    selector: object = None
    update_strategy: object = None
