"""Hooks that are killed by SIGKILL at each of their steps, and what a pod looks like afterwards."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from lab.forked import KILLED, SUCCEEDED, WAYS, Action, any_step, carries_dns, kill, run_in
from lab.pod import Pod
from lab.snapshot import Snapshot, take_snapshot
from lab.waiting import wait_until

# Dual stack with many routes; an address whose connected route the CNI has taken away.
SHAPES = (
    ("ovn-kubernetes", "bridge"),
    ("ptp", "bridge"),
    ("ovn-kubernetes", "fwd"),
    ("ptp", "fwd"),
    ("ovn-kubernetes", "masquerade"),
    ("ovn-kubernetes", "masquerade before 6.17"),
)
# With a name server that only the pod can reach: killed at the steps which that adds.
BRIDGE_DNS, FWD_DNS = (("ovn-kubernetes", f"{way} with local resolvers") for way in ("bridge", "fwd"))
MOST_STEPS = 200

_VOLATILE = re.compile(
    r'"(ifindex|link|port_id|designated_port)": ?("?[\w-]+"?)|comment "[^"]*"|0x[0-9a-f]{8} |packets \d+ bytes \d+'
)


def set_up_state(pod: Pod) -> Snapshot:
    """What a set-up pod looks like, without the numbers and handles that each set-up gets anew, and the record's copy,
    of which commas are left."""
    sections = take_snapshot(pod.pod).sections.items()
    cleaned = {name: [_VOLATILE.sub("", line) for line in lines] for name, lines in sections}
    return Snapshot({name: tuple(x for x in lines if any(map(str.isalnum, x))) for name, lines in cleaned.items()})


def difference(pod: Pod, wanted: Snapshot) -> str:
    return wanted.difference(set_up_state(pod))


def assert_set_up(pod: Pod, wanted: Snapshot, when: str) -> None:
    """The kernel brings ports into forwarding a little after they have joined."""
    pod.await_carrier()
    wait_until(lambda: not difference(pod, wanted), 10, log=lambda: f"{when}:\n{difference(pod, wanted)}")


def assert_next_set_up(pod: Pod, way: str, state_dir: Path, wanted: Snapshot, when: str) -> None:
    """The next set-up ends as `wanted`, and its teardown succeeds."""
    set_up, put_back = WAYS[way]
    assert run_in(pod.pod, set_up, state_dir) == SUCCEEDED, when
    assert_set_up(pod, wanted, when)
    assert run_in(pod.pod, put_back, state_dir) == SUCCEEDED


def settled_state(pod: Pod) -> Snapshot:
    """What a pod looks like that was just set up, when the kernel has done all that it does a little later."""
    pod.await_carrier()
    pod.pod.settle()
    wait_until(lambda: not unsettled(pod), log=lambda: unsettled(pod))
    return set_up_state(pod)


def unsettled(pod: Pod) -> list[str]:
    """The links that have a carrier and are not yet operational, or as ports of a bridge do not yet forward."""
    printed = pod.pod.run(["bridge", "-j", "link", "show"]).stdout
    ports = [port for port in json.loads(printed or "[]") if port["state"] != "forwarding"]
    links = [link for link in pod.pod.ip_json("link show") if link["operstate"] not in ("UP", "UNKNOWN")]
    return [link["ifname"] for link in (*ports, *links) if "LOWER_UP" in link["flags"]]


def killed_at_each_step(
    pod: Pod, way: str, action: Action, state_dir: Path, *, lost: int, before: Action | None = None
) -> Iterator[int]:
    """The numbers of the steps of `action`, the pod each time just killed at it. `before` makes the pod ready.

    All files are gone at every other step: the odd ones where `lost` is 1, the even ones where it is 0.
    Tests of one kill and two ways to go on take turns with the files.
    """
    among = carries_dns if way.endswith("local resolvers") else any_step
    for number in range(MOST_STEPS):
        if before:
            assert run_in(pod.pod, before, state_dir) == SUCCEEDED
        status = run_in(pod.pod, action, state_dir, at=number, fault=kill, among=among)
        if status == SUCCEEDED:
            assert number, "no step was taken"
            return
        assert status == KILLED
        if number % 2 == lost:
            shutil.rmtree(state_dir)
        yield number
    raise AssertionError(f"{MOST_STEPS} steps and no end")
