"""Reads a file of manifests, YAML or JSON, into its documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.manifest.limits import MOST_OCTETS, check_document, require_elements
from launcher.vmi.errors import ManifestError

if TYPE_CHECKING:
    from os import PathLike
    from typing import BinaryIO


def read_documents(path: str | PathLike[str]) -> list[object]:
    """The documents of the file at `path`, `-` for standard input. Raises ManifestError; its `path` is the file's."""
    file = called(path)
    try:
        with _opened(str(path)) as source:
            data = source.read(MOST_OCTETS + 1)
        text = data.decode()
    except OSError as error:
        raise ManifestError(file, f"{error.strerror or error}; name a manifest that can be read") from None
    except UnicodeDecodeError as error:
        raise ManifestError(file, f"is not UTF-8 text: {error.reason} at byte {error.start}") from None
    if len(data) > MOST_OCTETS:
        raise ManifestError(file, f"is larger than {MOST_OCTETS} bytes")
    return parse_documents(text, file)


def called(path: str | PathLike[str]) -> str:
    """The file's name in messages."""
    return "standard input" if str(path) == "-" else str(path)


def _opened(file: str) -> BinaryIO:
    """The file; standard input is not closed."""
    return open(0, "rb", closefd=False) if file == "-" else open(file, "rb")


def parse_documents(text: str, file: str = "manifest") -> list[object]:
    """The documents of `text` that are not empty; `file` is its name in errors. Raises ManifestError."""
    try:
        require_elements(text)
        documents = _json(text) or _yaml(text)
    except RecursionError:
        raise ManifestError(file, "is nested too deeply") from None
    except ValueError as error:
        raise ManifestError(file, str(error)) from None
    for document in documents:
        check_document(document, file)
    return documents


def _json(text: str) -> list[object]:
    """The document of a JSON text, for which PyYAML is not needed; empty for any other text."""
    if not text.lstrip(" \t\r\n").startswith("{"):
        return []
    import json

    try:
        return [json.loads(text, object_pairs_hook=_distinct)]
    except json.JSONDecodeError:
        return []


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"`{key}` is given twice")
        found[key] = value
    return found


def _yaml(text: str) -> list[object]:
    from launcher.manifest.yaml_text import parse_yaml

    return parse_yaml(text)
