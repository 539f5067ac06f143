"""A sample of the matrix of faults; `make faults` tries all of it."""

from __future__ import annotations

import pytest
from fault_bench import VERBS, Bench
from fault_points import Point

pytestmark = pytest.mark.root

POINTS_EACH = 2


@pytest.mark.parametrize("verb", VERBS)
def test_what_a_verb_says_of_a_fault_is_true(verb: str) -> None:
    with Bench(vm=verb == "run") as bench:
        calls = bench.calls(verb)
        for lasting in (False, True):
            for call, number in calls[:: len(calls) // POINTS_EACH]:
                point = Point(verb, call, number, lasting)
                outcome = bench.try_point(point)
                assert not outcome.wrong, f"{point}: exit code {outcome.code}, {outcome.wrong}\n{outcome.stderr}"
