"""Seed images: ISO 9660 with Joliet and Rock Ridge, which every guest reads and Windows' setup too.

By pycdlib, in this process: no file but the image ever has its content.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from launcher.volumes.model import SeedFile

JOLIET_NAME_MAX: Final = 64


def iso_image(label: str, files: Iterable[SeedFile]) -> bytes:
    """An image of this label (at most 32 characters) with `files`, whose names are paths of any depth up to 7."""
    from pycdlib import PyCdlib

    iso = PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=label)
    folders = {"": ""}
    for number, file in enumerate(files):
        folder, _, name = file.name.rpartition("/")
        _make_folder(iso, folder, folders)
        # The plain ISO names are never seen: any that differ will do.
        iso.add_fp(
            io.BytesIO(file.content),
            len(file.content),
            f"{folders[folder]}/F{number:07}.;1",
            rr_name=name,
            # Longer ones have their Rock Ridge name alone.
            joliet_path=f"/{file.name}" if len(name) <= JOLIET_NAME_MAX else None,
        )
    image = io.BytesIO()
    iso.write_fp(image)
    iso.close()
    return image.getvalue()


def _make_folder(iso: object, path: str, folders: dict[str, str]) -> None:
    """Make `path` and what leads there; `folders` has the ISO name of each that exists."""
    if path in folders:
        return
    parent, _, name = path.rpartition("/")
    _make_folder(iso, parent, folders)
    folders[path] = f"{folders[parent]}/D{len(folders):07}"
    iso.add_directory(folders[path], rr_name=name, joliet_path=f"/{path}")  # type: ignore[attr-defined]
