"""`virt-launcher doctor` beside a running launcher: a real VM behind a real tap."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.pod import MakePod, Pod

from launcher.demo.guest_image import GuestImage, kernel_arguments

from .entrypoint import Entrypoint
from .machine import manifest

pytestmark = [pytest.mark.vm, pytest.mark.root]


@pytest.fixture
def directory() -> Iterator[Path]:
    # Sockets are made below it, so its path is short, which pytest's own are not.
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        yield Path(directory)


def examine(pod: Pod, launcher: Entrypoint) -> tuple[int, dict[str, str]]:
    """Exit code, and the first finding for each hop where something is wrong."""
    command = [Agent.program(), "doctor", "--state-dir", launcher.state_dir, "--output", "json"]
    completed = pod.pod.run(command, check=False)
    checks = json.loads(completed.stdout)["checks"]
    return completed.returncode, {c["hop"]: c["finding"] for c in reversed(checks) if c["ok"] is False}


@pytest.mark.parametrize("shape", ["calico", "flannel"])
def test_a_running_vm_has_no_finding_until_it_hangs(
    make_pod: MakePod, guest: GuestImage, directory: Path, shape: str
) -> None:
    pod = make_pod(shape, guest_port=False)
    document = manifest(
        guest,
        kernel_arguments(),
        devices={"interfaces": [{"name": "default", "bridge": {}}]},
        networks=[{"name": "default", "pod": {}}],
        terminationGracePeriodSeconds=0,
    )
    launcher = Entrypoint(pod, directory, document)
    launcher.await_report("lease")
    assert examine(pod, launcher) == (0, {})
    emulator = launcher.emulator()
    assert emulator
    os.kill(emulator, signal.SIGSTOP)
    try:
        code, wrong = examine(pod, launcher)
    finally:
        os.kill(emulator, signal.SIGCONT)
    assert (code, set(wrong)) == (1, {"guest"})
    assert "does not answer ARP for it now" in wrong["guest"]
    launcher.terminate()
    launcher.await_end()
