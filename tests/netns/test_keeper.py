"""The keeper of the DHCP server when something gets in its way."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from lab.agent import Agent
from lab.pod import Pod
from lab.rawclient import RawClient

pytestmark = pytest.mark.root

# Runs in the pod. The keeper believes that its server was a process that has ended.
PROLOGUE = """
import logging, os, subprocess, sys, time
from launcher.container.dhcp_watchdog import DHCPKeeper

def keep(configs):
    ended = subprocess.Popen(["true"])
    ended.wait()
    keeper = DHCPKeeper(ended.pid, configs, os.open(os.devnull, os.O_WRONLY), "text")
    keeper.start()
    return keeper

def wait_for(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)

logging.basicConfig(format="%(message)s")
config = {"interface": "tap0", "client_mac": sys.argv[1], "client_address": "10.244.1.3/24",
          "server_address": "10.244.1.1"}
"""

FINDS_ONE = """
keeper = keep([config])
wait_for(lambda: keeper.restarts == 1)
print(keeper.pid)
keeper.stop()
"""

CANNOT_START_ONE = """
python, sys.executable = sys.executable, "/no/python"
keeper = keep([config])
time.sleep(0.5)
assert keeper.restarts == 0
sys.executable = python
wait_for(lambda: keeper.restarts == 1)
print(keeper.pid)
keeper.stop()
"""

STOPPED_MEANWHILE = """
sys.executable = "/no/python"
keeper = keep([config])
time.sleep(0.1)
began = time.monotonic()
keeper.stop()
assert time.monotonic() - began < 1
print(0)
"""


def run_in(pod: Pod, program: str) -> tuple[int, list[str]]:
    """The process id that the program printed, and what it logged."""
    done = pod.pod.run([sys.executable, "-c", PROLOGUE + program, pod.mac])
    return int(done.stdout), done.stderr.splitlines()


def test_a_server_that_a_hook_has_started_is_taken_over(pod: Pod, agent: Agent) -> None:
    server = agent.prestart()["dhcp"]["pid"]
    kept, said = run_in(pod, FINDS_ONE)
    assert kept == server
    assert len(said) == 1
    assert pod.pod.processes() == [server]


def test_a_server_that_cannot_be_started_is_tried_again(pod: Pod) -> None:
    pod.guest.ip("link set eth0 up")
    pod.pod.ip("link set tap0 up")
    server, said = run_in(pod, CANNOT_START_ONE)
    assert 1 <= sum("the DHCP server does not start: " in line and "/no/python" in line for line in said) <= 4
    assert pod.pod.processes() == [server]
    with RawClient(pod.guest) as client:
        assert client.discover()
    os.kill(server, signal.SIGTERM)


def test_trying_again_can_be_stopped(pod: Pod) -> None:
    run_in(pod, STOPPED_MEANWHILE)
    assert pod.pod.processes() == []
