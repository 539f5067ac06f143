"""Reads a manifest, YAML or JSON, into the objects of `launcher.vmi.schema`."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import yaml

from launcher.vmi.errors import ManifestError
from launcher.vmi.limits import MOST_KEYS, MOST_OCTETS, check_document, require_elements
from launcher.vmi.schema import Manifest

if TYPE_CHECKING:
    from os import PathLike


class _Constructor(yaml.constructor.SafeConstructor):
    """YAML as the Kubernetes tools read it.

    A MAC address such as 52:54:00:12:34:56 is a number to base 60 and a date is an object in YAML 1.1; here
    both are text. A key given twice is an error.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen = set()
        for key, _ in node.value:
            # The key `<<` may be repeated: it merges what aliases point to.
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merges (`<<`), each of which multiplies the keys."""
        super().flatten_mapping(node)
        if len(node.value) > MOST_KEYS:
            raise yaml.constructor.ConstructorError(None, None, f"more than {MOST_KEYS} keys", node.start_mark)


class _Loader(_Constructor, yaml.SafeLoader):
    """PyYAML's own parser, whose error messages are reported."""


class _FastLoader(_Constructor, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """libyaml's parser, where PyYAML was built with it: a tenth of the time."""


LIBYAML_DEPTH = 3000
"""Levels of nesting; libyaml has no limit of its own, and 20,000 overflow the stack."""

_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+|0o?[0-7]+)$")
_FRACTION = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")
_RETYPED = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")

for _loader in (_Loader, _FastLoader):
    _loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _RETYPED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _loader.add_implicit_resolver("tag:yaml.org,2002:int", _DECIMAL, list("-+0123456789"))
    _loader.add_implicit_resolver("tag:yaml.org,2002:float", _FRACTION, list("-+.0123456789"))

_LOCATION = re.compile(r"(?P<reason>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`$")
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`$")


def read_manifest(path: str | PathLike[str]) -> Manifest:
    """Read the manifest at `path`. Raises ManifestError; its `path` is the file's if that is not valid YAML."""
    file = str(path)
    try:
        with Path(path).open("rb") as source:
            data = source.read(MOST_OCTETS + 1)
        text = data.decode()
    except OSError as error:
        raise ManifestError(file, error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise ManifestError(file, f"is not UTF-8 text: {error.reason} at byte {error.start}") from None
    if len(data) > MOST_OCTETS:
        raise ManifestError(file, f"is larger than {MOST_OCTETS} bytes")
    return decode_manifest(text, file)


def decode_manifest(text: str, file: str = "manifest") -> Manifest:
    """Decode the manifest in `text`; `file` is its name in errors. Raises ManifestError."""
    try:
        require_elements(text)
        documents = _documents(text)
    except yaml.YAMLError as error:
        raise ManifestError(file, _yaml_reason(error)) from None
    except RecursionError:
        raise ManifestError(file, "is nested too deeply") from None
    except ValueError as error:
        raise ManifestError(file, str(error)) from None
    if len(documents) != 1:
        raise ManifestError(file, f"must hold one object, holds {len(documents)}")
    document = documents[0]
    check_document(document, file)
    if not isinstance(document, dict):
        raise ManifestError(file, f"must be an object, is a {type(document).__name__}")
    # Checked first: otherwise the error would name the first field that another kind has and this one has not.
    kind = document.get("kind")
    if kind != "VirtualMachineInstance":
        raise ManifestError("kind", f"must be VirtualMachineInstance, is {kind}")
    try:
        return msgspec.convert(document, Manifest)
    except msgspec.ValidationError as error:
        raise _located(str(error)) from None


def _documents(text: str) -> list[object]:
    """The documents of a YAML text; raises what PyYAML's own parser raises."""
    if _depth_limit(text) <= LIBYAML_DEPTH:
        with contextlib.suppress(yaml.YAMLError, ValueError):
            return _load(text, _FastLoader)
    return _load(text, _Loader)


def _load(text: str, loader: type[_Loader | _FastLoader]) -> list[object]:
    return [document for document in yaml.load_all(text, loader) if document is not None]


def _depth_limit(text: str) -> int:
    """An upper bound of the levels of nesting: each takes a bracket or a column; a list may share its parent's."""
    longest = max((len(line) for line in text.splitlines()), default=0)
    return text.count("[") + text.count("{") + 2 * longest


def _yaml_reason(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem or error.context}"
    return " ".join(str(error).split())


def _located(message: str) -> ManifestError:
    """msgspec's message as a ManifestError, which has the path in front."""
    match = _LOCATION.match(message)
    assert match is not None
    path = (match["path"] or "").removeprefix(".")
    reason = match["reason"]
    if unknown := _UNKNOWN.match(reason):
        return ManifestError(_join(path, unknown["name"]), "is unknown, or not supported by this launcher")
    if missing := _MISSING.match(reason):
        return ManifestError(_join(path, missing["name"]), "is required")
    return ManifestError(path or "manifest", reason[:1].lower() + reason[1:].replace("`", ""))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
