"""Machines under a libvirt daemon instead of the launcher's own driver, and what libvirt refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.waiting import wait_until

from .conftest import Boot
from .daemon import Daemon
from .machine import ADDRESS, Segment

pytestmark = [pytest.mark.vm, pytest.mark.root]


@pytest.fixture
def daemon(segment: Segment, state_dir: Path) -> Daemon:
    return Daemon(segment, state_dir / "daemon")


def test_machine_of_a_daemon(boot: Boot, daemon: Daemon) -> None:
    machine = boot("--connect", daemon.uri, settings={"then": "poweroff"})
    assert machine.await_report("lease").fields["address"] == ADDRESS
    assert machine.await_end() == 0
    assert machine.result() == "powered off"


def test_killed_launcher_leaves_no_machine_to_the_daemon(boot: Boot, daemon: Daemon) -> None:
    machine = boot("--connect", daemon.uri, "--bare")
    machine.await_report("up")
    assert daemon.emulators()
    machine.process.kill()
    wait_until(lambda: not daemon.emulators())


def test_daemon_that_dies_is_reported(boot: Boot, daemon: Daemon) -> None:
    machine = boot("--connect", daemon.uri)
    machine.await_report("up")
    daemon.kill()
    assert machine.await_end() == 1
    assert "the connection to libvirt is lost" in machine.errors()


def test_no_daemon_there(boot: Boot) -> None:
    machine = boot("--connect", "qemu+unix:///system?socket=/nowhere/sock")
    assert machine.await_end() == 1
    assert "libvirt cannot connect to qemu+unix:///system?socket=/nowhere/sock: " in machine.errors()
    assert machine.errors().count("\n") == 1


def test_tap_that_is_not_there(boot: Boot, segment: Segment) -> None:
    segment.ip("link del tap0")
    segment.ip("link add tap0 type bridge")
    machine = boot()
    assert machine.await_end() == 1
    assert "libvirt cannot start the domain: " in machine.errors()
    assert machine.errors().count("\n") == 1
