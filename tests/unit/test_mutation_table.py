"""The table of mutation testing: a test file that is not there would count every mutant as noticed."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("mutation_table", ROOT / "tests/mutation/table.py")
assert SPEC
assert SPEC.loader
TABLE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(TABLE)


@pytest.mark.parametrize("module", [path for path in TABLE.modules(ROOT) if path.startswith("dhcp/")])
def test_the_tests_of_a_module_exist(module: str) -> None:
    fast, slow = TABLE.tests_of(module)
    assert [test for test in (*fast, *slow) if not (ROOT / test).is_file()] == []
    assert len(fast) > 20
    assert [test for test in fast if "wire" in test] == [], "deselected by `-k 'not wire'`"


def test_each_survivor_has_its_reason() -> None:
    entries = tomllib.loads((ROOT / "tests/mutation/survivors.toml").read_text())["survivor"]
    assert entries
    for entry in entries:
        assert entry.keys() == {"mutant", "reason"}
        assert (ROOT / entry["mutant"].split()[0]).is_file()
