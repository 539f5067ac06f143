"""The matrix of faults: every system call of a verb fails, once or from then on, by strace's injection.

    python tests/faults/matrix.py                    all of it, and a table of what came of it
    python tests/faults/matrix.py teardown           its two rows
    python tests/faults/matrix.py --every 10         every tenth point
    python tests/faults/matrix.py --seconds 240      as many points as can be tried in that time
    python tests/faults/matrix.py --binding fwd      with another binding than `bridge`

What came of each point is appended to a file (`--results`), and not tried again as long as it is there; an untrue one
is. The points are drawn in a fixed, random order, so that a part of them is an even sample. A point is the n-th call of
one kind that a verb makes, counted in a run without a fault. After each fault, what the verb said must be true
(`fault_bench.py`): its exit code, one line an error, and the next teardown exact.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from fault_bench import VERBS, Bench, Outcome
from fault_points import Point

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / ".cache"
CODES: tuple[int | str, ...] = (0, 1, 2, 3, "replaced", "hung")
SEED = 1
_TABLE = re.compile(r"(?m)^\| verb \|.*\n(?:\|.*\n)+")

Row = dict[str, Any]
"""A point's fields and its outcome's, as in a line of the results."""
NewBench = Callable[[], Bench]


def main(words: list[str]) -> int:
    """Try what is not tried yet; print a table, and each point that has gone wrong. Returns 2 when some are left."""
    options = _parse(words)
    options.results = options.results or RESULTS / f"faults-{options.binding}.jsonl"
    options.results.parent.mkdir(exist_ok=True)
    left = 0
    deadline = time.monotonic() + options.seconds
    for index, verb in enumerate(options.verbs):
        new_bench = functools.partial(Bench, vm=verb == "run", binding=options.binding)
        points = _points(verb, options.results, new_bench)[:: options.every]
        tried = _tried(options.results)
        waiting = [point for point in points if str(point) not in tried]
        done = 0
        now = time.monotonic()
        share = (deadline - now) / (len(options.verbs) - index)
        for row in _outcomes(waiting, new_bench, options.jobs, now + share):
            with options.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            done += 1
            if row["wrong"]:
                print(f"{row['point']}\n  exit code {row['code']}, {row['wrong']}\n  {row['stderr']}", flush=True)
        left += len(waiting) - done
    everything = list(_rows(options.results).values())
    rows = [row for row in everything if row["verb"] in options.verbs]
    untrue = sum(1 for row in rows if row["wrong"])
    print(f"{table(rows, options.results)}{untrue} untrue, {left} left")
    if options.write:
        options.write.write_text(_TABLE.sub(lambda _: table(everything, options.results), options.write.read_text()))
    return 1 if untrue else 2 if left else 0


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("verbs", nargs="*", default=VERBS, metavar="verb", help=", ".join(VERBS))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--binding", default="bridge")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--write", type=Path, help="a page in which the table takes the place of the one there")
    return parser.parse_args(words)


def table(rows: Sequence[Row], results: Path) -> str:
    """How many points of each verb and kind there are, were tried, and had which outcome."""
    counted: dict[tuple[str, str], Counter[object]] = {}
    for row in rows:
        counted.setdefault((row["verb"], "lasting" if row["lasting"] else "once"), Counter())[row["code"]] += 1
    lines = [["verb", "fault", "points", "tried", *map(str, CODES)], ["---"] * (4 + len(CODES))]
    for verb in VERBS:
        for fault in ("once", "lasting"):
            if codes := counted.get((verb, fault)):
                counts = (len(_calls(verb, results)), codes.total(), *(codes[code] for code in CODES))
                lines.append([f"`{verb}`", fault, *map(str, counts)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _points(verb: str, results: Path, new_bench: NewBench) -> list[Point]:
    """Every point of a verb, in a random order that is always the same; counted once for a file of results."""
    path = _calls_path(verb, results)
    if not path.exists():
        with new_bench() as bench:
            path.write_text(json.dumps(bench.calls(verb)))
    calls = _calls(verb, results)
    points = [Point(verb, call, number, lasting) for lasting in (False, True) for call, number in calls]
    random.Random(SEED).shuffle(points)
    return points


def _calls_path(verb: str, results: Path) -> Path:
    return results.with_suffix(f".{verb.replace(' ', '-')}.json")


def _calls(verb: str, results: Path) -> list[tuple[str, int]]:
    calls: list[tuple[str, int]] = json.loads(_calls_path(verb, results).read_text())
    return calls


def _rows(results: Path) -> dict[str, Row]:
    """The last outcome of each point."""
    lines = results.read_text().splitlines() if results.exists() else []
    return {row["point"]: row for row in map(json.loads, lines)}


def _tried(results: Path) -> set[str]:
    return {point for point, row in _rows(results).items() if not row["wrong"]}


def _outcomes(points: Sequence[Point], new_bench: NewBench, jobs: int, deadline: float) -> Iterator[Row]:
    """Try points in several pods at once, until the time is over."""
    if not points or time.monotonic() >= deadline:
        return
    jobs = min(jobs, len(points))
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[Row | None] = context.Queue()
    workers = [
        context.Process(target=_work, args=(points[number::jobs], new_bench, deadline, queue), daemon=True)
        for number in range(jobs)
    ]
    for worker in workers:
        worker.start()
    running = len(workers)
    while running:
        row = queue.get()
        if row is None:
            running -= 1
        else:
            yield row
    for worker in workers:
        worker.join()


def _work(
    points: Sequence[Point], new_bench: NewBench, deadline: float, queue: multiprocessing.Queue[Row | None]
) -> None:
    """Try points one after another in one pod, and in a new one after each that was untrue."""
    waiting = list(reversed(points))
    try:
        while waiting and time.monotonic() < deadline:
            with new_bench() as bench:
                outcome = Outcome(0, "", "")
                while waiting and not outcome.wrong and time.monotonic() < deadline:
                    point = waiting.pop()
                    try:
                        outcome = bench.try_point(point)
                    except Exception as error:  # of the bench, whatever it is: the pod is in no state for more
                        outcome = Outcome("hung", f"{type(error).__name__}: {error}", "")
                    queue.put({"point": str(point), **asdict(point), **asdict(outcome)})
    finally:
        queue.put(None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
