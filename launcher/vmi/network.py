"""Admission of what a manifest asks of the pod's network: all that the pre-start hook reads of it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from dhcp.config import LARGEST_MTU, SMALLEST_MTU
from dhcp.lean.frozen import replace
from launcher.manifest import schema as source
from launcher.request import SetupRequest
from launcher.vmi.checks import check_length, check_match, check_positive, choose
from launcher.vmi.dns import admit_dns
from launcher.vmi.errors import ManifestError
from launcher.vmi.interfaces import admit_interfaces

if TYPE_CHECKING:
    from hashlib import sha1

    from launcher.vmi.errors import Problems
    from launcher.vmi.model import InterfaceSpec, Port
else:
    try:
        from _sha1 import sha1
    except ImportError:  # an interpreter that is built otherwise
        from hashlib import sha1  # which loads OpenSSL, 4 ms

_UUID_NAMESPACE = bytes.fromhex("0f3f0f0c5f0e4f0c9a4e6f8a3b1f6a70")
_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
LONGEST_NAME, LONGEST_LABEL = 253, 63
_OBJECT_NAME = re.compile(r"[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?")
ANNOTATIONS = "virt-launcher.io/"
OUR_ANNOTATIONS = (
    "client-addresses",
    "further-addresses",
    "isolation",
    "mac",
    "mtu",
    "pod-services",
    "port-interfaces",
    "unserved-interfaces",
)
PORT_INTERFACES_MAXIMUM = 64
_INTERFACE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.@-]{1,15}")
ISTIO_ANNOTATION = "sidecar.istio.io/inject"
MIGRATION_PORTS = (49152, 49153)
"""TCP ports at which KubeVirt's libvirt receives a VM that migrates: direct and block migration."""


def admit_network(manifest: source.Manifest, problems: Problems) -> SetupRequest | None:
    """Check the network's part of `manifest`; None when there are `problems`, to which it adds all it finds."""
    metadata, spec = manifest.metadata, manifest.spec
    if not manifest.api_version.startswith("kubevirt.io/"):
        problems.add("apiVersion", f"must be kubevirt.io/v1, is {manifest.api_version}")
    for path, name, pattern, rule in (
        ("metadata.name", metadata.name, _OBJECT_NAME, "must be lower-case letters, digits, `-` and `.`"),
        ("metadata.namespace", metadata.namespace or "default", _LABEL, "must be a DNS label"),
        ("spec.hostname", spec.hostname or "default", _LABEL, "must be a DNS label"),
        ("spec.subdomain", spec.subdomain or "default", _LABEL, "must be a DNS label"),
    ):
        with problems:
            check_length(path, name, LONGEST_NAME if pattern is _OBJECT_NAME else LONGEST_LABEL)
            check_match(path, name, pattern, rule)
    _check_annotations(metadata, problems)
    with problems:
        mtu = _mtu(metadata)
    with problems:
        isolated = _annotation(metadata, "isolation", ("on", "off")) == "on"
    with problems:
        reaches_pod = _annotation(metadata, "pod-services", ("closed", "open")) == "open"
    with problems:
        further = _further_addresses(metadata)
    with problems:
        hides_clients = _annotation(metadata, "client-addresses", ("kept", "hidden")) == "hidden"
    with problems:
        has_stable_mac = _annotation(metadata, "mac", ("stable", "pod")) == "stable"
    with problems:
        identity = firmware_uuid(spec.domain.firmware or source.FirmwareSource(), metadata)
    with problems:
        dns = admit_dns(spec.dns_policy, spec.dns_config)
    leaves_out = False
    with problems:
        leaves_out = _annotation(metadata, "unserved-interfaces", ("refused", "left-out")) == "left-out"
    vcpus = 1
    with problems:
        vcpus = math.prod(admit_topology(spec.domain)[0])
    devices = spec.domain.devices or source.Devices()
    interfaces = admit_interfaces(spec, devices, vcpus, manifest.status, problems, leaves_out=leaves_out)
    with problems:
        interfaces = _with_port_interfaces(metadata, interfaces)
    if problems.found:
        return None
    if devices.use_virtio_transitional:
        interfaces = tuple(map(_transitional, interfaces))
    sidecar, kept_ports = _has_sidecar(metadata), _migration_ports(manifest.status)
    return SetupRequest(
        interfaces={i.name: replace(i, mtu=mtu, sidecar=sidecar, kept_ports=kept_ports) for i in interfaces},
        hostname=spec.hostname or metadata.name.split(".")[0][:63].rstrip("-"),
        subdomain=spec.subdomain or None,
        isolated=isolated,
        reaches_pod=reaches_pod,
        further_addresses=further,
        hides_clients=hides_clients,
        stable_id=identity if has_stable_mac else None,
        dns=dns,
    )


def _transitional(interface: InterfaceSpec) -> InterfaceSpec:
    """A virtio interface for guests without virtio 1.0; others are as they are."""
    return replace(interface, model="virtio-transitional") if interface.model == "virtio" else interface


def firmware_uuid(wanted: source.FirmwareSource, metadata: source.Metadata) -> str:
    """The VM's UUID; without one in the manifest the same at every start, as licences and machine-ids require."""
    if not wanted.uuid:
        return _derived_uuid(f"{metadata.namespace or 'default'}/{metadata.name}")
    import uuid

    try:
        return str(uuid.UUID(wanted.uuid))
    except ValueError:
        raise ManifestError("spec.domain.firmware.uuid", f"must be a UUID, is `{wanted.uuid}`") from None


def _derived_uuid(name: str) -> str:
    """The UUID of a name, version 5 (RFC 9562 section 5.5): importing `uuid` takes 2 ms, by `platform`."""
    octets = bytearray(sha1(_UUID_NAMESPACE + name.encode(), usedforsecurity=False).digest()[:16])
    octets[6] = octets[6] & 0x0F | 0x50
    octets[8] = octets[8] & 0x3F | 0x80
    text = octets.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def admit_topology(domain: source.Domain) -> tuple[tuple[int, int, int], str]:
    """Sockets, cores and threads, and the path of the field that says how many."""
    cpu, path = domain.cpu or source.Processor(), "spec.domain.cpu"
    topology = {"sockets": cpu.sockets, "cores": cpu.cores, "threads": cpu.threads}
    for part, value in topology.items():
        check_positive(f"{path}.{part}", value)
    if not any(topology.values()):
        # Without a topology, the CPUs of the container's resources become sockets, rounded up.
        found = resource_of(domain, "cpu", "limits", "requests")
        if found is not None:
            path, topology["sockets"] = found
            check_positive(path, found[1])
    return (topology["sockets"] or 1, topology["cores"] or 1, topology["threads"] or 1), path


def resource_of(domain: source.Domain, name: str, *kinds: str) -> tuple[str, int] | None:
    """The first of the resource lists `kinds` that holds `name`, as path and value."""
    resources = domain.resources or source.Resources()
    lists = {"requests": resources.requests or {}, "limits": resources.limits or {}}
    for kind in kinds:
        if name in lists[kind]:
            from launcher.vmi.quantity import quantity_at

            path = f"spec.domain.resources.{kind}.{name}"
            return path, quantity_at(path, lists[kind][name])
    return None


def _has_sidecar(metadata: source.Metadata) -> bool:
    """Whether the annotation requests Istio's sidecar proxy in the pod."""
    return (metadata.annotations or {}).get(ISTIO_ANNOTATION, "").lower() == "true"


def _migration_ports(status: source.Status | None) -> tuple[int, ...]:
    """The TCP ports at which a launcher receives a VM that migrates; none for migration over unix sockets."""
    transport = status.migration_transport if status else None
    return MIGRATION_PORTS if transport and transport.lower() != "unix" else ()


def _annotation(metadata: source.Metadata, name: str, values: tuple[str, ...]) -> str:
    """The value of the annotation `virt-launcher.io/<name>`; without it, the first of `values`."""
    value = (metadata.annotations or {}).get(f"{ANNOTATIONS}{name}", values[0])
    return choose(f"metadata.annotations.{ANNOTATIONS}{name}", value, values)


def _check_annotations(metadata: source.Metadata, problems: Problems) -> None:
    for key in metadata.annotations or {}:
        if key.startswith(ANNOTATIONS) and key.removeprefix(ANNOTATIONS) not in OUR_ANNOTATIONS:
            known = ", ".join(f"{ANNOTATIONS}{name}" for name in OUR_ANNOTATIONS)
            problems.add(f"metadata.annotations.{key}", f"is unknown: leave it out, or write one of {known}")


def _further_addresses(metadata: source.Metadata) -> tuple[str, ...]:
    """Addresses, networks and MACs that the annotation lists, with commas or spaces between."""
    text = (metadata.annotations or {}).get(f"{ANNOTATIONS}further-addresses", "")
    if not text:
        return ()
    from netsetup.nft.sources import parse_further

    try:
        return parse_further(text.replace(",", " ").split())
    except ValueError as error:
        raise ManifestError(f"metadata.annotations.{ANNOTATIONS}further-addresses", str(error)) from None


def _with_port_interfaces(
    metadata: source.Metadata, interfaces: tuple[InterfaceSpec, ...]
) -> tuple[InterfaceSpec, ...]:
    """The interfaces, with their ports at the pod's interfaces that the annotation names.

    ``http=net1, 8443=tun0, 8443=eth0``: a port by its name or number, a range by both numbers (``8000-8010``).
    """
    path = f"metadata.annotations.{ANNOTATIONS}port-interfaces"
    text = (metadata.annotations or {}).get(f"{ANNOTATIONS}port-interfaces", "").strip()
    entries = [entry.strip() for entry in text.split(",")] if text else []
    if len(entries) > PORT_INTERFACES_MAXIMUM:
        raise ManifestError(path, f"must be at most {PORT_INTERFACES_MAXIMUM}, are {len(entries)}")
    for entry in entries:
        key, equals, name = (part.strip() for part in entry.partition("="))
        if not equals or not _INTERFACE.fullmatch(name):
            raise ManifestError(path, f"must be ports with an interface each, such as http=net1, has `{entry}`")
        if not any(_is_called(port, key) for interface in interfaces for port in interface.ports):
            raise ManifestError(path, f"`{key}` is neither name nor number of one of the interfaces' ports")
        interfaces = tuple(
            replace(interface, ports=tuple(_also_at(p, name) if _is_called(p, key) else p for p in interface.ports))
            for interface in interfaces
        )
    return interfaces


def _is_called(port: Port, key: str) -> bool:
    return key in (port.name, f"{port.port}-{port.last}" if port.last else str(port.port)) and bool(key)


def _also_at(port: Port, name: str) -> Port:
    return replace(port, interfaces=(*(other for other in port.interfaces if other != name), name))


def _mtu(metadata: source.Metadata) -> int:
    """The largest MTU of the VM's interfaces (annotation `virt-launcher.io/mtu`); 0 without it."""
    value = (metadata.annotations or {}).get(f"{ANNOTATIONS}mtu")
    if value is None:
        return 0
    if not value.isascii() or not value.isdecimal() or not SMALLEST_MTU <= int(value) <= LARGEST_MTU:
        raise ManifestError(
            f"metadata.annotations.{ANNOTATIONS}mtu", f"must be a number from {SMALLEST_MTU} to {LARGEST_MTU}"
        )
    return int(value)
