"""A plugin of pytest: with `--second-try`, a run ends with the names of the tests that passed.

`make test` tries again what has failed; so that none can be overlooked which passes one time in two.
"""

from __future__ import annotations

import pytest

_PASSED = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--second-try", action="store_true", help="name the tests that pass: they have failed before")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    config.stash[_PASSED] = [report.nodeid for report in terminalreporter.stats.get("passed", [])]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Behind everything that pytest itself prints."""
    if config.getoption("--second-try") and (passed := config.stash.get(_PASSED, [])):
        print(f"{len(passed)} passed only on the second try, each a defect of the test or of what it tests:")
        print(*(f"  {name}" for name in passed), sep="\n")
