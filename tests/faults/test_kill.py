"""SIGKILL at every moment: the pod always comes to where the next run wants it, with all files or without any."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.forked import KILLED, SUCCEEDED, WAYS, Action, any_step, carries_dns, kill, run_in
from lab.pod import MakePod, Pod
from lab.rawclient import RawClient
from lab.snapshot import Snapshot, assert_restored, take_snapshot
from lab.waiting import PATIENCE, wait_until

from netsetup.kernel import gateway_mac

pytestmark = pytest.mark.root

# Dual stack with many routes; an address whose connected route the CNI has taken away.
SHAPES = (
    ("ovn-kubernetes", "bridge"),
    ("ptp", "bridge"),
    ("ovn-kubernetes", "fwd"),
    ("ptp", "fwd"),
    ("ovn-kubernetes", "masquerade"),
    ("ovn-kubernetes", "masquerade before 6.17"),
)
CASES = tuple((*shape, files) for shape in SHAPES for files in ("kept", "lost"))
# With a name server that only the pod can reach: killed at the steps which that adds.
BRIDGE_DNS, FWD_DNS = (("ovn-kubernetes", f"{way} with local resolvers") for way in ("bridge", "fwd"))
MOST_STEPS = 200

_VOLATILE = re.compile(
    r'"(ifindex|link|port_id|designated_port)": ?("?[\w-]+"?)|comment "[^"]*"|0x[0-9a-f]{8} |packets \d+ bytes \d+'
)


@pytest.fixture(autouse=True)
def gateways_are_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set up tells whether the gateway answered in time, which on a busy machine it does not always."""
    monkeypatch.setattr(gateway_mac, "RESOLVE_SECONDS", PATIENCE)


def set_up_state(pod: Pod) -> Snapshot:
    """What a set-up pod looks like, without the numbers and handles that each set-up gets anew."""
    sections = take_snapshot(pod.pod).sections
    return Snapshot({name: tuple(_VOLATILE.sub("", line) for line in lines) for name, lines in sections.items()})


def difference(pod: Pod, wanted: Snapshot) -> str:
    return wanted.difference(set_up_state(pod))


def assert_set_up(pod: Pod, wanted: Snapshot, when: str) -> None:
    """The kernel brings ports into forwarding a little after they have joined."""
    pod.await_carrier()
    wait_until(lambda: not difference(pod, wanted), 10, log=lambda: f"{when}:\n{difference(pod, wanted)}")


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
    pod: Pod, way: str, action: Action, state_dir: Path, before: Action | None = None
) -> Iterator[int]:
    """The numbers of the steps of `action`, the pod each time just killed at it. `before` makes the pod ready."""
    among = carries_dns if way.endswith("local resolvers") else any_step
    for number in range(MOST_STEPS):
        if before:
            assert run_in(pod.pod, before, state_dir) == SUCCEEDED
        status = run_in(pod.pod, action, state_dir, at=number, fault=kill, among=among)
        if status == SUCCEEDED:
            assert number, "no step was taken"
            return
        assert status == KILLED
        yield number
    raise AssertionError(f"{MOST_STEPS} steps and no end")


@pytest.mark.parametrize(("shape", "way", "files"), [*CASES, (*FWD_DNS, "kept"), (*BRIDGE_DNS, "lost")])
def test_a_killed_set_up_is_put_back(make_pod: MakePod, shape: str, way: str, files: str, tmp_path: Path) -> None:
    set_up, put_back = WAYS[way]
    pod = make_pod(shape)
    original = take_snapshot(pod.pod)
    for number in killed_at_each_step(pod, way, set_up, tmp_path):
        if files == "lost":
            shutil.rmtree(tmp_path)
        assert run_in(pod.pod, put_back, tmp_path) == SUCCEEDED, f"killed at step {number}"
        assert_restored(pod.pod, original)


@pytest.mark.parametrize(("shape", "way", "files"), [*CASES, (*BRIDGE_DNS, "kept"), (*FWD_DNS, "lost")])
def test_a_killed_set_up_is_finished_by_the_next(
    make_pod: MakePod, shape: str, way: str, files: str, tmp_path: Path
) -> None:
    set_up, put_back = WAYS[way]
    pod = make_pod(shape)
    pod.guest.write_sysctl("ipv6/conf/eth0/disable_ipv6", 1)
    pod.guest.ip("link set eth0 up")  # the loss of carrier would be noticed at some later time
    original = take_snapshot(pod.pod)
    assert run_in(pod.pod, set_up, tmp_path) == SUCCEEDED
    wanted = settled_state(pod)
    assert run_in(pod.pod, put_back, tmp_path) == SUCCEEDED
    for number in killed_at_each_step(pod, way, set_up, tmp_path):
        if files == "lost":
            shutil.rmtree(tmp_path)
        assert run_in(pod.pod, set_up, tmp_path) == SUCCEEDED, f"killed at step {number}"
        assert_set_up(pod, wanted, f"killed at step {number}")
        assert run_in(pod.pod, put_back, tmp_path) == SUCCEEDED
        assert_restored(pod.pod, original)


@pytest.mark.parametrize(("shape", "way", "files"), [*CASES, (*FWD_DNS, "kept"), (*FWD_DNS, "lost")])
def test_a_killed_teardown_is_finished_by_the_next(
    make_pod: MakePod, shape: str, way: str, files: str, tmp_path: Path
) -> None:
    set_up, put_back = WAYS[way]
    pod = make_pod(shape)
    original = take_snapshot(pod.pod)
    for number in killed_at_each_step(pod, way, put_back, tmp_path, before=set_up):
        if files == "lost":
            shutil.rmtree(tmp_path)
        assert run_in(pod.pod, put_back, tmp_path) == SUCCEEDED, f"killed at step {number}"
        assert_restored(pod.pod, original)


@pytest.mark.parametrize("verb", ["prestart", "teardown"])
def test_the_program_is_killed_at_any_moment(make_pod: MakePod, verb: str) -> None:
    """Whatever it was doing, the DHCP server's start included: the next hook ends with an answer, the next teardown
    with the pod as it was."""
    pod = make_pod("ovn-kubernetes")
    pod.guest.ip("link set eth0 up")
    original = take_snapshot(pod.pod)
    with Agent(pod) as agent:
        for milliseconds in range(5, 150, 8):
            if verb == "teardown":
                agent.prestart()
            process = pod.pod.popen(agent.command(verb))
            time.sleep(milliseconds / 1000)
            process.kill()
            process.wait()
            if milliseconds // 8 % 2:
                pid = agent.prestart()["dhcp"]["pid"]
                with RawClient(pod.guest) as client:
                    assert client.discover(), f"killed after {milliseconds} ms"
                assert pod.pod.processes() == [pid]
            agent.teardown()
            assert_restored(pod.pod, original)
            assert pod.pod.processes() == []
            assert not agent.state_directory.exists()


@pytest.mark.parametrize(("shape", "way"), [*SHAPES, FWD_DNS])
def test_a_killed_teardown_may_be_followed_by_a_set_up(make_pod: MakePod, shape: str, way: str, tmp_path: Path) -> None:
    set_up, put_back = WAYS[way]
    pod = make_pod(shape)
    pod.guest.write_sysctl("ipv6/conf/eth0/disable_ipv6", 1)
    pod.guest.ip("link set eth0 up")  # the loss of carrier would be noticed at some later time
    original = take_snapshot(pod.pod)
    assert run_in(pod.pod, set_up, tmp_path) == SUCCEEDED
    wanted = settled_state(pod)
    for number in killed_at_each_step(pod, way, put_back, tmp_path, before=set_up):
        assert run_in(pod.pod, set_up, tmp_path) == SUCCEEDED, f"killed at step {number}"
        assert_set_up(pod, wanted, f"killed at step {number}")
        assert run_in(pod.pod, put_back, tmp_path) == SUCCEEDED
        assert_restored(pod.pod, original)
