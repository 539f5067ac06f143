"""Whole or not at all: whichever step fails, the pod is what it was before."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from lab.forked import FAILED, SUCCEEDED, WAYS, run_in, set_up
from lab.pod import MakePod
from lab.shape import shape_names
from lab.snapshot import assert_restored, take_snapshot

from netsetup.apply import prepare_pod_network_interfaces
from netsetup.model import KernelRefused, NotPermitted
from netsetup.steps import Step, describe

pytestmark = pytest.mark.root

MOST_STEPS = 100


def refuse(step: Step) -> None:
    raise KernelRefused(describe(step), errno.ENOMEM)


def forbid(step: Step) -> None:
    raise NotPermitted(describe(step))


def defect(_step: Step) -> None:
    raise RuntimeError("a defect of our own")


def interrupt(_step: Step) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("shape", "way", "fault"),
    [
        ("ovn-kubernetes", "bridge", refuse),
        ("ptp", "bridge", forbid),
        ("aws", "bridge", defect),
        ("labels", "bridge", interrupt),
        ("ovn-kubernetes", "masquerade", refuse),
        ("spiderpool", "masquerade", interrupt),
        ("calico", "masquerade before 6.17", forbid),
    ],
)
def test_every_step_may_fail(make_pod: MakePod, shape: str, way: str, fault: object, tmp_path: Path) -> None:
    set_up, _ = WAYS[way]
    pod = make_pod(shape)
    original = take_snapshot(pod.pod)
    state_dir = tmp_path / "state"
    for number in range(MOST_STEPS):
        status = run_in(pod.pod, set_up, state_dir, at=number, fault=fault)  # type: ignore[arg-type]
        if status == SUCCEEDED:
            assert number > 10
            return
        assert status == FAILED
        assert_restored(pod.pod, original, within=1)
        assert not (state_dir / "network.json").exists()
    raise AssertionError(f"{MOST_STEPS} steps and no end")


@pytest.mark.parametrize("shape", shape_names())
def test_the_last_step_may_fail_in_every_shape(make_pod: MakePod, shape: str, tmp_path: Path) -> None:
    pod = make_pod(shape)
    original = take_snapshot(pod.pod)

    with pod.pod.entered():
        steps = len(prepare_pod_network_interfaces(state_dir=tmp_path / "dry", dry_run=True).plan.steps)
    assert run_in(pod.pod, set_up, tmp_path / "state", at=steps - 1, fault=refuse) == FAILED
    assert_restored(pod.pod, original, within=1)
