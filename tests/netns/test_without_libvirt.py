"""What is installed without the extra `run`, which needs a compiler: the hook works, and `run` names the extra."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.pod import Pod
from lab.snapshot import assert_restored, take_snapshot

pytestmark = pytest.mark.root

MANIFEST = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: vm}
spec:
  domain: {memory: {guest: 64Mi}, devices: {}}
"""
ROOT = Path(__file__).parent.parent.parent


def required() -> set[str]:
    """The distributions that `pip install virt-launcher` brings, without any extra; of each its name and version."""
    found: set[str] = set()
    wanted = ["virt-launcher"]
    while wanted:
        distribution = importlib.metadata.distribution(wanted.pop())
        found.add(f"{distribution.name}-{distribution.version}".replace("-", "_").lower())
        for requirement in distribution.requires or ():
            if "extra ==" not in requirement and "platform" not in requirement:
                wanted.append(re.split(r"[^\w-]", requirement)[0])
    return found


@pytest.fixture(scope="module")
def python() -> Iterator[Path]:
    """The interpreter of a virtual environment with this package and what it requires, by links to the files here."""
    installed = Path(sysconfig.get_path("purelib"))
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
        packages = next(Path(directory).glob("lib/*/site-packages"))
        names = required()
        for metadata in installed.glob("*.dist-info"):
            if metadata.stem.replace("-", "_").lower() not in names or metadata.name.startswith("virt_launcher"):
                continue
            for file in importlib.metadata.PathDistribution(metadata).files or ():
                top = file.parts[0]
                if top not in ("..", "__pycache__") and not (packages / top).exists():
                    (packages / top).symlink_to(installed / top)
        (packages / "tree.pth").write_text(f"{ROOT}\n")
        yield Path(directory, "bin/python")


def test_the_hook_needs_no_libvirt(pod: Pod, python: Path) -> None:
    before = take_snapshot(pod.pod)
    with tempfile.TemporaryDirectory(prefix="vltest-") as state:
        launcher = [python, "-m", "launcher"]
        missing = pod.pod.run([python, "-c", "import libvirt"], check=False)
        assert "No module named 'libvirt'" in missing.stderr
        printed = pod.pod.run([*launcher, "prestart", "--state-dir", state]).stdout
        assert printed.startswith("<interface type=")
        pod.pod.run([*launcher, "teardown", "--state-dir", state])
    assert_restored(pod.pod, before)


def test_run_names_the_extra_and_changes_nothing(pod: Pod, python: Path) -> None:
    before = take_snapshot(pod.pod)
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        manifest = Path(directory, "vmi.yaml")
        manifest.write_text(MANIFEST)
        command = [python, "-m", "launcher", "run", "--vmi", manifest, "--state-dir", Path(directory, "state")]
        done = pod.pod.run(command, check=False)
        assert not Path(directory, "state").exists()
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "pip install 'virt-launcher[run]'" in line
    assert_restored(pod.pod, before)
