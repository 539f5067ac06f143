"""The tables of docs/manifests.md are those that decide."""

from __future__ import annotations

import pytest

from .manifest_fields import BEGIN, END, PAGE, tables, write


def test_the_tables_are_true(pytestconfig: pytest.Config) -> None:
    """`--update-snapshots` writes them anew."""
    if pytestconfig.getoption("--update-snapshots"):
        write()
    text = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert text == tables()
