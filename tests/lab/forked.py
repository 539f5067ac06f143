"""Runs set-up and restore in a forked process in a pod's namespace, with a fault at one of the steps.

A fork takes a millisecond where a new Python takes a hundred, and every step has a test.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import netsetup.apply
import netsetup.discover
import netsetup.executor
from lab.namespace import Namespace
from netsetup.apply import prepare_pod_network_interfaces, restore_pod_network_interfaces
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.pod_interface import Resolver
from netsetup.model.request import NetworkRequest
from netsetup.model.settings import FORCE_FORWARDING
from netsetup.steps import (
    AddHostRoute,
    AddLocalRoute,
    AddNeighbour,
    DeleteNeighbour,
    DeleteRoute,
    SetSysctl,
    Step,
)

Fault = Callable[[Step], None]
Action = Callable[[Path], object]
Choice = Callable[[Step], bool]

SUCCEEDED, FAILED = 0, 1
KILLED = -signal.SIGKILL


def set_up(state_dir: Path) -> None:
    prepare_pod_network_interfaces(state_dir=state_dir)


def put_back(state_dir: Path) -> None:
    restore_pod_network_interfaces(state_dir)


def masquerade(state_dir: Path) -> None:
    prepare_pod_network_interfaces([NetworkRequest(binding="masquerade")], state_dir=state_dir)


def masquerade_before_6_17(state_dir: Path) -> None:
    """Set up as on a kernel that can forward IPv6 only for all interfaces or for none."""
    _forget_force_forwarding()
    masquerade(state_dir)


def put_back_before_6_17(state_dir: Path) -> None:
    _forget_force_forwarding()
    put_back(state_dir)


def _forget_force_forwarding() -> None:
    netsetup.discover.SYSCTLS = tuple(key for key in netsetup.discover.SYSCTLS if key != FORCE_FORWARDING)


def fwd(state_dir: Path) -> None:
    prepare_pod_network_interfaces([NetworkRequest(binding="fwd")], state_dir=state_dir)


def with_local_resolvers(action: Action) -> Action:
    """The same in a pod whose name servers only the pod itself can reach."""

    def set_up(state_dir: Path) -> None:
        netsetup.apply.read_resolver = lambda _path: Resolver(("127.0.0.11", "::1"))
        action(state_dir)

    return set_up


WAYS: dict[str, tuple[Action, Action]] = {
    "bridge": (set_up, put_back),
    "fwd": (fwd, put_back),
    "bridge with local resolvers": (with_local_resolvers(set_up), put_back),
    "fwd with local resolvers": (with_local_resolvers(fwd), put_back),
    "masquerade": (masquerade, put_back),
    "masquerade before 6.17": (masquerade_before_6_17, put_back_before_6_17),
}
"""How to set a pod up and restore it, by the name of the binding."""


def any_step(_step: Step) -> bool:
    """Each of them."""
    return True


def carries_dns(step: Step) -> bool:
    """Whether a set-up of a pod without neighbours, or its way back, has this step for a carried name server alone."""
    if isinstance(step, SetSysctl):
        return "route_localnet" in step.key
    return isinstance(step, AddHostRoute | AddLocalRoute | AddNeighbour | DeleteRoute | DeleteNeighbour)


def run_in(
    namespace: Namespace,
    action: Action,
    state_dir: Path,
    *,
    at: int | None = None,
    fault: Fault | None = None,
    among: Choice = any_step,
) -> int:
    """Run `action` in the namespace, with `fault` before its step number `at`; SUCCEEDED, FAILED or minus a signal.

    Steps are counted from 0 over all plans of the action, `among` those chosen. If `at` is beyond the last step, the
    fault is never called; without `at` it is called before every step.
    """
    with namespace.entered():
        child = os.fork()
        if child == 0:
            status = FAILED
            try:
                with _fault_at(at, fault, among) if fault else contextlib.nullcontext():
                    action(state_dir)
                status = SUCCEEDED
            finally:
                os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(_step: Step) -> None:
    """Kill the process by SIGKILL before this step."""
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def _fault_at(number: int | None, fault: Fault, among: Choice) -> Iterator[None]:
    request = netsetup.executor._request
    counter = itertools.count()

    def request_or_fault(netlink: Netlink, step: Step, indexes: dict[str, int]) -> None:
        if among(step) and (next(counter) == number or number is None):
            fault(step)
        request(netlink, step, indexes)

    netsetup.executor._request = request_or_fault
    try:
        yield
    finally:
        netsetup.executor._request = request
