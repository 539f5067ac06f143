"""A server is not all that keeps a deleted network namespace alive."""

from __future__ import annotations

import subprocess

import pytest
from lab.agent import Agent
from lab.namespace import Namespace
from lab.pod import Pod
from lab.waiting import has_ended, kill

from dhcp.io.namespace_end import GRACE_SECONDS

pytestmark = pytest.mark.root


def test_the_server_of_a_deleted_namespace_ends(pod: Pod, agent: Agent) -> None:
    """Not as long as the namespace has its name, nor as long as a VM is behind its port."""
    server = agent.prestart()["dhcp"]["pid"]
    try:
        with Namespace("other"):
            pass
        assert not has_ended(server, 1.5 * GRACE_SECONDS)
        pod.guest.ip("link set eth0 up")
        subprocess.run(["ip", "netns", "delete", pod.pod.name], check=True)
        assert not has_ended(server, 1.5 * GRACE_SECONDS)
        pod.guest.ip("link set eth0 down")
        assert has_ended(server)
    finally:
        if not has_ended(server, 0):
            kill(server)
