"""A private libvirtd in a namespace, that sees no file of the system's own."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from lab.namespace import Namespace
from lab.waiting import PATIENCE

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
REAPER = (
    "import os, sys; from launcher.container.init import supervise; supervise(lambda: os.execvp('sh', sys.argv[1:]))"
)


class Daemon:
    """A private libvirtd for the whole system, as far as it can see."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        (directory / "etc").mkdir(parents=True)
        (directory / "etc/libvirtd.conf").write_text(DAEMON_CONF.format(directory=directory))
        (directory / "etc/qemu.conf").write_text(QEMU_CONF)
        socket = directory / "sock/libvirt-sock"
        self.uri = f"qemu+unix:///system?socket={socket}"
        self.directory = directory
        log = directory / "stderr"
        with log.open("w") as errors:
            shell = ["sh", "-ec", START.format(directory=directory)]
            self.process = namespace.popen([sys.executable, "-c", REAPER, *shell], stderr=errors)
        deadline = time.monotonic() + PATIENCE
        while not socket.exists():
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "libvirtd makes no socket"
            time.sleep(0.02)

    def emulators(self) -> list[int]:
        pids = [int(path.read_text()) for path in (self.directory / "run/qemu").glob("*_*.pid")]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    def kill(self) -> None:
        os.kill(int((self.directory / "libvirtd.pid").read_text()), signal.SIGKILL)
