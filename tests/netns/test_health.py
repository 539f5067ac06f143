"""`doctor --quick`, a container's health check: it sends no frame, and says what a health check can."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest
from lab.agent import Agent
from lab.pod import Pod
from lab.waiting import kill

from netsetup.record import FILE

pytestmark = pytest.mark.root


def health(agent: Agent) -> dict[str, str | None]:
    """What is wrong, or None, by the line's hop; the exit code belongs to it."""
    done = agent.run("doctor", "--quick", "--output", "json")
    checks: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    assert done.returncode == (0 if all(check["ok"] for check in checks) else 1)
    return {check["hop"]: None if check["ok"] else check["finding"] for check in checks}


def test_a_pod_that_is_set_up_is_healthy(pod: Pod, agent: Agent) -> None:
    assert health(agent) == {"record": "nothing is set up in this network namespace"}
    agent.prestart()
    assert health(agent) == {"network default": None, "DHCP server": None}


def test_the_record_may_be_the_kernels_copy(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    (agent.state_directory / FILE).unlink()
    assert health(agent) == {"network default": None, "DHCP server": None}


def test_a_device_that_is_gone_is_named(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    pod.pod.ip("link del tap0")
    assert health(agent) == {"network default": "missing: tap0"}


def test_a_server_that_is_gone_or_stopped_is_named(pod: Pod, agent: Agent) -> None:
    pid = agent.prestart()["dhcp"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    assert "no answer in time" in (health(agent)["DHCP server"] or "")
    kill(pid)
    assert health(agent)["DHCP server"] == "no DHCP server runs in this network namespace"
    agent.prestart()
    assert health(agent)["DHCP server"] is None


def test_it_needs_no_capability(pod: Pod, agent: Agent) -> None:
    """Nor does it change what it looks at: without CAP_NET_ADMIN only the server's name is hidden from it."""
    agent.prestart()
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    done: subprocess.CompletedProcess[str] = agent.run("doctor", "--quick", prefix=bare)
    assert "network default  eth0 k6t-eth0 tap0" in done.stdout
    assert "Traceback" not in done.stderr
