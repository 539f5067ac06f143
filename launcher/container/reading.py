"""The VM that `run` is given, read in a process of its own."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.container.described import Described
    from launcher.vmi.model import VirtualMachineInstance

BOTH_NEED = ("launcher.request", "netsetup.bindings.dns", "netsetup.bindings.keeper", "dhcp.config", "pathlib")
"""Modules for which the process that reads the manifest would take 9 ms, and the hook as long again."""


def _load(source: str | Described, name: str | None) -> VirtualMachineInstance:
    from launcher.vmi.errors import ManifestError
    from launcher.vmi.load import load_document, load_vmi

    if isinstance(source, str):
        return load_vmi(source, name)
    from launcher.container.described import flag_of, manifest_of

    try:
        return load_document(manifest_of(source))
    except ManifestError as error:
        raise error.relocated(flag_of) from None


def read_vmi(source: str | Described, name: str | None, meanwhile: Callable[[], None]) -> VirtualMachineInstance:
    """The manifest, read and checked by a process of its own while this one does something else.

    It takes a fifth of the time to QEMU's start. Raises ManifestError.
    """
    import pickle

    from launcher.vmi.errors import ManifestError

    for module in BOTH_NEED:
        import_module(module)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            loaded: VirtualMachineInstance | ManifestError
            try:
                loaded = _load(source, name)
            except ManifestError as error:
                loaded = error
            with open(write, "wb") as pipe:
                pickle.dump(loaded, pipe)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(write)
    with open(read, "rb") as pipe:
        meanwhile()
        content = pipe.read()
    if os.waitpid(child, 0)[1] != 0:
        return _load(source, name)  # so that a defect shows itself
    loaded = pickle.loads(content)
    if isinstance(loaded, ManifestError):
        raise loaded
    return loaded
