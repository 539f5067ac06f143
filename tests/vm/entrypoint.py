"""`virt-launcher run` in a pod, as a container's first process would be, and what it says and leaves behind."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from lab.agent import Agent
from lab.checks import guest_routes
from lab.pod import DNS, SEARCH, Pod
from lab.snapshot import assert_restored, take_snapshot

from launcher.demo.guest_image import GuestReport

from .machine import BOOT_SECONDS, Machine


class Entrypoint(Machine):
    """The launcher's process in a pod, its log as JSON lines and the guest's console followed.

    Args:
        pod: where it runs; its namespace ends it.
        directory: a folder with a short path (sockets are made below it) for its files.
        document: the VirtualMachineInstance manifest; None for a VM that options describe.
        options: more words of the command line.
        environment: variables to add.
        program: what to run instead of `virt-launcher`.
    """

    def __init__(
        self,
        pod: Pod,
        directory: Path,
        document: Mapping[str, Any] | None,
        *options: str | Path,
        environment: Mapping[str, str] | None = None,
        program: tuple[str, ...] = (),
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.pod = pod
        self.vmi = directory / "vmi.yaml"
        self._directory = directory
        self._before, self._processes = take_snapshot(pod.pod), pod.pod.processes()
        state_dir = directory / "state"
        command = [*(program or (Agent.program(),)), "run", "--state-dir", state_dir]
        if document is not None:
            self.vmi.write_text(yaml.safe_dump(dict(document)))
            command += ["--vmi", self.vmi]
        with (directory / "stdout").open("w") as output, (directory / "stderr").open("w") as errors:
            process = pod.pod.popen(
                [*command, "--log-format", "json", *options], stdout=output, stderr=errors, env=environment
            )
        super().__init__(process, state_dir)

    def errors(self) -> str:
        return (self._directory / "stderr").read_text()

    def result(self) -> str:
        return (self._directory / "stdout").read_text()

    def log(self) -> list[dict[str, Any]]:
        """The log's records so far, the DHCP server's own among them; an unfinished last line is left out."""
        return [json.loads(line) for line in self.errors().splitlines(keepends=True) if line.endswith("\n")]

    def messages(self, level: str) -> list[str]:
        """What the launcher said at one level."""
        return [record["message"] for record in self.log() if record["level"] == level and record["logger"] != "dhcp"]

    def event(self, name: str) -> dict[str, Any]:
        """The data of a milestone that has been reached."""
        (data,) = (record["data"] for record in self.log() if record.get("event") == name and "data" in record)
        assert isinstance(data, dict)
        return data

    def await_event(self, name: str, seconds: float = BOOT_SECONDS) -> None:
        """Wait until the launcher has logged a milestone."""
        deadline = time.monotonic() + seconds
        while not any(record.get("event") == name for record in self.log()):
            assert self.process.poll() is None, f"ended before `{name}`:\n{self.errors()}"
            assert time.monotonic() < deadline, f"no `{name}` in {seconds} s:\n{self.errors()}"
            time.sleep(0.005)

    def assert_pod_restored(self) -> None:
        """The pod is what it was when the launcher started, and all that ran for the machine is gone."""
        __tracebackhide__ = True
        assert_restored(self.pod.pod, self._before)
        assert self.pod.pod.processes() == self._processes
        assert not (self.state_dir / "state.json").exists()

    def dhcp_server(self) -> int | None:
        """The process id of the pod's DHCP server."""
        for pid in self.pod.pod.processes():
            if "/dhcp/__" in _command_line(pid):
                return pid
        return None

    def launcher(self) -> int:
        """The process id of the launcher proper, whose parent is the first process."""
        (pid,) = (pid for pid in children(self.process.pid) if " run --state-dir " in _command_line(pid))
        return pid


def assert_lease_line(lease: GuestReport, pod: Pod, *, hostname: str = "testvm") -> None:
    """What the guest's kernel made of its lease, as the guest printed it, is the pod's network."""
    __tracebackhide__ = True
    network = pod.shape.guest
    assert network, f"{pod.shape.name}: no guest network"
    told = {name: lease.fields[name] for name in ("interface", "address", "router", "mtu", "hostname", "domain")}
    assert told == {
        "interface": "eth0",
        "address": network.address,
        "router": network.router,
        "mtu": str(network.mtu),
        "hostname": hostname,
        "domain": SEARCH[0],
    }
    assert (lease.list("dns"), lease.list("search")) == (list(DNS), list(SEARCH))
    assert {route(text) for text in lease.fields["routes"].split(";")} == guest_routes(network, classless=True)


def route(text: str) -> tuple[str, str]:
    """A line of `ip route` as (destination, gateway), where 0.0.0.0 means on-link."""
    destination, *words = text.split()
    if destination == "default":
        destination = "0.0.0.0/0"
    elif "/" not in destination:
        destination += "/32"
    return destination, words[words.index("via") + 1] if "via" in words else "0.0.0.0"


def children(pid: int) -> list[int]:
    """Process ids of all children, zombies included."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def state_of(pid: int) -> str:
    """The state of a process as /proc has it: R, S, Z …; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except FileNotFoundError:
        return ""
