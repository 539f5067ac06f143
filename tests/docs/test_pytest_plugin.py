"""The pytest plugin in a project of a stranger: pytest in a folder of its own finds it by its entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lab.namespace import NETNS_DIRECTORY, PREFIX
from lab.waiting import wait_until

from .pages import ROOT, Page

EXAMPLES = [block.body for block in Page(ROOT / "docs/pytest.md").blocks() if block.language == "python"]

pytestmark = pytest.mark.root


def pytest_of(folder: Path, test: str, *options: str) -> subprocess.Popen[str]:
    """Run pytest on one file."""
    (folder / "test_of_a_stranger.py").write_text(test)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "--rootdir", str(folder), *options]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def left_by(pid: int) -> list[Path]:
    return list(NETNS_DIRECTORY.glob(f"{PREFIX}-{pid}-*"))


@pytest.mark.parametrize(
    ("example", "passed"), list(zip(EXAMPLES, (1, 3, 2), strict=True)), ids=["lease", "shape", "server"]
)
def test_examples_of_the_page(tmp_path: Path, example: str, passed: int) -> None:
    run = pytest_of(tmp_path, example)
    output, _ = run.communicate(timeout=120)
    assert f"{passed} passed" in output, output
    assert (run.returncode, left_by(run.pid)) == (0, [])


def test_a_run_that_does_not_use_it_does_not_notice(tmp_path: Path) -> None:
    """Nothing of this package is imported but the plugin's own file."""
    test = (
        "import sys\n"
        "def test_modules():\n"
        "    ours = {name for name in sys.modules if name.partition('.')[0] in ('launcher', 'netsetup', 'dhcp')}\n"
        "    assert ours == {'launcher', 'launcher.testing', 'launcher.testing.plugin'}\n"
    )
    output, _ = pytest_of(tmp_path, test).communicate(timeout=60)
    assert "1 passed" in output, output


def test_namespaces_go_even_when_pytest_is_killed(tmp_path: Path) -> None:
    """With what runs in them, by SIGKILL, which nothing in that process sees."""
    test = (
        "import os, signal\n"
        "def test_killed(pod):\n"
        "    child = pod.pod.popen(['sleep', '600'])\n"
        "    print('child', child.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = pytest_of(tmp_path, test, "-s")
    output, _ = run.communicate(timeout=60)
    child = Path("/proc", output.partition("child ")[2].split()[0])
    assert run.returncode == -9
    wait_until(lambda: not left_by(run.pid) and not child.exists(), log=lambda: left_by(run.pid))
