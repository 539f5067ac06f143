"""The tables of docs/manifests.md are those that decide."""

from __future__ import annotations

from .manifest_fields import BEGIN, END, PAGE, tables


def test_the_tables_are_true() -> None:
    """`python tests/docs/manifest_fields.py` writes them anew."""
    text = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert text == tables()
