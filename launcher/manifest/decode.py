"""Objects of a manifest → the classes of `launcher.manifest.schema`, with all that is wrong. Pure."""

from __future__ import annotations

import re
from types import GenericAlias, NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar

from launcher.manifest.fields import CLUSTERS, MEANINGLESS, REFUSED, WITHOUT
from launcher.manifest.schema import Manifest
from launcher.manifest.shapes import OpenObject, StrictObject, paths_of, shape_of
from launcher.vmi.errors import MOST_PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.vmi.errors import Problems

MADE_UP: dict[Any, Any] = {str: "", int: 0}
"""Values of required fields that are missing."""

_Object = TypeVar("_Object", bound=StrictObject)

NOUNS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    NoneType: "nothing",
}
"""What a field must be, by type."""


def decode(
    document: object, shape: type[_Object], problems: Problems, path: str = "", *, is_vmi: bool = False
) -> _Object | None:
    """The object of class `shape` that `document` is; None where that cannot be said, and `problems` is broken.

    A value of a wrong type is left out, as if it were not given; an object or list that is required and missing leaves
    `problems` broken. Of a VirtualMachineInstance (`is_vmi`) the fields that no class has are those of
    `launcher.manifest.fields`; of other objects, unknown.
    """
    decoded: _Object | None = _Decoder(problems, is_vmi).value(document, shape, path)
    return decoded


def pattern_of(path: str) -> str:
    """The path without the numbers of list elements."""
    return re.sub(r"\[\d+\]", "[]", path)


class _Decoder:
    def __init__(self, problems: Problems, is_vmi: bool) -> None:
        self._problems = problems
        self._is_vmi = is_vmi

    def value(self, value: object, annotation: Any, path: str) -> Any:
        """The value as its annotation says it; None with a problem for one of another type."""
        if annotation is object:
            return value
        types = annotation.__args__ if isinstance(annotation, UnionType) else (annotation,)
        if value is None and NoneType in types:
            return None
        kind = types[0]
        if isinstance(kind, GenericAlias):
            if kind.__origin__ is list and type(value) is list:
                return self._list(value, kind.__args__[0], path)
            if kind.__origin__ is dict and type(value) is dict:
                return self._dict(value, kind.__args__[1], path)
            kind = kind.__origin__
        elif issubclass(kind, StrictObject | OpenObject):
            if type(value) is dict:
                return self._object(value, kind, path)
            kind = dict
        elif type(value) in types:
            return value
        found = NOUNS.get(type(value), "another type")
        nouns = " or ".join(NOUNS[t] for t in ((kind,) if kind in (list, dict) else types) if t is not NoneType)
        if value is None:
            self._problems.add(path, "is required")
        else:
            self._problems.add(path or "manifest", f"must be {nouns}, is {found}")
        if NoneType in types:
            return None
        # What is required and simple is made up, so that the rest can be checked; it has been reported.
        self._problems.is_broken |= kind not in MADE_UP
        return MADE_UP.get(kind)

    def _list(self, values: list[object], annotation: Any, path: str) -> list[Any]:
        return [self.value(value, annotation, f"{path}[{index}]") for index, value in enumerate(values)]

    def _dict(self, values: dict[object, object], annotation: Any, path: str) -> dict[str, Any]:
        decoded = {str(name): self.value(value, annotation, f"{path}.{name}") for name, value in values.items()}
        return {name: value for name, value in decoded.items() if value is not None}

    def _object(self, values: dict[object, object], kind: type, path: str) -> Any:
        shape = shape_of(kind)
        prefix = f"{path}." if path else ""
        fields = {}
        for name, value in values.items():
            if (known := shape.get(name)) is not None:  # type: ignore[call-overload]
                fields[known[0]] = self.value(value, known[1], f"{prefix}{name}")
            elif issubclass(kind, StrictObject):
                self._other(f"{prefix}{name}", value, shape)
        for spelling, (name, annotation) in shape.items():
            if name not in fields and name not in kind._defaults:  # type: ignore[attr-defined]
                fields[name] = self.value(None, annotation, f"{prefix}{spelling}")
        return kind(**fields)

    def _other(self, path: str, value: object, shape: Mapping[str, object]) -> None:
        """A field that the class does not have: ignored, refused, or unknown."""
        pattern = pattern_of(path) if self._is_vmi else ""
        if (remedy := REFUSED.get(pattern)) is not None:
            if asks_for_something(value) and value != MEANINGLESS.get(pattern):
                self._problems.add(path, f"is not supported: {remedy}")
        elif pattern in CLUSTERS or pattern in WITHOUT:
            if asks_for_something(value):
                self._problems.ignored.append((path, WITHOUT.get(pattern, "")))
        else:
            self._unknown(path, shape)

    def _unknown(self, path: str, shape: Mapping[str, object]) -> None:
        """Refuse an unknown field, with what it was probably meant to be: a name like it, or one of another place."""
        import difflib

        if len(self._problems.found) > MOST_PROBLEMS:
            self._problems.add(path, "is unknown: leave it out")
            return
        parent, _, name = path.rpartition(".")
        prefix = f"{parent}." if parent else ""
        elsewhere = known_paths() if self._is_vmi else []
        others = [other for other in elsewhere if other.rpartition(".")[0] == pattern_of(parent)]
        here = [*shape, *(other.rpartition(".")[2] for other in others)]
        names = {known.lower(): known for known in here}
        near = difflib.get_close_matches(name.lower(), names, 1)
        moved = [other for other in elsewhere if other.startswith("spec.") and other.endswith(f".{name}")]
        if near:
            self._problems.add(path, f"is unknown: write {names[near[0]]}, if that is meant", prefix + names[near[0]])
        elif len(moved) == 1:
            self._problems.add(path, f"is unknown here: its place is {moved[0]}", moved[0])
        else:
            self._problems.add(path, "is unknown: leave it out")


def asks_for_something(value: object) -> bool:
    """Whether a field with this value means more than one that is not given."""
    return value not in (None, False, "", [], 0) and not (isinstance(value, dict) and value.get("enabled") is False)


def known_paths() -> list[str]:
    """The paths of all fields of a VirtualMachineInstance that have an effect, are ignored, or refused."""
    return [*paths_of(Manifest), *CLUSTERS, *WITHOUT, *REFUSED]
