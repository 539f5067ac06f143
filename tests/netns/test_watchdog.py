"""The DHCP server's watchdog: failing restarts, and the configuration of a restarted server."""

from __future__ import annotations

import sys

import pytest
from lab.agent import Agent
from lab.pod import Pod
from lab.rawclient import RawClient
from lab.waiting import kill

pytestmark = pytest.mark.root

# Runs in the pod. The watchdog is given the pid of a process that has ended.
PROLOGUE = """
import logging, os, subprocess, sys, time
from launcher.container import dhcp_watchdog
from launcher.container.dhcp_watchdog import DHCPWatchdog

def watch():
    ended = subprocess.Popen(["true"])
    ended.wait()
    watchdog = DHCPWatchdog(ended.pid, sys.argv[1], os.open(os.devnull, os.O_WRONLY), "text")
    watchdog.start()
    return watchdog

def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)

logging.basicConfig(format="%(message)s")
failures = []
logging.getLogger("launcher").addFilter(lambda record: record.levelno < logging.ERROR or not failures.append(record))
"""

FINDS_ONE = """
watchdog = watch()
wait_for(lambda: watchdog.restarts == 1)
print(watchdog.pid)
watchdog.stop()
"""

CANNOT_START_ONE = """
python, sys.executable = sys.executable, "/no/python"
watchdog = watch()
wait_for(lambda: failures)
assert watchdog.restarts == 0
sys.executable = python
wait_for(lambda: watchdog.restarts == 1)
print(watchdog.pid)
watchdog.stop()
"""

STOPPED_MEANWHILE = """
sys.executable = "/no/python"
watchdog = watch()
wait_for(lambda: failures)
began = time.monotonic()
watchdog.stop()
assert time.monotonic() - began < 1
print(0)
"""


def run_in(agent: Agent, program: str) -> tuple[int, list[str]]:
    """The pid that the program printed, and its log."""
    done = agent.pod.pod.run([sys.executable, "-c", PROLOGUE + program, agent.state_directory])
    return int(done.stdout), done.stderr.splitlines()


def set_up_without_server(agent: Agent) -> None:
    kill(agent.prestart()["dhcp"]["pid"])


def test_a_server_that_a_hook_has_started_is_adopted(pod: Pod, agent: Agent) -> None:
    server = agent.prestart()["dhcp"]["pid"]
    watched, logged = run_in(agent, FINDS_ONE)
    assert watched == server
    assert len(logged) == 1
    assert pod.pod.processes() == [server]


def test_a_server_that_cannot_be_started_is_tried_again(pod: Pod, agent: Agent) -> None:
    set_up_without_server(agent)
    pod.guest.ip("link set eth0 up")
    server, logged = run_in(agent, CANNOT_START_ONE)
    assert 1 <= sum("the DHCP server does not start: " in line and "/no/python" in line for line in logged) <= 4
    assert pod.pod.processes() == [server]
    with RawClient(pod.guest) as client:
        assert client.discover()


def test_trying_again_can_be_stopped(pod: Pod, agent: Agent) -> None:
    set_up_without_server(agent)
    run_in(agent, STOPPED_MEANWHILE)
    assert pod.pod.processes() == []


def test_a_pod_that_is_torn_down_meanwhile_gets_no_server(pod: Pod, agent: Agent) -> None:
    """The server goes first, before the pod is put back: that is no reason to start another."""
    first = agent.prestart()
    torn_down = f"""
tries, read = [], dhcp_watchdog.read_record
dhcp_watchdog.read_record = lambda folder: tries.append(folder) or read(folder)
watchdog = DHCPWatchdog({first["dhcp"]["pid"]}, sys.argv[1], os.open(os.devnull, os.O_WRONLY), "text")
watchdog.start()
subprocess.run({agent.command("teardown")!r}, check=True)
wait_for(lambda: len(tries) >= 3)
assert watchdog.restarts == 0
print(0)
watchdog.stop()
"""
    _, logged = run_in(agent, torn_down)
    assert pod.pod.processes() == []
    assert [line for line in logged if "needs a DHCP server" in line] == [logged[-1]], "once, not at every try"


def test_a_killed_server_is_replaced_with_what_is_recorded_now(pod: Pod, agent: Agent) -> None:
    """Reconfigured by a hook after the watchdog was started, as a running launcher's server may be."""
    first = agent.prestart()
    pod.guest.ip("link set eth0 up")
    reconfigure = f"""
watchdog = DHCPWatchdog({first["dhcp"]["pid"]}, sys.argv[1], os.open(os.devnull, os.O_WRONLY), "text")
watchdog.start()
from launcher.prestart import setup_pod_network
from launcher.request import SetupRequest
from launcher.vmi.model import DEFAULT_INTERFACE
setup_pod_network(SetupRequest({{"default": DEFAULT_INTERFACE}}, hostname="renamed"), state_dir=sys.argv[1])
os.kill(watchdog.pid, 9)
wait_for(lambda: watchdog.restarts == 1)
print(watchdog.pid)
watchdog.stop()
"""
    run_in(agent, reconfigure)
    with RawClient(pod.guest) as client:
        offer = client.discover([(55, b"\x0c")])
    assert offer is not None
    assert offer.joined(12) == b"renamed"


def test_a_server_that_does_not_answer_is_replaced(pod: Pod, agent: Agent) -> None:
    first = agent.prestart()["dhcp"]["pid"]
    pod.guest.ip("link set eth0 up")
    stops = f"""
watchdog = DHCPWatchdog({first}, sys.argv[1], os.open(os.devnull, os.O_WRONLY), "text")
watchdog.start()
os.kill({first}, 19)
wait_for(lambda: watchdog.restarts == 1, 10)
print(watchdog.pid)
watchdog.stop()
"""
    second, logged = run_in(agent, stops)
    assert logged[0] == f"DHCP server (pid {first}): no answer in time; starting another"
    assert pod.pod.processes() == [second]
    with RawClient(pod.guest) as client:
        assert client.discover()
