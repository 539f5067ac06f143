"""Admission rules for networks and interfaces."""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import TYPE_CHECKING

from dhcp.config_options import parse_option
from dhcp.lean.frozen import replace
from dhcp.lean.text import interface_name, option_text
from launcher.manifest import schema as source
from launcher.manifest.fields import UNSERVED_BINDINGS
from launcher.manifest.shapes import spelled
from launcher.vmi.checks import check_match, check_name, check_pci_address, check_positive, choose
from launcher.vmi.errors import ManifestError
from launcher.vmi.model import DEFAULT_INTERFACE, DHCPOptions, InterfaceSpec, NicModel, Port, Protocol
from netsetup.bindings.registry import UnknownBinding, binding_names, binding_of
from netsetup.errors import InvalidRequest
from netsetup.model.mac import is_tap_mac, parse_guest_mac
from netsetup.model.private_network import parse_vm_network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from launcher.vmi.errors import Problems
    from netsetup.bindings.binding import Binding

MODELS: tuple[NicModel, ...] = ("virtio", "e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139")
PROTOCOLS: tuple[Protocol, ...] = ("TCP", "UDP", "SCTP")
STATES = ("up", "down", "absent")

QUEUES_MAXIMUM = 256
"""The most queues of a tap device."""
ACPI_INDEX_MAXIMUM = 16383
"""The largest on-board index for which udev sets a name (systemd.net-naming-scheme)."""
PRIVATE_OPTIONS = range(224, 255)
"""RFC 3942 section 3."""
PORT_RANGES_MAXIMUM = 10
UNSERVED_ANNOTATION = "virt-launcher.io/unserved-interfaces"

# RFC 6335 section 5.1; at least one letter, no hyphen at either end, no two in a row.
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*")


class _Unserved(ManifestError):
    """An interface that this launcher cannot serve, as the field at `path` has it."""


def admit_interfaces(
    spec: source.Spec,
    devices: source.Devices,
    vcpus: int,
    status: source.Status | None,
    problems: Problems,
    *,
    leaves_out: bool = False,
) -> tuple[InterfaceSpec, ...]:
    """The guest's interfaces in the manifest's order, without those that are `absent` or have problems.

    With `leaves_out` one that cannot be served is no problem, but left out (`problems.left_out`).
    """
    interfaces = _admitted(spec, devices, vcpus, problems, leaves_out)
    with problems:
        interfaces = _with_status(interfaces, (status and status.interfaces) or [])
    with problems:
        check_distinct(interfaces)
    return interfaces


def _admitted(
    spec: source.Spec, devices: source.Devices, vcpus: int, problems: Problems, leaves_out: bool
) -> tuple[InterfaceSpec, ...]:
    interfaces, networks = devices.interfaces or [], spec.networks or []
    if not interfaces and not networks:
        return () if devices.autoattach_pod_interface is False else (DEFAULT_INTERFACE,)
    by_name = _networks(networks, problems)
    ordinals = _ordinals(networks)
    names: list[str] = []
    admitted: list[InterfaceSpec] = []
    for index, interface in enumerate(interfaces):
        path = f"spec.domain.devices.interfaces[{index}]"
        with problems:
            check_name(f"{path}.name", interface.name, names)
            attached = by_name.get(interface.name)
            if attached is None:
                raise ManifestError(f"{path}.name", f"no network of spec.networks is named `{interface.name}`")
            queues = min(vcpus, QUEUES_MAXIMUM) if devices.network_interface_multiqueue else 1
            try:
                one = _interface(interface, path, *attached, queues)
            except _Unserved as reason:
                if interface.state != "absent":
                    _refuse(interface.name, reason, problems, leaves_out)
            else:
                if interface.state != "absent":
                    admitted.append(replace(one, ordinal=ordinals.get(one.name, 0)))
        names.append(interface.name)
    for index, network in enumerate(networks):
        if network.name not in names:
            problems.add(f"spec.networks[{index}].name", f"no interface is named `{network.name}`")
    return tuple(admitted)


def _refuse(name: str, reason: _Unserved, problems: Problems, leaves_out: bool) -> None:
    """Leave an interface out. Raises ManifestError where the manifest does not say that it may be."""
    if not leaves_out:
        way_out = f"or let the VM go without this interface (annotation {UNSERVED_ANNOTATION}: left-out)"
        raise ManifestError(reason.path, f"{reason.reason}, {way_out}")
    problems.left_out.append((reason.path, f"is not supported: the VM goes without the interface `{name}`"))


def _ordinals(networks: Sequence[source.Network]) -> dict[str, int]:
    """The numbers of the further networks by which KubeVirt's older scheme names their pod interfaces."""
    further = [n.name for n in networks if n.pod is None and not (n.multus and n.multus.default)]
    return {name: number for number, name in enumerate(further, 1)}


def _with_status(
    interfaces: tuple[InterfaceSpec, ...], statuses: Sequence[source.InterfaceStatus]
) -> tuple[InterfaceSpec, ...]:
    """The interfaces with what the cluster reports for them: pod interfaces, such as OVN-Kubernetes' UDN, and MACs.

    A VM that is migrated keeps its MAC by that; one that the spec gives comes first.
    """
    reported = {status.name: (f"status.interfaces[{index}]", status) for index, status in enumerate(statuses)}
    return tuple(
        _with_one_status(interface, *reported[interface.name]) if interface.name in reported else interface
        for interface in interfaces
    )


def _with_one_status(interface: InterfaceSpec, path: str, status: source.InterfaceStatus) -> InterfaceSpec:
    if status.pod_interface_name:
        _checked(f"{path}.podInterfaceName", interface_name, status.pod_interface_name)
    # one of a tap of libvirt's is no guest's, and does not say the guest's
    reported = None if is_tap_mac(status.mac or "") else status.mac
    mac = interface.mac or _mac(f"{path}.mac", reported, binding_of(interface.binding))
    return replace(interface, mac=mac, pod_interface=status.pod_interface_name or interface.pod_interface)


def _networks(networks: Sequence[source.Network], problems: Problems) -> dict[str, tuple[source.Network, str]]:
    """The networks with their paths, by name."""
    by_name: dict[str, tuple[source.Network, str]] = {}
    primary: str | None = None
    for index, network in enumerate(networks):
        path = f"spec.networks[{index}]"
        with problems:
            check_name(f"{path}.name", network.name, by_name)
            by_name[network.name] = network, path
            given = [kind for kind in (network.pod, network.multus, network.resource_claim) if kind is not None]
            if len(given) != 1:
                raise ManifestError(path, "must be exactly one of pod and multus")
            if network.multus is not None and not network.multus.network_name:
                raise ManifestError(f"{path}.multus.networkName", "must not be empty")
            if network.pod is not None or (network.multus is not None and network.multus.default):
                if primary is not None:
                    raise ManifestError(path, f"the pod has one primary network, which is already `{primary}`")
                primary = network.name
    return by_name


def _interface(
    interface: source.Interface, path: str, network: source.Network, network_path: str, queues: int
) -> InterfaceSpec:
    name, binding_path = _binding(interface, path)
    if network.resource_claim is not None:
        why = UNSERVED_BINDINGS["sriov"]
        raise _Unserved(f"{network_path}.resourceClaim", f"is not supported: {why}: use pod or multus")
    try:
        binding = binding_of(name)
    except UnknownBinding:
        why = f"{UNSERVED_BINDINGS[name]}: " if name in UNSERVED_BINDINGS else ""
        raise _Unserved(binding_path, f"is not supported: {why}use one of {', '.join(binding_names())}") from None
    except InvalidRequest as error:
        raise _Unserved(binding_path, str(error)) from None
    if binding.is_private and network.pod is None:
        raise ManifestError(binding_path, "is for the pod network alone")
    model = choose(f"{path}.model", interface.model or "virtio", MODELS)
    state = choose(f"{path}.state", interface.state or "up", STATES)
    check_positive(f"{path}.bootOrder", interface.boot_order)
    check_positive(f"{path}.acpiIndex", interface.acpi_index)
    if interface.acpi_index is not None and interface.acpi_index > ACPI_INDEX_MAXIMUM:
        raise ManifestError(f"{path}.acpiIndex", f"must be at most {ACPI_INDEX_MAXIMUM}")
    pod = network.pod or source.PodNetwork()
    return InterfaceSpec(
        name=interface.name,
        binding=name,
        model=model,
        mac=_mac(f"{path}.macAddress", interface.mac_address, binding),
        pod_network=network.pod is not None,
        multus_network=network.multus.network_name if network.multus else None,
        multus_default=bool(network.multus and network.multus.default),
        state="down" if state == "down" else "up",
        boot_order=interface.boot_order,
        acpi_index=interface.acpi_index,
        pci_address=check_pci_address(f"{path}.pciAddress", interface.pci_address),
        queues=queues if model == "virtio" else 1,
        ports=_ports(f"{path}.ports", interface.ports or []) + _port_ranges(path, interface, binding),
        dhcp_options=_dhcp_options(f"{path}.dhcpOptions", interface.dhcp_options),
        vm_network=_vm_network(f"{network_path}.pod.vmNetworkCIDR", pod.vm_network_cidr, 4),
        vm_network6=_vm_network(f"{network_path}.pod.vmIPv6NetworkCIDR", pod.vm_network_cidr6, 6),
    )


def _binding(interface: source.Interface, path: str) -> tuple[str, str]:
    """The binding's name and the path of the field that gives it."""
    given = [name for name in source.BINDING_FIELDS if getattr(interface, name) is not None]
    if len(given) != 1:
        raise ManifestError(path, f"must have exactly one binding, of these: {', '.join(binding_names())}")
    if interface.binding is not None:
        return interface.binding.name, f"{path}.binding.name"
    return given[0].removesuffix("_binding"), f"{path}.{spelled(given[0])}"


def _mac(path: str, text: str | None, binding: Binding) -> str | None:
    if not text:
        return None
    try:
        return parse_guest_mac(text, binding.reserved_mac)
    except ValueError as error:
        raise ManifestError(path, str(error)) from None


def _ports(path: str, ports: Sequence[source.PortSource]) -> tuple[Port, ...]:
    admitted: list[Port] = []
    for index, port in enumerate(ports):
        here = f"{path}[{index}]"
        if not 1 <= port.port <= 65535:
            raise ManifestError(f"{here}.port", f"must be between 1 and 65535, is {port.port}")
        if port.name:
            check_match(f"{here}.name", port.name, _PORT_NAME, "must be up to 15 of a–z, 0–9 and `-`")
            if port.name in {other.name for other in admitted}:
                raise ManifestError(f"{here}.name", f"`{port.name}` is used twice")
        protocol = choose(f"{here}.protocol", (port.protocol or "TCP").upper(), PROTOCOLS)
        admitted.append(Port(port.port, protocol, port.name or ""))
    return tuple(admitted)


def _port_ranges(path: str, interface: source.Interface, binding: Binding) -> tuple[Port, ...]:
    here, ranges = f"{path}.portRanges", interface.port_ranges or []
    if not ranges:
        return ()
    if not binding.is_private:
        raise ManifestError(here, "is for bindings with a network of the VM's own, such as masquerade")
    if interface.ports:
        raise ManifestError(here, "must not be given together with ports")
    if len(ranges) > PORT_RANGES_MAXIMUM:
        raise ManifestError(here, f"must be at most {PORT_RANGES_MAXIMUM}, are {len(ranges)}")
    admitted: list[Port] = []
    for index, one in enumerate(ranges):
        at = f"{here}[{index}]"
        for name, port in (("start", one.start), ("end", one.end)):
            if not 1 <= port <= 65535:
                raise ManifestError(f"{at}.{name}", f"must be between 1 and 65535, is {port}")
        if one.start > one.end:
            raise ManifestError(f"{at}.end", f"must not be below the start {one.start}, is {one.end}")
        protocol = choose(f"{at}.protocol", (one.protocol or "TCP").upper(), PROTOCOLS)
        for other in admitted:
            if other.protocol == protocol and other.port <= one.end and one.start <= (other.last or other.port):
                raise ManifestError(at, f"overlaps {other.port}-{other.last} of the same protocol")
        admitted.append(Port(one.start, protocol, last=one.end))
    return tuple(admitted)


def _dhcp_options(path: str, options: source.DHCPOptionsSource | None) -> DHCPOptions:
    if options is None:
        return DHCPOptions()
    private: dict[int, str] = {}
    for index, option in enumerate(options.private_options or []):
        here = f"{path}.privateOptions[{index}]"
        if option.option not in PRIVATE_OPTIONS:
            raise ManifestError(f"{here}.option", f"must be between 224 and 254, is {option.option}")
        if option.option in private:
            raise ManifestError(f"{here}.option", f"{option.option} is given twice")
        _checked(f"{here}.value", functools.partial(parse_option, option.option), option.value)
        private[option.option] = option.value
    servers = enumerate(options.ntp_servers or [])
    for field, text in (("bootFileName", options.boot_file_name), ("tftpServerName", options.tftp_server_name)):
        if text:
            _checked(f"{path}.{field}", option_text, text)
    return DHCPOptions(
        boot_file=options.boot_file_name or None,
        tftp_server=options.tftp_server_name or None,
        ntp=tuple(_ipv4(f"{path}.ntpServers[{index}]", server) for index, server in servers),
        private=tuple(private.items()),
    )


def _checked(path: str, check: Callable[[str], object], text: str) -> None:
    try:
        check(text)
    except ValueError as error:
        raise ManifestError(path, str(error)) from None


def _ipv4(path: str, text: str) -> str:
    """The IPv4 address in canonical form; octets with leading zeros are decimal, as for KubeVirt's API server."""
    parts = text.split(".")
    try:
        if all(part.isascii() and part.isdigit() for part in parts):
            return str(ipaddress.IPv4Address(".".join(str(int(part)) for part in parts)))
    except ValueError:
        pass
    raise ManifestError(path, f"must be an IPv4 address, is `{text}`")


def _vm_network(path: str, text: str | None, version: int) -> str | None:
    """The VM's own network in canonical form; it must hold a router's and a guest's address."""
    if not text:
        return None
    address, slash, prefix = text.partition("/")
    if version == 4:
        address = _ipv4(path, address)
    try:
        return parse_vm_network(f"{address}{slash}{prefix}", version)
    except ValueError as error:
        raise ManifestError(path, str(error)) from None


def check_distinct(interfaces: Sequence[InterfaceSpec]) -> None:
    """Check that no two interfaces of the VM share a MAC, ACPI index or pod interface."""
    path = "spec.domain.devices.interfaces"
    for field in ("mac", "acpi_index", "pod_interface"):
        owners: dict[object, str] = {}
        for interface in interfaces:
            value = getattr(interface, field)
            if value is None:
                continue
            if value in owners:
                pair = f"`{owners[value]}` and `{interface.name}`"
                raise ManifestError(path, f"{pair} have the same {field.replace('_', ' ')} {value}")
            owners[value] = interface.name
