"""What is set up in this pod, who serves it, the leases that the guest took, what was dropped and forwarded."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dhcp.daemon.connection import ServerError
from dhcp.lean.frozen import Frozen
from launcher.container.vm_lock import vm_holder
from launcher.dhcpconfig.client import warnings_of
from launcher.phases.server_file import find_server
from launcher.sight.history import History, read_history
from netsetup.bindings.registry import binding_of
from netsetup.discover import observe
from netsetup.errors import InvalidRequest
from netsetup.kernel.capabilities import CAP_NET_ADMIN, has_capability
from netsetup.kernel.lock import NamespaceLock
from netsetup.kernel.netns import state_directory
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.identity import MACVTAP
from netsetup.model.kernel import Namespace
from netsetup.model.vm_network import VMNetwork
from netsetup.nft.ruleset import CONNECTIONS, Counter
from netsetup.nft.sources import source_text
from netsetup.nft.tables import read_counters, read_sources
from netsetup.plan import as_prestart_would, is_replaced, plan_setup
from netsetup.record import copy_of, find_record

if TYPE_CHECKING:
    from launcher.guest.asking import GuestStatus

LAUNCHER_SECONDS = 1.0
"""For the launcher's answer."""
NOT_SEEN = "without CAP_NET_ADMIN it is not seen what would be done, nor what was dropped or forwarded"


class LeaseStatus(Frozen):
    """A lease as the guest took it from the server that runs now; times are seconds from now on."""

    address: str
    taken: str
    """When it was taken or renewed for the last time, or given back (UTC, RFC 3339)."""
    age_seconds: float
    """How long ago that was."""
    is_held: bool
    """False where the guest has given it back (RELEASE), or declined it."""
    renewal_seconds: float | None
    """Until the guest is to renew it (T1), less than 0 where that is overdue; None where it has not to."""
    rebinding_seconds: float | None
    """Until it asks any server (T2)."""
    left_seconds: float | None
    """Until it ends; None for never."""


class NetworkStatus(Frozen):
    """One network of the VM."""

    name: str
    binding: str
    pod_interface: str
    bridge: str
    guest_port: str
    path: tuple[str, ...]
    """The devices that frames pass between network and guest."""
    missing: tuple[str, ...]
    """Those of pod interface, bridge and guest port that are not there, as the first after a CNI's DEL."""
    replaced: bool
    """Whether the CNI has made the pod interface anew since it was handed to the VM."""
    mac: str
    mac_source: str
    """Where the MAC comes from: `spec`, `derived` or `pod`."""
    mtu: int
    address: str
    """The IPv4 address that the VM is served, in CIDR form; empty where none is."""
    address6: str
    """Likewise the IPv6 address."""
    further_sources: tuple[str, ...]
    """What the guest may send from besides its own addresses."""
    further_addresses: tuple[str, ...]
    """The pod's other addresses, which nobody hands to the VM."""
    name_servers: dict[str, str]
    """Those that only the pod itself can reach, each with the address by which the VM does."""
    isolated: bool
    dropped: dict[str, int]
    """Frames of the guest that isolation has dropped, and packets that may not be forwarded, by the cause's name.

    Empty without CAP_NET_ADMIN, as `forwarded` is."""
    causes: dict[str, str]
    """What each of `dropped` counts, in words."""
    dropped_sources: dict[str, dict[str, int]]
    """Of those that are dropped for their source, how many frames of each, by cause; the first 64 in an hour."""
    forwarded: dict[str, int]
    """Connections that were forwarded to the guest, by protocol and port."""
    pod_mac: str
    """The pod interface's MAC as the CNI left it."""
    pod_addresses: tuple[str, ...]
    """All addresses that the CNI gave the pod interface, in CIDR form."""
    guest_connected: bool | None
    """Whether something has the guest port open: a VM runs. None where that is not seen, of a macvtap."""
    link: str = ""
    """`up` or `down`, as the VM's launcher says that the guest sees its carrier; empty where there is none to ask."""
    leases: tuple[LeaseStatus, ...] = ()
    """Those that the guest has taken since the server started, IPv4 first."""


class Status(Frozen):
    """What `status --output json` prints."""

    networks: tuple[NetworkStatus, ...] = ()
    pending: tuple[str, ...] = ()
    """The steps that `prestart` would take now; none on a pod that is set up."""
    refused: str = ""
    """Why `prestart` would do nothing; empty when it could do what is pending."""
    dhcp: dict[str, Any] | None = None
    """The server's own report, with its `problem` where `prestart` would replace it; None when no server runs.

    `pid` is None for a server in another PID namespace."""
    warnings: tuple[str, ...] = ()
    """What the VM goes without, and why."""
    launcher: str | None = ""
    """Which `run` has its VM here: its pid in its own PID namespace, command and state directory; empty for none.

    None where that is unknown: the VM runs in a container of its own, or CAP_NET_ADMIN is missing."""
    history: History = History()
    """What has happened since the pod was set up."""
    guest: GuestStatus | None = None
    """What the guest says of itself; None without an agent in it, or a `run` that could be asked."""


def read_status(state_dir: str | os.PathLike[str] | None = None, *, ask_guest: bool = False) -> Status | None:
    """The status of the current network namespace; None when nothing is set up. Changes nothing.

    To `ask_guest` as well may take seconds.

    What is recorded is told also when `prestart` could do nothing with it, because an interface has gone or is in use.

    Raises NetworkSetupError when the kernel does not let us look.
    """
    folder, sees_tables = state_directory(state_dir), has_capability(CAP_NET_ADMIN)
    with Netlink() as netlink, NamespaceLock() if sees_tables else contextlib.nullcontext():
        observed = observe(netlink, tables=sees_tables)
        record = find_record(folder, netlink.namespace_cookie, lambda: observed.copy, observed.links)
        if record is None:
            return None
    networks = tuple(record.networks.values())
    pending: tuple[str, ...] = ()
    refused = "" if sees_tables else NOT_SEEN
    try:
        # Of an interface that was made anew, `prestart` reads first what it has.
        if sees_tables and not any(is_replaced(observed, network) for network in networks):
            now = [as_prestart_would(observed, network) for network in networks]
            pending = tuple(plan_setup(observed, now, copy_of(record)).lines())
    except InvalidRequest as refusal:
        refused = str(refusal)
    counters: dict[str, tuple[Counter, ...]] = {network.name: () for network in networks}
    if sees_tables:
        counters = {network.name: tuple(binding_of(network.binding).rules(network).counters) for network in networks}
    families = {counter.family for used in counters.values() for counter in used}
    counts = read_counters(families) if families else {}
    sources = sources_of(networks) if sees_tables else {}
    server = _server_status(folder)
    leases = _leases(server or {})
    links = _links(folder)
    found = tuple(
        _status_of(
            network,
            observed,
            counters[network.name],
            counts,
            sources.get(network.name, {}),
            leases.get(network.guest_port, ()),
            links.get(network.name),
        )
        for network in networks
    )
    warnings = (*record.left_out, *warnings_of(networks, observed.now))
    holder = vm_holder(folder)
    guest = None
    if ask_guest and holder != "":
        from launcher.guest.asking import guest_status

        guest = guest_status(state_dir, record)
    return Status(found, pending, refused, server, warnings, holder, read_history(folder), guest)


def sources_of(networks: Iterable[VMNetwork]) -> dict[str, dict[str, dict[str, int]]]:
    """How many frames of each source were dropped, by network and cause. Raises as `read_sources` does."""
    sets = {network.name: binding_of(network.binding).rules(network).sources for network in networks}
    families = {one.family for used in sets.values() for one in used}
    counts = read_sources(families) if families else {}
    found = {name: {one.label: counts.get((one.family, one.name), {}) for one in used} for name, used in sets.items()}
    return {
        name: {label: {source_text(k): n for k, n in seen.items()} for label, seen in by_cause.items() if seen}
        for name, by_cause in found.items()
    }


def _status_of(
    network: VMNetwork,
    observed: Namespace,
    counters: Iterable[Counter],
    counts: Mapping[tuple[str, str], int],
    sources: dict[str, dict[str, int]],
    leases: tuple[LeaseStatus, ...],
    link: str | None,
) -> NetworkStatus:
    guest = network.guest
    address6 = guest.address6 if network.serves6 else None
    handed_out = (guest.address4, address6)
    kept = () if guest.is_routed else network.pod.addresses
    guest_port = observed.link(network.guest_port)
    values = [(counter, counts.get((counter.family, counter.name), 0)) for counter in counters]
    return NetworkStatus(
        name=network.name,
        binding=network.binding,
        pod_interface=network.pod.name,
        bridge=network.bridge,
        guest_port=network.guest_port,
        path=binding_of(network.binding).path(network),
        replaced=is_replaced(observed, network),
        missing=tuple(
            name
            for name in (network.pod.name, network.bridge, network.guest_port)
            if name and observed.link(name) is None
        ),
        mac=guest.mac,
        mac_source=guest.mac_source,
        mtu=network.mtu,
        address=guest.address4.cidr if guest.address4 else "",
        address6=address6.cidr if address6 else "",
        further_sources=network.further,
        further_addresses=tuple(a.cidr for a in kept if a.is_global and a not in handed_out),
        name_servers={
            local.nameserver: local.substitute.address for local in guest.local_resolvers if local.substitute
        },
        isolated=network.isolated,
        dropped={counter.label: count for counter, count in values if counter.counts != CONNECTIONS},
        causes={counter.label: counter.what for counter, _ in values if counter.counts != CONNECTIONS},
        dropped_sources=sources,
        forwarded={counter.label: count for counter, count in values if counter.counts == CONNECTIONS},
        pod_mac=network.pod.link.mac,
        pod_addresses=tuple(address.cidr for address in network.pod.addresses),
        guest_connected=None if guest_port and guest_port.kind == MACVTAP else bool(guest_port and guest_port.carrier),
        link=link or "",
        leases=leases,
    )


def _links(folder: str) -> dict[str, str]:
    """The links of the running VM's interfaces; none without a launcher that answers."""
    from launcher.control.client import LauncherError, ask

    try:
        answer = ask(folder, "networks", seconds=LAUNCHER_SECONDS)
        return {network["name"]: network.get("link", "") for network in answer["networks"]}
    except (LauncherError, KeyError, TypeError):
        return {}


def _server_status(folder: str) -> dict[str, Any] | None:
    pid = 0
    try:
        server = find_server(folder)
        if server is None:
            return None
        pid = server.pid
        report = server.status()
        return {**report, "pid": pid or None, "problem": server.problem}
    except ServerError as error:
        return {"pid": pid or None, "problem": str(error)}


def _leases(server: Mapping[str, Any]) -> dict[str, tuple[LeaseStatus, ...]]:
    """The leases of each guest port, of the server's report."""
    return {port["interface"]: tuple(map(_lease, port.get("leases", ()))) for port in server.get("ports", ())}


def _lease(taken: Mapping[str, Any]) -> LeaseStatus:
    """Of `dhcp.io.taken_leases.TakenLeases.report`."""
    age, seconds = taken["age"], taken["seconds"]
    held = seconds != 0

    def left(whole: float | None) -> float | None:
        return round(whole - age, 3) if held and whole is not None else None

    return LeaseStatus(
        address=taken["address"],
        taken=timestamp(taken["at"]),
        age_seconds=age,
        is_held=held,
        renewal_seconds=left(taken["t1"]),
        rebinding_seconds=left(taken["t2"]),
        left_seconds=left(seconds),
    )


def timestamp(at: float) -> str:
    """RFC 3339, of seconds since the epoch."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
