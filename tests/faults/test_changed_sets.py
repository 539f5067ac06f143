"""A VM gets a second network, and loses it again: exactly that changes, whichever step fails or is the last."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.forked import FAILED, KILLED, SUCCEEDED, Action, kill, put_back, run_in
from lab.killed import set_up_state, settled_state
from lab.pod import MakePod, Pod
from lab.snapshot import Snapshot, assert_restored, take_snapshot
from lab.waiting import wait_until

from netsetup.apply import prepare_pod_network_interfaces
from netsetup.errors import KernelRefused
from netsetup.model.request import NetworkRequest
from netsetup.steps import Step

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("gateways_are_awaited")]

PAIRS = (("bridge", "bridge"), ("masquerade", "bridge"), ("fwd", "fwd"), ("bridge", "fwd"), ("fwd", "masquerade"))
MOST_STEPS = 100
_UNUSED = re.compile(r"/(tap[01]|k6t-\w+|net1)/(arp_ignore|accept_ra) ")


class Sets:
    """A pod with a second interface, and what it looks like with one network and with both."""

    def __init__(self, pod: Pod, state_dir: Path, first: str, second: str) -> None:
        # the pod network is the second one where that is masqueraded, as only the pod network can be
        names = ("net1", "eth0") if second == "masquerade" else ("eth0", "net1")
        one = NetworkRequest("a", first, names[0], is_pod_network=names[0] == "eth0")
        two = NetworkRequest("b", second, names[1], is_pod_network=names[1] == "eth0", guest_port="tap1")
        self.pod, self.state_dir = pod, state_dir
        self.one, self.both = action(one), action(one, two)
        pod.plug_guest("02:00:00:00:00:71", "tap1", "eth1")
        for nic in ("eth0", "eth1"):
            pod.guest.write_sysctl(f"ipv6/conf/{nic}/disable_ipv6", 1)
            pod.guest.ip(f"link set {nic} up")
        pod.node.ip("link add far1 type veth peer name net1 netns " + pod.pod.name, "link set far1 up")
        pod.pod.ip("link set net1 up", "addr add 198.51.100.5/24 dev net1", "addr add 2001:db8:7::5/64 dev net1 nodad")
        pod.pod.ip("route add 203.0.113.0/24 via 198.51.100.1 metric 7")
        pod.pod.settle()
        self.original = take_snapshot(pod.pod)
        self.with_one = self.after(self.one)
        self.with_both = self.after(self.both)

    def run(self, action: Action, *, at: int | None = None, fault: Callable[[Step], None] | None = None) -> int:
        return run_in(self.pod.pod, action, self.state_dir, at=at, fault=fault)

    def after(self, action: Action) -> Snapshot:
        assert self.run(action) == SUCCEEDED
        return essential(settled_state(self.pod))

    def assert_leads_to(self, action: Action, wanted: Snapshot, when: str) -> None:
        assert self.run(action) == SUCCEEDED, when
        self.assert_is(wanted, when)

    def assert_is(self, wanted: Snapshot, when: str) -> None:
        self.pod.await_carrier()
        wait_until(lambda: not self.differs(wanted), 10, log=lambda: f"{when}:\n{self.differs(wanted)}")

    def differs(self, wanted: Snapshot) -> str:
        return wanted.difference(essential(set_up_state(self.pod)))

    def assert_put_back(self) -> None:
        assert self.run(put_back) == SUCCEEDED
        assert_restored(self.pod.pod, self.original)


def essential(state: Snapshot) -> Snapshot:
    """Without two settings of interfaces that have no address: they depend on which network was there first."""
    sections = {n: tuple(line for line in lines if not _UNUSED.search(line)) for n, lines in state.sections.items()}
    return Snapshot(sections)


def action(*requests: NetworkRequest) -> Action:
    return lambda state_dir: prepare_pod_network_interfaces(requests, state_dir=state_dir)


def refuse(step: Step) -> None:
    raise KernelRefused(str(step), errno.ENOMEM)


@pytest.fixture(params=PAIRS, ids=" and ".join)
def sets(request: pytest.FixtureRequest, make_pod: MakePod, tmp_path: Path) -> Sets:
    return Sets(make_pod("ovn-kubernetes"), tmp_path / "state", *request.param)


def test_a_network_comes_and_goes(sets: Sets) -> None:
    sets.assert_leads_to(sets.one, sets.with_one, "without the second")
    sets.assert_leads_to(sets.both, sets.with_both, "with the second again")
    sets.assert_put_back()


@pytest.mark.parametrize("sets", [("bridge", "fwd"), ("masquerade", "bridge")], ids=" and ".join, indirect=True)
def test_every_step_of_adding_a_network_may_fail(sets: Sets) -> None:
    """What was there serves on as it was."""
    assert sets.run(sets.one) == SUCCEEDED
    for number in range(MOST_STEPS):
        if sets.run(sets.both, at=number, fault=refuse) == SUCCEEDED:
            assert number > 5
            break
        sets.assert_is(sets.with_one, f"step {number} failed")
    sets.assert_is(sets.with_both, "no step failed")
    sets.assert_put_back()


@pytest.mark.parametrize("sets", [("bridge", "bridge"), ("fwd", "masquerade")], ids=" and ".join, indirect=True)
@pytest.mark.parametrize("adds", [True, False], ids=["added", "removed"])
def test_a_change_that_is_killed_at_any_step(sets: Sets, adds: bool) -> None:
    """The next hook finishes it, or undoes it, or puts the pod back, in turns; now and then all files are lost."""
    before, change = (sets.one, sets.both) if adds else (sets.both, sets.one)
    was, wanted = (sets.with_one, sets.with_both) if adds else (sets.with_both, sets.with_one)
    for number in range(MOST_STEPS):
        assert sets.run(before) == SUCCEEDED
        status = sets.run(change, at=number, fault=kill)
        if status == SUCCEEDED:
            assert number > 5
            break
        assert status == KILLED
        if number % 2:
            shutil.rmtree(sets.state_dir)
        if number % 3 == 0:
            sets.assert_leads_to(change, wanted, f"killed at step {number}")
        elif number % 3 == 1:
            sets.assert_leads_to(before, was, f"killed at step {number}")
        else:
            sets.assert_put_back()
    sets.assert_put_back()


@pytest.mark.parametrize("sets", [("bridge", "fwd"), ("masquerade", "bridge")], ids=" and ".join, indirect=True)
def test_a_removal_that_fails_says_what_is_left(sets: Sets) -> None:
    """And the next hook finishes it."""
    for number in (0, 4):
        assert sets.run(sets.both) == SUCCEEDED
        assert sets.run(sets.one, at=number, fault=refuse) in (SUCCEEDED, FAILED), "a second round may succeed"
        sets.assert_leads_to(sets.one, sets.with_one, f"step {number} failed")
