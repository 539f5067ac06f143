"""Whoever can write near the state directory has no file of root's written or read, and holds nobody up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.pod import Pod
from lab.snapshot import assert_restored, take_snapshot

pytestmark = pytest.mark.root


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file that belongs to somebody else."""
    path = tmp_path / "victim"
    path.write_bytes(b"precious" * 1000)
    return path


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def pipe(path: Path, _victim: Path) -> None:
    os.mkfifo(path)


def endless(path: Path, _victim: Path) -> None:
    path.symlink_to("/dev/zero")


def another_users(path: Path, victim: Path) -> None:
    path.write_bytes(victim.read_bytes())
    os.chown(path, 12345, 12345)


TRAPS = [link, pipe, endless, another_users]


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("name", ["network.json", "network.json.new", "dhcp.log"])
def test_a_trap_is_not_walked_into(
    pod: Pod, agent: Agent, victim: Path, name: str, trap: Callable[[Path, Path], None]
) -> None:
    """Each verb ends, with the pod as it was or as it should be, and the victim is whole."""
    before = take_snapshot(pod.pod)
    agent.state_directory.mkdir(mode=0o700)
    trap(agent.state_directory / name, victim)
    done = agent.run("prestart")
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr
    if done.returncode:
        assert str(agent.state_directory / name) in done.stderr
    else:
        agent.run("status", check=True)
        agent.teardown()
    assert_restored(pod.pod, before)
    assert victim.read_bytes() == b"precious" * 1000


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_in_place_of_the_record_costs_nothing(
    pod: Pod, agent: Agent, victim: Path, trap: Callable[[Path, Path], None]
) -> None:
    """The copy in the kernel is as good."""
    before = take_snapshot(pod.pod)
    agent.prestart()
    (agent.state_directory / "network.json").unlink()
    trap(agent.state_directory / "network.json", victim)
    assert agent.status()["networks"]
    agent.teardown()
    assert_restored(pod.pod, before)
    assert victim.read_bytes() == b"precious" * 1000


@pytest.mark.parametrize(
    ("mode", "owner", "reason"),
    [
        (0o777, (0, 0), "anybody may write there"),
        (0o1777, (0, 0), "anybody may write there"),
        (0o770, (0, 12345), "group 12345 may write there"),
        (0o700, (12345, 0), "belongs to user 12345"),
    ],
)
def test_a_directory_of_others_is_refused(
    pod: Pod, agent: Agent, mode: int, owner: tuple[int, int], reason: str
) -> None:
    before = take_snapshot(pod.pod)
    agent.state_directory.mkdir()
    agent.state_directory.chmod(mode)
    os.chown(agent.state_directory, *owner)
    done = agent.run("prestart")
    assert done.returncode == 2
    assert reason in done.stderr
    assert_restored(pod.pod, before)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("../../tmp/x", "1"),
        ("net/ipv4/conf/../../../kernel/core_pattern", "1"),
        ("kernel/core_pattern", "|/bin/sh"),
        ("net/ipv4/conf/eth0/../forwarding", "1"),
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/conf/eth0/forwarding", "1\n|/bin/sh"),
    ],
)
def test_a_forged_record_writes_to_settings_of_interfaces_alone(pod: Pod, agent: Agent, key: str, value: str) -> None:
    before = take_snapshot(pod.pod)
    agent.prestart()
    path = agent.state_directory / "network.json"
    record = json.loads(path.read_text())
    record["sysctls"].append([key, value])
    path.write_text(json.dumps(record))
    done = agent.run("teardown")
    assert done.returncode == 0
    assert "is no setting of an interface" in done.stderr
    assert_restored(pod.pod, before)
