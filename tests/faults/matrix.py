"""The matrix of faults: every system call of a verb fails, once or from then on, by strace's injection.

    python tests/faults/matrix.py              all of it, and a table of what came of it
    python tests/faults/matrix.py teardown     its two rows
    python tests/faults/matrix.py --every 10   every tenth point

A point is the n-th call of one kind that a verb makes, counted in a run without a fault. After each fault, what the
verb said must be true (`_verdict`): its exit code, one line an error, and the next teardown exact.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from lab.agent import Agent
from lab.pod import Pod
from lab.snapshot import Snapshot, take_snapshot

CALLS = {
    "socket": "ENOBUFS",
    "bind": "ENOMEM",
    "listen": "ENOMEM",
    "connect": "ENOMEM",
    "getsockopt": "ENOBUFS",
    "setsockopt": "ENOMEM",
    "sendto": "ENOBUFS",
    "sendmsg": "ENOBUFS",
    "recvfrom": "ENOBUFS",
    "recvmsg": "ENOMEM",
    "socketpair": "EMFILE",
    "memfd_create": "EMFILE",
    "clone3": "EAGAIN",
    "vfork": "EAGAIN",
    "pidfd_open": "EMFILE",
    "mkdir": "ENOSPC",
    "rename": "ENOSPC",
    "unlink": "EROFS",
    "rmdir": "EBUSY",
    "openat": "EMFILE",
    "read": "EIO",
    "write": "ENOSPC",
    "ioctl": "ENOMEM",
}
"""The kinds of calls, and the error that each fails with."""

BY_PATH = ("openat", "read", "write", "ioctl")
"""Those that Python makes by the hundred for itself: only calls on the paths below are points."""
PATHS = re.compile(r'"(/proc/(?:sys|thread-self)/[^"]+|/dev/net/tun|/etc/resolv\.conf|[^"]*/state/[^"]+)"')

NEWS = ("route add 10.77.0.0/16 dev eth0", "addr add 10.244.3.9/24 dev eth0")
"""What the CNI adds before `prestart again`."""

VERBS = ("prestart", "prestart again", "teardown", "status", "doctor", "probe")
LONGEST_SECONDS = 30


@dataclass(frozen=True)
class Point:
    """One place at which a verb fails."""

    verb: str
    call: str
    number: int
    lasting: bool

    @property
    def injection(self) -> str:
        """As the option -e of strace(1) has it."""
        return f"inject={self.call}:error={CALLS[self.call]}:when={self.number}{'+' if self.lasting else ''}"

    def __str__(self) -> str:
        return f"{self.verb}, {self.call} {self.number}{' and later' if self.lasting else ''}: {CALLS[self.call]}"


@dataclass(frozen=True)
class Outcome:
    """What came of it: exit code (or `hung`), and what was untrue about it."""

    code: int | str
    wrong: str
    stderr: str


class Bench:
    """A pod in which faults are tried one after another."""

    def __init__(self, pod: Pod, agent: Agent) -> None:
        self.pod, self.agent = pod, agent
        self.original = take_snapshot(pod.pod)
        self._log = Path(tempfile.gettempdir(), f"vltest-strace-{pod.pod.name}")
        self.paths: dict[str, list[str]] = {}

    def points(self, verb: str, *, lasting: bool) -> list[Point]:
        """Every point of a verb, from a run without a fault."""
        self.prepare(verb)
        self._traced(verb, ["-e", "trace=openat"])
        self.agent.run("teardown", check=True)
        self.paths[verb] = sorted(set(PATHS.findall(self._log.read_text())))
        counts: Counter[str] = Counter()
        for calls, options in self._kinds(verb):
            self.prepare(verb)
            self._traced(verb, ["-e", f"trace={','.join(calls)}", *options])
            self.agent.run("teardown", check=True)
            counts.update(line.partition("(")[0] for line in self._log.read_text().splitlines() if "(" in line)
        return [Point(verb, call, number, lasting) for call in CALLS for number in range(1, counts[call] + 1)]

    def _kinds(self, verb: str) -> Iterator[tuple[list[str], list[str]]]:
        yield [call for call in CALLS if call not in BY_PATH], []
        yield list(BY_PATH), self._path_options(verb)

    def _path_options(self, verb: str) -> list[str]:
        return [word for path in self.paths[verb] for word in ("-P", path)]

    def prepare(self, verb: str) -> None:
        """Bring the pod to where the verb is tried from."""
        if verb != "prestart":
            self.agent.run("prestart", check=True)
        if verb == "prestart again":
            self.pod.pod.ip(*NEWS)

    def try_point(self, point: Point) -> Outcome:
        """Have the verb fail there, judge what it says, and leave the pod as it was."""
        self.prepare(point.verb)
        before = self._state()
        options = ["-e", f"trace={point.call}", "-e", point.injection]
        if point.call in BY_PATH:
            options += self._path_options(point.verb)
        began = time.monotonic()
        try:
            done = self._traced(point.verb, options)
        except subprocess.TimeoutExpired:
            return Outcome("hung", f"took {time.monotonic() - began:.0f} s", "")
        wrong = self._verdict(point, done, before)
        torn_down = self.agent.run("teardown")
        if point.verb == "prestart again":  # what the CNI has added is its to take away
            for news in NEWS:
                self.pod.pod.run(["ip", *news.replace(" add ", " del ").split()], check=False)
        difference = self._difference(self.original)
        if torn_down.returncode or difference:
            wrong.append(f"the next teardown: {torn_down.returncode} {torn_down.stderr}{difference}")
        if self.pod.pod.processes():
            wrong.append("a process is left after the next teardown")
        return Outcome(done.returncode, "; ".join(wrong), done.stderr)

    def _verdict(self, point: Point, done: subprocess.CompletedProcess[str], before: Snapshot) -> list[str]:
        """What is untrue about a verb's exit code and messages."""
        wrong = [f"not one line an error: {line}" for line in done.stderr.splitlines() if not _is_line(line)]
        code = done.returncode
        if code not in (0, 1, 2, 3) or (code and not (done.stderr or done.stdout)):
            wrong.append(f"exit code {code} and no reason")
        if point.verb in ("status", "doctor", "probe"):
            if difference := self._difference(before):
                wrong.append(f"it changed the pod:\n{difference}")
        elif point.verb == "teardown":
            if code == 0 and (difference := self._difference(self.original)):
                wrong.append(f"0, and is not put back:\n{difference}")
            if code in (0, 1) and self.pod.pod.processes():
                wrong.append(f"{code}, and a process is left")
            if code == 1:
                wrong.append("1, and not everything is put back")
        elif code in (1, 2):
            if difference := self._difference(before):
                wrong.append(f"{code}, and not everything is undone:\n{difference}")
            if point.verb == "prestart" and (self.pod.pod.processes() or self.agent.state_directory.exists()):
                wrong.append(f"{code}, and a process or a folder is left")
        elif code == 0:
            status = self.agent.status()
            if not status["networks"] or status["pending"] or not status["dhcp"] or status["dhcp"]["problem"]:
                wrong.append(f"0, and is not set up: {status['pending']} {status['dhcp']}")
        return wrong

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
        command = ["strace", "-o", str(self._log), *options, *self.agent.command(verb.split(maxsplit=1)[0])]
        streams = {"check": False, "capture_output": True, "text": True}
        done = subprocess.run(self.pod.pod.command(command), timeout=LONGEST_SECONDS, **streams)
        done.stderr = re.sub(r"(?m)^strace: .*\n", "", done.stderr)
        return done


def _is_line(line: str) -> bool:
    """Whether it is a message of ours that names no class or number of Python's."""
    return line.startswith("virt-launcher: ") and not re.search(r"Traceback|\[Errno|Error:", line)


def main(words: list[str]) -> int:
    """Try the points of these verbs; print a table, and each point that has gone wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("verbs", nargs="*", default=VERBS)
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args(words)
    table: dict[tuple[str, str], Counter[object]] = {}
    failed = 0
    with contextlib.suppress(KeyboardInterrupt):  # the table is of what was tried
        for point, outcome in _outcomes(options.verbs, options.every):
            table.setdefault((point.verb, "lasting" if point.lasting else "once"), Counter())[outcome.code] += 1
            if outcome.wrong:
                failed += 1
                print(f"{point}\n  exit code {outcome.code}, {outcome.wrong}\n  {outcome.stderr}", flush=True)
    print("| verb | fault | points | 0 | 1 | 2 | 3 | hung |\n|---|---|---|---|---|---|---|---|")
    for (verb, fault), codes in table.items():
        columns = " | ".join(str(codes[code]) for code in (0, 1, 2, 3, "hung"))
        print(f"| `{verb}` | {fault} | {codes.total()} | {columns} |")
    print(f"{failed} untrue")
    return 1 if failed else 0


def _outcomes(verbs: Sequence[str], every: int) -> Iterator[tuple[Point, Outcome]]:
    for verb in verbs:
        for lasting in (False, True):
            with Pod("ovn-kubernetes") as pod, Agent(pod) as agent:
                bench = Bench(pod, agent)
                for point in bench.points(verb, lasting=lasting)[::every]:
                    yield point, bench.try_point(point)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
