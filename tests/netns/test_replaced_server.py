"""A DHCP server of another release, or one that does not answer, is replaced by the hook, configured by the record."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.agent import Agent, fill_backlog
from lab.pod import Pod
from lab.rawclient import RawClient
from lab.snapshot import assert_restored, take_snapshot
from lab.waiting import kill, wait_until

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
    kill(first["dhcp"]["pid"])
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
        wait_until(lambda: answers)
        second = agent.prestart()
        enough = len(answers) + 10
        wait_until(lambda: len(answers) > enough)
        done.set()
        asking.join()
    assert second["dhcp"]["pid"] not in (other, first["dhcp"]["pid"])
    assert pod.pod.processes() == [second["dhcp"]["pid"]]
    assert set(answers) == {"10.244.1.3"}
    assert agent.prestart()["dhcp"] == second["dhcp"], "it is of this release, and stays"


ACCEPTS_AND_IS_SILENT = """
import socket
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind("\\0virt-launcher/dhcp")
listener.listen()
print("up", flush=True)
held = []
while True:
    held.append(listener.accept())
"""


def stop(pod: Pod, agent: Agent) -> None:
    os.kill(agent.prestart()["dhcp"]["pid"], signal.SIGSTOP)


def stop_and_fill_backlog(pod: Pod, agent: Agent) -> None:
    stop(pod, agent)
    fill_backlog(pod.pod)


def accept_and_be_silent(pod: Pod, agent: Agent) -> None:
    kill(agent.prestart()["dhcp"]["pid"])
    silent = pod.pod.popen([sys.executable, "-c", ACCEPTS_AND_IS_SILENT], stdout=subprocess.PIPE)
    assert silent.stdout
    assert silent.stdout.readline() == "up\n"


WEDGED = [stop, stop_and_fill_backlog, accept_and_be_silent]


@pytest.mark.parametrize("wedge", WEDGED)
@pytest.mark.parametrize(
    ("verb", "code", "says"),
    [
        ("status", 0, "`prestart` replaces it"),
        ("doctor", 1, "WRONG DHCP server"),
        ("probe", 1, "`virt-launcher prestart` replaces it"),
        ("prestart", 0, ""),
        ("teardown", 0, ""),
    ],
)
def test_every_verb_ends_within_a_bound(
    pod: Pod, agent: Agent, wedge: Callable[[Pod, Agent], None], verb: str, code: int, says: str
) -> None:
    """Two seconds for an answer, and what the verb takes otherwise."""
    original = take_snapshot(pod.pod)
    wedge(pod, agent)
    began = time.monotonic()
    done = agent.run(verb)
    assert time.monotonic() - began < 10
    assert (done.returncode, says in done.stdout) == (code, True), done.stdout + done.stderr
    if verb == "prestart":
        pod.guest.ip("link set eth0 up")
        with RawClient(pod.guest) as client:
            assert client.discover()
        pod.guest.ip("link set eth0 down")
    agent.teardown()
    assert pod.pod.processes() == []
    assert_restored(pod.pod, original)
