"""Admission of file systems: which volumes a guest mounts by virtiofs. ManifestError names the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launcher.vmi.checks import check_name
from launcher.vmi.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.manifest.schema import Devices
    from launcher.vmi.errors import Problems
    from launcher.volumes import schema as source

SHARED: Final = ("persistentVolumeClaim", "dataVolume", "configMap", "secret", "downwardAPI", "serviceAccount")
"""Kinds of volumes that are folders."""
LONGEST_TAG: Final = 36
"""Octets by which a guest names the file system (Virtual I/O Device specification, section 5.11.4)."""


def admit_filesystems(devices: Devices, volumes: Sequence[source.Volume], problems: Problems) -> tuple[str, ...]:
    """The names of the volumes that are file systems; those with `problems` are left out."""
    by_name = {volume.name: volume for volume in volumes}
    disks = {disk.name for disk in devices.disks or []}
    admitted: list[str] = []
    for index, wanted in enumerate(devices.filesystems or []):
        with problems:
            _check(wanted, f"spec.domain.devices.filesystems[{index}]", by_name, disks, admitted)
            admitted.append(wanted.name)
    return tuple(admitted)


def _check(
    wanted: source.FilesystemSource,
    path: str,
    volumes: dict[str, source.Volume],
    disks: set[str],
    before: Sequence[str],
) -> None:
    check_name(f"{path}.name", wanted.name, before)
    volume = volumes.get(wanted.name)
    if volume is None:
        raise ManifestError(f"{path}.name", f"no volume of spec.volumes is named `{wanted.name}`")
    if wanted.virtiofs is None:
        raise ManifestError(path, "needs a kind: give virtiofs")
    if len(wanted.name.encode()) > LONGEST_TAG:
        raise ManifestError(f"{path}.name", f"must have at most {LONGEST_TAG} characters")
    if wanted.name in disks:
        raise ManifestError(f"{path}.name", f"`{wanted.name}` is one of the disks: remove it there")
    kinds = [kind for kind, given in volume.sources() if given is not None]
    if kinds and kinds[0] not in SHARED:
        raise ManifestError(f"{path}.name", f"`{wanted.name}` is no folder but {kinds[0]}: use {', '.join(SHARED)}")
