"""The server runs in another PID namespace than the hook, the launcher and each verb, as in the containers of a pod.

They share the network and nothing else, so the kernel gives no pid of the server's (unix(7), SO_PEERCRED is 0).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.pod import Pod
from lab.rawclient import RawClient
from lab.snapshot import assert_restored, take_snapshot
from lab.waiting import has_ended, wait_until

pytestmark = pytest.mark.root

# A container's first process: everything else in its PID namespace ends with it.
CONTAINER = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sleep", "infinity"]

WATCH = """
import logging, os, sys, time
from launcher.container.dhcp_watchdog import DHCPWatchdog
logging.basicConfig(format="%(message)s")
watchdog = DHCPWatchdog(None, sys.argv[1], os.open(os.devnull, os.O_WRONLY), "text")
watchdog.start()
print("watching", flush=True)
sys.stdin.read()
watchdog.stop()
print(watchdog.restarts, watchdog.pid)
"""


TAKES_PID = """
import os, sys, time
while os.fork():
    os.wait()
if os.getpid() != int(sys.argv[1]):
    os._exit(0)
print("taken", flush=True)
time.sleep(60)
"""


class Container:
    """A PID namespace in a pod's network namespace."""

    def __init__(self, pod: Pod) -> None:
        self._unshare = pod.pod.popen(CONTAINER, stdout=subprocess.DEVNULL)
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        deadline = time.monotonic() + 5
        while not (first := children.read_text().split()) or Path(f"/proc/{first[0]}/comm").read_text() != "sleep\n":
            assert time.monotonic() < deadline
            time.sleep(0.005)
        self.first = int(first[0])

    def command(self, *words: object) -> list[str]:
        return ["nsenter", f"--target={self.first}", "--pid", "--mount", *map(str, words)]

    def verb(self, agent: Agent, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        return agent.pod.pod.run(self.command(*agent.command(verb), *words), check=False, timeout=30)

    def end(self) -> None:
        self._unshare.kill()
        self._unshare.wait()


@pytest.fixture
def containers(pod: Pod) -> Iterator[tuple[Container, Container]]:
    both = Container(pod), Container(pod)
    yield both
    for container in both:
        container.end()


def set_up(agent: Agent, container: Container) -> int:
    """Set up in a container; returns the server's pid as the test sees it."""
    done = container.verb(agent, "prestart", "--output", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["dhcp"]["pid"] is not None
    return server_of(agent.pod)


def server_of(pod: Pod) -> int:
    found = [p for p in pod.pod.processes() if b"--control-fd" in Path(f"/proc/{p}/cmdline").read_bytes().split(b"\0")]
    assert len(found) == 1, found
    return found[0]


def served(pod: Pod) -> bool:
    pod.guest.ip("link set eth0 up")
    with RawClient(pod.guest) as client:
        return client.discover() is not None


def test_every_verb_works_from_another_container(
    pod: Pod, agent: Agent, containers: tuple[Container, Container]
) -> None:
    original = take_snapshot(pod.pod)
    hook, compute = containers
    server = set_up(agent, hook)
    status = compute.verb(agent, "status", "--output", "json")
    dhcp = json.loads(status.stdout)["dhcp"]
    assert (dhcp["pid"], dhcp["problem"]) == (None, "")
    assert [port["interface"] for port in dhcp["ports"]] == ["tap0"]
    assert "DHCP: server whose pid is unknown here\n" in compute.verb(agent, "status").stdout
    assert compute.verb(agent, "probe").returncode == 0
    examined = compute.verb(agent, "doctor").stdout
    assert "process whose pid is unknown here serves tap0" in examined
    again = compute.verb(agent, "prestart", "--output", "json")
    assert json.loads(again.stdout)["dhcp"] == {"pid": None}
    assert server_of(pod) == server, "it answers, and stays"
    assert served(pod)
    pod.guest.ip("link set eth0 down")
    torn_down = compute.verb(agent, "teardown")
    assert (torn_down.returncode, torn_down.stderr) == (0, "")
    assert_restored(pod.pod, original)
    assert has_ended(server)


@pytest.mark.parametrize("verb", ["prestart", "teardown"])
def test_a_stopped_server_of_another_container(
    pod: Pod, agent: Agent, containers: tuple[Container, Container], verb: str
) -> None:
    """Its pid is not known, so it can only be killed through its kill socket."""
    original = take_snapshot(pod.pod)
    hook, compute = containers
    server = set_up(agent, hook)
    os.kill(server, signal.SIGSTOP)
    assert "no answer in time: `prestart` replaces it" in compute.verb(agent, "status").stdout
    began = time.monotonic()
    done = compute.verb(agent, verb)
    assert (done.returncode, time.monotonic() - began < 10) == (0, True), done.stderr
    if verb == "prestart":
        assert server_of(pod) != server
        assert served(pod)
        pod.guest.ip("link set eth0 down")
        assert compute.verb(agent, "teardown").returncode == 0
    assert_restored(pod.pod, original)


def test_a_process_with_the_servers_pid_is_left_alone(
    pod: Pod, agent: Agent, containers: tuple[Container, Container]
) -> None:
    """What the server calls its pid is another process's here."""
    hook, compute = containers
    set_up(agent, hook)
    inner = int(pod.pod.run(hook.command("pgrep", "-f", "control-fd")).stdout)
    bystander = pod.pod.popen(compute.command(sys.executable, "-c", TAKES_PID, inner), stdout=subprocess.PIPE)
    try:
        assert bystander.stdout
        assert bystander.stdout.readline() == "taken\n"
        assert compute.verb(agent, "teardown").returncode == 0
        assert pod.pod.run(compute.command("kill", "-0", inner), check=False).returncode == 0
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_watchdog_replaces_a_server_of_another_container(
    pod: Pod, agent: Agent, containers: tuple[Container, Container], number: signal.Signals
) -> None:
    hook, compute = containers
    server = set_up(agent, hook)
    command = compute.command(sys.executable, "-c", WATCH, agent.state_directory)
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    watching = subprocess.Popen(pod.pod.command(command), text=True, **streams)
    assert watching.stdin
    assert watching.stdout
    assert watching.stdout.readline() == "watching\n"
    os.kill(server, number)
    assert has_ended(server, 15)
    wait_until(lambda: compute.verb(agent, "probe").returncode == 0, 15)
    assert served(pod)
    out, err = watching.communicate("", timeout=10)
    restarts, pid = out.split()
    assert (restarts, watching.returncode) == ("1", 0), err
    assert int(pid) > 0, "the new server is the watchdog's own child"
    assert "Traceback" not in err
    assert err.startswith("DHCP server (pid unknown here): ")
