"""Classes whose annotated fields are the fields of a manifest's object. Pure."""

from __future__ import annotations

import sys
from types import GenericAlias, UnionType
from typing import TYPE_CHECKING, Any

from dhcp.lean.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

Object = dict[str, Any]
"""An object of a document, as it was read."""
Quantity = str | int | float
"""A Kubernetes quantity before it is parsed, e.g. `128Mi`."""

SPELLINGS = {
    "autoattach_vsock": "autoattachVSOCK",
    "dedicated_io_thread": "dedicatedIOThread",
    "downward_api": "downwardAPI",
    "vm_network_cidr": "vmNetworkCIDR",
    "vm_network_cidr6": "vmIPv6NetworkCIDR",
}
"""Fields whose name in a manifest is not their name here in camel case."""


class StrictObject(Frozen):
    """Base of the objects that have no fields but the declared ones."""


class OpenObject(Frozen):
    """Base of the objects whose other fields are the cluster's and ignored."""


_shapes: dict[type, dict[str, tuple[str, Any]]] = {}


def shape_of(kind: type) -> dict[str, tuple[str, Any]]:
    """The fields of a class by their names in a manifest: name in the class, and type."""
    shape = _shapes.get(kind)
    if shape is None:
        names = vars(sys.modules[kind.__module__])
        shape = _shapes[kind] = {
            spelled(name): (name, eval(annotation, names) if isinstance(annotation, str) else annotation)
            for name, annotation in kind.__annotations__.items()
        }
    return shape


def spelled(name: str) -> str:
    """A field's name as a manifest has it."""
    first, *words = name.split("_")
    return SPELLINGS.get(name) or first + "".join(word.capitalize() for word in words)


def field_at(item: Object, path: str) -> Any:
    """What an object has at a path of names with dots; None where it has nothing."""
    value: Any = item
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def paths_of(kind: type, path: str = "") -> Iterator[str]:
    """The paths of all fields of a class and of those that its fields hold, `[]` for the elements of a list."""
    for name, (_, annotation) in shape_of(kind).items():
        here = f"{path}.{name}" if path else name
        yield here
        inner = annotation.__args__[0] if isinstance(annotation, UnionType) else annotation
        if isinstance(inner, GenericAlias) and inner.__origin__ is list:
            here, inner = f"{here}[]", inner.__args__[0]
        if isinstance(inner, type) and issubclass(inner, StrictObject | OpenObject):
            yield from paths_of(inner, here)
