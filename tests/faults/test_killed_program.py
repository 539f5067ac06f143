"""The program killed by SIGKILL at any moment, the DHCP server's start included."""

from __future__ import annotations

import time

import pytest
from lab.agent import Agent
from lab.pod import MakePod
from lab.rawclient import RawClient
from lab.snapshot import assert_restored, take_snapshot

pytestmark = pytest.mark.root


@pytest.mark.parametrize("verb", ["prestart", "teardown"])
def test_the_program_is_killed_at_any_moment(make_pod: MakePod, verb: str) -> None:
    """Whatever it was doing, the DHCP server's start included: the next hook ends with an answer, the next teardown
    with the pod as it was."""
    pod = make_pod("ovn-kubernetes")
    pod.guest.ip("link set eth0 up")
    original = take_snapshot(pod.pod)
    with Agent(pod) as agent:
        for milliseconds in range(5, 150, 8):
            if verb == "teardown":
                agent.prestart()
            process = pod.pod.popen(agent.command(verb))
            time.sleep(milliseconds / 1000)
            process.kill()
            process.wait()
            if milliseconds // 8 % 2:
                pid = agent.prestart()["dhcp"]["pid"]
                with RawClient(pod.guest) as client:
                    assert client.discover(), f"killed after {milliseconds} ms"
                assert pod.pod.processes() == [pid]
            agent.teardown()
            assert_restored(pod.pod, original)
            assert pod.pod.processes() == []
            assert not agent.state_directory.exists()
