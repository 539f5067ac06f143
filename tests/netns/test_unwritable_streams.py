"""Standard streams that are closed or full: what a verb says by its exit code is true all the same."""

from __future__ import annotations

import subprocess

import pytest
from lab.agent import Agent
from lab.pod import Pod
from lab.rawclient import RawClient
from lab.snapshot import assert_restored, take_snapshot

pytestmark = pytest.mark.root

UNWRITABLE = (">/dev/full", ">&-")
HARMLESS = ("2>/dev/full", "2>&-", "<&-", "<&- 2>&-")


def run(agent: Agent, verb: str, redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb with standard streams as a shell redirects them."""
    return agent.run(verb, *arguments, prefix=["sh", "-c", f'exec "$@" {redirection}', "sh"])


@pytest.mark.parametrize("redirection", [*UNWRITABLE, "<&- >&- 2>&-"])
@pytest.mark.parametrize("output", ["text", "json"])
def test_a_result_that_cannot_be_printed_is_undone(pod: Pod, agent: Agent, redirection: str, output: str) -> None:
    original = take_snapshot(pod.pod)
    done = run(agent, "prestart", redirection, "--output", output)
    assert done.returncode == 1
    if "2>" not in redirection:
        (line,) = done.stderr.splitlines()
        assert line.startswith("virt-launcher: error: standard output")
    assert_restored(pod.pod, original)
    assert pod.pod.processes() == []
    assert not agent.state_directory.exists()


@pytest.mark.parametrize("redirection", UNWRITABLE)
def test_a_pod_that_was_set_up_stays_so(pod: Pod, agent: Agent, redirection: str) -> None:
    """A VM may run in it. Without changes 1 is true; what has been changed is said, with 3."""
    server = agent.prestart()["dhcp"]["pid"]
    during = take_snapshot(pod.pod)
    assert run(agent, "prestart", redirection).returncode == 1
    for verb in ("status", "doctor", "probe"):
        assert run(agent, verb, redirection).returncode == 1, verb
    assert_restored(pod.pod, during)
    assert pod.pod.processes() == [server]
    pod.pod.ip("addr add 10.244.1.9/24 dev eth0")
    done = run(agent, "prestart", redirection)
    if redirection == ">/dev/full":
        assert done.returncode == 3
        assert "the pod stays set up, with what had changed: " in done.stderr
    else:
        assert done.returncode == 1, "refused before anything is changed"
    agent.teardown()


@pytest.mark.parametrize("redirection", HARMLESS)
def test_other_streams_matter_to_no_verb(pod: Pod, agent: Agent, redirection: str) -> None:
    """Also not to the server: no socket of its gets the number of a stream that it writes to."""
    original = take_snapshot(pod.pod)
    assert run(agent, "prestart", redirection).stdout.startswith("<interface ")
    pod.guest.ip("link set eth0 up")
    with RawClient(pod.guest) as client:
        assert client.discover()
    pod.guest.ip("link set eth0 down")
    for verb in ("prestart", "status", "probe", "teardown"):
        assert run(agent, verb, redirection).returncode == 0, verb
    assert_restored(pod.pod, original)


@pytest.mark.parametrize("redirection", UNWRITABLE)
def test_a_teardown_prints_nothing(pod: Pod, agent: Agent, redirection: str) -> None:
    original = take_snapshot(pod.pod)
    agent.prestart()
    assert run(agent, "teardown", redirection).returncode == 0
    assert_restored(pod.pod, original)


@pytest.mark.parametrize("words", [["--help"], ["prestart", "--help"]])
def test_help_that_cannot_be_printed(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([Agent.program(), *words], check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "virt-launcher: error: standard output: No space left on device\n")
