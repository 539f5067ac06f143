"""`virt-launcher demo`: runs a real VM in a pod on this host, step by step, and checks that each step worked.

The launcher runs as in a container: the demo makes the pod, reads the guest's reports from its console, and compares
the pod before and after.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from launcher.demo.guest_image import GuestImage, GuestReport, build_guest, kernel_arguments, parse_reports
from launcher.demo.pod import DemoError, DemoPod

BOOT_SECONDS = 90.0
"""Limit for an emulated guest on a slow host; measured: 3 s."""
GRACE_SECONDS = 30
SETTLE_SECONDS = 5.0

MANIFEST = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata:
  name: demo
spec:
  terminationGracePeriodSeconds: {grace}
  domain:
    memory:
      guest: 160Mi
    firmware:
      kernelBoot:
        kernelArgs: {arguments}
        container:
          kernelPath: {kernel}
          initrdPath: {initrd}
    devices:
      autoattachGraphicsDevice: false
      interfaces:
        - name: default
          bridge: {{}}
  networks:
    - name: default
      pod: {{}}
"""


@dataclass(slots=True)
class Result:
    """The demo's observations; the JSON object of `demo --output json`."""

    accelerator: str = ""
    steps: list[dict[str, Any]] = field(default_factory=list)
    guest: dict[str, Any] = field(default_factory=dict)
    ping: dict[str, bool] = field(default_factory=lambda: {"guest_to_node": False, "node_to_guest": False})
    restored: bool = False

    @property
    def passed(self) -> bool:
        return bool(self.guest) and all(self.ping.values()) and self.restored


class Printer:
    """Prints the demo's progress, a line a step: its name, its duration, what was observed."""

    def __init__(self, silent: bool) -> None:
        self._silent = silent

    def line(self, text: str = "") -> None:
        if not self._silent:
            print(text, flush=True)

    def step(self, name: str, milliseconds: float, seen: str) -> None:
        took = f"{milliseconds / 1e3:.1f} s" if milliseconds >= 1000 else f"{milliseconds:.0f} ms"
        self.line(f"  {name:<22}{took:>8}   {seen}")

    def table(self, rows: dict[str, str]) -> None:
        """Names and values, under what the step before has seen."""
        widths = max(map(len, rows)), max(map(len, rows.values()))
        rules = ["─" * (width + 2) for width in widths]
        indent = " " * 35
        self.line(f"{indent}┌{rules[0]}┬{rules[1]}┐")
        for name, value in rows.items():
            self.line(f"{indent}│ {name:<{widths[0]}} │ {value:<{widths[1]}} │")
        self.line(f"{indent}└{rules[0]}┴{rules[1]}┘")


def demo(output: str = "text") -> int:
    """Run the demo; 0 if every step worked. Raises DemoError and GuestError."""
    if os.geteuid() != 0:
        raise DemoError("the demo makes network namespaces and needs root")
    signal.signal(signal.SIGTERM, _terminate)
    printer = Printer(silent=output == "json")
    result = Result()
    printer.line("A node, a pod and a real virtual machine, on this host:\n")
    with tempfile.TemporaryDirectory(prefix="vl-") as scratch:
        _Demo(result, printer, Path(scratch)).run()
    if output == "json":
        print(json.dumps(asdict(result)))
    else:
        printer.line()
        printer.line("Every step worked." if result.passed else "The demo has failed: not every step worked.")
    return 0 if result.passed else 1


def _terminate(number: int, _frame: FrameType | None) -> None:
    # Unwinding removes all that was made, as on Ctrl-C; a second signal would interrupt that.
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


class _Demo:
    def __init__(self, result: Result, printer: Printer, scratch: Path) -> None:
        self._result = result
        self._printer = printer
        self._scratch = scratch

    def run(self) -> None:
        with self._step("guest image") as seen:
            image = build_guest()
            seen(f"Debian's cloud kernel and busybox, {image.initrd.stat().st_size / 2**20:.1f} MiB")
        with self._step("node and pod") as seen:
            pod = DemoPod(self._scratch).__enter__()
            seen(f"two network namespaces, connected by {pod.built_by}")
        try:
            self._run_in(pod, image)
        finally:
            pod.__exit__()

    def _run_in(self, pod: DemoPod, image: GuestImage) -> None:
        before = _settled_snapshot(pod)
        launcher = _Launcher(pod, image, self._scratch)
        try:
            network = launcher.event("network")["elapsed_ms"]
            self._done("pre-start hook", network["total"], "eth0's address moved to k6t-eth0; DHCP answers on tap0")
            self._result.accelerator = launcher.event("accelerator")["name"]
            started = launcher.event("started")["ms"]
            self._done("libvirt starts the VM", started, f"QEMU, {self._result.accelerator.upper()}")
            self._check_guest(launcher, pod)
        finally:
            log = launcher.stop()
        restored = launcher.times.get("restored")
        if launcher.status != 0 or restored is None:
            raise DemoError(f"the launcher exited with {launcher.status}: {log[-1] if log else 'no message'}")
        self._done(
            "VM shut down", launcher.stop_ms - restored, "the guest powered off when its power button was pressed"
        )
        self._result.restored = _settled_snapshot(pod) == before
        same = "as before, to the last attribute" if self._result.restored else "NOT as before"
        self._done("pod put back", restored, f"addresses, routes, neighbours, MAC and MTU: {same}")

    def _check_guest(self, launcher: _Launcher, pod: DemoPod) -> None:
        with self._step("guest gets its lease") as seen:
            lease = launcher.report("lease")
            self._result.guest = {
                "address": lease.fields.get("address", ""),
                "router": lease.fields.get("router", ""),
                "mtu": int(lease.fields.get("mtu") or 0),
                "dns": lease.list("dns"),
                "search": lease.list("search"),
            }
            seen("the guest printed:")
        self._printer.table(
            {
                name: " ".join(value) if isinstance(value, list) else str(value)
                for name, value in self._result.guest.items()
            }
        )
        with self._step("ping, guest to node") as seen:
            ping = launcher.report("ping")
            self._result.ping["guest_to_node"] = ping.fields.get("result") == "ok"
            seen(f"{ping.fields.get('target')}: {ping.fields.get('result')}")
        with self._step("ping, node to guest") as seen:
            address = self._result.guest["address"].partition("/")[0]
            answered = pod.ping(address)
            self._result.ping["node_to_guest"] = answered
            seen(f"{address}: {'ok' if answered else 'failed'}")

    def _done(self, name: str, milliseconds: float, seen: str) -> None:
        self._result.steps.append({"name": name, "ms": round(milliseconds, 1)})
        self._printer.step(name, milliseconds, seen)

    @contextmanager
    def _step(self, name: str) -> Iterator[Callable[[str], None]]:
        seen = [""]
        began = time.perf_counter()
        yield lambda text: seen.__setitem__(0, text)
        self._done(name, (time.perf_counter() - began) * 1e3, seen[0])


class _Launcher:
    """A `virt-launcher run` in the pod; reads its JSON log and the guest's console."""

    def __init__(self, pod: DemoPod, image: GuestImage, scratch: Path) -> None:
        manifest = scratch / "vmi.yaml"
        arguments = kernel_arguments(ping=["router"])
        manifest.write_text(
            MANIFEST.format(grace=GRACE_SECONDS, arguments=arguments, kernel=image.kernel, initrd=image.initrd)
        )
        state = scratch / "pod"
        self._console = state / "console.log"
        words = [sys.executable, "-m", "launcher", "run", "--vmi", str(manifest), "--netns", pod.pod]
        self._process = subprocess.Popen(
            [*words, "--state-dir", str(state), "--log-format", "json"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.status: int | None = None
        self.stop_ms = 0.0
        self.times: dict[str, float] = {}
        self._lines: list[str] = []
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def event(self, name: str) -> dict[str, Any]:
        """The data of the launcher's next milestone, which must be `name`. Raises DemoError."""
        try:
            event = self._events.get(timeout=BOOT_SECONDS)
        except queue.Empty:
            raise DemoError(f"the launcher did not reach {name!r} within {BOOT_SECONDS:.0f} s") from None
        if event is None or event["event"] != name:
            raise DemoError(f"the launcher did not reach {name!r}: {self._lines[-1] if self._lines else 'no message'}")
        data: dict[str, Any] = event["data"]
        return data

    def report(self, event: str) -> GuestReport:
        """Wait for the guest's first report of this event. Raises DemoError."""
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            text = self._console.read_text(errors="replace") if self._console.exists() else ""
            for report in parse_reports(text):
                if report.event == event:
                    return report
            time.sleep(0.01)
        raise DemoError(f"the guest printed no {event!r} on its console")

    def stop(self) -> list[str]:
        """Send SIGTERM and wait for the launcher's exit; returns the messages that it logged."""
        began = time.perf_counter()
        self._process.send_signal(signal.SIGTERM)
        try:
            self.status = self._process.wait(GRACE_SECONDS + SETTLE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.status = self._process.wait()
        self.stop_ms = (time.perf_counter() - began) * 1e3
        self._reader.join(SETTLE_SECONDS)
        return self._lines

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            try:
                record = json.loads(line)
            except ValueError:
                self._lines.append(line.strip())
                continue
            self._lines.append(record.get("message", line.strip()))
            if "event" in record and record.get("logger") == "launcher":  # the DHCP server has events of its own
                self.times[record["event"]] = record["data"].get("ms", 0.0)
                self._events.put(record)
        self._events.put(None)


def _settled_snapshot(pod: DemoPod) -> dict[str, Any]:
    """The pod's state once the kernel has settled it.

    Carrier and link-local address follow a moment after the other end is up, and duplicate-address detection takes a
    second or two.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        snapshot = pod.snapshot()
        links = snapshot["addr"]
        tentative = any(address.get("tentative") for link in links for address in link["addr_info"])
        if not (tentative or any(link["operstate"] == "DOWN" for link in links)) or time.monotonic() > deadline:
            return snapshot
        time.sleep(0.05)
