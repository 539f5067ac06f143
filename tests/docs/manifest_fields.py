"""The tables of docs/manifests.md, made of what decides about a manifest."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from launcher.manifest.fields import CLUSTERS, REFUSED, UNSERVED, WITHOUT, WITHOUT_ANNOTATIONS
from launcher.manifest.schema import Manifest
from launcher.manifest.shapes import paths_of

PAGE = Path(__file__).parents[2] / "docs/manifests.md"
BEGIN, END = "<!-- made by tests/docs/manifest_fields.py -->\n", "<!-- until here -->\n"


def tables() -> str:
    annotations = {f"metadata.annotations.{name}": text for name, text in WITHOUT_ANNOTATIONS.items()}
    return "\n".join(
        [
            "### Accepted",
            "",
            *_accepted(),
            "",
            "### Ignored, because they say nothing about running the VM in this pod",
            "",
            *_list(CLUSTERS),
            "",
            "### Ignored with a warning",
            "",
            *_table("what the VM goes without", WITHOUT | annotations),
            "",
            "### Refused",
            "",
            *_table("what to do", REFUSED),
            "",
            "### Refused, unless the annotation leaves the interface out",
            "",
            *_table("why", UNSERVED),
            "",
        ]
    )


def _accepted() -> Iterator[str]:
    """The fields by the object that they are of; objects whose fields follow are not listed themselves."""
    paths = sorted({path for path in paths_of(Manifest) if path.startswith("spec")} - UNSERVED.keys())
    parents = {path.rpartition(".")[0].removesuffix("[]") for path in paths}
    leaves = [path.rpartition(".") for path in paths if path not in parents]
    yield "| of | fields |"
    yield "|---|---|"
    for parent, fields in groupby(sorted(leaves), key=lambda leaf: leaf[0]):
        yield f"| `{parent}` | {', '.join(f'`{field}`' for _, _, field in fields)} |"


def _list(paths: tuple[str, ...]) -> Iterator[str]:
    yield "| of | fields |"
    yield "|---|---|"
    split = sorted(path.rpartition(".") for path in paths)
    for parent, fields in groupby(split, key=lambda part: part[0]):
        yield f"| `{parent}` | {', '.join(f'`{field}`' for _, _, field in fields)} |"


def _table(heading: str, rows: dict[str, str]) -> Iterator[str]:
    yield f"| field | {heading} |"
    yield "|---|---|"
    for path, text in sorted(rows.items()):
        yield f"| `{path}` | {text} |"


def write() -> None:
    """Write them there anew."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(before + BEGIN + tables() + END + rest.partition(END)[2])
