"""The JSON Schema of the manifests that `run` takes, made by msgspec of the classes and the table of fields."""

from __future__ import annotations

from types import GenericAlias, UnionType
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from launcher.manifest.decode import pattern_of
from launcher.manifest.fields import CLUSTERS, WITHOUT
from launcher.manifest.objects import MACHINES
from launcher.manifest.schema import (
    MachineSpec,
    Metadata,
    PoolSpec,
    ReplicaSetSpec,
    Spec,
    Template,
)
from launcher.manifest.shapes import OpenObject, StrictObject, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SPECS = dict(zip(MACHINES, (MachineSpec, Spec, ReplicaSetSpec, PoolSpec), strict=True))


def json_schema() -> dict[str, Any]:
    """The schema, in which a field that is ignored may have any value and one that is refused does not exist.

    `run` takes refused fields, too, where they ask for nothing, as `gpus: []` does; and it refuses wrong values.
    """
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(accepted_types())}


def accepted_types() -> Any:
    """msgspec's classes of the kinds that hold a VM."""
    structs = _Structs()
    union, *others = (structs.manifest(kind) for kind in MACHINES)
    for other in others:
        union |= other
    return union


class _Structs:
    """msgspec's classes; those of a template have the paths of a VirtualMachineInstance, others have none."""

    def __init__(self) -> None:
        self._made: dict[tuple[type, str], Any] = {}

    def manifest(self, kind: str) -> Any:
        fields: list[Any] = [
            ("api_version", str),
            ("metadata", self._type(Metadata, "metadata")),
            ("spec", self._type(SPECS[kind], "spec" if SPECS[kind] is Spec else "")),
            ("status", Any, None),
        ]
        rename = {"api_version": "apiVersion"}
        return msgspec.defstruct(kind, fields, rename=rename, tag_field="kind", tag=kind, forbid_unknown_fields=True)

    def _type(self, annotation: Any, path: str) -> Any:
        if annotation is object:
            return Any
        if isinstance(annotation, UnionType):
            first, *others = (self._type(part, path) for part in annotation.__args__)
            for other in others:
                first |= other
            return first
        if isinstance(annotation, GenericAlias):
            *_, inner = annotation.__args__
            if annotation.__origin__ is list:
                return list[self._type(inner, f"{path}[]")]  # type: ignore[misc]
            return dict[str, self._type(inner, path)]  # type: ignore[misc]
        if isinstance(annotation, type) and issubclass(annotation, StrictObject | OpenObject):
            return self._struct(annotation, path)
        return annotation

    def _struct(self, kind: type, path: str) -> Any:
        if (kind, path) not in self._made:
            self._made[kind, path] = self._make(kind, path)
        return self._made[kind, path]

    def _make(self, kind: type, path: str) -> Any:
        fields: list[Any] = []
        rename = {}
        for spelling, (name, annotation) in shape_of(kind).items():
            here = f"{path}.{spelling}" if path else ""
            if kind is Template and spelling == "spec":
                inner = self._type(Spec, "spec")
            else:
                inner = self._type(annotation, here)
            has_default = name in kind._defaults  # type: ignore[attr-defined]
            fields.append((name, inner, None) if has_default else (name, inner))
            rename[name] = spelling
        for ignored, said in _ignored(path):
            fields.append((ignored, Annotated[Any, msgspec.Meta(description=said)], None))
        strict = issubclass(kind, StrictObject)
        return msgspec.defstruct(
            path or kind.__name__, fields, rename=rename, forbid_unknown_fields=strict, kw_only=True
        )


def _ignored(parent: str) -> Iterator[tuple[str, str]]:
    """The ignored fields of the object at a path of a VirtualMachineInstance, and what is said of them."""
    for path in (*CLUSTERS, *WITHOUT):
        above, _, name = path.rpartition(".")
        if parent and above == pattern_of(parent):
            yield name, f"ignored: {WITHOUT.get(path, 'it is the cluster that reads it')}"
