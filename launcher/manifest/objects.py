"""The virtual machines of a file's objects, as VirtualMachineInstances, and what lies beside them. Pure."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from dhcp.lean.frozen import Frozen
from launcher.manifest.decode import decode
from launcher.manifest.schema import MachineSpec, PoolSpec, ReplicaSetSpec, Template
from launcher.manifest.shapes import Object, field_at
from launcher.vmi.errors import ManifestError, Problems, is_below

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

VMI = "VirtualMachineInstance"
MACHINES = ("VirtualMachine", VMI, f"{VMI}ReplicaSet", "VirtualMachinePool")
"""Kinds of objects that have a virtual machine in them."""

_TOP = {"apiVersion", "kind", "metadata", "spec", "status"}
API_GROUP = "kubevirt.io/"
"""The API group of these, or of which theirs is a part, as in pool.kubevirt.io."""


ENCODED = {"Secret": "data", "ConfigMap": "binaryData"}
PLAIN = {"Secret": "stringData", "ConfigMap": "data"}
"""Fields of the objects that hold files: in base64, and as text, which comes first."""


class Machine(Frozen):
    """One virtual machine of a file, and where its fields are."""

    kind: str
    document: Object
    """As a VirtualMachineInstance."""
    prefix: str = ""
    """Path of the template that its spec is of, with a dot at the end."""
    error: ManifestError | None = None
    """What is wrong with the object around the template; its paths are those of the file."""
    is_broken: bool = False
    """Whether there is no template because of that."""
    notes: tuple[str, ...] = ()
    """What the cluster would do otherwise than `run`, a line each."""
    beside: tuple[Object, ...] = ()
    """The file's objects that have no virtual machine."""
    applied: dict[str, str] = {}  # noqa: RUF012
    """Paths that instance type and preference have set, and where they say so."""

    @property
    def name(self) -> str:
        return str(field_at(self.document, "metadata.name"))

    @property
    def namespace(self) -> str:
        return str(field_at(self.document, "metadata.namespace") or "default")

    @property
    def names(self) -> tuple[str, str]:
        """What it may be called."""
        return self.name, f"{self.namespace}/{self.name}"

    def locate(self, path: str) -> str:
        """Where the file says what is at a path of the VirtualMachineInstance."""
        for target, source in self.applied.items():
            if is_below(path, target):
                return source + path.removeprefix(target)
        return self.prefix + path if path.startswith(("spec", "metadata.annotations", "metadata.labels")) else path

    def content_of(self, kind: str, name: str) -> dict[str, bytes] | None:
        """The files of the Secret or ConfigMap `name` that lies beside it in its namespace; None without such a one.

        Raises ManifestError, without its content.
        """
        item = _find(self.beside, field_at(self.document, "metadata.namespace"), (kind,), name)
        return None if item is None else _content(item, f"{kind}/{name}")


def machines(documents: Sequence[object], file: str) -> list[Machine]:
    """The virtual machines of the file's documents, in their order. Raises ManifestError when there is none."""
    objects = list(_objects(documents, file))
    beside = tuple(item for item in objects if item.get("kind") not in MACHINES)
    found = [_machine(item, beside) for item in objects if item.get("kind") in MACHINES]
    # What was written by hand as a VirtualMachine is in the cluster a VirtualMachineInstance, too.
    running = {(machine.namespace, machine.name) for machine in found if machine.kind == VMI}
    found = [m for m in found if m.kind == VMI or (m.namespace, m.name) not in running]
    if found:
        return found
    kinds = ", ".join(str(item.get("kind")) for item in objects)
    if len(objects) == 1:
        raise ManifestError("kind", f"must be one of {', '.join(MACHINES)}, is {kinds}")
    raise ManifestError(file, f"holds no virtual machine, but {kinds}" if kinds else "holds no object")


def choose(documents: Sequence[object], file: str, name: str | None) -> Machine:
    """The virtual machine of that name, which may be NAMESPACE/NAME; without one, the only one of the file.

    Raises ManifestError.
    """
    found = machines(documents, file)
    short = [machine.name for machine in found]
    names = ", ".join(m.name if short.count(m.name) == 1 else f"{m.namespace}/{m.name}" for m in found)
    if name is not None:
        found = [machine for machine in found if name in machine.names]
        if not found:
            raise ManifestError(file, f"holds no virtual machine named `{name}`: give one of {names}")
    if len(found) > 1:
        raise ManifestError(file, f"holds {len(found)} virtual machines: give --name, one of {names}")
    return found[0]


def _objects(documents: Sequence[object], file: str) -> list[Object]:
    """The objects of all documents; a List, as `kubectl get` prints it, is its items."""
    objects: list[Object] = []
    for document in documents:
        if not isinstance(document, dict):
            raise ManifestError(file, f"must be an object, is a {type(document).__name__}")
        items = document.get("items")
        if document.get("kind") in ("List", *(f"{kind}List" for kind in MACHINES)) and isinstance(items, list):
            objects.extend(_objects(items, file))
        else:
            objects.append(document)
    return objects


def _machine(document: Object, beside: tuple[Object, ...]) -> Machine:
    kind = str(document["kind"])
    document = _named(document)
    if kind == VMI:
        return Machine(kind, document, beside=beside)
    problems = Problems()
    version = str(document.get("apiVersion"))
    if API_GROUP not in version:
        problems.add("apiVersion", f"must be kubevirt.io/v1, is {version}")
    for name in sorted(map(str, document.keys() - _TOP)):
        problems.add(name, "is unknown: leave it out")
    machine, prefix = _spec(kind, document.get("spec"), problems)
    template = Template() if machine is None or problems.is_broken else machine.template
    metadata = {name: field_at(document, f"metadata.{name}") for name in ("name", "namespace")}
    if template.metadata is not None:
        metadata |= {"labels": template.metadata.labels, "annotations": template.metadata.annotations}
    spec: object = template.spec
    applied: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    if isinstance(machine, MachineSpec):
        notes = tuple(_notes(machine, prefix))
        if isinstance(spec, dict) and (machine.instancetype or machine.preference):
            from launcher.manifest.instancetype import expand

            find = functools.partial(_find, beside, metadata["namespace"])
            spec, applied = expand(machine, spec, find, problems, prefix)
    vmi = {"apiVersion": "kubevirt.io/v1", "kind": VMI, "metadata": metadata, "spec": spec}
    error, is_broken = problems.error(str), problems.is_broken
    return Machine(kind, vmi, f"{prefix}template.", error, is_broken, notes, beside, applied)


def _named(document: Object) -> Object:
    """The object, by what its name would begin with if the cluster is to choose it."""
    prefix = field_at(document, "metadata.generateName")
    if not isinstance(prefix, str) or field_at(document, "metadata.name"):
        return document
    return {**document, "metadata": {**document["metadata"], "name": prefix.rstrip("-.")}}


def _find(beside: Sequence[Object], namespace: object, kinds: Collection[str], name: str) -> Object | None:
    """The object of this name and one of these kinds, if it is in this namespace or does not say in which."""
    for item in beside:
        is_near = namespace is None or field_at(item, "metadata.namespace") in (None, namespace)
        if is_near and item.get("kind") in kinds and field_at(item, "metadata.name") == name:
            return item
    return None


def _spec(kind: str, spec: object, problems: Problems) -> tuple[MachineSpec | ReplicaSetSpec | None, str]:
    """The part of an object's spec that has the VirtualMachineInstance's template, and its path with a dot."""
    if kind == f"{VMI}ReplicaSet":
        return decode(spec, ReplicaSetSpec, problems, "spec"), "spec."
    if kind == "VirtualMachine":
        return decode(spec, MachineSpec, problems, "spec"), "spec."
    pool = decode(spec, PoolSpec, problems, "spec")
    template = pool.virtual_machine_template if pool is not None else None
    return template.spec if template is not None else None, "spec.virtualMachineTemplate.spec."


def _notes(machine: MachineSpec, path: str) -> list[str]:
    """What the cluster would do otherwise than `run`."""
    strategy = machine.run_strategy or ("Halted" if machine.running is False else "Always")
    if strategy in ("Halted", "Manual", "WaitAsReceiver"):
        field = "runStrategy" if machine.run_strategy else "running"
        return [f"{path}{field}: means {strategy}: the cluster would not start this VM by itself"]
    return []


def _content(item: Object, called: str) -> dict[str, bytes]:
    import base64

    files: dict[str, bytes] = {}
    for field, is_encoded in ((ENCODED[item["kind"]], True), (PLAIN[item["kind"]], False)):
        values = item.get(field)
        for key, value in (values if isinstance(values, dict) else {}).items():
            try:
                files[str(key)] = base64.b64decode(value, validate=False) if is_encoded else value.encode()
            except (ValueError, TypeError, AttributeError):
                kind = "base64" if is_encoded else "text"
                raise ManifestError(f"{called}.{field}.{key}", f"must be {kind}") from None
    return files
