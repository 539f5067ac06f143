"""Mutation testing of the pure modules: `make mutants`.

Of each module a share of its mutants, drawn by a fixed seed, replaces it in a forked process that runs the module's
tests up to the first failure. What no test notices is printed, and if `survivors.toml` does not give the reason why
none can, the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from mutate import Mutant, mutants, unchanged
from table import modules, tests_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SEED = "virt-launcher"
CPU_SECONDS, SECONDS = 40, 600
"""A mutant with which the tests take longer than this, of the processor's time or by the clock, counts as noticed."""
PASSED, FAILED, TOO_LONG, NOT_TRIED = "survived", "killed", "too long", "not tried"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--share", type=float, default=20, help="per cent of each module's mutants (20)")
    parser.add_argument("--modules", default="", help="a regular expression: only paths that it matches")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin with no further one after so many")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="as many as there are cores")
    parser.add_argument(
        "--namespaces", action="store_true", help="ask the tests in namespaces too (root; minutes each)"
    )
    parser.add_argument("--trust", action="store_true", help="do not try first whether the tests pass without a mutant")
    parser.add_argument("--log", type=Path, help="a file for the verdicts, a JSON object a line")
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    chosen = list(_chosen(options.share, options.modules))
    random.Random(SEED).shuffle(chosen)  # what is tried when time is up is a fair share, too
    _preload()
    known = tomllib.loads((HERE / "survivors.toml").read_text())
    reasons = {entry["mutant"]: entry["reason"] for entry in known.get("survivor", [])}
    # the whole way, with a module that is replaced by itself: what fails then would fail for any mutant
    checked = {} if options.trust else {frozenset(tests_of(mutant.path)[0]): mutant.path for mutant in chosen}
    for path in checked.values():
        if _verdict(unchanged(ROOT, path), tests_of(path)[0]) != PASSED:
            raise SystemExit(f"the tests of {path} fail without a change: see `make test`")
    began, killed, survivors = time.monotonic(), Counter[str](), list[Mutant]()
    tried, end = list[Mutant](), time.monotonic() + 60 * options.minutes
    with ThreadPoolExecutor(options.jobs) as pool, _log(options.log) as log:
        asked = pool.map(lambda mutant: (mutant, _ask(mutant, options.namespaces, end)), chosen)
        for mutant, (verdict, by) in asked:
            if verdict == NOT_TRIED:
                continue
            tried.append(mutant)
            print(
                json.dumps({"verdict": verdict, "by": by, "line": mutant.line, "mutant": mutant.name}),
                file=log,
                flush=True,
            )
            killed[mutant.path] += verdict != PASSED
            if verdict == PASSED:
                survivors.append(mutant)
                print(f"survived: {mutant.path}:{mutant.line} {mutant.name}", flush=True)
    _report(tried, killed, survivors, reasons, time.monotonic() - began)
    return 1 if any(mutant.name not in reasons for mutant in survivors) else 0


def _chosen(share: float, pattern: str) -> Iterator[Mutant]:
    for path in modules(ROOT):
        if re.search(pattern, path):
            yield from mutants(ROOT, path, partial(_draw, path, share))


def _draw(path: str, share: float, number: int) -> list[int]:
    drawn = min(number, round(number * share / 100 + 0.5))
    return random.Random(f"{SEED} {path}").sample(range(number), drawn)


def _preload() -> None:
    """What all tests import and no mutant changes; a fork has it for nothing."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(HERE / "hook")]
    import hypothesis
    import msgspec  # noqa: F401
    import pytest  # noqa: F401
    import sitecustomize  # noqa: F401  (the system's own, perhaps)
    import yaml  # noqa: F401
    from scapy.layers import dhcp, dhcp6, inet, inet6, l2  # noqa: F401

    # the same examples each time, no search for a smaller one, and no verdict about a busy machine
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        phases=phases,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )


def _ask(mutant: Mutant, namespaces: bool, end: float) -> tuple[str, str]:
    """The verdict of the tests about a mutant, and which kind of tests gave it; NOT_TRIED after the `end`."""
    if time.monotonic() > end:
        return NOT_TRIED, ""
    fast, slow = tests_of(mutant.path)
    if (verdict := _verdict(mutant, fast)) != PASSED or not namespaces or not slow:
        return verdict, "fast"
    return _verdict(mutant, slow), "namespaces"


def _verdict(mutant: Mutant, tests: Sequence[str]) -> str:
    tests = [test for test in tests if (ROOT / test).exists()]
    child = os.fork()
    if child == 0:
        os.setsid()
        _run_tests(mutant, tests)
    deadline = time.monotonic() + SECONDS
    verdict = ""
    while not verdict:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            verdict = PASSED if os.waitstatus_to_exitcode(status) == 0 else FAILED
        elif time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            verdict = TOO_LONG
        else:
            time.sleep(0.02)
    _source_of(child).unlink(missing_ok=True)
    return verdict


def _source_of(pid: int) -> Path:
    return Path(tempfile.gettempdir(), f"virt-launcher-mutant-{pid}.py")


def _run_tests(mutant: Mutant, tests: Sequence[str]) -> None:
    """In the forked process, which it ends."""
    status = 70
    try:
        import hypothesis
        import pytest

        hypothesis.settings.load_profile("mutants")
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        source = _source_of(os.getpid())
        source.write_text(mutant.source)
        module = mutant.path.removesuffix(".py").replace("/", ".")
        # for programs that the tests start, and for this process
        os.environ |= {"PYTHONPATH": f"{HERE / 'hook'}:{ROOT}", "MUTANT": f"{module}={source}"}
        import importlib.util

        spec = importlib.util.spec_from_file_location("mutant_hook", HERE / "hook" / "sitecustomize.py")
        assert spec
        assert spec.loader
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        # the first file alone: most mutants do not outlive it, and collecting all tests takes longer than that; without
        # those of deeply nested YAML, which take as long as all others
        for some in filter(None, (tests[:1], tests[1:])):
            status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-k", "not wire and not deep", *some])
            if status not in (0, 5):  # 5: a file of tests over a wire alone
                break
            status = 0
    finally:
        os._exit(status)


@contextlib.contextmanager
def _log(path: Path | None) -> Iterator[object]:
    with open(path or os.devnull, "w", encoding="utf-8") as file:
        yield file


def _report(
    tried: Sequence[Mutant], killed: Counter[str], survivors: Sequence[Mutant], reasons: dict[str, str], seconds: float
) -> None:
    print(f"\n{'module':<42} mutants  killed")
    for path, number in sorted(Counter(mutant.path for mutant in tried).items()):
        print(f"{path:<42} {number:>7} {killed[path]:>7}")
    total, left = len(tried), len(survivors)
    share = 100 * (total - left) / max(total, 1)
    explained = sum(mutant.name in reasons for mutant in survivors)
    print(f"{total} mutants in {seconds / 60:.0f} min: {total - left} killed ({share:.1f} %), {left} survived")
    print(f"survivors.toml has the reason of {explained} of these")


if __name__ == "__main__":
    raise SystemExit(main())
