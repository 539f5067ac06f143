"""Machines under a libvirt daemon instead of the launcher's own driver, and what libvirt refuses."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from .conftest import Boot
from .machine import ADDRESS, Segment

pytestmark = [pytest.mark.vm, pytest.mark.root]

DAEMON_CONF = """
listen_tls = 0
listen_tcp = 0
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_dir = "{directory}/sock"
unix_sock_group = "root"
"""
QEMU_CONF = """
user = "root"
group = "root"
stdio_handler = "file"
security_driver = "none"
cgroup_controllers = []
namespaces = []
"""
# Its directories are bound over the system's in a mount namespace of its own, which `ip netns exec` makes.
START = """
for name in sock run lib cache log; do mkdir -p {directory}/$name; done
mkdir -p /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /etc/libvirt
mount --bind {directory}/run /run/libvirt
mount --bind {directory}/lib /var/lib/libvirt
mount --bind {directory}/cache /var/cache/libvirt
mount --bind {directory}/log /var/log/libvirt
mount --bind {directory}/etc /etc/libvirt
exec libvirtd --config {directory}/etc/libvirtd.conf --pid-file {directory}/libvirtd.pid
"""

# A daemon below a first process that waits for nobody notices the end of a machine seconds late.
REAPER = "import os, sys; from launcher.supervisor import supervise; supervise(lambda: os.execvp('sh', sys.argv[1:]))"


class Daemon:
    """A private libvirtd for the whole system, as far as it can see."""

    def __init__(self, segment: Segment, directory: Path) -> None:
        (directory / "etc").mkdir(parents=True)
        (directory / "etc/libvirtd.conf").write_text(DAEMON_CONF.format(directory=directory))
        (directory / "etc/qemu.conf").write_text(QEMU_CONF)
        socket = directory / "sock/libvirt-sock"
        self.uri = f"qemu+unix:///system?socket={socket}"
        self.directory = directory
        log = directory / "stderr"
        with log.open("w") as errors:
            shell = ["sh", "-ec", START.format(directory=directory)]
            self.process = segment.popen([sys.executable, "-c", REAPER, *shell], stderr=errors)
        deadline = time.monotonic() + 10
        while not socket.exists():
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "libvirtd makes no socket"
            time.sleep(0.02)

    def emulators(self) -> list[int]:
        pids = [int(path.read_text()) for path in (self.directory / "run/qemu").glob("*_*.pid")]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    def kill(self) -> None:
        os.kill(int((self.directory / "libvirtd.pid").read_text()), signal.SIGKILL)


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
    deadline = time.monotonic() + 5
    while daemon.emulators():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_daemon_that_dies_is_reported(boot: Boot, daemon: Daemon) -> None:
    machine = boot("--connect", daemon.uri)
    machine.await_report("up")
    daemon.kill()
    assert machine.await_end(10) == 1
    assert "the connection to libvirt is lost" in machine.errors()


def test_no_daemon_there(boot: Boot) -> None:
    machine = boot("--connect", "qemu+unix:///system?socket=/nowhere/sock")
    assert machine.await_end(10) == 1
    assert "libvirt cannot connect to qemu+unix:///system?socket=/nowhere/sock: " in machine.errors()
    assert machine.errors().count("\n") == 1


def test_tap_that_is_not_there(boot: Boot, segment: Segment) -> None:
    segment.ip("link del tap0")
    segment.ip("link add tap0 type bridge")
    machine = boot()
    assert machine.await_end(10) == 1
    assert "libvirt cannot start the machine: " in machine.errors()
    assert machine.errors().count("\n") == 1
