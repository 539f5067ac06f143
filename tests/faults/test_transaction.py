"""Whole or not at all: whichever step fails, the pod is what it was before."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from lab.agent import DIRECT
from lab.forked import FAILED, SUCCEEDED, WAYS, run_in
from lab.pod import MakePod
from lab.shape import load_shape, shape_names
from lab.snapshot import assert_restored, take_snapshot

from netsetup.apply import prepare_pod_network_interfaces
from netsetup.errors import KernelRefused, NotPermitted
from netsetup.model.request import NetworkRequest
from netsetup.steps import CreateBridge, CreateTap, Step

pytestmark = pytest.mark.root

MOST_STEPS = 100


def has_address(shape: str) -> bool:
    """Whether there is an address to masquerade behind."""
    return bool(load_shape(shape).guest or load_shape(shape).guest6)


def refuse(step: Step) -> None:
    raise KernelRefused(str(step), errno.ENOMEM)


def forbid(step: Step) -> None:
    raise NotPermitted(str(step))


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
        ("ovn-kubernetes", "fwd", refuse),
        ("labels", "fwd", interrupt),
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
        assert_restored(pod.pod, original)
        assert not (state_dir / "network.json").exists()
    raise AssertionError(f"{MOST_STEPS} steps and no end")


@pytest.mark.parametrize(
    ("shape", "binding"),
    [(name, binding) for binding in DIRECT for name in shape_names()]
    + [(name, "masquerade") for name in shape_names() if has_address(name)],
)
def test_the_last_step_may_fail_in_every_shape(make_pod: MakePod, shape: str, binding: str, tmp_path: Path) -> None:
    pod = make_pod(shape)
    request = NetworkRequest(binding=binding, pod_interface=pod.interface)
    original = take_snapshot(pod.pod)
    with pod.pod.entered():
        steps = prepare_pod_network_interfaces([request], state_dir=tmp_path / "dry", dry_run=True).plan.steps

    def action(state_dir: Path) -> None:
        prepare_pod_network_interfaces([request], state_dir=state_dir)

    assert run_in(pod.pod, action, tmp_path / "state", at=len(steps) - 1, fault=refuse) == FAILED
    assert_restored(pod.pod, original)


@pytest.mark.parametrize("way", ["bridge", "fwd", "masquerade"])
@pytest.mark.parametrize(("name", "kind"), [("k6t-eth0", CreateBridge), ("tap0", CreateTap)])
def test_a_name_is_taken_meanwhile(make_pod: MakePod, way: str, name: str, kind: type, tmp_path: Path) -> None:
    """Somebody else makes a device of that name between plan and step: the kernel's own refusal."""
    pod = make_pod("ovn-kubernetes", guest_port=False)
    original = take_snapshot(pod.pod)

    def take(step: Step) -> None:
        if isinstance(step, kind):
            pod.pod.ip(f"link add {name} type veth peer name others")

    set_up, _ = WAYS[way]
    assert run_in(pod.pod, set_up, tmp_path / "state", at=None, fault=take) == FAILED
    assert pod.pod.link(name)["linkinfo"]["info_kind"] == "veth", "it is not ours to remove"
    pod.pod.ip(f"link delete {name}")
    assert_restored(pod.pod, original)


@pytest.mark.parametrize(("way", "at"), [(way, at) for way in ("bridge", "fwd", "masquerade") for at in (3, 12)])
def test_a_capability_is_lost_meanwhile(make_pod: MakePod, way: str, at: int, tmp_path: Path) -> None:
    """Nothing can be undone then; the record stays, and whoever may puts everything back."""
    pod = make_pod("ovn-kubernetes")
    original = take_snapshot(pod.pod)

    def lose(step: Step) -> None:
        os.setgid(65534)
        os.setuid(65534)

    set_up, put_back = WAYS[way]
    state_dir = tmp_path / "state"
    assert run_in(pod.pod, set_up, state_dir, at=at, fault=lose) == FAILED
    assert original.difference(take_snapshot(pod.pod))
    assert run_in(pod.pod, put_back, state_dir) == SUCCEEDED
    assert_restored(pod.pod, original)
