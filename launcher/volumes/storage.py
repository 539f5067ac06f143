"""The images behind one VM's disks: found before anything is changed, made when the VM starts, gone after it.

What is made is below the state directory: seeds, empty disks, and overlays, which take what a guest writes on an image
that is not to be written to.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dhcp.lean.frozen import replace
from launcher.machine.disk_images import check_image, check_lun, is_mounted_readonly
from launcher.vmi.errors import ManifestError
from launcher.volumes.cloud_init import metadata_file
from launcher.volumes.folder import DEFAULT_FOLDER, VolumeFolder
from launcher.volumes.model import EmptyDisk, Image, Seed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from launcher.machine.disk_images import DiskImage
    from launcher.vmi.model import Disk, VirtualMachineInstance
    from launcher.volumes.model import SeedFile, Volume

_FOLDER: Final = "volumes"


class StorageError(RuntimeError):
    """An image cannot be made; one line."""


class Storage:
    """What is behind the disks of one VM."""

    def __init__(
        self,
        vmi: VirtualMachineInstance,
        given: Mapping[str, str | os.PathLike[str]],
        *,
        state_dir: Path,
        folder: str | os.PathLike[str] = DEFAULT_FOLDER,
        backing_files: bool = False,
    ) -> None:
        """Find the image of each disk: of `given`, by names, else in `folder`, else it is made by `make`.

        Raises ManifestError for a disk without an image, an image without a disk, a path that is not a readable (for a
        writable disk: writable) file or block device, files of a Secret or ConfigMap that are missing, and unless
        `backing_files` for a qcow2 image that names another file. For a lun only a SCSI device will do.
        """
        self._folder = VolumeFolder(folder)
        self.made = state_dir / _FOLDER
        """The folder of what is gone after the VM."""
        self._given = given
        self._backing_files = backing_files
        self._makers: dict[str, Callable[[], DiskImage]] = {}
        for name in given:
            if name not in {disk.name for disk in vmi.disks} | set(vmi.filesystems):
                raise ManifestError(f"--disk {name}", f"the manifest has no volume `{name}`")
        volumes = {volume.name: volume for volume in vmi.volumes}
        for index, disk in enumerate(vmi.disks):
            volume = volumes.get(disk.name, Image(disk.name))
            if disk.name in given or isinstance(volume, Image):
                self._makers[disk.name] = self._found(disk, volume, f"spec.domain.devices.disks[{index}]")
            elif isinstance(volume, EmptyDisk):
                self._makers[disk.name] = self._empty(volume)
            else:
                self._makers[disk.name] = self._seed(volume, vmi)
        self._folder_makers = {name: self._found_folder(name, volumes.get(name)) for name in vmi.filesystems}
        self.folders: dict[str, str] = {}
        """After `make`: the paths of the file systems by their names."""

    def make(self) -> dict[str, DiskImage]:
        """Make what is to be made, anew, and return all images by the names of their disks. Raises StorageError."""
        self.remove()
        self.folders = {name: str(make()) for name, make in self._folder_makers.items()}
        return {name: make() for name, make in self._makers.items()}

    def prepare(self) -> None:
        """Make the folder, for what others put there. Raises StorageError."""
        try:
            # QEMU's user, where it is another, reaches what is there but cannot list it.
            self.made.mkdir(mode=0o711, parents=True, exist_ok=True)
            status = self.made.lstat()
        except OSError as error:
            raise StorageError(f"{self.made}: {error.strerror}") from None
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise StorageError(f"{self.made}: is no folder of this user; remove it, or name another --state-dir")

    def remove(self) -> None:
        """Remove all that was made, by an earlier run too."""
        if self.made.exists():
            import shutil

            shutil.rmtree(self.made, ignore_errors=True)

    def _found(self, disk: Disk, volume: Image | EmptyDisk | Seed, path: str) -> Callable[[], DiskImage]:
        given = disk.name in self._given
        image = volume if isinstance(volume, Image) and not given else Image(disk.name, field=f"--disk {disk.name}")
        where = self._given[disk.name] if given else self._folder.find_image(image)
        if where is None:
            return self._created(image)
        readonly = disk.readonly or image.discarded or is_mounted_readonly(where)
        found = check_image(image.field, where, readonly, self._backing_files)
        if disk.device == "lun":
            check_lun(f"{path}.lun", found)
        if readonly and not disk.readonly:
            return lambda: self._overlay(disk.name, found)
        return lambda: found

    def _found_folder(self, name: str, volume: Volume | None) -> Callable[[], Path]:
        """The folder behind a file system; of a Secret and the like a copy, so that no guest writes to the original."""
        if name in self._given:
            given = Path(self._given[name]).resolve()
            if not given.is_dir():
                raise ManifestError(f"--disk {name}", f"{given} is no folder, and the guest is to mount it")
            return lambda: given
        if not isinstance(volume, Seed):
            folder = self._folder.find_folder(name, volume.field if isinstance(volume, Image) else "spec.volumes")
            return lambda: folder
        files = [*volume.files, *self._folder.read_files(volume.mounted)]

        def make() -> Path:
            folder = self._path(name)
            _make_folder(folder, files)
            return folder

        return make

    def _created(self, image: Image) -> Callable[[], DiskImage]:
        """The image of a hostDisk that is made where there is none, and stays."""
        where = self._folder.creatable(image) if image.created else None
        if where is None:
            place = self._folder.path / image.name
            raise ManifestError(
                image.field, f"`{image.name}` has no image: give --disk {image.name}=PATH, or mount it at {place}"
            )

        def create() -> DiskImage:
            _make_file(where, image.created)
            return check_image(image.field, where, False, self._backing_files)

        return create

    def _empty(self, volume: EmptyDisk) -> Callable[[], DiskImage]:
        def make() -> DiskImage:
            path = self._path(f"{volume.name}.img")
            _make_file(path, volume.capacity)
            return check_image(volume.name, path, False, False)

        return make

    def _seed(self, volume: Seed, vmi: VirtualMachineInstance) -> Callable[[], DiskImage]:
        files = [*volume.files, *self._folder.read_files(volume.mounted)]
        if volume.drive is not None:
            keys = [*volume.keys, *self._folder.read_files(volume.mounted_keys)]
            files.append(metadata_file(volume.drive, vmi, keys))

        def make() -> DiskImage:
            path = self._path(f"{volume.name}.iso")
            _make_file(path, content=_image_of(volume.label, files))
            return check_image(volume.name, path, True, False)

        return make

    def _overlay(self, name: str, base: DiskImage) -> DiskImage:
        path = self._path(f"{name}.qcow2")
        _make_overlay(path, base)
        return replace(base, path=str(path), format="qcow2", block=False)

    def _path(self, name: str) -> Path:
        """A path for what is made now."""
        self.prepare()
        return self.made / name


def _image_of(label: str, files: list[SeedFile]) -> bytes:
    from launcher.volumes.iso import iso_image

    return iso_image(label, files)


def _make_file(path: Path, size: int = 0, content: bytes = b"") -> None:
    """A new file for its owner alone, of this content or of so many zeros, which take no room. Raises StorageError."""
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
            file.truncate(max(size, len(content)))
    except OSError as error:
        if error.errno != errno.EEXIST:
            with contextlib.suppress(OSError):
                path.unlink()
        raise StorageError(f"{path} cannot be made: {error.strerror}") from None


def _make_folder(path: Path, files: list[SeedFile]) -> None:
    """A new folder of these files. Raises StorageError."""
    try:
        path.mkdir(0o755)
    except OSError as error:
        raise StorageError(f"{path} cannot be made: {error.strerror}") from None
    for file in files:
        _make_file(path / file.name, content=file.content)
        (path / file.name).chmod(0o444)


def _make_overlay(path: Path, base: DiskImage) -> None:
    """An image of what differs from `base`. Raises StorageError."""
    import subprocess

    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", base.format, "-b", base.path, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, umask=0o077)
    except FileNotFoundError:
        raise StorageError(
            f"{base.path} is not to be written to, and qemu-img, which makes an overlay for it, is missing: "
            "apt-get install qemu-utils"
        ) from None
    if done.returncode:
        raise StorageError(f"no overlay of {base.path} can be made: {' '.join(done.stderr.split())}")
