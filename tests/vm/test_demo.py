"""`virt-launcher demo`: what it shows, in words and as data, and that nothing of it stays on the machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.agent import ORDINARY_USER, Agent
from lab.namespace import CONFIGURATION_DIRECTORY, NETNS_DIRECTORY

# The guest's image is built before, or its download would be part of the first demo.
pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.usefixtures("guest")]

GUEST = {
    "address": "10.244.77.2/24",
    "router": "10.244.77.1",
    "mtu": 1400,
    "dns": ["10.96.0.10"],
    "search": ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"],
}
STEPS = [
    "guest image",
    "node and pod",
    "pre-start hook",
    "libvirt starts the VM",
    "guest gets its lease",
    "ping, guest to node",
    "ping, node to guest",
    "VM shut down",
    "pod put back",
]

# Whatever the demo leaves running becomes a child of this program, which tells how many there are.
WATCHED = """
import ctypes, os, signal, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: None)  # it is meant for the demo
demo = subprocess.Popen(sys.argv[1:])
print(demo.pid, flush=True)
status = demo.wait()
until = time.monotonic() + 2  # what was killed with it is ours to bury
while time.monotonic() < until:
    try:
        if os.waitpid(-1, os.WNOHANG)[0] == 0:
            time.sleep(0.02)
    except ChildProcessError:
        break
left = open(f"/proc/self/task/{os.getpid()}/children").read().split()
for pid in left:
    os.kill(int(pid), signal.SIGKILL)
print("left running:", len(left))
sys.exit(status if status >= 0 else 128 - status)
"""
WITHOUT_PLUGINS = """
import pathlib, sys
from launcher import cli
from launcher.demo import pod as demopod
demopod.CNI_PLUGINS = pathlib.Path("/nowhere")
sys.exit(cli.main())
"""


class Demo:
    """The demo's process, with a folder of its own for all temporary files."""

    def __init__(self, temporary: Path, *words: str) -> None:
        self.temporary = temporary
        self.process = subprocess.Popen(
            [sys.executable, "-c", WATCHED, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
            start_new_session=True,
        )
        self.pid = int(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def read_until(self, text: str) -> None:
        """Read its output up to a line with this text."""
        while text not in (line := self.line()):
            assert line, f"the demo has ended without {text!r}: {self.process.communicate()[1]}"

    def end(self) -> tuple[int, str, str]:
        """Exit code, the rest of its output, and its errors; nothing is left of it anywhere."""
        output, errors = self.process.communicate(timeout=60)
        output, _, count = output.rpartition("left running: ")
        assert count == "0\n"
        assert [path.name for path in NETNS_DIRECTORY.glob(f"demo{self.pid}-*")] == []
        assert [path.name for path in CONFIGURATION_DIRECTORY.glob(f"demo{self.pid}-*")] == []
        assert list(self.temporary.iterdir()) == []
        return self.process.returncode, output, errors


@pytest.fixture
def temporary() -> Iterator[Path]:
    # Sockets are made below it: pytest's own paths are too long.
    path = Path(f"/tmp/vltest-demo-{os.getpid()}")
    path.mkdir()
    yield path
    path.rmdir()


def test_in_words_with_cni_plugins(temporary: Path) -> None:
    status, output, errors = Demo(temporary, Agent.program(), "demo").end()
    assert (status, errors) == (0, "")
    assert re.findall(r"^  ([a-zA-Z].*?)  +[\d.]+ m?s   ", output, re.MULTILINE) == STEPS
    assert "connected by the CNI plugins bridge and host-local" in output
    shown = dict(re.findall(r"^ {20,}│ (\w+) +│ (.*?) +│$", output, re.MULTILINE))
    assert shown == {name: " ".join(value) if isinstance(value, list) else str(value) for name, value in GUEST.items()}
    assert "10.244.77.1: ok" in output
    assert "10.244.77.2: ok" in output
    assert "as before, to the last attribute" in output
    assert output.endswith("\n\nEvery step worked.\n")


def test_as_data_without_cni_plugins(temporary: Path) -> None:
    demo = Demo(temporary, sys.executable, "-c", WITHOUT_PLUGINS, "demo", "--output", "json")
    status, output, errors = demo.end()
    assert (status, errors) == (0, "")
    shown = json.loads(output)
    steps = shown.pop("steps")
    assert shown.pop("accelerator") in ("kvm", "tcg")
    assert shown == {"guest": GUEST, "ping": {"guest_to_node": True, "node_to_guest": True}, "restored": True}
    assert [step["name"] for step in steps] == STEPS
    assert all(set(step) == {"name", "ms"} and step["ms"] >= 0 for step in steps)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_stopped_in_its_midst(temporary: Path, number: signal.Signals) -> None:
    demo = Demo(temporary, sys.executable, "-c", WITHOUT_PLUGINS, "demo")
    demo.read_until("libvirt starts the VM")
    if number is signal.SIGINT:
        os.killpg(demo.process.pid, number)  # as a terminal does
    else:
        os.kill(demo.pid, number)
    began = time.monotonic()
    status, output, errors = demo.end()
    assert status == 128 + number, errors
    assert "Every step worked" not in output
    assert "Traceback" not in errors
    assert time.monotonic() - began < 20


def test_as_an_ordinary_user() -> None:
    completed = subprocess.run([*ORDINARY_USER, Agent.program(), "demo"], capture_output=True, text=True)
    assert completed.returncode == 1
    assert completed.stdout == ""
    assert completed.stderr == "virt-launcher: error: the demo makes network namespaces and needs root\n"


def test_what_goes_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    """A CNI plugin that fails: its own words, and all that stood by then is gone."""
    for name in ("bridge", "host-local"):
        (tmp_path / name).write_text('#!/bin/sh\necho "no bridge today"\nexit 1\n')
        (tmp_path / name).chmod(0o755)
    program = WITHOUT_PLUGINS.replace("/nowhere", str(tmp_path))
    completed = subprocess.run([sys.executable, "-c", program, "demo"], capture_output=True, text=True)
    assert completed.returncode == 1
    (line,) = completed.stderr.splitlines()
    assert line.endswith("no bridge today")
    (node,) = re.findall(r"demo\d+-node", line)
    assert not (NETNS_DIRECTORY / node).exists()
