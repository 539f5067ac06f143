"""Admission of access credentials: the public SSH keys that cloud-init gives to the guest's user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dhcp.lean.frozen import replace
from launcher.vmi.errors import ManifestError
from launcher.volumes.cloud_init import CONFIG_DRIVE, NO_CLOUD
from launcher.volumes.model import MountedFiles, Seed, SeedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from launcher.vmi.errors import Problems
    from launcher.volumes import schema as source
    from launcher.volumes.model import Drive, Volume


def with_credentials(
    volumes: Sequence[Volume],
    credentials: Sequence[source.AccessCredential],
    beside: Callable[[str, str], dict[str, bytes] | None],
    problems: Problems,
) -> tuple[Volume, ...]:
    """The volumes, of which each drive of cloud-init has the keys that are meant for its kind."""
    keys: dict[str, list[SeedFile | MountedFiles]] = {}
    for index, credential in enumerate(credentials):
        path = f"spec.accessCredentials[{index}].sshPublicKey"
        if credential.ssh_public_key is not None:
            with problems:
                field, drive = _drive(credential.ssh_public_key, path)
                if not any(isinstance(volume, Seed) and volume.drive == drive for volume in volumes):
                    raise ManifestError(f"{path}.propagationMethod.{field}", "needs a volume of cloud-init: add it")
                keys.setdefault(drive.label, []).extend(_keys(credential.ssh_public_key, path, beside))
    return tuple(_with_keys(volume, keys) if isinstance(volume, Seed) else volume for volume in volumes)


def _with_keys(seed: Seed, keys: dict[str, list[SeedFile | MountedFiles]]) -> Seed:
    found = keys.get(seed.drive.label, ()) if seed.drive is not None else ()
    return replace(
        seed,
        keys=tuple(item for item in found if isinstance(item, SeedFile)),
        mounted_keys=tuple(item for item in found if isinstance(item, MountedFiles)),
    )


def _drive(wanted: source.SSHPublicKey, path: str) -> tuple[str, Drive]:
    method = wanted.propagation_method
    given = [
        (field, drive)
        for field, value, drive in (
            ("noCloud", method and method.no_cloud, NO_CLOUD),
            ("configDrive", method and method.config_drive, CONFIG_DRIVE),
        )
        if value is not None
    ]
    if len(given) != 1:
        raise ManifestError(f"{path}.propagationMethod", "must be one of noCloud and configDrive")
    return given[0]


def _keys(
    wanted: source.SSHPublicKey, path: str, beside: Callable[[str, str], dict[str, bytes] | None]
) -> list[SeedFile | MountedFiles]:
    field = f"{path}.source.secret.secretName"
    name = wanted.source.secret.secret_name if wanted.source and wanted.source.secret else None
    if not name:
        raise ManifestError(field, "is required")
    if (content := beside("Secret", name)) is not None:
        return [SeedFile(key, value) for key, value in content.items()]
    return [MountedFiles(field, (name, f"{name}-access-cred"))]
