"""`status` in a pod whose guest takes, renews and gives back its lease, and `status --watch`."""

from __future__ import annotations

import json
import signal
import subprocess
from datetime import UTC, datetime

import pytest
from lab.agent import Agent
from lab.pod import Pod
from lab.rawclient import RawClient
from lab.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.root


def test_the_lease_as_the_guest_took_it(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    before = agent.status()
    assert (before["networks"][0]["leases"], before["history"]["convergences"]) == ([], 0)
    assert "tap0: no lease has been taken since the server started" in agent.run("status").stdout
    pod.guest.ip("link set eth0 up")
    began = datetime.now(UTC).replace(microsecond=0)
    with RawClient(pod.guest) as client:
        offer = client.discover()
        assert offer
        assert client.request(offer)
        status = agent.status()
        network = status["networks"][0]
        (lease,) = network["leases"]
        taken, now = datetime.fromisoformat(lease["taken"]), datetime.now(UTC)
        assert began <= taken <= now
        assert 0 <= lease["age_seconds"] <= (now - began).total_seconds()
        assert (lease["address"], lease["is_held"]) == (offer.yiaddr, True)
        age = lease["age_seconds"]
        assert lease["left_seconds"] == pytest.approx(86_400 - age)
        assert lease["renewal_seconds"] == pytest.approx(3_600 - age)
        assert (network["pod_mac"], network["guest_connected"]) == (pod.mac, True)
        assert network["address"] in network["pod_addresses"]
        assert status["dhcp"]["started"] <= taken.timestamp() + 1
        assert client.renew(offer.yiaddr)
        assert agent.status()["networks"][0]["leases"][0]["age_seconds"] <= age + PATIENCE
    text = agent.run("status", check=True).stdout
    assert f"  lease of {offer.yiaddr}: taken " in text
    assert ", to be renewed in 59 min " in text
    assert f"  pod's side: eth0, which the CNI gave MAC {pod.mac}, {network['address']}" in text
    assert "  guest's side: tap0, open: a VM runs" in text


def test_what_has_happened_since_the_set_up(pod: Pod, agent: Agent) -> None:
    pid = agent.prestart()["dhcp"]["pid"]
    assert agent.prestart()["dhcp"]["pid"] == pid
    assert agent.status()["history"]["convergences"] == 0
    pod.pod.ip("addr add 10.244.1.77/24 dev eth0")
    agent.prestart()
    history = agent.status()["history"]
    names = [name for name, _ in history["setup_seconds"]]
    assert names == ["discover", "plan", "apply", "serve", "total"]
    assert history["convergences"] == 1
    agent.teardown()
    assert not agent.state_directory.exists()


def test_status_is_watched_until_it_is_ended(agent: Agent) -> None:
    words = [*agent.command("status"), "--watch", "0.1", "--output", "json"]
    with agent.namespace.popen(words, stdout=subprocess.PIPE) as watching:
        assert watching.stdout
        assert json.loads(watching.stdout.readline())["networks"] == []
        agent.prestart()
        wait_until(lambda: json.loads(watching.stdout.readline())["networks"])
        watching.terminate()
        assert watching.wait(PATIENCE) == -signal.SIGTERM
    assert "must be 0.1 to 86400 seconds" in agent.run("status", "--watch", "0").stderr
