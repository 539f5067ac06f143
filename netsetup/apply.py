"""Plans carried out: a set-up that is whole or not at all, and the way back that ends in exactly the original."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from dhcp.lean.frozen import Frozen, replace
from dhcp.lean.text import is_plain, printable
from netsetup import record as records
from netsetup.bindings.device_names import with_devices
from netsetup.bindings.devices import serves
from netsetup.bindings.registry import binding_of
from netsetup.discover import observe
from netsetup.errors import (
    InvalidRequest,
    MissingFeature,
    NetworkSetupError,
    NotRestored,
    NotSetUp,
)
from netsetup.executor import run
from netsetup.kernel.gateway_mac import solicit_gateways, with_gateway_mac
from netsetup.kernel.lock import NamespaceLock
from netsetup.kernel.netns import require_own_namespace, state_directory
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.kernel import Namespace
from netsetup.model.pod_interface import Resolver
from netsetup.model.request import NetworkRequest
from netsetup.model.vm_network import VMNetwork
from netsetup.plan import (
    Plan,
    admit,
    converge,
    is_replaced,
    is_stale,
    is_untouched,
    plan_release,
    plan_setup,
)
from netsetup.preflight import check_prerequisites, check_restorable, explained
from netsetup.record import Record
from netsetup.resolver import read_resolver
from netsetup.teardown import (
    forget,
    release,
    restore,
    restore_pod_network_interfaces,
    shortened,
    with_changes,
    with_networks,
)

__all__ = ["Prepared", "prepare_pod_network_interfaces", "restore_pod_network_interfaces"]

log = logging.getLogger("netsetup")

TEARDOWN_FIRST = "; run teardown first"
"""What to do about a pod that is set up otherwise, unless somebody is at work there, such as a VM that runs."""
LONGEST_NAME = 200
"""Octets of a network's name; the kernel takes an alias of 255."""


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
    removes: bool = True,
    left_out: tuple[str, ...] | None = None,
    follows: bool = False,
    check: Callable[[Record], object] = lambda record: None,
) -> Prepared:
    """Hand pod interfaces of the current network namespace to the VM, or find them handed over already.

    Of a pod that is set up, networks that are no longer asked for are put back where `removes` says that it is meant,
    new ones are added, and the others stay with what has changed since.

    `left_out` is recorded, None leaves that as it is. A caller that `follows` a pod does not want one set up that is
    not (NotSetUp), and has networks stay as they are whose pod interface the CNI has taken away, or left without what
    the VM is behind.
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
        if recorded is not None and _is_over(observed, recorded):
            recorded = None
        if recorded is None and follows:
            raise NotSetUp("nothing is set up in this network namespace any more")
        fresh, gone = recorded is None, _gone(recorded, wanted, removes)
        advice = "" if follows else TEARDOWN_FIRST
        ask = not dry_run and not gone
        record = _next_record(netlink, observed, recorded, wanted, resolver, left_out, ask=ask, advice=advice)
        records.require_readable(record)
        check(record)
        plan = _plan_of(observed, record, follows=follows)
        before = Plan()
        if recorded is not None and gone:
            recorded = with_changes(observed, recorded, "" if dry_run else folder)
            networks, copy = tuple(recorded.networks.values()), records.copy_of(recorded)
            before = plan_release(observed, networks, gone, recorded.sysctls, copy)
        planned = time.perf_counter()
        if not dry_run and recorded is not None and gone:
            recorded = release(netlink, recorded, gone)
            observed = observe(netlink)
            record = _next_record(netlink, observed, recorded, wanted, resolver, left_out, ask=True, advice=advice)
            plan = _plan_of(observed, record, follows=follows)
        if not dry_run:
            with _after_release(gone):
                _carry_out(netlink, observed, recorded, record, plan, folder)
        return Prepared(
            record=record,
            plan=Plan(before.steps + plan.steps),
            fresh=fresh,
            discover_ms=(discovered - began) * 1e3,
            plan_ms=(planned - discovered) * 1e3,
            apply_ms=(time.perf_counter() - planned) * 1e3,
        )


def _is_over(observed: Namespace, recorded: Record) -> bool:
    """Whether nothing is left of a recorded set-up, or nothing of it has been done: the pod is to be read anew."""
    networks = tuple(recorded.networks.values())
    return is_stale(observed, networks) or all(is_untouched(observed, network) for network in networks)


def _plan_of(observed: Namespace, record: Record, *, follows: bool = False) -> Plan:
    networks = tuple(record.networks.values())
    without = [network.name for network in networks if not serves(observed, network)] if follows else []
    return plan_setup(observed, networks, records.copy_of(record), without=without)


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


def _gone(recorded: Record | None, wanted: Mapping[str, NetworkRequest], removes: bool) -> tuple[str, ...]:
    """The networks that are to be put back. Raises InvalidRequest for some that are not meant to be."""
    gone = tuple(name for name in recorded.networks if name not in wanted) if recorded else ()
    if recorded is not None and gone and not removes:
        require_same(recorded, wanted)
    return gone


def _next_record(
    netlink: Netlink,
    observed: Namespace,
    recorded: Record | None,
    wanted: Mapping[str, NetworkRequest],
    resolver: Resolver,
    left_out: tuple[str, ...] | None,
    *,
    ask: bool,
    advice: str,
) -> Record:
    """The record of what is wanted: the networks that are set up with what has changed since, the others as admitted.

    A setting that it does not have yet is as it is now; one that a network before has changed, as it was before that.
    """
    networks, present = {}, recorded.networks if recorded else {}
    wanted = with_devices(observed, present, wanted)
    for name in [*(name for name in present if name in wanted), *(name for name in wanted if name not in present)]:
        if name in present:
            _require_same(present[name], wanted[name], advice)
            networks[name] = converge(observed, present[name], wanted[name], resolver)
        else:
            _require_left(present, wanted[name], advice)
            networks[name] = _as_before(admit(observed, wanted[name], resolver), recorded)
    if ask:
        new = {name: n for name, n in networks.items() if name not in present or is_replaced(observed, present[name])}
        networks |= _with_gateway_macs(netlink, new)
    base = recorded or Record(records.boot_id(), netlink.namespace_cookie, {}, written=records.clock())
    record = with_networks(observed, base, networks)
    return record if left_out is None else records.rewritten(record, replace(record, left_out=left_out))


def _as_before(network: VMNetwork, recorded: Record | None) -> VMNetwork:
    """A new network beside others, with the settings of its interfaces as they were before those were set up."""
    before = dict(recorded.sysctls) if recorded else {}
    settings, adopted = (
        tuple((key, before.get(key, value)) for key, value in sysctls)
        for sysctls in (network.pod.sysctls, network.adopted_sysctls)
    )
    return replace(network, pod=replace(network.pod, sysctls=settings), adopted_sysctls=adopted)


def _with_gateway_macs(netlink: Netlink, networks: Mapping[str, VMNetwork]) -> dict[str, VMNetwork]:
    solicit_gateways(netlink, networks.values())
    return {name: with_gateway_mac(netlink, network) for name, network in networks.items()}


@contextlib.contextmanager
def _after_release(gone: Sequence[str]) -> Iterator[None]:
    """What fails after these networks were put back leaves a change: NotRestored."""
    try:
        yield
    except NetworkSetupError as failure:
        if not gone or isinstance(failure, NotRestored):
            raise
        raise NotRestored(f"{failure}; the pod stays set up, without {', '.join(gone)}") from failure


def _carry_out(
    netlink: Netlink, observed: Namespace, recorded: Record | None, record: Record, plan: Plan, folder: str
) -> None:
    """Save the record, and take the steps of its plan. What fails is undone: the set-up, or that of new networks.

    A pod that was set up stays so: NotRestored then, unless nothing has changed.
    """
    added = [name for name in record.networks if recorded is None or name not in recorded.networks]
    if added:
        check_prerequisites(netlink, plan)
    check_restorable(netlink, observed, record, plan)
    if not records.is_saved(folder, record):
        records.save(folder, record)
    try:
        run(netlink, plan, observed.links)
    except BaseException as failure:
        if not added:
            if isinstance(failure, NetworkSetupError):
                _require_unchanged(netlink, record, plan, failure)
            raise
        log.warning("set-up failed, putting everything back: %s", failure)
        try:
            if recorded is None:
                restore(netlink, record)
            else:
                _take_back(netlink, recorded, record, added, folder)
        except NetworkSetupError as left:
            raise NotRestored(f"{failure}; and putting it back failed: {left}") from failure
        if recorded is None:
            forget(folder)
        if not isinstance(failure, NetworkSetupError):
            raise
        error = explained(failure, plan)
        if not isinstance(error, MissingFeature):  # which the first step finds, before it changes anything
            error.exit_code = NetworkSetupError.exit_code
        raise error from None


def _take_back(netlink: Netlink, recorded: Record, record: Record, added: Sequence[str], folder: str) -> None:
    """Put back networks that were to be added; the others serve on, by the interfaces that these had taken, too."""
    kept = release(netlink, record, added)
    networks = {name: replace(one, egress=recorded.networks[name].egress) for name, one in kept.networks.items()}
    kept = records.rewritten(kept, replace(kept, networks=networks))
    records.save(folder, kept)
    observed = observe(netlink)
    run(netlink, _plan_of(observed, kept), observed.links)


def _require_unchanged(netlink: Netlink, record: Record, plan: Plan, failure: NetworkSetupError) -> None:
    """Raises NotRestored with what is left to do, unless that is all of the plan still."""
    try:
        left = _plan_of(observe(netlink), record).lines()
    except NetworkSetupError:
        left = ["unknown"]
    if left != plan.lines():
        raise NotRestored(f"{failure}; the pod stays set up, with this left to do: {shortened(left)}") from failure


def _require_left(present: Mapping[str, VMNetwork], request: NetworkRequest, advice: str) -> None:
    """Raises InvalidRequest for a new network that would have an interface of one that is set up."""
    for name, network in present.items():
        if request.pod_interface in (network.pod.name, network.bridge, network.guest_port):
            raise InvalidRequest(
                f"network {request.name}: {request.pod_interface} is network {name}'s, which is set up{advice}"
            )


def require_same(recorded: Record, wanted: Mapping[str, NetworkRequest]) -> None:
    """Raises InvalidRequest for a request of other networks than those recorded, or of one that is set up otherwise."""
    if set(recorded.networks) != set(wanted):
        raise InvalidRequest(
            f"this pod is set up for networks {', '.join(recorded.networks)}, not {', '.join(sorted(wanted))}; "
            "run teardown first"
        )
    for name, network in recorded.networks.items():
        _require_same(network, wanted[name])


def _require_same(network: VMNetwork, request: NetworkRequest, advice: str = TEARDOWN_FIRST) -> None:
    """A network is set up for one VM; another one's request is refused rather than half carried out."""
    devices = (network.pod.name, network.guest_port)
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
        raise InvalidRequest(f"network {request.name}: {problem}{advice}")
