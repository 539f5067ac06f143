"""Fixtures of the whole suite, and the rule for tests that need root."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# assertions of the checks explain themselves as those in test files do; to be said before the first import
pytest.register_assert_rewrite("lab.checks")

from lab.agent import Agent  # noqa: E402
from lab.namespace import sweep  # noqa: E402
from lab.pod import Pod  # noqa: E402

pytest_plugins = ["lab.second_try", "launcher.testing.plugin"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-snapshots", action="store_true", help="write tests/snapshots anew")


QUICK = ("conformance", "fuzz", "unit")
"""Folders whose files take seconds: the last ones to run, so that no worker is left with a long file at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root the tests marked `root` or `vm` are skipped, with the reason; as root nothing is."""
    items.sort(key=lambda item: item.path.parent.name in QUICK)
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root: network namespaces")
    for item in items:
        if item.get_closest_marker("root") or item.get_closest_marker("vm"):
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def _swept() -> None:
    """Namespaces of earlier runs that were killed are gone before the first test."""
    if os.geteuid() == 0:
        sweep()


@pytest.fixture
def binding() -> str:
    """What `agent` sets up; a test that is parametrised over bindings has others."""
    return "bridge"


@pytest.fixture
def agent(pod: Pod, binding: str) -> Iterator[Agent]:
    """`virt-launcher` in that pod."""
    with Agent(pod, binding=binding) as agent:
        yield agent
