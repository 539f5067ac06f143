"""Limits of what a manifest may hold, so that reading one ends soon and its text is text. Pure."""

from __future__ import annotations

from typing import Final

from dhcp.lean.text import fault_of_lines
from launcher.vmi.errors import ManifestError

MOST_OCTETS: Final = 1 << 20
"""Of a manifest; an API server takes no larger object either."""
MOST_ELEMENTS: Final = 20_000
"""Values of lists and objects, with each alias expanded."""
MOST_LEVELS: Final = 50
MOST_KEYS: Final = 1000
"""Of one object, those that it merges included."""


def require_elements(text: str) -> None:
    """Raises ValueError for a text that has more elements than a manifest may have, before they are made of it."""
    if sum(map(text.count, ",\n")) > MOST_ELEMENTS:
        raise ValueError(f"has more than {MOST_ELEMENTS} elements")


def check_document(document: object, file: str) -> None:
    """Raises ManifestError for too many elements or levels, and for a string that is no text, with its path."""
    count = 0

    def check(value: object, path: str, level: int) -> None:
        nonlocal count
        count += 1
        if count > MOST_ELEMENTS:
            raise ManifestError(file, f"has more than {MOST_ELEMENTS} elements with its aliases expanded")
        if level > MOST_LEVELS:
            raise ManifestError(file, "is nested too deeply")
        if isinstance(value, str):
            if fault := fault_of_lines(value):
                raise ManifestError(path or file, fault)
        elif isinstance(value, dict):
            for key, inner in value.items():
                name = ascii(key)[1:-1] if isinstance(key, str) else str(key)
                check(key, f"{path}.{name}" if path else name, level)
                check(inner, f"{path}.{name}" if path else name, level + 1)
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                check(inner, f"{path}[{index}]", level + 1)

    check(document, "", 0)
