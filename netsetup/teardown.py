"""The way back: a pod, or some of its networks, put back as the record has it."""

import contextlib
import logging
import os
from collections.abc import Callable, Collection, Sequence
from typing import Final

from dhcp.lean.frozen import replace
from netsetup import record as records
from netsetup.bindings.restore import changes_since
from netsetup.discover import observe
from netsetup.errors import (
    InvalidRequest,
    KernelRefused,
    MissingFeature,
    NetworkSetupError,
    NotPermitted,
    NotRestored,
    RecordError,
    RulesetRefused,
)
from netsetup.executor import run
from netsetup.kernel.lock import NamespaceLock
from netsetup.kernel.netns import require_own_namespace, state_directory
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.identity import is_marked
from netsetup.model.kernel import Namespace
from netsetup.model.vm_network import VMNetwork
from netsetup.plan import Plan, interfaces_of, is_stale, other_sysctls, plan_release, plan_teardown, settings_to_keep
from netsetup.record import Record

log = logging.getLogger("netsetup")

ROUNDS: Final = 5
"""Putting back takes two rounds, the second for what the kernel added by itself; more means that it does not settle."""


def restore_pod_network_interfaces(
    state_dir: str | os.PathLike[str] | None = None,
    *,
    host_network: bool = False,
    before: Callable[[], object] = lambda: None,
) -> bool:
    """Put the pod of the current network namespace back as the record has it; False when there is nothing to put back.

    `before` is called before the first change, once it is known what is to be put back.
    Raises NotRestored when something could not be put back, with what is left to do, and InvalidRequest in the
    machine's own namespace unless `host_network` says that it is meant.
    """
    try:
        require_own_namespace(host_network)
        return _put_back(state_directory(state_dir), before)
    except (NotRestored, InvalidRequest):
        raise
    except NetworkSetupError as error:
        raise NotRestored(f"nothing was put back: {error}; run teardown again") from None


def _put_back(folder: str, before: Callable[[], object]) -> bool:
    with Netlink() as netlink, NamespaceLock():
        observed = observe(netlink)
        record = records.find_record(folder, netlink.namespace_cookie, lambda: observed.copy, observed.links)
        if record is None:
            _require_nothing_ours(observed)
            before()
            return False
        if is_stale(observed, tuple(record.networks.values())):
            log.warning("%s: the record is of a set-up that is no more; it is removed, and nothing is put back", folder)
            before()
            forget(folder)
            return False
        record = with_changes(observed, record, folder)
        # raises where the record's binding is not installed
        plan_teardown(observed, tuple(record.networks.values()), record.sysctls)
        before()
        restore(netlink, record)
        forget(folder)
        return True


def forget(folder: str) -> None:
    try:
        records.forget(folder)
    except RecordError as error:
        raise NotRestored(f"the pod is as it was, but its record is left: {error}") from None


def with_changes(observed: Namespace, record: Record, folder: str = "") -> Record:
    """The record with what the CNI has configured since, saved in the folder: what it made is to be there afterwards,
    too, also when this process is killed on the way."""
    changed = {name: replace(n, pod=changes_since(observed, n.pod)) for name, n in record.networks.items()}
    if changed == record.networks:
        return record
    record = records.rewritten(record, replace(record, networks=changed))
    if folder:
        with contextlib.suppress(RecordError):  # without a file it goes by the kernel's copy, as before
            records.save(folder, record)
    return record


def _require_nothing_ours(observed: Namespace) -> None:
    """Raises NotRestored when a set-up of ours is there and no record says what was before."""
    for link in observed.links:
        if is_marked(link):
            raise NotRestored(f"{link.name} is ours, but no record says what the pod was before; left as it is")


def restore(netlink: Netlink, record: Record) -> None:
    """Put the whole pod back. Raises NotRestored."""
    networks = tuple(record.networks.values())
    _settle(netlink, lambda observed: plan_teardown(observed, networks, record.sysctls))


def release(netlink: Netlink, record: Record, names: Collection[str]) -> Record:
    """Put some networks back, and nothing else; the record of those that stay. Raises NotRestored."""
    networks, copy = tuple(record.networks.values()), records.copy_of(record)
    _settle(netlink, lambda observed: plan_release(observed, networks, names, record.sysctls, copy))
    kept = {name: network for name, network in record.networks.items() if name not in names}
    observed = observe(netlink)
    keep = settings_to_keep(observed, tuple(kept.values()))
    left = replace(record, sysctls=tuple(setting for setting in record.sysctls if setting[0] in keep))
    return with_networks(observed, left, kept)


def with_networks(observed: Namespace, record: Record, networks: dict[str, VMNetwork]) -> Record:
    """The record with these networks. A setting of other interfaces that it does not have yet is as it is now."""
    own = {key for network in networks.values() for key, _ in network.pod.sysctls + network.adopted_sysctls}
    sysctls = tuple(setting for setting in record.sysctls if setting[0] not in own)
    known = {key for key, _ in sysctls}
    sysctls += tuple(s for s in other_sysctls(observed, tuple(networks.values())) if s[0] not in known)
    interfaces = interfaces_of(observed, sysctls)
    changed = replace(record, networks=networks, sysctls=sysctls, sysctl_interfaces=interfaces)
    return records.rewritten(record, changed)


def _settle(netlink: Netlink, plan_for: Callable[[Namespace], Plan]) -> None:
    """Plan and apply until nothing is left to do."""
    refused: NetworkSetupError | None = None
    for _ in range(ROUNDS):
        try:
            observed = observe(netlink)
            plan = plan_for(observed)
            if not plan:
                return
            run(netlink, plan, observed.links)
        except (KernelRefused, MissingFeature, NotPermitted, RulesetRefused) as error:
            refused = error
    try:
        left = plan_for(observe(netlink)).lines()
    except NetworkSetupError as error:
        raise NotRestored(f"what is left undone cannot be read: {error}; run teardown again") from None
    if left:
        because = f" ({refused})" if refused else ""
        raise NotRestored(f"left undone: {shortened(left)}{because}")


def shortened(lines: Sequence[str]) -> str:
    return "; ".join(lines[:5]) + (" …" if len(lines) > 5 else "")
