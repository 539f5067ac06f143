"""What a manifest's volumes are, by kinds: checked, frozen data. Pure."""

from __future__ import annotations

from dhcp.lean.frozen import Frozen


class Image(Frozen):
    """A disk image that is given by `--disk`, or found below the folder of volumes."""

    name: str
    path: str = ""
    """Within the volume: all of containerDisk's, the last part of hostDisk's, whose folder is what is mounted."""
    only_path: bool = False
    """Whether no other image of the volume will do (hostDisk, whose folder may hold those of others)."""
    field: str = "spec.volumes"
    """The manifest's field, for errors."""
    discarded: bool = False
    """Whether what the guest writes ends with the VM: the image is never written to (containerDisk, ephemeral)."""
    created: int = 0
    """Octets of an image that is made where there is none (hostDisk, `DiskOrCreate`); 0 for none."""


class EmptyDisk(Frozen):
    """A disk of zeros that ends with the VM."""

    name: str
    capacity: int
    """Octets, whole sectors."""


class SeedFile(Frozen):
    """One file of a seed image. It may be secret, so its content is not shown."""

    name: str
    """Path in the image, with `/` between folders."""
    content: bytes

    def __repr__(self) -> str:
        return f"SeedFile({self.name!r}, {len(self.content)} octets)"


class MountedFiles(Frozen):
    """Files of a Secret, ConfigMap or the like, which are read from a folder when the VM starts."""

    field: str
    """The manifest's field, for errors."""
    folders: tuple[str, ...]
    """Names below the folder of volumes, of which the first that exists is taken."""
    keys: tuple[tuple[str, str], ...] = ()
    """Keys, each with its file's name in the image: of several for one name the first that exists; empty for all."""
    optional: bool = False
    """Whether there may be none."""


class Drive(Frozen):
    """A kind of drive that cloud-init reads, by the label of its file system and the paths of its files."""

    label: str
    metadata: str
    user_data: str
    network_data: str


class Seed(Frozen):
    """A small read-only image whose files the manifest, or what is mounted beside it, says."""

    name: str
    label: str
    """Of the file system, by which a guest finds it."""
    files: tuple[SeedFile, ...] = ()
    mounted: tuple[MountedFiles, ...] = ()
    drive: Drive | None = None
    """Its kind if it is cloud-init's, which reads metadata of the VM from one more file."""
    keys: tuple[SeedFile, ...] = ()
    """Files of public SSH keys, which go to that metadata."""
    mounted_keys: tuple[MountedFiles, ...] = ()


Volume = Image | EmptyDisk | Seed
