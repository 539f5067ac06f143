"""The drives that cloud-init reads: where their files are, and what they say of the VM. Pure.

NoCloud is cloud-init's own; a config drive is OpenStack's (docs.openstack.org/nova, "Config drives"). What they
say is as KubeVirt has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dhcp.lean.json import dumps
from launcher.volumes.model import Drive, SeedFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from launcher.vmi.model import VirtualMachineInstance


NO_CLOUD = Drive("cidata", "meta-data", "user-data", "network-config")
CONFIG_DRIVE = Drive(
    "config-2",
    "openstack/latest/meta_data.json",
    "openstack/latest/user_data",
    "openstack/latest/network_data.json",
)


def metadata_file(drive: Drive, vmi: VirtualMachineInstance, keys: Iterable[SeedFile] = ()) -> SeedFile:
    """The metadata of the VM for cloud-init, with public SSH keys.

    By the instance's id it configures a disk once, not at every start.
    """
    metadata: dict[str, object]
    if drive == NO_CLOUD:
        metadata = {"instance-id": vmi.firmware.uuid, "local-hostname": vmi.hostname}
    else:
        instance = f"{vmi.name}.{vmi.namespace}"
        metadata = {"instance_id": instance, "hostname": vmi.hostname, "uuid": vmi.firmware.uuid}
    lines = [line for file in keys for line in file.content.decode(errors="replace").splitlines() if line.strip()]
    if lines:
        numbered = {str(number): line for number, line in enumerate(lines)}
        metadata["public-keys" if drive == NO_CLOUD else "public_keys"] = numbered
    return SeedFile(drive.metadata, dumps(metadata).encode())
