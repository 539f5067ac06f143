"""What `make test` tries twice is named, and only a failed test is tried."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
from pathlib import Path

def test_one_time_in_two():
    here = Path(__file__).with_name("tried")
    was_there = here.exists()
    here.touch()
    assert was_there

def test_never():
    assert Path(__file__).with_name("never").exists()

def test_always():
    pass
"""
FOUND = "passed only on the second try"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").touch()
    return tmp_path


def run(folder: Path, *words: str) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "pytest", "-p", "lab.second_try", *words]
    tests = Path(__file__).parent.parent
    completed = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(tests)})
    return completed.returncode, completed.stdout.splitlines()


def second_try(folder: Path) -> tuple[int, list[str]]:
    return run(folder, "--second-try", "--last-failed", "--last-failed-no-failures", "none")


def test_who_passes_only_now_is_named_in_the_last_lines(folder: Path) -> None:
    assert run(folder)[0] == 1
    status, lines = second_try(folder)
    assert status == 1, "test_never"
    assert lines[-2].startswith(f"1 {FOUND}")
    assert lines[-1] == "  test_it.py::test_one_time_in_two"


def test_the_second_try_decides_when_all_pass(folder: Path) -> None:
    assert run(folder)[0] == 1
    (folder / "never").touch()
    status, lines = second_try(folder)
    assert (status, len(lines[-2:])) == (0, 2)
    assert lines[-3].startswith(f"2 {FOUND}")


def test_nothing_is_named_in_the_first_run_nor_without_a_failure(folder: Path) -> None:
    for name in ("tried", "never"):
        (folder / name).touch()
    for status, lines in (run(folder), second_try(folder)):
        assert status in (0, 5)
        assert FOUND not in "\n".join(lines)
