"""The folder of volumes: what lies outside of a manifest, by the volumes' names.

Other containers write there, so that a link in it may lead anywhere: what is taken lies, links followed, within its
volume, and each volume within the folder.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dhcp.lean.text import is_plain
from launcher.vmi.errors import ManifestError
from launcher.volumes.model import SeedFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from launcher.volumes.model import Image, MountedFiles

DEFAULT_FOLDER: Final = "/run/virt-launcher/volumes"
SUFFIXES: Final = (".qcow2", ".img", ".raw")
MOST_OCTETS: Final = 4 << 20
"""Of the files of one seed; a Secret has at most one mebibyte."""


class VolumeFolder:
    """The volumes that are mounted for this VM; the folder need not exist."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._real = Path(os.path.realpath(self.path))

    def find_image(self, image: Image) -> Path | None:
        """The file or block device of `image`, without links; None if nothing of its name is there.

        Raises ManifestError for several that could be meant, and for one that lies elsewhere.
        """
        base = self._volume(image.name, image.field)
        if base is None or not base.is_dir():
            found = [base] if base is not None else []
            found += [self._real / f"{image.name}{suffix}" for suffix in SUFFIXES]
            return self._only([path for path in found if path.exists()], self._real, image)
        if image.path and (named := base / image.path).exists():
            return self._only([named], base, image)
        if image.only_path:
            return None
        for candidates in ([base / "disk.img"], _images(base / "disk"), _images(base)):
            if found := [path for path in candidates if path.exists()]:
                return self._only(found, base, image)
        return None

    def creatable(self, image: Image) -> Path | None:
        """Where an image that is not there is made; None without a folder for it."""
        base = self._volume(image.name, image.field)
        return base / image.path if base is not None and base.is_dir() else None

    def find_folder(self, name: str, field: str) -> Path:
        """The folder that is mounted as the volume `name`, without links. Raises ManifestError."""
        base = self._volume(name, field)
        if base is None or not base.is_dir():
            raise ManifestError(
                field, f"`{name}` has no folder: mount it at {self.path / name}, or give --disk {name}=FOLDER"
            )
        return base

    def read_files(self, places: Iterable[MountedFiles]) -> Iterator[SeedFile]:
        """All files that are mounted there. Raises ManifestError for one that must be there and is not."""
        for mounted in places:
            files = self._mounted(mounted)
            yield from _keyed(files, mounted) if mounted.keys else files

    def _mounted(self, mounted: MountedFiles) -> list[SeedFile]:
        for name in mounted.folders:
            base = self._volume(name, mounted.field)
            if base is not None and base.is_dir():
                return list(_files(base, mounted.field))
        if mounted.optional:
            return []
        places = " or ".join(str(self.path / name) for name in mounted.folders)
        raise ManifestError(mounted.field, f"its files are not there: mount them at {places}")

    def _volume(self, name: str, field: str) -> Path | None:
        path = self.path / name
        if not os.path.lexists(path):
            return None
        return _within(self._real, path, field)

    def _only(self, found: list[Path], base: Path, image: Image) -> Path | None:
        if len(found) > 1:
            names = ", ".join(str(path.relative_to(self._real)) for path in found)
            raise ManifestError(image.field, f"`{image.name}` could be any of {names}: give --disk {image.name}=PATH")
        return _within(base, found[0], image.field) if found else None


def _within(base: Path, path: Path, field: str) -> Path:
    """`path` with its links followed. Raises ManifestError where that leads out of `base`."""
    return _require_within(base, Path(os.path.realpath(path)), path, field)


def _require_within(base: Path, real: Path, path: Path, field: str) -> Path:
    if real != base and base not in real.parents:
        raise ManifestError(field, f"{path} leads to {real}, which is not within {base}: mount it there")
    return real


def _images(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    return [entry for entry in entries if entry.suffix in SUFFIXES]


def _files(base: Path, field: str) -> Iterator[SeedFile]:
    """The files of a mounted Secret or ConfigMap, in order of names; the kubelet's own names begin with two dots."""
    total = 0
    for name in sorted(os.listdir(base)):
        content = None if name.startswith("..") else _content(base, base / name, field)
        if content is None:
            continue
        if not is_plain(name):
            raise ManifestError(field, f"{base / name}: its name is no plain text")
        total += len(content)
        if total > MOST_OCTETS:
            raise ManifestError(field, f"{base} has more than {MOST_OCTETS} octets")
        yield SeedFile(name, content)


def _content(base: Path, path: Path, field: str) -> bytes | None:
    """What is in a file; None if it is none. What was looked at is what is read, whoever renames files meanwhile."""
    try:
        found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise ManifestError(field, f"{path}: {error.strerror}") from None
    try:
        link = f"/proc/self/fd/{found}"
        _require_within(base, Path(os.readlink(link)), path, field)
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return None
        with open(link, "rb") as file:
            return file.read(MOST_OCTETS + 1)
    except OSError as error:
        raise ManifestError(field, f"{path}: {error.strerror}") from None
    finally:
        os.close(found)


def _keyed(files: list[SeedFile], mounted: MountedFiles) -> Iterator[SeedFile]:
    """Those of the keys that are wanted, by their names in the image."""
    contents = {file.name: file.content for file in files}
    for target in dict.fromkeys(name for _, name in mounted.keys):
        keys = [key for key, name in mounted.keys if name == target]
        present = [key for key in keys if key in contents]
        if present:
            yield SeedFile(target, contents[present[0]])
        elif not mounted.optional:
            raise ManifestError(mounted.field, f"there is no key {' or '.join(keys)}")
