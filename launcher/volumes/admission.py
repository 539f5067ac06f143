"""Admission of volumes: KubeVirt's sources → what is behind the disks.

ManifestError names the field that is wrong, and has nothing of the content of one that may be secret.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any

from launcher.vmi.checks import check_match, check_name, choose
from launcher.vmi.errors import ManifestError
from launcher.vmi.quantity import quantity_at
from launcher.volumes.cloud_init import CONFIG_DRIVE, NO_CLOUD
from launcher.volumes.model import EmptyDisk, Image, MountedFiles, Seed, SeedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from launcher.manifest.shapes import Quantity
    from launcher.vmi.errors import Problems
    from launcher.volumes import schema as source
    from launcher.volumes.model import Drive, Volume

    Beside = Callable[[str, str], dict[str, bytes] | None]
    """The files of a Secret or ConfigMap, by kind and name, that lies beside the VM in its manifest's file."""

SECTOR = 512
CONFIG_LABEL = "cfgdata"
SYSPREP_LABEL = "unattendCD"
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,32}")


def admit_volumes(volumes: Sequence[source.Volume], beside: Beside, problems: Problems) -> tuple[Volume, ...]:
    """Check `volumes` of a manifest's spec; those with `problems` are left out."""
    names: list[str] = []
    admitted = []
    for index, volume in enumerate(volumes):
        path = f"spec.volumes[{index}]"
        with problems:
            check_name(f"{path}.name", volume.name, names)
            admitted.append(_volume(volume, path, beside))
        names.append(volume.name)
    return tuple(admitted)


def _volume(volume: source.Volume, path: str, beside: Beside) -> Volume:
    given = [(kind, wanted) for kind, wanted in volume.sources() if wanted is not None]
    if len(given) > 1:
        raise ManifestError(path, f"must have one source, has {' and '.join(kind for kind, _ in given)}")
    if not given:
        return Image(volume.name, field=path)
    ((kind, wanted),) = given
    return _MAKERS[kind](volume.name, f"{path}.{kind}", wanted, beside)


def _cloud_init(drive: Drive) -> Callable[[str, str, source.CloudInit, Beside], Seed]:
    def make(name: str, path: str, wanted: source.CloudInit, beside: Beside) -> Seed:
        user, network = wanted.secret_ref, wanted.network_data_secret_ref
        inline = [
            *_inline(path, "userData", drive.user_data, wanted.user_data, wanted.user_data_base64, user),
            *_inline(path, "networkData", drive.network_data, wanted.network_data, wanted.network_data_base64, network),
        ]
        referred = [
            *_referred(name, f"{path}.secretRef", "userData", drive.user_data, user, beside),
            *_referred(name, f"{path}.networkDataSecretRef", "networkData", drive.network_data, network, beside),
        ]
        files = inline + [item for item in referred if isinstance(item, SeedFile)]
        mounted = tuple(item for item in referred if isinstance(item, MountedFiles))
        if not files and not mounted:
            raise ManifestError(path, "needs userData or networkData: give it as text, in base64 or in a secret")
        if user is None and drive.user_data not in {file.name for file in files}:
            files.append(SeedFile(drive.user_data, b""))  # without it cloud-init takes the drive for none of its own
        return Seed(name, drive.label, tuple(files), mounted, drive)

    return make


def _inline(
    path: str, field: str, file: str, text: str | None, coded: str | None, reference: source.ObjectName | None
) -> list[SeedFile]:
    if sum((bool(text), bool(coded), reference is not None)) > 1:
        raise ManifestError(path, f"must have one of {field}, {field}Base64 and a secret for it, has several")
    if text:
        return [SeedFile(file, text.encode())]
    return [SeedFile(file, _decoded(coded, f"{path}.{field}Base64"))] if coded else []


def _decoded(text: str, path: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ManifestError(
            path, "is not base64: encode it, or give the text as it is in the field without Base64"
        ) from None


def _referred(
    name: str, path: str, field: str, file: str, reference: source.ObjectName | None, beside: Beside
) -> list[SeedFile | MountedFiles]:
    """The file of a Secret's key, which is the field's name with or without capitals."""
    if reference is None:
        return []
    keys = (field.lower(), field)
    if reference.name and (content := beside("Secret", reference.name)) is not None:
        found = [SeedFile(file, content[key]) for key in keys if key in content]
        if not found:
            raise ManifestError(path, f"Secret {reference.name} has no key {' or '.join(keys)}: add it")
        return [found[0]]
    return [MountedFiles(path, _folders(name, reference.name), tuple((key, file) for key in keys))]


def _config_map(name: str, path: str, wanted: source.ConfigMap, beside: Beside) -> Seed:
    label = _label(wanted.volume_label, path)
    return _files_of("ConfigMap", wanted.name, wanted.optional, name, path, label, beside)


def _secret(name: str, path: str, wanted: source.Secret, beside: Beside) -> Seed:
    label = _label(wanted.volume_label, path)
    return _files_of("Secret", wanted.secret_name, wanted.optional, name, path, label, beside)


def _sysprep(name: str, path: str, wanted: source.Sysprep, beside: Beside) -> Seed:
    given = [pair for pair in (("ConfigMap", wanted.config_map), ("Secret", wanted.secret)) if pair[1] is not None]
    if len(given) != 1:
        raise ManifestError(path, "must have one of configMap and secret")
    ((kind, reference),) = given
    assert reference is not None
    return _files_of(kind, reference.name, False, name, path, SYSPREP_LABEL, beside)


def _files_of(
    kind: str, of: str | None, optional: bool | None, name: str, path: str, label: str, beside: Beside
) -> Seed:
    """A seed of all files of a Secret or ConfigMap."""
    if of and (content := beside(kind, of)) is not None:
        return Seed(name, label, tuple(SeedFile(key, value) for key, value in content.items()))
    return Seed(name, label, mounted=(MountedFiles(path, _folders(name, of), optional=bool(optional)),))


def _downward_api(name: str, path: str, wanted: source.DownwardAPI, _beside: Beside) -> Seed:
    return Seed(name, _label(wanted.volume_label, path), mounted=(MountedFiles(path, (name,)),))


def _service_account(name: str, path: str, _wanted: object, _beside: Beside) -> Seed:
    return Seed(name, CONFIG_LABEL, mounted=(MountedFiles(path, (name,)),))


def _folders(name: str, of: str | None) -> tuple[str, ...]:
    return (name, of) if of and of != name else (name,)


def _label(text: str | None, path: str) -> str:
    if not text:
        return CONFIG_LABEL
    check_match(f"{path}.volumeLabel", text, _LABEL, "must be up to 32 letters, digits, `_` and `-`")
    return text


def _container_disk(name: str, path: str, wanted: source.ContainerDisk, _beside: Beside) -> Image:
    within = (wanted.path or "").strip("/")
    if ".." in within.split("/"):
        raise ManifestError(f"{path}.path", "must not have `..`")
    return Image(name, within, field=path, discarded=True)


def _ephemeral(name: str, path: str, _wanted: object, _beside: Beside) -> Image:
    return Image(name, field=path, discarded=True)


def _data_volume(name: str, path: str, _wanted: object, _beside: Beside) -> Image:
    return Image(name, field=path)


def _claim(name: str, path: str, wanted: source.Claim, _beside: Beside) -> Image:
    return Image(name, field=path, discarded=wanted.read_only is True)


def _empty_disk(name: str, path: str, wanted: source.EmptyDiskSource, _beside: Beside) -> EmptyDisk:
    return EmptyDisk(name, _capacity(wanted.capacity, f"{path}.capacity"))


def _host_disk(name: str, path: str, wanted: source.HostDisk, _beside: Beside) -> Image:
    if not wanted.path or not wanted.path.startswith("/"):
        raise ManifestError(f"{path}.path", "must be an absolute path")
    created = 0
    if choose(f"{path}.type", wanted.type or "Disk", ("Disk", "DiskOrCreate")) == "DiskOrCreate":
        created = _capacity(wanted.capacity, f"{path}.capacity")
    file = wanted.path.rstrip("/").rpartition("/")[2]
    return Image(name, file, only_path=True, field=path, created=created)


def _capacity(quantity: Quantity | None, path: str) -> int:
    """Octets, rounded up to whole sectors."""
    if quantity is None:
        raise ManifestError(path, "is required")
    octets = quantity_at(path, quantity)
    if octets < 1:
        raise ManifestError(path, f"must be more than 0, is {quantity}")
    return -(-octets // SECTOR) * SECTOR


_MAKERS: dict[str, Callable[[str, str, Any, Beside], Volume]] = {
    "cloudInitNoCloud": _cloud_init(NO_CLOUD),
    "cloudInitConfigDrive": _cloud_init(CONFIG_DRIVE),
    "configMap": _config_map,
    "containerDisk": _container_disk,
    "dataVolume": _data_volume,
    "downwardAPI": _downward_api,
    "emptyDisk": _empty_disk,
    "ephemeral": _ephemeral,
    "hostDisk": _host_disk,
    "persistentVolumeClaim": _claim,
    "secret": _secret,
    "serviceAccount": _service_account,
    "sysprep": _sysprep,
}
