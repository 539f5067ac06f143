"""The part of KubeVirt's VirtualMachineInstance schema that the launcher understands, read from a file.

Only types are checked here; what the values may be is `launcher.vmi.admission`'s business. A field that is not
declared is refused by name, with the exception of those that concern the cluster and not this host: they are
declared as `object` and never looked at.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import yaml

from launcher.vmi.model import ManifestError

if TYPE_CHECKING:
    from os import PathLike

Quantity = str | int | float
"""A Kubernetes quantity before it is parsed, e.g. `128Mi`."""


class StrictObject(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """What all objects of the schema have in common."""


class Metadata(msgspec.Struct, kw_only=True):
    """Labels, owners and the like are the cluster's, and so are all annotations but a few of our own."""

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
    """In a cluster the image's files; the launcher takes the paths from its own file system."""

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
    """What the volume is made of does not matter: its image is given to the launcher by name."""

    name: str


class Spec(StrictObject):
    domain: Domain
    networks: list[Network] | None = None
    volumes: list[Volume] | None = None
    architecture: str | None = None
    hostname: str | None = None
    subdomain: str | None = None
    termination_grace_period_seconds: int | None = None
    # Where, whether and when the pod runs, and who looks after it.
    affinity: object = None
    eviction_strategy: object = None
    liveness_probe: object = None
    node_selector: object = None
    priority_class_name: object = None
    readiness_probe: object = None
    scheduler_name: object = None
    tolerations: object = None
    topology_spread_constraints: object = None
    # The kubelet has already written what they say to the pod's resolv.conf.
    dns_config: object = None
    dns_policy: object = None


class InterfaceStatus(msgspec.Struct, rename="camel", kw_only=True):
    """What the cluster found out about one interface; most of it was told by a launcher."""

    name: str | None = None
    pod_interface_name: str | None = None


class Status(msgspec.Struct, rename="camel", kw_only=True):
    """The cluster's own notes. Of these the launcher needs two: which interfaces the CNI has made, how VMs migrate."""

    interfaces: list[InterfaceStatus] | None = None
    migration_transport: str | None = None


class Manifest(StrictObject):
    api_version: str
    kind: str
    metadata: Metadata
    spec: Spec
    status: Status | None = None


class _Constructor(yaml.constructor.SafeConstructor):
    """YAML as the Kubernetes tools read it.

    A MAC address such as 52:54:00:12:34:56 is a number to base 60 and a date is an object in YAML 1.1; here
    both are text. A key given twice is an error.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen = set()
        for key, _ in node.value:
            # The key `<<` may be repeated: it merges what aliases point to.
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Loader(_Constructor, yaml.SafeLoader):
    """PyYAML's own parser, whose words are reported."""


class _FastLoader(_Constructor, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """libyaml's parser, where PyYAML was built with it: a tenth of the time."""


LIBYAML_DEPTH = 3000
"""It has no limit of its own, and 20,000 levels overflow the stack."""

_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+|0o?[0-7]+)$")
_FRACTION = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")
_RETYPED = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")

for _loader in (_Loader, _FastLoader):
    _loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _RETYPED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _loader.add_implicit_resolver("tag:yaml.org,2002:int", _DECIMAL, list("-+0123456789"))
    _loader.add_implicit_resolver("tag:yaml.org,2002:float", _FRACTION, list("-+.0123456789"))

_LOCATION = re.compile(r"(?P<reason>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`$")
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`$")


def read_manifest(path: str | PathLike[str]) -> Manifest:
    """The manifest at `path`. Raises ManifestError, whose path is the file's when it is not even YAML."""
    file = str(path)
    try:
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise ManifestError(file, error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise ManifestError(file, f"is not UTF-8 text: {error.reason} at byte {error.start}") from None
    return decode_manifest(text, file)


def decode_manifest(text: str, file: str = "manifest") -> Manifest:
    """The same from the text of the file."""
    try:
        documents = _documents(text)
    except yaml.YAMLError as error:
        raise ManifestError(file, _yaml_reason(error)) from None
    except RecursionError:
        raise ManifestError(file, "is nested too deeply") from None
    except ValueError as error:
        raise ManifestError(file, str(error)) from None
    if len(documents) != 1:
        raise ManifestError(file, f"must hold one object, holds {len(documents)}")
    document = documents[0]
    if not isinstance(document, dict):
        raise ManifestError(file, f"must be an object, is a {type(document).__name__}")
    # Another kind would only be reported by the first field that it does not share with ours.
    kind = document.get("kind")
    if kind != "VirtualMachineInstance":
        raise ManifestError("kind", f"must be VirtualMachineInstance, is {kind}")
    try:
        return msgspec.convert(document, Manifest)
    except msgspec.ValidationError as error:
        raise _located(str(error)) from None


def _documents(text: str) -> list[object]:
    """What is in a YAML text; raises what PyYAML's own parser raises."""
    if _depth_limit(text) <= LIBYAML_DEPTH:
        with contextlib.suppress(yaml.YAMLError, ValueError):
            return _load(text, _FastLoader)
    return _load(text, _Loader)


def _load(text: str, loader: type[_Loader | _FastLoader]) -> list[object]:
    return [document for document in yaml.load_all(text, loader) if document is not None]


def _depth_limit(text: str) -> int:
    """More levels than this it cannot have: each takes a bracket or a column, and a list may have its parent's."""
    longest = max((len(line) for line in text.splitlines()), default=0)
    return text.count("[") + text.count("{") + 2 * longest


def _yaml_reason(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem or error.context}"
    return " ".join(str(error).split())


def _located(message: str) -> ManifestError:
    """The decoder's message with the path in front."""
    match = _LOCATION.match(message)
    assert match is not None
    path = (match["path"] or "").removeprefix(".")
    reason = match["reason"]
    if unknown := _UNKNOWN.match(reason):
        return ManifestError(_join(path, unknown["name"]), "is unknown, or not supported by this launcher")
    if missing := _MISSING.match(reason):
        return ManifestError(_join(path, missing["name"]), "is required")
    return ManifestError(path or "manifest", reason[:1].lower() + reason[1:].replace("`", ""))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
