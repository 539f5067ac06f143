"""The manifest of a VM that is described on the command line: a cloud image needs no more. Pure."""

from __future__ import annotations

import base64
from typing import Any, Final

from dhcp.lean.frozen import Frozen

DEFAULT_MEMORY: Final = "2Gi"
DEFAULT_CPUS: Final = 1
_FLAGS: Final = {
    "metadata.name": "--name",
    "spec.domain.cpu": "--cpus",
    "spec.domain.memory": "--memory",
    "spec.domain.devices.disks": "--disk",
    "spec.volumes": "--disk",
}
_SEED: Final = "cloud-init"
_LONGEST_NAME: Final = 63


class Described(Frozen):
    """A VM as its flags describe it."""

    name: str
    disks: tuple[str, ...] = ()
    """Names of the disks, the first of which boots; one whose path ends in `.iso` is a CD-ROM."""
    cdroms: tuple[str, ...] = ()
    """Those of them that are CD-ROMs."""
    memory: str = DEFAULT_MEMORY
    cpus: int = DEFAULT_CPUS
    user_data: bytes | None = None
    """For cloud-init; None for no seed."""

    def __repr__(self) -> str:
        return f"Described({self.name!r})"  # user data may be secret


def manifest_of(vm: Described) -> dict[str, Any]:
    """A VirtualMachineInstance: virtio disks, a NIC of the pod network and a serial console."""
    disks: list[dict[str, Any]] = [_disk(name, name in vm.cdroms) for name in vm.disks]
    volumes: list[dict[str, Any]] = [{"name": name} for name in vm.disks]
    for disk in disks[:1]:
        disk["bootOrder"] = 1
    if vm.user_data is not None:
        seed = _SEED
        while seed in vm.disks:
            seed += "-"
        text = base64.b64encode(vm.user_data).decode()
        disks.append(_disk(seed))
        volumes.append({"name": seed, "cloudInitNoCloud": {"userDataBase64": text}})
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": vm.name},
        "spec": {
            "domain": {
                "cpu": {"cores": vm.cpus},
                "memory": {"guest": vm.memory},
                "devices": {"disks": disks, "rng": {}, "autoattachMemBalloon": True},
            },
            "volumes": volumes,
        },
    }


def _disk(name: str, cdrom: bool = False) -> dict[str, Any]:
    return {"name": name, "cdrom": {"bus": "sata"}} if cdrom else {"name": name, "disk": {"bus": "virtio"}}


def flag_of(field: str) -> str:
    """The flag that sets a field of such a manifest; the field itself where there is none."""
    return next((flag for start, flag in _FLAGS.items() if field.startswith(start)), field)


def vm_name(hostname: str) -> str:
    """The name of a VM after its container's: lower-case letters, digits and `-` (RFC 1123)."""
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in hostname.partition(".")[0].lower())
    return name[:_LONGEST_NAME].strip("-") or "vm"
