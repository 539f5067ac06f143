"""A sample of the matrix of faults; `make faults` tries all of it."""

from __future__ import annotations

import pytest
from lab.agent import Agent
from lab.pod import Pod
from matrix import VERBS, Bench

pytestmark = pytest.mark.root

POINTS_EACH = 2


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("verb", VERBS)
def test_what_a_verb_says_of_a_fault_is_true(verb: str, lasting: bool) -> None:
    with Pod("ovn-kubernetes") as pod, Agent(pod) as agent:
        bench = Bench(pod, agent)
        points = bench.points(verb, lasting=lasting)
        for point in points[:: max(1, len(points) // POINTS_EACH)]:
            outcome = bench.try_point(point)
            assert not outcome.wrong, f"{point}: exit code {outcome.code}, {outcome.wrong}\n{outcome.stderr}"
