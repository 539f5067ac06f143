#!/usr/bin/env python3
"""How long a cold start takes, here and at another commit: `.venv/bin/python bench/start.py --beside REV`, as root.

Two figures: `virt-launcher prestart` from its exec to the first OFFER, and `virt-launcher run` from its exec to QEMU's
exec. Both trees and a bare Python are started in alternating rounds.
"""

from __future__ import annotations

import argparse
import compileall
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Self

REPOSITORY = Path(__file__).resolve().parent.parent
if __name__ == "__main__":  # Python would look for modules beside this file, where `dhcp` is another one
    sys.path[0] = str(REPOSITORY)

from bench import laboratory  # noqa: E402
from bench.laboratory import BenchError, Laboratory, Process, Tools  # noqa: E402
from bench.results import origin  # noqa: E402
from bench.samples import Samples, Spread  # noqa: E402

CLONES = REPOSITORY / ".cache/beside"
EMULATOR = "qemu-system-x86_64"
BARE = "bare Python"
MANIFEST = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: bench, namespace: default}
spec:
  terminationGracePeriodSeconds: 0
  domain:
    memory: {guest: 64Mi}
    devices: {interfaces: [{name: default, bridge: {}}]}
  networks: [{name: default, pod: {}}]
"""
_STARTED = b'"event": "started"'
_STARTED_SECONDS = 30
_IN_OPEN = 0x20


@dataclass(frozen=True, slots=True)
class Tree:
    """A checkout with its own .venv."""

    name: str
    folder: Path

    @property
    def program(self) -> Path:
        return self.folder / ".venv/bin/virt-launcher"


@dataclass(frozen=True, slots=True)
class Figure:
    """One column of the table."""

    title: str
    metric: str


PRESTART = Figure("`prestart`: exec to first OFFER, ms", "offer_ms")
RUN = Figure("`run`: exec to QEMU's, ms", "qemu_ms")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 when something could not be measured, 2 for bad usage."""
    options = _parser().parse_args(arguments)
    if os.geteuid():
        print("bench: needs root: network namespaces", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    try:
        trees = [tree_of(options.beside), Tree(f"this tree, {origin(REPOSITORY, []).commit}", REPOSITORY)]
        figures = (PRESTART,) if options.only == "prestart" else (RUN,) if options.only == "run" else (PRESTART, RUN)
        samples = measure(trees, figures, options.rounds)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(table(samples, trees, figures), end="")
    return 0


def tree_of(beside: str) -> Tree:
    """A folder that has a .venv, or a clone of a commit with its own .venv, which is kept. Raises BenchError."""
    if Path(beside, ".venv/bin/virt-launcher").exists():
        return Tree(beside, Path(beside).resolve())
    try:
        commit = _output("git", "-C", REPOSITORY, "rev-parse", "--verify", f"{beside}^{{commit}}").strip()
    except BenchError:
        raise BenchError(f"{beside}: neither a commit of this repository nor a folder with a .venv") from None
    folder = CLONES / commit[:12]
    if not (folder / ".venv/installed").exists():
        print(f"making a clone of {beside} and its .venv in {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        _output("git", "clone", "--quiet", "--no-checkout", REPOSITORY, folder)
        _output("git", "-C", folder, "checkout", "--quiet", "--detach", commit)
        _output("make", "-C", folder, "venv")
    return Tree(beside, folder)


def measure(trees: Sequence[Tree], figures: Sequence[Figure], rounds: int) -> Samples:
    """The figures of both trees, a bare Python beside each, in alternating rounds. Raises BenchError."""
    laboratory.sweep()
    samples = Samples()
    for tree in trees:
        if not tree.program.exists():
            raise BenchError(f"{tree.program}: not found; run `make venv` there")
        for package in ("dhcp", "launcher", "netsetup"):
            compileall.compile_dir(tree.folder / package, quiet=2)  # or a start measures the compiler
        samples.add(tree.name, 0, {})
    with tempfile.TemporaryDirectory(prefix="vlbench-tools-") as directory:
        tools = Tools(Path(directory))
        for round_ in range(rounds + 1):  # the first one warms caches and is not kept
            for tree in trees if round_ % 2 else reversed(trees):
                found = {BARE: bare_python(tools)}
                if PRESTART in figures:
                    found[PRESTART.metric] = prestart(tree, tools)
                if RUN in figures:
                    found[RUN.metric] = run(tree, tools)
                if round_:
                    samples.add(tree.name, round_, found)
    return samples


def bare_python(tools: Tools) -> float:
    """Milliseconds from exec to exit, the median of three."""
    with Laboratory(tools, pod_interface=False) as lab:
        took = []
        for _ in range(3):
            with lab.start([Path(sys.executable).resolve(), "-c", "pass"]) as process:
                took.append(process.wait())
        return median(took)


def prestart(tree: Tree, tools: Tools) -> float:
    """Milliseconds from exec to the first OFFER. Raises BenchError."""
    with Laboratory(tools, pod_interface=True) as lab, lab.first_offer() as first:
        with lab.start([tree.program, "prestart", "--state-dir", lab.directory / "state"]) as process:
            process.wait()
            return first.milliseconds_after(process)


def run(tree: Tree, tools: Tools) -> float:
    """Milliseconds from exec to QEMU's exec, of a guest without a disk. Raises BenchError."""
    emulator = shutil.which(EMULATOR)
    if emulator is None:
        raise BenchError(f"{EMULATOR}: not found; `make bench` installs it")
    with Laboratory(tools, pod_interface=True, guest_link=False) as lab, Opened(Path(emulator).resolve()) as opened:
        manifest = lab.directory / "vmi.yaml"
        manifest.write_text(MANIFEST)
        words = [tree.program, "run", "--vmi", manifest, "--state-dir", lab.directory / "s", "--log-format", "json"]
        with lab.start(words) as process:
            return (opened.last_before_start(process) - process.started_ns) / 1e6


class Opened:
    """The times at which a program file is opened, as by execve(2) (inotify(7)); a context manager."""

    def __init__(self, program: Path) -> None:
        libc = ctypes.CDLL(None)
        self._descriptor = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._descriptor < 0 or libc.inotify_add_watch(self._descriptor, os.fsencode(program), _IN_OPEN) < 0:
            raise BenchError(f"{program}: cannot be watched (inotify)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def last_before_start(self, process: Process) -> int:
        """Wait for the launcher's event `started`; CLOCK_MONOTONIC of the last time before it. Raises BenchError."""
        opened = 0
        until = time.monotonic() + _STARTED_SECONDS
        while _STARTED not in process.output().encode():
            if select.select([self._descriptor], [], [], 0.02)[0]:
                opened = time.monotonic_ns()
                os.read(self._descriptor, 4096)
            elif time.monotonic() > until or process.has_ended():
                break
        if not opened:
            raise BenchError(f"no {EMULATOR} was started: {process.last_words()}")
        return opened


def table(samples: Samples, trees: Sequence[Tree], figures: Sequence[Figure]) -> str:
    """A Markdown table: both trees, and the ratio of this tree to the other by rounds."""
    old, new = (tree.name for tree in trees)
    rows = [
        ["", f"{BARE}, ms", *(figure.title for figure in figures)],
        ["---", *["---:"] * (len(figures) + 1)],
    ]
    for name in (old, new):
        spreads = [samples.spread(name, metric) for metric in (BARE, *(figure.metric for figure in figures))]
        rows.append([name, *(_cell(spread, 1) for spread in spreads)])
    ratios = [samples.ratio(new, old, metric) for metric in (BARE, *(figure.metric for figure in figures))]
    rows.append([f"{new} ÷ {old}", *(_cell(spread, 2) for spread in ratios)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cell(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return ""
    return f"**{spread.median:.{digits}f}** ({spread.lowest:.{digits}f}–{spread.highest:.{digits}f})"


def _output(*words: str | Path) -> str:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise BenchError(f"{' '.join(map(str, words))}: {said[-1] if said else f'ended with {done.returncode}'}")
    return done.stdout


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench/start.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--beside", required=True, metavar="REV", help="the other commit, or a folder that has a .venv")
    parser.add_argument("--rounds", type=int, default=15, help="how often each is measured (default: 15)")
    parser.add_argument("--only", choices=("prestart", "run"), help="one of the two figures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
