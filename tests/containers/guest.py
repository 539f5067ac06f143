"""A VM in a container, as podman shows it: its log, its console, and what the guest reports on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

from lab.podman import Engine
from lab.waiting import has_ended, wait_until

from launcher.demo.guest_image import GuestImage, GuestReport, kernel_arguments, parse_reports

BOOT_SECONDS = 120
"""What a guest may take until its lease on a busy machine without KVM; 3 on an idle one."""
KERNEL, INITRD = "vmlinuz", "initrd"
MOUNTED = "/run/virt-launcher/volumes/root"
"""Where the files of deploy/ mount what has the disk."""
MEMORY, LIMIT = "128Mi", "288Mi"
"""The guest's, and its container's: as much more as in those files."""

FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
"""A program that prints a page."""

_CONSOLE = """
import glob, os, re, socket, sys
console = socket.socket(socket.AF_UNIX)
console.settimeout(60)
console.connect(max(glob.glob("/run/virt-launcher/net-*/**/console.sock", recursive=True), key=os.path.getmtime))
console.sendall(sys.argv[1].encode() + b"\\n")
received = b""
while not re.search(rb"guest: command [^\\n]*\\n", received):
    received += console.recv(4096)
sys.stdout.buffer.write(re.sub(rb"guest: [^\\n]*\\n", b"", received))
"""

_PRINTED = """
import glob, os
print(open(max(glob.glob("/run/virt-launcher/net-*/**/console.log", recursive=True), key=os.path.getmtime)).read())
"""


class Machine:
    """The VM of one container."""

    def __init__(self, podman: Engine, container: str) -> None:
        self._podman = podman
        self.container = container

    def events(self) -> list[dict[str, Any]]:
        """The milestones of its log, all starts of the container included."""
        lines = (line for line in self._podman.logs(self.container).splitlines() if line.startswith("{"))
        return [record for record in map(json.loads, lines) if "event" in record and "data" in record]

    def count(self, name: str) -> int:
        """How often an event was logged."""
        return len([event for event in self.events() if event["event"] == name])

    def await_event(self, name: str, count: int = 1, seconds: float = BOOT_SECONDS) -> dict[str, Any]:
        """Wait for the `count`-th of an event, and return its data."""
        __tracebackhide__ = True

        def those() -> list[dict[str, Any]]:
            return [event["data"] for event in self.events() if event["event"] == name]

        wait_until(lambda: len(those()) >= count, seconds, log=lambda: self._podman.logs(self.container))
        return those()[count - 1]

    def console(self) -> str:
        """What the guest has printed since its launcher started."""
        return self._podman.run("exec", self.container, "python3", "-c", _PRINTED, check=False).stdout

    def await_lease(self, interface: str = "eth0") -> GuestReport:
        """Wait until the guest has its address, and return what it says of it."""
        __tracebackhide__ = True

        def leases() -> list[GuestReport]:
            reports = [report for report in parse_reports(self.console()) if report.event == "lease"]
            return [report for report in reports if report.fields["interface"] == interface]

        wait_until(leases, BOOT_SECONDS, log=lambda: self.console() + self._podman.logs(self.container))
        return leases()[-1]

    def command(self, text: str) -> str:
        """What a shell command in the guest prints."""
        return self._podman.run("exec", self.container, "python3", "-c", _CONSOLE, text).stdout.strip()

    def kill_launcher(self) -> None:
        """Kill the container's first process, as the kernel does when memory is short."""
        pid = self._podman.inspect(self.container)["State"]["Pid"]
        os.kill(pid, signal.SIGKILL)
        assert has_ended(pid)


def boot_guest(vmi: dict[str, Any], folder: str = MOUNTED) -> None:
    """Have a manifest boot what `prepare_files` has put into a folder."""
    boot = {"kernelPath": f"{folder}/{KERNEL}", "initrdPath": f"{folder}/{INITRD}"}
    domain = vmi["spec"]["domain"]
    domain["firmware"] = {"kernelBoot": {"kernelArgs": kernel_arguments(), "container": boot}}
    domain["memory"]["guest"] = MEMORY


def guest_manifest(**devices: Any) -> dict[str, Any]:
    """A manifest of one NIC in the pod network, and other devices, that boots what is mounted at /boot."""
    domain = {"devices": {"interfaces": [{"name": "default", "bridge": {}}], **devices}, "memory": {}}
    spec = {"domain": domain, "networks": [{"name": "default", "pod": {}}]}
    vmi = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "vm"}, "spec": spec}
    boot_guest(vmi, "/boot")
    return vmi


def limit_memory(pod: dict[str, Any]) -> dict[str, Any]:
    """Give the only container of a Pod's spec what that guest needs, and return the container."""
    (container,) = pod["containers"]
    container["resources"]["requests"]["memory"] = container["resources"]["limits"]["memory"] = LIMIT
    described: dict[str, Any] = container
    return described


def prepare_files(guest: GuestImage, folder: Path) -> Path:
    """A folder with the guest's kernel and initial RAM disk, to be mounted."""
    folder.mkdir()
    shutil.copy(guest.kernel, folder / KERNEL)
    shutil.copy(guest.initrd, folder / INITRD)
    folder.chmod(0o755)
    return folder
