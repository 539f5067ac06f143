"""A DHCP server of another release, or one that does not answer, is replaced by the hook, configured by the record."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.pod import Pod
from lab.rawclient import RawClient

import dhcp

pytestmark = pytest.mark.root

START = """
import json, sys
sys.path.insert(0, sys.argv[1])
from dhcp.process import ServerProcess
server = ServerProcess.spawn(None)
server.configure(json.loads(sys.argv[2]))
server.release()
print(server.pid)
"""


def start_other_release(pod: Pod, folder: Path, configs: list[dict[str, object]]) -> int:
    """Start and configure a server with another version of the control protocol; returns its pid."""
    shutil.copytree(Path(dhcp.__file__).parent, folder / "dhcp", ignore=shutil.ignore_patterns("__pycache__"))
    protocol = folder / "dhcp/daemon/control_protocol.py"
    text = protocol.read_text()
    assert "PROTOCOL_VERSION = " in text
    protocol.write_text(text.replace("PROTOCOL_VERSION = ", "PROTOCOL_VERSION = 1000 + "))
    done = pod.pod.run([sys.executable, "-c", START, folder, json.dumps(configs)])
    return int(done.stdout)


def test_a_server_of_another_release_is_replaced_while_the_guest_asks(pod: Pod, agent: Agent, tmp_path: Path) -> None:
    """Every DISCOVER is answered, with the address that the record has."""
    first = agent.prestart()
    configs = agent.prestart("--dry-run")["configs"]
    os.kill(first["dhcp"]["pid"], signal.SIGKILL)
    other = start_other_release(pod, tmp_path, configs)
    assert "of another release" in agent.run("status").stdout
    probed = agent.run("probe")
    assert (probed.returncode, "of another release" in probed.stdout) == (1, True)
    pod.guest.ip("link set eth0 up")
    answers: list[str | None] = []
    done = threading.Event()

    def ask(client: RawClient) -> None:
        while not done.is_set():
            offer = client.discover()
            answers.append(offer.yiaddr if offer else None)
            time.sleep(0.005)

    with RawClient(pod.guest) as client:
        asking = threading.Thread(target=ask, args=(client,))
        asking.start()
        second = agent.prestart()
        time.sleep(0.05)
        done.set()
        asking.join()
    assert second["dhcp"]["pid"] not in (other, first["dhcp"]["pid"])
    assert pod.pod.processes() == [second["dhcp"]["pid"]]
    assert len(answers) > 10
    assert set(answers) == {"10.244.1.3"}
    assert agent.prestart()["dhcp"] == second["dhcp"], "it is of this release, and stays"


def test_a_server_that_does_not_answer_is_replaced_in_time(pod: Pod, agent: Agent) -> None:
    stopped = agent.prestart()["dhcp"]["pid"]
    os.kill(stopped, signal.SIGSTOP)
    assert "no answer in time: `prestart` replaces it" in agent.run("status").stdout
    began = time.monotonic()
    replaced = agent.prestart()["dhcp"]["pid"]
    assert time.monotonic() - began < 10
    assert pod.pod.processes() == [replaced]
    assert replaced != stopped
    pod.guest.ip("link set eth0 up")
    with RawClient(pod.guest) as client:
        assert client.discover()


def test_a_server_that_does_not_answer_can_be_torn_down(pod: Pod, agent: Agent) -> None:
    os.kill(agent.prestart()["dhcp"]["pid"], signal.SIGSTOP)
    assert agent.run("teardown").returncode == 0
    assert pod.pod.processes() == []
