"""Plans carried out: a set-up that is whole or not at all, and the way back that ends in exactly the original."""

import dataclasses
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from netsetup import record as state
from netsetup.discover import observe, pod_interface
from netsetup.errors import InvalidRequest, KernelRefused, NetworkSetupError, NotPermitted, NotRestored
from netsetup.executor import run
from netsetup.gateway_mac import ask_for_routers, with_router_mac
from netsetup.kernel.netns import state_directory
from netsetup.kernel.rtnetlink import Netlink
from netsetup.lock import NamespaceLock
from netsetup.model.kernel import ALIAS, Namespace
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.vm_network import VMNetwork, canonical
from netsetup.plan import (
    NetworkRequest,
    Plan,
    describe_network,
    is_replaced,
    is_untouched,
    other_sysctls,
    plan_setup,
    plan_teardown,
    with_new_interface,
    with_news,
)
from netsetup.preflight import explain, require_means
from netsetup.record import Record
from netsetup.resolver import read_resolver

log = logging.getLogger("netsetup")

TEARDOWN_ROUNDS = 5
"""Putting back takes two rounds, the second for what the kernel added by itself; more means that it does not settle."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A pod whose interfaces serve the VM."""

    networks: tuple[VMNetwork, ...]
    plan: Plan
    """The steps that were (or, in a dry run, would be) taken; empty on a pod that was set up already."""
    fresh: bool
    """Whether the pod was as the CNI left it, rather than set up by an earlier run."""
    discover_ms: float
    plan_ms: float
    apply_ms: float


def prepare_pod_network_interfaces(
    requests: Sequence[NetworkRequest] = (NetworkRequest(),),
    *,
    state_dir: str | os.PathLike[str] | None = None,
    resolver_path: str = "/etc/resolv.conf",
    dry_run: bool = False,
) -> Prepared:
    """Hand pod interfaces of the current network namespace to the VM, or find them handed over already.

    When a step fails, what was done is undone and the step's error raised: a NetworkSetupError, as model.py has them;
    NotRestored when undoing failed too.
    """
    folder = state_directory(state_dir)
    with Netlink() as netlink, NamespaceLock():
        began = time.perf_counter()
        observed = observe(netlink)
        record = state.find(folder, netlink.namespace_cookie, observed.copy)
        resolver = read_resolver(resolver_path)
        discovered = time.perf_counter()
        recorded, fresh = record, record is None or all(is_untouched(observed, n) for n in record.networks)
        if record is None or fresh:
            _require_one_translation(requests)
            pods = [_interface(observed, r, resolver) for r in requests]
            networks = tuple(describe_network(observed, pod, r) for pod, r in zip(pods, requests, strict=True))
            if not dry_run:
                networks = _with_router_macs(netlink, networks)
            record = Record(
                boot_id=state.boot_id(),
                namespace_cookie=netlink.namespace_cookie,
                networks=networks,
                sysctls=other_sysctls(observed, networks),
            )
        else:
            _require_same(record, requests)
            wishes = {request.name: request for request in requests}
            networks = tuple(_today(observed, n, wishes[n.name], resolver) for n in record.networks)
            if not dry_run and any(is_replaced(observed, n) for n in record.networks):
                networks = _with_router_macs(netlink, networks)
            record = dataclasses.replace(record, networks=networks)
        plan = plan_setup(observed, networks, state.copy_of(record))
        planned = time.perf_counter()
        if not dry_run:
            if fresh:
                require_means(netlink, plan, networks)
            if record != recorded or not state.is_saved(folder):
                state.save(folder, record)
            _carry_out(netlink, plan, record, folder if fresh else None)
        return Prepared(
            networks=record.networks,
            plan=plan,
            fresh=fresh,
            discover_ms=(discovered - began) * 1e3,
            plan_ms=(planned - discovered) * 1e3,
            apply_ms=(time.perf_counter() - planned) * 1e3,
        )


def _interface(observed: Namespace, request: NetworkRequest, resolver: Resolver) -> PodInterface:
    return pod_interface(observed, request.pod_interface, resolver, becomes_port=request.binding != "masquerade")


def _today(observed: Namespace, network: VMNetwork, request: NetworkRequest, resolver: Resolver) -> VMNetwork:
    """A recorded network with what has changed in the pod since."""
    if is_replaced(observed, network):
        return with_new_interface(observed, network, _interface(observed, request, resolver), request)
    return with_news(observed, network, request, resolver)


def _with_router_macs(netlink: Netlink, networks: Sequence[VMNetwork]) -> tuple[VMNetwork, ...]:
    ask_for_routers(netlink, networks)
    return tuple(with_router_mac(netlink, network) for network in networks)


def restore_pod_network_interfaces(state_dir: str | os.PathLike[str] | None = None) -> bool:
    """Put the pod of the current network namespace back as the record has it; False when there is nothing to put back.

    Raises NotRestored when something could not be put back, with what is left to do.
    """
    folder = state_directory(state_dir)
    with Netlink() as netlink, NamespaceLock():
        observed = observe(netlink)
        record = state.find(folder, netlink.namespace_cookie, observed.copy)
        if record is None:
            _require_nothing_ours(observed)
            return False
        _restore(netlink, record)
        state.forget(folder)
        return True


def _require_nothing_ours(observed: Namespace) -> None:
    """Raises NotRestored when a set-up of ours is there and no record tells what was before."""
    for link in observed.links:
        if link.kind == "bridge" and link.alias.startswith(ALIAS):
            raise NotRestored(f"{link.name} is ours, but no record tells what the pod was before; left as it is")


def _carry_out(netlink: Netlink, plan: Plan, record: Record, folder: Path | None) -> None:
    """Run a plan; when it fails and `folder` says that the set-up is ours to undo, undo it."""
    try:
        run(netlink, plan)
    except BaseException as failure:
        if folder is None:
            raise
        log.warning("set-up failed, putting everything back: %s", failure)
        try:
            _restore(netlink, record)
        except NetworkSetupError as left:
            raise NotRestored(f"{failure}; and putting it back failed: {left}") from failure
        state.forget(folder)
        explain(failure, record.networks)
        raise


def _restore(netlink: Netlink, record: Record) -> None:
    """Plan and apply until nothing is left to do."""
    refused: NetworkSetupError | None = None
    for _ in range(TEARDOWN_ROUNDS):
        plan = plan_teardown(observe(netlink), record.networks, record.sysctls)
        if not plan:
            return
        try:
            run(netlink, plan)
        except (KernelRefused, NotPermitted) as error:
            refused = error
    left = plan_teardown(observe(netlink), record.networks, record.sysctls).lines()
    if left:
        because = f" ({refused})" if refused else ""
        raise NotRestored(f"left undone: {'; '.join(left[:5])}{' …' if len(left) > 5 else ''}{because}")


def _require_one_translation(requests: Sequence[NetworkRequest]) -> None:
    masqueraded = [request.name for request in requests if request.binding == "masquerade"]
    if len(masqueraded) > 1:
        raise InvalidRequest(f"networks {', '.join(masqueraded)}: only one can be masqueraded")


def _require_same(record: Record, requests: Sequence[NetworkRequest]) -> None:
    """A pod is set up for one VM; another one's wishes are refused rather than half followed."""
    there = {n.name: n for n in record.networks}
    asked = {r.name for r in requests}
    if set(there) != asked:
        raise InvalidRequest(
            f"this pod is set up for networks {', '.join(there)}, not {', '.join(sorted(asked))}; run teardown first"
        )
    for request in requests:
        network = there[request.name]
        if request.binding != network.binding:
            raise InvalidRequest(
                f"network {request.name}: its binding is {network.binding}, not {request.binding}; run teardown first"
            )
        if network.masquerade:
            wanted, there_is = canonical(request.masquerade), network.masquerade
            if (wanted.network4, wanted.network6) != (there_is.network4, there_is.network6):
                raise InvalidRequest(
                    f"network {request.name}: the VM's networks are {there_is.network4} and {there_is.network6}; "
                    "run teardown first"
                )
        if request.mac and request.mac != network.mac:
            raise InvalidRequest(
                f"network {request.name}: set up with MAC {network.mac}, not {request.mac}; run teardown first"
            )
        if request.mtu and min(request.mtu, network.pod.mtu) != network.mtu:
            raise InvalidRequest(
                f"network {request.name}: set up with MTU {network.mtu}, not {request.mtu}; run teardown first"
            )
        if (request.pod_interface, request.guest_port) != (network.pod.name, network.guest_port):
            raise InvalidRequest(
                f"network {request.name}: it joins {network.pod.name} and {network.guest_port}; run teardown first"
            )
