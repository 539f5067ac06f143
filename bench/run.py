#!/usr/bin/env python3
"""Measure the DHCP server and the hook beside other servers: `.venv/bin/python bench/run.py`, as root."""

from __future__ import annotations

import argparse
import compileall
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
if __name__ == "__main__":  # Python would search for modules beside this file, where `dhcp` is another package
    sys.path[0] = str(REPOSITORY)

from bench import laboratory, plot, report  # noqa: E402
from bench.dhcp import rounds as dhcp  # noqa: E402
from bench.dhcp.servers import BARE, OURS, SERVERS, Server  # noqa: E402
from bench.hook import rounds as hook  # noqa: E402
from bench.laboratory import BenchError, Tools  # noqa: E402
from bench.quiet import MOST_DISTURBANCE, Watch, wait_for_quiet  # noqa: E402
from bench.results import Results, origin  # noqa: E402
from bench.samples import Samples  # noqa: E402

BENCHES = ("dhcp", "hook", "storm")
WARM_CYCLES = 20


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measurement that each round makes once."""

    bench: str
    subject: str
    make: Callable[[Tools], dict[str, float]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 1 when a measurement failed, 2 for bad usage."""
    options = _parser().parse_args(arguments)
    if options.read:
        results = Results.read(options.read)
    else:
        if problem := _problem(options):
            print(f"bench: {problem}", file=sys.stderr)
            return 2
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # print the results so far and clean up
        try:
            results = measure(
                options.benches or ["dhcp", "hook"],
                options.rounds,
                options.servers,
                quick=options.quick,
                patience=options.patience,
            )
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    if options.json:
        results.write(options.json)
    if options.plots:
        plot.write(results, options.plots)
    print(report.markdown(results), end="")
    return 1 if results.failures else 0


def measure(benches: Sequence[str], rounds: int, servers: Sequence[str], *, quick: bool, patience: float) -> Results:
    """Run the benches; raises BenchError when the tools cannot be compiled."""
    chosen = [server for server in SERVERS if not servers or server.name in servers]
    present = [server for server in chosen if not server.missing]
    results = Results(
        origin(REPOSITORY, [server.package for server in present if server.package]),
        rounds,
        missing={server.name: server.missing for server in chosen if server.missing},
    )
    laboratory.sweep()
    for package in ("dhcp", "launcher", "netsetup"):
        compileall.compile_dir(REPOSITORY / package, quiet=2)  # otherwise a start would include compilation
    plan = _measurements(benches, present, quick)
    for measurement in plan:  # in the order of the tables, whatever measurement a round begins with
        results.benches.setdefault(measurement.bench, Samples()).add(measurement.subject, 0, {})
    with tempfile.TemporaryDirectory(prefix="vlbench-tools-") as directory:
        tools = Tools(Path(directory))
        try:
            # the first round warms caches and is not kept
            for round_ in range(1 if quick else 0, rounds + 1):
                # each round begins with another measurement, so that none always follows the same one
                turn = round_ % len(plan)
                _carry_out(results, [*plan[turn:], *plan[:turn]], round_, tools, patience)
        except KeyboardInterrupt:
            results.failures.append("interrupted; the tables show what there was until then")
    return results


def _carry_out(
    results: Results, measurements: Sequence[Measurement], round_: int, tools: Tools, patience: float
) -> None:
    for measurement in measurements:
        name = f"round {round_}: {measurement.bench}, {measurement.subject}"
        print(name, file=sys.stderr)
        try:
            figures, quiet = _undisturbed(partial(measurement.make, tools), patience if round_ else 0)
        except BenchError as error:
            results.failures.append(f"{name}: {error}")
            print(results.failures[-1], file=sys.stderr)
            continue
        if round_:
            results.benches[measurement.bench].add(measurement.subject, round_, figures)
            results.disturbed += not quiet


def _undisturbed(make: Callable[[], dict[str, float]], patience: float) -> tuple[dict[str, float], bool]:
    """Measure, and repeat while other processes use the machine; the figures, and whether they are undisturbed.

    There is no pause before the first attempt: after a pause, cold caches and an idle host would be measured.
    """
    until = time.monotonic() + patience
    while True:
        watch = Watch()
        figures = make()
        disturbance = watch.disturbance()
        if disturbance <= MOST_DISTURBANCE or time.monotonic() > until:
            return figures, disturbance <= MOST_DISTURBANCE
        print(f"again: other processes used {disturbance:.0%} of the machine", file=sys.stderr)
        wait_for_quiet(until - time.monotonic())


def _measurements(benches: Sequence[str], servers: Sequence[Server], quick: bool) -> list[Measurement]:
    effort = dhcp.QUICK if quick else dhcp.Effort()
    cycles = 2 if quick else WARM_CYCLES
    plan = []
    for server in servers:
        if "dhcp" in benches:
            plan.append(Measurement("dhcp", server.name, partial(dhcp.measure, server, effort)))
            if server.name == OURS:
                plan.append(Measurement("dhcp", BARE, partial(dhcp.start_bare_python, server, effort)))
        if "storm" in benches and not server.name.startswith("floor"):
            plan.append(Measurement("storm", server.name, partial(dhcp.storm, server, effort)))
    if "hook" in benches:
        plan += [
            Measurement("hook", hook.OURS, hook.prestart),
            Measurement("hook", hook.WARM, partial(hook.warm, "bridge", cycles)),
            Measurement("hook", hook.WARM_MASQUERADE, partial(hook.warm, "masquerade", cycles)),
            Measurement("hook", hook.SHELL, partial(hook.shell, False)),
            Measurement("hook", hook.SHELL_FENCE, partial(hook.shell, True)),
        ]
    return plan


def _problem(options: argparse.Namespace) -> str:
    known = [server.name for server in SERVERS]
    for name in options.servers:
        if name not in known:
            return f"no server {name!r}; there are {', '.join(known)}"
    for name in options.benches:
        if name not in BENCHES:
            return f"no bench {name!r}; there are {', '.join(BENCHES)}"
    return "needs root: network namespaces" if os.geteuid() else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__)
    parser.add_argument("benches", nargs="*", metavar="BENCH", help=f"of {', '.join(BENCHES)} (default: dhcp and hook)")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured (default: 7)")
    parser.add_argument("--quick", action="store_true", help="a short run of every measurement, as a test")
    parser.add_argument(
        "--patience",
        type=float,
        default=0,
        metavar="SECONDS",
        help="how long to repeat a measurement that other processes disturbed (default: 0)",
    )
    parser.add_argument("--server", dest="servers", action="append", default=[], help="only this one (repeatable)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--read", type=Path, metavar="FILE", help="measure nothing: show figures written before")
    parser.add_argument("--plots", type=Path, metavar="DIRECTORY", help="draw the figures as SVG")
    return parser


if __name__ == "__main__":
    sys.exit(main())
