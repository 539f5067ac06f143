"""A DHCP server whose calls fail while it serves: a client asks it, under the watchdog of `run`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from lab.agent import Agent
from lab.pod import Pod
from lab.rawclient import DISCOVER, REQUEST, RawClient, Reply, decode_reply

LEASE_SECONDS = 12
"""A server that does not answer is noticed within four seconds; a client repeats its request every second or more."""
REPEAT_SECONDS = 1.0

WATCHDOG = """
import os, sys
from launcher.container.dhcp_watchdog import DHCPWatchdog
watchdog = DHCPWatchdog(int(sys.argv[2]), sys.argv[1], os.open(os.devnull, os.O_WRONLY), "text")
watchdog.start()
print("watching", flush=True)
sys.stdin.read()
watchdog.stop()
print(watchdog.restarts)
"""


class Watchdog:
    """The watchdog of `run` in a process of its own."""

    def __init__(self, pod: Pod, agent: Agent, server: int) -> None:
        words = [sys.executable, "-c", WATCHDOG, str(agent.state_directory), str(server)]
        self._process = _start(pod, words, stdin=subprocess.PIPE)
        assert self._process.stdout
        assert self._process.stdout.readline() == "watching\n"

    def stop(self) -> tuple[int, str]:
        """How many servers it has started, and what it has said."""
        restarts, said = self._process.communicate()
        return int(restarts), said


def serve_a_client(pod: Pod, agent: Agent, strace: Sequence[str]) -> tuple[int | str, list[str]]:
    """Trace the server that `prestart` has started while a client asks it; whether it went on (0) or was `replaced`,
    and what was untrue."""
    server = agent.status()["dhcp"]["pid"]
    watchdog = Watchdog(pod, agent, server)
    tracer = _start(pod, [*strace, "-p", str(server)])
    assert tracer.stderr
    assert "attached" in tracer.stderr.readline()
    wrong = []
    pod.guest.ip("link set eth0 up")
    try:
        has_lease = _has_lease(pod)
        again = agent.run("prestart")
        if again.returncode not in (0, 1, 3):
            wrong.append(f"prestart: {again.returncode} {again.stderr}")
        has_lease = _has_lease(pod) and has_lease
        status = _status(agent)
        if not status or status["problem"]:
            wrong.append(f"it is not replaced: {status}")
        elif not has_lease and not any(port["send_errors"] for port in status["ports"]):
            wrong.append(f"the client has no lease, and status does not say why: {status}")
    finally:
        pod.guest.ip("link set eth0 down")
        tracer.terminate()
        tracer.communicate()
    restarts, said = watchdog.stop()
    if "Traceback" in said:
        wrong.append(f"the watchdog: {said}")
    return "replaced" if restarts or (status and status["pid"] != server) else 0, wrong


def _status(agent: Agent) -> Any:
    """What `status` says of the server; one that answers the watchdog, and nobody else, is replaced by `prestart`."""
    status = agent.status()["dhcp"]
    if status and status["problem"]:
        agent.run("prestart", check=True)
        status = agent.status()["dhcp"]
    return status


def _has_lease(pod: Pod) -> bool:
    """Whether a client that repeats its requests as clients do gets a lease in time."""
    deadline = time.monotonic() + LEASE_SECONDS
    with RawClient(pod.guest) as client:
        while time.monotonic() < deadline:
            offer = _ask(client, client.message(DISCOVER))
            if offer and _ask(client, client.message(REQUEST, [(54, offer.joined(54)), (50, offer.payload[16:20])])):
                return True
    return False


def _ask(client: RawClient, request: bytes) -> Reply | None:
    client.send(request)
    return next(filter(None, map(decode_reply, client.receive(REPEAT_SECONDS))), None)


def _start(pod: Pod, words: Sequence[str], *, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        pod.pod.command(words), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
