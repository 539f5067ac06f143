"""Loads a manifest: reads the file, finds its virtual machine, and checks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dhcp.lean.frozen import replace
from launcher.manifest.decode import decode
from launcher.manifest.fields import WITHOUT_ANNOTATIONS, is_networks
from launcher.manifest.objects import Machine, choose, machines
from launcher.manifest.reader import called, read_documents
from launcher.manifest.schema import Manifest
from launcher.vmi.errors import ManifestError, Problems

if TYPE_CHECKING:
    from os import PathLike
    from typing import Any

    from launcher.request import SetupRequest
    from launcher.vmi.model import VirtualMachineInstance


def load_vmi(path: str | PathLike[str], name: str | None = None) -> VirtualMachineInstance:
    """Read and check the virtual machine of the manifest at `path`, YAML or JSON, `-` for standard input.

    `name` chooses among several. Raises ManifestError with all that is wrong. Needs no privilege and reads no other
    file: that kernel and disk images exist is checked when they are used.
    """
    return check_vmi(choose(read_documents(path), called(path), name))


def load_document(document: dict[str, Any]) -> VirtualMachineInstance:
    """Check the manifest of one virtual machine that was not read from a file. Raises ManifestError."""
    (machine,) = machines([document], "manifest")
    return check_vmi(machine)


def check_vmi(machine: Machine) -> VirtualMachineInstance:
    """The checked VM of one of a file's machines. Raises ManifestError with all that is wrong."""
    from launcher.vmi.admission import admit

    problems = Problems()
    vmi = None
    if not machine.is_broken:
        manifest = decode(machine.document, Manifest, problems, is_vmi=True)
        if manifest is not None and not problems.is_broken:
            given = manifest.metadata.annotations or {}
            problems.ignored += [
                (f"metadata.annotations.{key}", WITHOUT_ANNOTATIONS[key]) for key in given if key in WITHOUT_ANNOTATIONS
            ]
            vmi = admit(manifest, problems, machine)
    _raise(machine.error, problems.error(machine.locate))
    assert vmi is not None
    return vmi


def load_request(path: str | PathLike[str], name: str | None = None) -> SetupRequest:
    """What the virtual machine asks of its pod's network; nothing is required of the rest of the manifest.

    Raises ManifestError for what is wrong with the network's part.
    """
    return check_request(choose(read_documents(path), called(path), name))


def check_request(machine: Machine) -> SetupRequest:
    """As `load_request`, of one of a file's machines."""
    from launcher.vmi.network import admit_network

    if machine.is_broken:
        _raise(machine.error)
    problems = Problems()
    manifest = decode(machine.document, Manifest, problems, is_vmi=True)
    if not problems.dropped:  # so many that nothing can be said for certain
        problems.found = [p for p in problems.found if is_networks(p.path) or (p.meant and is_networks(p.meant))]
    request = admit_network(manifest, problems) if manifest is not None and not problems.found else None
    _raise(problems.error(machine.locate))
    assert request is not None
    return replace(request, left_out=problems.lines_of_left_out(machine.locate))


def _raise(*errors: ManifestError | None) -> None:
    """Raise what is wrong, as one error."""
    found = [problem for error in errors if error is not None for problem in error.problems]
    if found:
        raise ManifestError(found[0].path, found[0].reason, *found[1:])
