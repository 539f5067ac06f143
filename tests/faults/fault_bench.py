"""A pod in which the calls of a verb fail one after another, and the judgement of what the verb says then."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from fault_points import BY_PATH, CALLS, Point, count_calls, opened_paths, path_options
from fault_serving import serve_a_client
from lab.agent import Agent
from lab.pod import Pod
from lab.snapshot import Snapshot, take_snapshot

NEWS = ("route add 10.77.0.0/16 dev eth0", "addr add 10.244.3.9/24 dev eth0")
"""What the CNI adds before `prestart again`."""

VERBS = ("prestart", "prestart again", "teardown", "status", "doctor", "probe", "run", "server", "serving")
"""Of `server` the calls fail that the DHCP server makes while `prestart` starts it; of `serving` those that it makes
afterwards, for a client, a `prestart` and a `status`, under the watchdog of `run`."""
READING = ("status", "doctor", "probe")
LONGEST_SECONDS = 30

BOOT_SECTOR = bytes.fromhex("ba0406 b80020 ef f4 ebfd").ljust(510, b"\0") + b"\x55\xaa"
"""A whole guest: it writes S5 (2000h) to the virtual machine's register PM1a_CNT (604h), which powers it off."""
DISK_OCTETS = 1 << 20
"""From a smaller disk the firmware does not boot."""
MANIFEST = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachineInstance",
    "metadata": {"name": "testvm"},
    "spec": {
        "domain": {
            "memory": {"guest": "32Mi"},
            "devices": {
                "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                "interfaces": [{"name": "default", "bridge": {}}],
            },
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [{"name": "root", "hostDisk": {"path": "/unused"}}],
    },
}

_LINE = re.compile(r"virt-launcher: |\d{4}-\d\d-\d\dT[\d:.]+Z |libvirt:  error : failed to open \S*/libvirt\.log: ")

# `run`'s first process stays apart, as PID 1 that reaps QEMU; below it strace traces the launcher proper.
FIRST_PROCESS = """
import subprocess, sys
from launcher.container.init import supervise
sys.exit(supervise(lambda: subprocess.call(sys.argv[1:])))
"""
LAUNCHER = """
import sys
from launcher.container import run
run.supervise = lambda main: main()
from launcher import cli
sys.exit(cli.main())
"""
WITH_TRACED_SERVER = """
import sys
sys.executable = {server!r}
from launcher import cli
sys.exit(cli.main())
"""


@dataclass(frozen=True)
class Outcome:
    """What came of it: exit code, `hung`, or of a server `replaced` (0: it went on); and what was untrue about it."""

    code: int | str
    wrong: str
    stderr: str


class Bench:
    """A pod in which faults are tried one after another; a context manager.

    Args:
        vm: whether it is for `run`, which makes a tap of its own.
        binding: what hands the pod's interface to the VM; `run` has the bridge binding alone.
    """

    def __init__(self, *, vm: bool = False, binding: str = "bridge") -> None:
        self.pod = Pod("ovn-kubernetes", guest_port=not vm)
        self.agent = Agent(self.pod, binding=binding)
        self.original = take_snapshot(self.pod.pod)
        self._directory = tempfile.TemporaryDirectory(prefix="vltest-faults-")
        self._log = Path(self._directory.name, "strace")
        self._logged = ""
        self._paths: dict[str, list[str]] = {}
        if vm:
            self._file("vmi.json").write_text(json.dumps(MANIFEST))
            self._file("root.img").write_bytes(BOOT_SECTOR.ljust(DISK_OCTETS, b"\0"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pod.close()
        self.agent.__exit__(kind, error, trace)
        self._directory.cleanup()

    def calls(self, verb: str) -> list[tuple[str, int]]:
        """Every call of a verb that is a point, from a run without a fault, as kind and number."""
        self._once(verb, ["-y", "-e", "trace=openat"])
        self._paths[verb] = opened_paths(self._logged)
        self._once(verb, ["-e", f"trace={','.join(call for call in CALLS if call not in BY_PATH)}"])
        counts = count_calls(self._logged)
        self._once(verb, ["-e", f"trace={','.join(BY_PATH)}", *self.select_paths(verb)])
        counts += count_calls(self._logged)
        return [(call, number) for call in CALLS for number in range(1, counts[call] + 1)]

    def select_paths(self, verb: str) -> list[str]:
        """Options of strace(1) that select the calls on files that are points; this pod's state directory is its own,
        so the other verbs' paths are found once for each pod."""
        if verb not in self._paths:
            self._once(verb, ["-y", "-e", "trace=openat"])
            self._paths[verb] = opened_paths(self._logged)
        return path_options(self._paths[verb])

    def try_point(self, point: Point) -> Outcome:
        """Have the verb fail there, judge what it says, and leave the pod as it was."""
        options = ["-e", f"trace={point.call}", "-e", point.injection]
        if point.call in BY_PATH:
            options += self.select_paths(point.verb)
        self._prepare(point.verb)
        code: int | str
        if point.verb == "serving":
            code, wrong, said = *serve_a_client(self.pod, self.agent, self._strace(options)), ""
        else:
            is_fresh = point.verb in ("prestart", "run", "server", "teardown")
            before = self.original if is_fresh else self._state()
            try:
                done = self._traced(point.verb, options)
            except subprocess.TimeoutExpired:
                return Outcome("hung", f"takes more than {LONGEST_SECONDS} s", "")
            code, wrong, said = done.returncode, self._verdict(point, done, before), done.stderr
        torn_down = self.agent.run("teardown")
        self._withdraw_news(point.verb)
        difference = self._difference(self.original)
        if torn_down.returncode or difference:
            wrong.append(f"the next teardown: {torn_down.returncode} {torn_down.stderr}{difference}")
        if self.pod.pod.processes():
            wrong.append("a process is left after the next teardown")
        return Outcome(code, "; ".join(wrong), said)

    def _once(self, verb: str, options: list[str]) -> None:
        self._prepare(verb)
        if verb == "serving":
            serve_a_client(self.pod, self.agent, self._strace(options))
        else:
            self._traced(verb, options)
        self._logged = self._log.read_text(errors="replace")  # before a server that is traced is stopped
        self.agent.run("teardown", check=True)
        self._withdraw_news(verb)

    def _prepare(self, verb: str) -> None:
        """Bring the pod to where the verb is tried from."""
        if verb not in ("prestart", "run", "server"):
            self.agent.run("prestart", check=True)
        if verb == "prestart again":
            self.pod.pod.ip(*NEWS)

    def _withdraw_news(self, verb: str) -> None:
        """What the CNI has added is its to take away."""
        if verb == "prestart again":
            for news in NEWS:
                self.pod.pod.run(["ip", *news.replace(" add ", " del ").split()], check=False)

    def _verdict(self, point: Point, done: subprocess.CompletedProcess[str], before: Snapshot) -> list[str]:
        """What is untrue about a verb's exit code and messages."""
        wrong = [f"not one line an error: {line}" for line in done.stderr.splitlines() if not _is_line(line)]
        code = done.returncode
        if code not in (0, 1, 2, 3) or (code and not (done.stderr or done.stdout)):
            wrong.append(f"exit code {code} and no reason")
        if point.verb in READING:
            if difference := self._difference(before):
                wrong.append(f"it changed the pod:\n{difference}")
        elif point.verb == "teardown":
            if code == 0 and (difference := self._difference(self.original)):
                wrong.append(f"0, and is not put back:\n{difference}")
            if code in (0, 1) and self.pod.pod.processes():
                wrong.append(f"{code}, and a process is left")
            if code == 1:
                wrong.append("1, and not everything is put back")
        elif code in (1, 2) or (point.verb == "run" and code == 0):
            wrong += self._undone(point.verb, code, before)
        elif code == 0:
            wrong += self._served()
        return wrong

    def _undone(self, verb: str, code: int, before: Snapshot) -> list[str]:
        """What is left although the exit code says that nothing is."""
        wrong = []
        if difference := self._difference(before):
            wrong.append(f"{code}, and not everything is undone:\n{difference}")
        if verb != "prestart again" and self.pod.pod.processes():
            wrong.append(f"{code}, and a process is left")
        folder = self.agent.state_directory
        left = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
        if verb in ("prestart", "server") and folder.exists():
            wrong.append(f"{code}, and a folder is left: {left}")
        if verb == "run" and {"network.json", "dhcp.log"} & set(left):
            wrong.append(f"{code}, and files are left: {left}")
        return wrong

    def _served(self) -> list[str]:
        """What is missing although the exit code says that the pod is set up and served.

        A server that fails from then on is not found out before it is asked; `prestart` replaces it.
        """
        status = self.agent.status()
        if status["dhcp"] and status["dhcp"]["problem"]:
            self.agent.run("prestart", check=True)
            status = self.agent.status()
        if not status["networks"] or status["pending"] or not status["dhcp"] or status["dhcp"]["problem"]:
            return [f"0, and is not set up: {status['pending']} {status['dhcp']}"]
        return []

    def _difference(self, wanted: Snapshot) -> str:
        """The kernel completes some changes a little later."""
        deadline = time.monotonic() + 2
        while difference := wanted.difference(self._state()):
            if time.monotonic() > deadline:
                return difference
            time.sleep(0.1)
        return ""

    def _state(self) -> Snapshot:
        return take_snapshot(self.pod.pod)

    def _traced(self, verb: str, options: list[str]) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.pod.pod.command(self._command(verb, options)),
            timeout=LONGEST_SECONDS,
            check=False,
            capture_output=True,
            text=True,
        )
        done.stderr = re.sub(r"(?m)^strace: .*\n", "", done.stderr)
        return done

    def _command(self, verb: str, options: Sequence[str]) -> list[str]:
        """What runs a verb, traced with these options of strace(1)."""
        strace = self._strace(options)
        python = [sys.executable, "-c"]
        words = self.agent.command(verb.split(maxsplit=1)[0])
        if verb == "run":
            files = ["--vmi", str(self._file("vmi.json")), "--disk", f"root={self._file('root.img')}"]
            return [*python, FIRST_PROCESS, *strace, *python, LAUNCHER, *words[1:], *files]
        if verb == "server":
            return [
                *python,
                WITH_TRACED_SERVER.format(server=self._traced_python(strace)),
                *self.agent.command("prestart")[1:],
            ]
        return [*strace, *words]

    def _strace(self, options: Sequence[str]) -> list[str]:
        return ["strace", "-o", str(self._log), *options]

    def _traced_python(self, strace: Sequence[str]) -> str:
        """A program that runs Python traced, in the same process, which ends the tracer with it."""
        path = self._file("python")
        words = " ".join(f"'{word}'" for word in (strace[0], "-D", *strace[1:], sys.executable))
        path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        path.chmod(0o755)
        return str(path)

    def _file(self, name: str) -> Path:
        return Path(self._directory.name, name)


def _is_line(line: str) -> bool:
    """Whether it is a message of ours, or of the server's log, that names no class or number of Python's.

    Libvirt's library says by itself that it cannot log, before it ends and our message comes.
    """
    return bool(_LINE.match(line)) and not re.search(r"Traceback|\[Errno|Error:", line)
