"""Pod interfaces by Multus' annotation `k8s.v1.cni.cncf.io/network-status`, as a downward-API volume has it in a file.

A JSON array with an object for each attachment: ``name`` is that of the NetworkAttachmentDefinition, with its
namespace, ``interface`` the pod interface, ``default`` is true of the pod's primary network (Kubernetes Network Custom
Resource Definition De-facto Standard, section 4.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dhcp.lean.frozen import replace
from dhcp.lean.json import loads
from dhcp.lean.text import interface_name
from netsetup.errors import InvalidRequest

if TYPE_CHECKING:
    from os import PathLike

    from launcher.request import SetupRequest
    from launcher.vmi.model import InterfaceSpec

LARGEST = 1 << 20
"""Octets; what all annotations of a Kubernetes object may have is a quarter of that."""


def with_network_status(request: SetupRequest, path: str | PathLike[str]) -> SetupRequest:
    """The request with the pod interfaces that the file at `path` names; those that the manifest names come first.

    An empty file is that of a pod without the annotation. Raises InvalidRequest.
    """
    entries = _read(path)
    interfaces = {}
    for name, interface in request.interfaces.items():
        entry = next((entry for entry in entries if _is_of(entry, interface)), None)
        interfaces[name] = interface
        if entry is not None:
            entries.remove(entry)  # a network may be attached twice, in this order
            named = interface.pod_interface or _interface(path, entry)
            interfaces[name] = replace(interface, pod_interface=named)
    return replace(request, interfaces=interfaces)


def _read(path: str | PathLike[str]) -> list[dict[str, object]]:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror}; name the file of the network-status annotation") from None
    if not data.strip():
        return []
    try:
        if len(data) > LARGEST:
            raise ValueError
        entries = loads(data)
    except ValueError:
        entries = None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidRequest(f"{path}: must be the JSON array of a network-status annotation")
    return entries


def _is_of(entry: dict[str, object], interface: InterfaceSpec) -> bool:
    if interface.is_primary:
        return entry.get("default") is True
    named, wanted = str(entry.get("name")), interface.multus_network or ""
    return entry.get("default") is not True and (named == wanted or named.rpartition("/")[2] == wanted)


def _interface(path: str | PathLike[str], entry: dict[str, object]) -> str | None:
    name = entry.get("interface")
    if not name:
        return None  # the primary network has one that KubeVirt's scheme names too
    try:
        return interface_name(str(name))
    except ValueError as error:
        raise InvalidRequest(f"{path}: interface of {entry.get('name')}: {error}") from None
