"""Kills of the server and of the launcher, which do not affect the guest."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.checks import pings
from lab.clients import Udhcpc
from lab.pod import Pod
from lab.rawclient import RawClient
from lab.waiting import kill

from launcher.container.dhcp_watchdog import DHCPWatchdog
from launcher.prestart import setup_pod_network, teardown_pod_network

pytestmark = pytest.mark.root

KILLS = 1000


def in_namespace(pod: Pod, action: Callable[[], object]) -> None:
    """Run `action` in a thread that is in the pod's namespace, as the launcher's are; re-raises its exception."""
    raised: list[BaseException] = []

    def enter_and_run() -> None:
        try:
            with pod.pod.entered():
                action()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=enter_and_run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def test_a_thousand_kills_lose_nothing(pod: Pod, tmp_path: Path) -> None:
    """Under `run` a killed server is replaced at once, and each new one offers the same lease."""
    waits: list[float] = []
    pod.guest.ip("link set eth0 up")

    def kill_over_and_over() -> None:
        network = setup_pod_network(state_dir=tmp_path)
        assert network.dhcp_pid is not None
        log = os.open("/dev/null", os.O_WRONLY)
        watchdog = DHCPWatchdog(network.dhcp_pid, tmp_path, log, "text")
        watchdog.start()
        try:
            for number in range(1, KILLS + 1):
                pid, killed = watchdog.pid, time.monotonic()
                kill(pid)
                while watchdog.restarts < number:
                    assert time.monotonic() < killed + 5
                    time.sleep(0.001)
                waits.append(time.monotonic() - killed)
                offer = client.discover()
                assert offer is not None, f"no answer after kill {number}"
                assert offer.yiaddr == "10.244.1.3"
        finally:
            watchdog.stop()
            os.close(log)
            teardown_pod_network(tmp_path)

    with RawClient(pod.guest) as client:
        in_namespace(pod, kill_over_and_over)
    assert pod.pod.processes() == []
    assert statistics.median(waits) < 0.1, "a server is replaced within a tenth of a second"


def test_a_new_launcher_finds_the_pod_as_the_old_one_left_it(pod: Pod, agent: Agent) -> None:
    """The container is restarted: namespace, bridge and guest port remain, and the guest keeps its address."""
    first = agent.prestart()
    with Udhcpc(pod.guest) as guest:
        lease = guest.acquire()
        kill(first["dhcp"]["pid"])
        second = agent.prestart()
        assert second["networks"] == first["networks"]
        assert second["dhcp"]["pid"] != first["dhcp"]["pid"]
        assert pings(pod.guest, "192.0.2.1"), "nothing has interrupted the running guest"
        guest.renew()
        guest.wait_until_bound()
        assert guest.observe().addresses == lease.addresses
    with Udhcpc(pod.guest) as rebooted:
        assert rebooted.acquire().addresses == lease.addresses
