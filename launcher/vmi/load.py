"""Loads a manifest: reads the file and checks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.vmi.admission import admit
from launcher.vmi.reader import read_manifest

if TYPE_CHECKING:
    from os import PathLike

    from launcher.vmi.model import VirtualMachineInstance


def load_vmi(path: str | PathLike[str]) -> VirtualMachineInstance:
    """Read and check the manifest at `path`, YAML or JSON.

    Raises ManifestError. Needs no privilege and reads no other file: that kernel and disk images exist is checked when
    they are used.
    """
    return admit(read_manifest(path))
