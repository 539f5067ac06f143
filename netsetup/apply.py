"""Plans carried out: a set-up that is whole or not at all, and the way back that ends in exactly the original."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from dhcp.lean.frozen import Frozen, replace
from dhcp.lean.text import is_plain, printable
from netsetup import record as records
from netsetup.bindings.device_names import with_devices
from netsetup.bindings.registry import binding_of
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
from netsetup.kernel.gateway_mac import solicit_gateways, with_gateway_mac
from netsetup.kernel.lock import NamespaceLock
from netsetup.kernel.netns import require_own_namespace, state_directory
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.identity import is_marked
from netsetup.model.kernel import Namespace
from netsetup.model.pod_interface import Resolver
from netsetup.model.request import NetworkRequest
from netsetup.model.vm_network import VMNetwork
from netsetup.plan import (
    Plan,
    admit,
    converge,
    interfaces_of,
    is_replaced,
    is_stale,
    is_untouched,
    other_sysctls,
    plan_setup,
    plan_teardown,
)
from netsetup.preflight import check_prerequisites, check_restorable, explained
from netsetup.record import Record
from netsetup.resolver import read_resolver

log = logging.getLogger("netsetup")

LONGEST_NAME = 200
"""Octets of a network's name; the kernel takes an alias of 255."""
TEARDOWN_ROUNDS = 5
"""Putting back takes two rounds, the second for what the kernel added by itself; more means that it does not settle."""


class Prepared(Frozen):
    """A pod whose interfaces serve the VM."""

    record: Record
    plan: Plan
    """The steps that were (or, in a dry run, would be) taken; empty on a pod that was set up already."""
    fresh: bool
    """Whether the pod was as the CNI left it, rather than set up by an earlier run."""
    discover_ms: float
    plan_ms: float
    apply_ms: float

    @property
    def networks(self) -> dict[str, VMNetwork]:
        """The networks by name."""
        return self.record.networks


def prepare_pod_network_interfaces(
    requests: Iterable[NetworkRequest] = (NetworkRequest(),),
    *,
    state_dir: str | os.PathLike[str] | None = None,
    resolver_path: str = "/etc/resolv.conf",
    dry_run: bool = False,
    host_network: bool = False,
    check: Callable[[Record], object] = lambda record: None,
) -> Prepared:
    """Hand pod interfaces of the current network namespace to the VM, or find them handed over already.

    `host_network` says that this may be the machine's own namespace. What `check` raises about the record that is to
    be, comes before the first change, and in a dry run too.

    When a step fails, what was done is undone and the step's error raised: a NetworkSetupError (`netsetup.errors`);
    NotRestored when undoing failed too.
    """
    require_own_namespace(host_network)
    wanted = _by_name(requests)
    folder = state_directory(state_dir)
    with Netlink() as netlink, NamespaceLock():
        began = time.perf_counter()
        observed = observe(netlink)
        recorded = records.find_record(folder, netlink.namespace_cookie, lambda: observed.copy, observed.links)
        resolver = read_resolver(resolver_path)
        discovered = time.perf_counter()
        if recorded is not None and is_stale(observed, tuple(recorded.networks.values())):
            recorded = None
        fresh = recorded is None or all(is_untouched(observed, n) for n in recorded.networks.values())
        wanted = with_devices(observed, {} if recorded is None or fresh else recorded.networks, wanted)
        if recorded is None or fresh:
            record = _new_record(netlink, observed, wanted, resolver, ask=not dry_run)
        else:
            record = _converged(netlink, observed, recorded, wanted, resolver, ask=not dry_run)
        records.require_readable(record)
        check(record)
        networks = tuple(record.networks.values())
        plan = plan_setup(observed, networks, records.copy_of(record))
        planned = time.perf_counter()
        if not dry_run:
            if fresh:
                check_prerequisites(netlink, plan)
            check_restorable(netlink, observed, record, plan)
            if not records.is_saved(folder, record):
                records.save(folder, record)
            if fresh:
                _carry_out(netlink, observed, plan, record, folder)
            else:
                _converge(netlink, observed, plan, record)
        return Prepared(
            record=record,
            plan=plan,
            fresh=fresh,
            discover_ms=(discovered - began) * 1e3,
            plan_ms=(planned - discovered) * 1e3,
            apply_ms=(time.perf_counter() - planned) * 1e3,
        )


def _by_name(requests: Iterable[NetworkRequest]) -> dict[str, NetworkRequest]:
    """Raises InvalidRequest for two networks of one name, or two that cannot be side by side, and for what is no name.

    A name becomes part of our devices' aliases, by which they are found again.
    """
    listed = list(requests)
    for request in listed:
        name = request.name
        if not is_plain(name) or [name] != name.split() or len(name.encode()) > LONGEST_NAME:
            what = f"1 to {LONGEST_NAME} octets of text without blanks"
            raise InvalidRequest(printable(f"network {name}: its name must be {what}"))
    by_name = {request.name: request for request in listed}
    if len(by_name) < len(listed):
        raise InvalidRequest("two networks of the VM have the same name")
    for binding in dict.fromkeys(request.binding for request in listed):
        names = [request.name for request in listed if request.binding == binding]
        if len(names) > 1 and binding_of(binding).is_private:
            raise InvalidRequest(f"networks {', '.join(names)}: the {binding} binding serves only one")
    return by_name


def _new_record(
    netlink: Netlink, observed: Namespace, wanted: Mapping[str, NetworkRequest], resolver: Resolver, *, ask: bool
) -> Record:
    networks = {name: admit(observed, request, resolver) for name, request in wanted.items()}
    if ask:
        networks = _with_gateway_macs(netlink, networks)
    sysctls = other_sysctls(observed, tuple(networks.values()))
    return Record(
        boot_id=records.boot_id(),
        namespace_cookie=netlink.namespace_cookie,
        networks=networks,
        sysctls=sysctls,
        sysctl_interfaces=interfaces_of(observed, sysctls),
        written=records.clock(),
    )


def _converged(
    netlink: Netlink,
    observed: Namespace,
    record: Record,
    wanted: Mapping[str, NetworkRequest],
    resolver: Resolver,
    *,
    ask: bool,
) -> Record:
    """The record with what has changed since. A setting that it does not have yet is as it is now."""
    require_same(record, wanted)
    networks = {name: converge(observed, network, wanted[name], resolver) for name, network in record.networks.items()}
    if ask and any(is_replaced(observed, network) for network in record.networks.values()):
        networks = _with_gateway_macs(netlink, networks)
    known = dict(record.sysctls)
    later = tuple((k, v) for k, v in other_sysctls(observed, tuple(networks.values())) if k not in known)
    sysctls = record.sysctls + later
    interfaces = interfaces_of(observed, sysctls)
    return _rewritten(record, replace(record, networks=networks, sysctls=sysctls, sysctl_interfaces=interfaces))


def _rewritten(record: Record, changed: Record) -> Record:
    """The changed record with the present time; the same one if nothing is."""
    return record if changed == record else replace(changed, written=records.clock())


def _with_gateway_macs(netlink: Netlink, networks: Mapping[str, VMNetwork]) -> dict[str, VMNetwork]:
    solicit_gateways(netlink, networks.values())
    return {name: with_gateway_mac(netlink, network) for name, network in networks.items()}


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
            _forget(folder)
            return False
        record = _with_changes(observed, record, folder)
        # raises where the record's binding is not installed
        plan_teardown(observed, tuple(record.networks.values()), record.sysctls)
        before()
        _restore(netlink, record)
        _forget(folder)
        return True


def _forget(folder: str) -> None:
    try:
        records.forget(folder)
    except RecordError as error:
        raise NotRestored(f"the pod is as it was, but its record is left: {error}") from None


def _with_changes(observed: Namespace, record: Record, folder: str) -> Record:
    """The record with what the CNI has configured since, saved: what it made is to be there afterwards, too."""
    changed = {name: replace(n, pod=changes_since(observed, n.pod)) for name, n in record.networks.items()}
    if changed == record.networks:
        return record
    record = _rewritten(record, replace(record, networks=changed))
    with contextlib.suppress(RecordError):  # without a file teardown goes by the kernel's copy, as before
        records.save(folder, record)
    return record


def _require_nothing_ours(observed: Namespace) -> None:
    """Raises NotRestored when a set-up of ours is there and no record says what was before."""
    for link in observed.links:
        if is_marked(link):
            raise NotRestored(f"{link.name} is ours, but no record says what the pod was before; left as it is")


def _converge(netlink: Netlink, observed: Namespace, plan: Plan, record: Record) -> None:
    """Run the plan for a pod that is set up, and stays so when it fails: NotRestored then, unless no step was taken."""
    try:
        run(netlink, plan, observed.links)
    except NetworkSetupError as failure:
        try:
            left = plan_setup(observe(netlink), tuple(record.networks.values()), records.copy_of(record)).lines()
        except NetworkSetupError:
            left = ["unknown"]
        if left == plan.lines():
            raise
        raise NotRestored(f"{failure}; the pod stays set up, with this left to do: {_shortened(left)}") from failure


def _carry_out(netlink: Netlink, observed: Namespace, plan: Plan, record: Record, folder: str) -> None:
    """Run the plan of a first set-up; when it fails, undo it."""
    try:
        run(netlink, plan, observed.links)
    except BaseException as failure:
        log.warning("set-up failed, putting everything back: %s", failure)
        try:
            _restore(netlink, record)
        except NetworkSetupError as left:
            raise NotRestored(f"{failure}; and putting it back failed: {left}") from failure
        _forget(folder)
        if not isinstance(failure, NetworkSetupError):
            raise
        error = explained(failure, plan)
        if not isinstance(error, MissingFeature):  # which the first step finds, before it changes anything
            error.exit_code = NetworkSetupError.exit_code
        raise error from None


def _restore(netlink: Netlink, record: Record) -> None:
    """Plan and apply until nothing is left to do."""
    refused: NetworkSetupError | None = None
    networks: Sequence[VMNetwork] = tuple(record.networks.values())
    for _ in range(TEARDOWN_ROUNDS):
        try:
            observed = observe(netlink)
            plan = plan_teardown(observed, networks, record.sysctls)
            if not plan:
                return
            run(netlink, plan, observed.links)
        except (KernelRefused, MissingFeature, NotPermitted, RulesetRefused) as error:
            refused = error
    try:
        left = plan_teardown(observe(netlink), networks, record.sysctls).lines()
    except NetworkSetupError as error:
        raise NotRestored(f"what is left undone cannot be read: {error}; run teardown again") from None
    if left:
        because = f" ({refused})" if refused else ""
        raise NotRestored(f"left undone: {_shortened(left)}{because}")


def _shortened(lines: Sequence[str]) -> str:
    return "; ".join(lines[:5]) + (" …" if len(lines) > 5 else "")


def require_same(record: Record, wanted: Mapping[str, NetworkRequest]) -> None:
    """A pod is set up for one VM; raises InvalidRequest for another one's request, rather than half carry it out."""
    if set(record.networks) != set(wanted):
        raise InvalidRequest(
            f"this pod is set up for networks {', '.join(record.networks)}, not {', '.join(sorted(wanted))}; "
            "run teardown first"
        )
    for name, network in record.networks.items():
        request, devices = wanted[name], (network.pod.name, network.guest_port)
        names = zip((request.pod_interface, request.guest_port), devices, network.requested or devices, strict=True)
        problem = ""
        if request.binding != network.binding:
            problem = f"its binding is {network.binding}, not {request.binding}"
        elif request.mac and request.mac != network.mac:
            problem = f"set up with MAC {network.mac}, not {request.mac}"
        elif request.mtu and min(request.mtu, network.pod.mtu) != network.mtu:
            problem = f"set up with MTU {network.mtu}, not {request.mtu}"
        elif request.owner and request.owner != network.owner:
            problem = f"its guest port was made for {network.owner or 'whoever set it up'}, not {request.owner}"
        elif request.queues != network.queues:
            problem = f"set up with {network.queues} queues, not {request.queues}"
        elif any(asked not in (present, before) for asked, present, before in names):
            problem = f"it joins {' and '.join(devices)}"
        if problem:
            raise InvalidRequest(f"network {name}: {problem}; run teardown first")
