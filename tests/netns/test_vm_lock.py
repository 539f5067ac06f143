"""The pod of a running VM is its launcher's; and a record counts only for what is set up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.agent import DIRECT, Agent
from lab.pod import Pod
from lab.snapshot import assert_restored, take_snapshot
from lab.waiting import kill

pytestmark = pytest.mark.root

# Holds the lock as `run` does; tests/vm has the tests with a VM.
HOLDS_THE_POD = """
import sys
from launcher.container.vm_lock import vm_lock
with vm_lock(sys.argv[1], ""):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def launcher(pod: Pod, agent: Agent) -> Iterator[int]:
    """The pid of a launcher that holds the pod."""
    command = pod.pod.command([sys.executable, "-c", HOLDS_THE_POD, str(agent.state_directory)])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        yield holder.pid


def test_a_teardown_under_a_vm_is_refused(pod: Pod, agent: Agent, launcher: int, tmp_path: Path) -> None:
    server = agent.prestart()["dhcp"]["pid"]
    before = take_snapshot(pod.pod)
    for folder in (agent.state_directory, tmp_path):
        refused = pod.pod.run([Agent.program(), "teardown", "--state-dir", folder], check=False)
        assert refused.returncode == 2
        (line,) = refused.stderr.splitlines()
        assert f"a VM runs in this pod (pid {launcher}, " in line
        assert f"state directory {agent.state_directory})" in line
        assert line.endswith("stop it first, or add --force")
        assert_restored(pod.pod, before)
        assert server in pod.pod.processes()


@pytest.mark.usefixtures("launcher")
def test_prestart_under_a_vm_takes_news_in(pod: Pod, agent: Agent) -> None:
    first = agent.prestart()
    pod.pod.ip("route add 10.77.0.0/16 dev eth0")
    assert agent.prestart()["dhcp"] == first["dhcp"]
    assert "10.77.0.0" in str(agent.prestart("--dry-run")["configs"])


@pytest.mark.usefixtures("launcher")
def test_a_forced_teardown_puts_the_pod_back(pod: Pod, agent: Agent) -> None:
    original = take_snapshot(pod.pod)
    agent.prestart()
    assert agent.run("teardown", "--force").returncode == 0
    assert_restored(pod.pod, original)


def test_a_killed_launcher_holds_nothing(pod: Pod, agent: Agent, launcher: int) -> None:
    agent.prestart()
    kill(launcher)
    agent.teardown()


def other_folder(agent: Agent, folder: Path, verb: str) -> subprocess.CompletedProcess[str]:
    return agent.pod.pod.run([Agent.program(), verb, "--state-dir", folder], check=False)


@pytest.mark.parametrize("binding", DIRECT)
@pytest.mark.parametrize("verb", ["teardown", "prestart"])
def test_a_record_of_what_is_no_more_is_forgotten(pod: Pod, agent: Agent, tmp_path: Path, verb: str) -> None:
    """Put back by way of another state directory, and configured anew since: yesterday's record is not today's pod."""
    agent.prestart()
    assert other_folder(agent, tmp_path, "teardown").returncode == 0
    pod.pod.ip("addr del 10.244.1.3/24 dev eth0", "addr add 10.244.1.77/24 dev eth0")
    today = take_snapshot(pod.pod)
    if verb == "prestart":
        assert agent.prestart()["networks"][0]["addresses"] == ["10.244.1.77/24"]
    done = agent.run("teardown")
    assert (done.returncode, "set-up that is no more" in done.stderr) == (0, verb == "teardown")
    assert_restored(pod.pod, today)
    assert not agent.state_directory.exists()


def test_of_two_records_the_later_one_counts(pod: Pod, agent: Agent, tmp_path: Path) -> None:
    """The pod was put back and set up again by way of another state directory; the kernel has that one's record."""
    agent.prestart()
    assert other_folder(agent, tmp_path, "teardown").returncode == 0
    pod.pod.ip("addr del 10.244.1.3/24 dev eth0", "addr add 10.244.1.77/24 dev eth0")
    today = take_snapshot(pod.pod)
    assert other_folder(agent, tmp_path, "prestart").returncode == 0
    assert "10.244.1.77/24" in str(agent.status()["networks"])
    done = agent.run("teardown")
    assert (done.returncode, "the copy of the record in nftables is the later one" in done.stderr) == (0, True)
    assert_restored(pod.pod, today)
