"""A real machine under test: a network segment of its own, and the launcher's manager in it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.namespace import Namespace

from launcher.demo.guest_image import GuestImage, GuestReport, parse_reports

MAC = "02:00:00:00:00:05"
ADDRESS = "10.244.1.5/24"
ROUTER = "10.244.1.1"
MTU = 1400
DNS = "10.96.0.10"
SEARCH = ["default.svc.cluster.local", "svc.cluster.local"]

BOOT_SECONDS = 120
"""What a guest may take until its lease on a busy machine without KVM; 2 on an idle one."""

_COMMAND_DONE = re.compile(rb"guest: command [^\n]*\n")
_REPORT = re.compile(rb"guest: [^\n]*\n")
"""What the guest tells unasked may come in the midst of a command's output."""
_LAUNCH = Path(__file__).with_name("launch.py")


class Segment(Namespace):
    """A namespace with a bridge, a tap device `tap0` on it and a DHCP server of somebody else's."""

    def __init__(self) -> None:
        super().__init__("vm")
        self.ip(
            "link add br0 type bridge forward_delay 0",
            f"addr add {ROUTER}/24 dev br0",
            "link set br0 up",
            "tuntap add dev tap0 mode tap",
            f"link set tap0 mtu {MTU} master br0 up",
        )
        self.popen(
            [
                "dnsmasq",
                "--no-daemon",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--port=0",
                "--interface=br0",
                "--bind-interfaces",
                "--no-ping",
                "--leasefile-ro",
                "--dhcp-range=10.244.1.0,static,255.255.255.0",
                f"--dhcp-host={MAC},{ADDRESS.partition('/')[0]}",
                f"--dhcp-option=option:router,{ROUTER}",
                f"--dhcp-option=option:mtu,{MTU}",
                f"--dhcp-option=option:dns-server,{DNS}",
                f"--dhcp-option=option:domain-search,{','.join(SEARCH)}",
            ]
        )


class Machine:
    """The process that runs one machine."""

    def __init__(self, process: subprocess.Popen[str], state_dir: Path) -> None:
        self.process = process
        self.state_dir = state_dir

    @property
    def console(self) -> str:
        try:
            return (self.state_dir / "console.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def reports(self, event: str) -> list[GuestReport]:
        return [report for report in parse_reports(self.console) if report.event == event]

    def await_report(self, event: str, count: int = 1, seconds: float = BOOT_SECONDS) -> GuestReport:
        """The `count`-th report of that kind, as soon as the guest has printed it."""
        deadline = time.monotonic() + seconds
        while len(reports := self.reports(event)) < count:
            assert self.process.poll() is None, f"ended before `{event}`:\n{self.console}\n{self.errors()}"
            assert time.monotonic() < deadline, f"no `{event}` in {seconds} s:\n{self.console}"
            time.sleep(0.02)
        return reports[count - 1]

    def await_end(self, seconds: float = BOOT_SECONDS) -> int:
        """The launcher's exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.console}") from None

    def terminate(self) -> None:
        """SIGTERM to the launcher proper, below `ip netns exec`, which has become it."""
        self.process.send_signal(signal.SIGTERM)

    def errors(self) -> str:
        return (self.state_dir / "stderr").read_text()

    def result(self) -> str:
        return (self.state_dir / "stdout").read_text().strip()

    def command(self, text: str) -> str:
        """What a shell command in the guest prints."""
        with socket.socket(socket.AF_UNIX) as console:
            console.settimeout(BOOT_SECONDS)
            console.connect(str(self.state_dir / "console.sock"))
            console.sendall(text.encode() + b"\n")
            received = b""
            # Up to the end of the line, or its rest would be the next command's output.
            while (done := _COMMAND_DONE.search(received)) is None:
                received += console.recv(4096)
        return _REPORT.sub(b"", received[: done.start()]).decode(errors="replace").strip()

    def emulator(self) -> int | None:
        """QEMU's process id."""
        for path in (self.state_dir / "libvirt/run/qemu").glob("*_*.pid"):
            pid = int(path.read_text())
            if Path(f"/proc/{pid}").exists():
                return pid
        return None


def manifest(image: GuestImage, arguments: str, **changes: Any) -> dict[str, Any]:
    """A manifest that boots the guest; `changes` replace members of its `spec.domain`, of `spec`, or of `firmware`."""
    boot = {
        "kernelArgs": arguments,
        "container": {"kernelPath": str(image.kernel), "initrdPath": str(image.initrd)},
    }
    domain: dict[str, Any] = {
        "memory": {"guest": "128Mi"},
        "firmware": {"kernelBoot": boot},
        "devices": {},
    }
    spec: dict[str, Any] = {"domain": domain, "terminationGracePeriodSeconds": 15}
    for name, value in changes.items():
        if name == "bootloader":
            domain["firmware"][name] = value
            continue
        (spec if name in ("networks", "volumes", "terminationGracePeriodSeconds") else domain)[name] = value
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "testvm"},
        "spec": spec,
    }


def open_queues(pod: Namespace, tap: str = "tap0") -> int:
    """How many queues of a tap device QEMU has open."""
    (link,) = pod.ip_json(f"-d link show dev {tap}")
    return int(link["linkinfo"]["info_data"]["numqueues"])


def launch(
    segment: Segment,
    state_dir: Path,
    document: dict[str, Any],
    *options: str,
    taps: Sequence[str] = (f"tap0={MAC}={MTU}",),
) -> Machine:
    state_dir.mkdir(exist_ok=True)
    path = state_dir / "vmi.json"
    path.write_text(json.dumps(document))
    with (state_dir / "stdout").open("w") as output, (state_dir / "stderr").open("w") as errors:
        command = [sys.executable, str(_LAUNCH), str(path), str(state_dir), *taps, *options]
        return Machine(segment.popen(command, stdout=output, stderr=errors), state_dir)
