"""A teardown killed by SIGKILL at any step: the next finishes it, or a set-up undoes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.forked import SUCCEEDED, WAYS, run_in
from lab.killed import FWD_DNS, SHAPES, assert_next_set_up, killed_at_each_step, settled_state
from lab.pod import MakePod
from lab.snapshot import assert_restored, take_snapshot

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("gateways_are_awaited")]


@pytest.mark.parametrize(("shape", "way"), [*SHAPES, FWD_DNS])
def test_a_killed_teardown_is_finished_by_the_next(make_pod: MakePod, shape: str, way: str, tmp_path: Path) -> None:
    set_up, put_back = WAYS[way]
    pod = make_pod(shape)
    original = take_snapshot(pod.pod)
    for number in killed_at_each_step(pod, way, put_back, tmp_path, before=set_up, lost=1):
        assert run_in(pod.pod, put_back, tmp_path) == SUCCEEDED, f"killed at step {number}"
        assert_restored(pod.pod, original)


@pytest.mark.parametrize(("shape", "way"), [*SHAPES, FWD_DNS])
def test_a_killed_teardown_may_be_followed_by_a_set_up(make_pod: MakePod, shape: str, way: str, tmp_path: Path) -> None:
    set_up, put_back = WAYS[way]
    pod = make_pod(shape)
    pod.guest.write_sysctl("ipv6/conf/eth0/disable_ipv6", 1)
    pod.guest.ip("link set eth0 up")  # the loss of carrier would be noticed at some later time
    original = take_snapshot(pod.pod)
    assert run_in(pod.pod, set_up, tmp_path) == SUCCEEDED
    wanted = settled_state(pod)
    for number in killed_at_each_step(pod, way, put_back, tmp_path, before=set_up, lost=0):
        assert_next_set_up(pod, way, tmp_path, wanted, f"killed at step {number}")
        assert_restored(pod.pod, original)
