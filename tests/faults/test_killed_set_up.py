"""A set-up killed by SIGKILL at any step: teardown puts the pod back, with all files or without any."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.forked import SUCCEEDED, WAYS, run_in
from lab.killed import BRIDGE_DNS, FWD_DNS, SHAPES, killed_at_each_step
from lab.pod import MakePod
from lab.snapshot import assert_restored, take_snapshot

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("gateways_are_awaited")]


@pytest.mark.parametrize(("shape", "way"), [*SHAPES, BRIDGE_DNS, FWD_DNS])
def test_a_killed_set_up_is_put_back(make_pod: MakePod, shape: str, way: str, tmp_path: Path) -> None:
    set_up, put_back = WAYS[way]
    pod = make_pod(shape)
    original = take_snapshot(pod.pod)
    for number in killed_at_each_step(pod, way, set_up, tmp_path, lost=1):
        assert run_in(pod.pod, put_back, tmp_path) == SUCCEEDED, f"killed at step {number}"
        assert_restored(pod.pod, original)
