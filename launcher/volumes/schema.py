"""The fields of a manifest's disks and volumes that have an effect, by their types. Pure."""

from typing import Any

from launcher.manifest.shapes import Quantity, StrictObject, shape_of


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
    dedicated_io_thread: bool | None = None
    error_policy: str | None = None
    shareable: bool | None = None


class FilesystemSource(StrictObject):
    """A volume that the guest mounts, by the volume's name."""

    name: str
    virtiofs: StrictObject | None = None


class ObjectName(StrictObject):
    """A Secret or ConfigMap by its name."""

    name: str | None = None


class CloudInit(StrictObject):
    """Of cloudInitNoCloud and cloudInitConfigDrive."""

    user_data: str | None = None
    user_data_base64: str | None = None
    secret_ref: ObjectName | None = None
    network_data: str | None = None
    network_data_base64: str | None = None
    network_data_secret_ref: ObjectName | None = None


class ContainerDisk(StrictObject):
    """Its image is not pulled but mounted, and only the path counts."""

    path: str | None = None


class DataVolume(StrictObject):
    """Which one is the cluster's."""


class Claim(StrictObject):
    """A persistent volume claim; which one is the cluster's."""

    read_only: bool | None = None


class Ephemeral(StrictObject):
    persistent_volume_claim: Claim | None = None


class EmptyDiskSource(StrictObject):
    capacity: Quantity | None = None


class HostDisk(StrictObject):
    path: str | None = None
    type: str | None = None
    capacity: Quantity | None = None


class ConfigMap(StrictObject):
    name: str | None = None
    optional: bool | None = None
    volume_label: str | None = None


class Secret(StrictObject):
    secret_name: str | None = None
    optional: bool | None = None
    volume_label: str | None = None


class DownwardAPI(StrictObject):
    """The kubelet makes its files."""

    volume_label: str | None = None


class ServiceAccount(StrictObject):
    """The kubelet makes its files."""


class Sysprep(StrictObject):
    config_map: ObjectName | None = None
    secret: ObjectName | None = None


class Volume(StrictObject):
    """A volume by its name, and one source; without one its image is given on the command line."""

    name: str
    cloud_init_no_cloud: CloudInit | None = None
    cloud_init_config_drive: CloudInit | None = None
    config_map: ConfigMap | None = None
    container_disk: ContainerDisk | None = None
    data_volume: DataVolume | None = None
    downward_api: DownwardAPI | None = None
    empty_disk: EmptyDiskSource | None = None
    ephemeral: Ephemeral | None = None
    host_disk: HostDisk | None = None
    persistent_volume_claim: Claim | None = None
    secret: Secret | None = None
    service_account: ServiceAccount | None = None
    sysprep: Sysprep | None = None

    def sources(self) -> list[tuple[str, Any]]:
        """All sources by their names in a manifest; None for those that are not given."""
        return [(name, getattr(self, field)) for name, (field, _) in shape_of(Volume).items() if field != "name"]


class SecretName(StrictObject):
    secret_name: str | None = None


class KeySource(StrictObject):
    secret: SecretName | None = None


class KeyPropagation(StrictObject):
    no_cloud: StrictObject | None = None
    config_drive: StrictObject | None = None


class SSHPublicKey(StrictObject):
    source: KeySource | None = None
    propagation_method: KeyPropagation | None = None


class AccessCredential(StrictObject):
    ssh_public_key: SSHPublicKey | None = None
