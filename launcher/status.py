"""`virt-launcher status`: what is set up in this pod, which server serves it, and what was dropped and forwarded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dhcp.daemon.connection import ServerError, connect
from dhcp.lean.frozen import Frozen
from launcher.dhcpconfig.client import warnings_of
from netsetup.bindings.registry import binding_of
from netsetup.discover import observe
from netsetup.errors import InvalidRequest
from netsetup.kernel.lock import NamespaceLock
from netsetup.kernel.netns import state_directory
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.kernel import Namespace
from netsetup.model.vm_network import VMNetwork
from netsetup.nft.ruleset import CONNECTIONS, Counter
from netsetup.nft.tables import read_counters
from netsetup.plan import as_prestart_would, is_replaced, plan_setup
from netsetup.record import copy_of, find_record


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
    further_addresses: tuple[str, ...]
    """The pod's other addresses, which nobody hands to the VM."""
    name_servers: dict[str, str]
    """Those that only the pod itself can reach, each with the address by which the VM does."""
    isolated: bool
    dropped: dict[str, int]
    """Frames of the guest that isolation has dropped, and packets that may not be forwarded, by the cause's name."""
    causes: dict[str, str]
    """What each of `dropped` counts, in words."""
    forwarded: dict[str, int]
    """Connections that were forwarded to the guest, by protocol and port."""


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


def read_status(state_dir: str | os.PathLike[str] | None = None) -> Status | None:
    """The status of the current network namespace; None when nothing is set up. Changes nothing.

    What is recorded is told also when `prestart` could do nothing with it, because an interface has gone or is in use.

    Raises NetworkSetupError when the kernel does not let us look.
    """
    with Netlink() as netlink, NamespaceLock():
        observed = observe(netlink)
        record = find_record(
            state_directory(state_dir), netlink.namespace_cookie, lambda: observed.copy, observed.links
        )
        if record is None:
            return None
    networks = tuple(record.networks.values())
    pending: tuple[str, ...] = ()
    refused = ""
    try:
        # Of an interface that was made anew, `prestart` reads first what it has.
        if not any(is_replaced(observed, network) for network in networks):
            now = [as_prestart_would(observed, network) for network in networks]
            pending = tuple(plan_setup(observed, now, copy_of(record)).lines())
    except InvalidRequest as refusal:
        refused = str(refusal)
    counters = {network.name: binding_of(network.binding).rules(network).counters for network in networks}
    counts = read_counters({counter.family for used in counters.values() for counter in used})
    found = tuple(_status_of(network, observed, counters[network.name], counts) for network in networks)
    return Status(found, pending, refused, _server_status(), warnings_of(networks, observed.now))


def _status_of(
    network: VMNetwork, observed: Namespace, counters: Iterable[Counter], counts: Mapping[tuple[str, str], int]
) -> NetworkStatus:
    guest = network.guest
    address6 = guest.address6 if network.serves6 else None
    handed_out = (guest.address4, address6)
    kept = () if guest.is_routed else network.pod.addresses
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
        further_addresses=tuple(a.cidr for a in kept if a.is_global and a not in handed_out),
        name_servers={
            local.nameserver: local.substitute.address for local in guest.local_resolvers if local.substitute
        },
        isolated=network.isolated,
        dropped={counter.label: count for counter, count in values if counter.counts != CONNECTIONS},
        causes={counter.label: counter.what for counter, _ in values if counter.counts != CONNECTIONS},
        forwarded={counter.label: count for counter, count in values if counter.counts == CONNECTIONS},
    )


def _server_status() -> dict[str, Any] | None:
    pid = 0
    try:
        server = connect()
        if server is None:
            return None
        pid = server.pid
        report = server.status()
        return {**report, "pid": pid or None, "problem": server.problem}
    except ServerError as error:
        return {"pid": pid or None, "problem": str(error)}


def lines(status: Status) -> Iterator[str]:
    """The status as text, a fact a line."""
    for network in status.networks:
        way = " ─ ".join(f"{name} (gone)" if name in network.missing else name for name in network.path)
        yield f"network {network.name}, {network.binding}: {way}"
        yield f"  VM's MAC {network.mac} (from {network.mac_source}), MTU {network.mtu}"
        served = ", ".join(filter(None, (network.address, network.address6)))
        yield f"  VM's address {served or 'none: the network itself has to serve one'}"
        if network.further_addresses:
            yield f"  not handed out: {', '.join(network.further_addresses)}"
        for server, substitute in network.name_servers.items():
            yield f"  the pod's own name server {server}, by {substitute}"
        yield f"  isolation {'on' if network.isolated else 'off'}"
        for name, count in network.dropped.items():
            if count:
                yield f"  dropped {count} {network.causes[name]}"
        for name, count in network.forwarded.items():
            yield f"  forwarded {count} connections: {name}"
    for line in status.warnings:
        yield f"warning: {line}"
    for step in status.pending:
        yield f"out of place, `prestart` would do: {step}"
    if status.refused:
        yield f"`prestart` would refuse: {status.refused}"
    for network in status.networks:
        if network.replaced:
            yield f"the CNI has made {network.pod_interface} anew: `prestart` hands it to the VM"
    if any(network.pod_interface in network.missing for network in status.networks):
        yield "the CNI has taken a pod interface away: `teardown` removes what is left"
    if status.dhcp is None:
        yield "DHCP: no server"
        return
    yield f"DHCP: server {status.dhcp['pid'] or 'whose pid is unknown here'}"
    if status.dhcp["problem"]:
        yield f"  {status.dhcp['problem']}: `prestart` replaces it"
    for port in status.dhcp.get("ports", ()):
        answered = ", ".join(f"{count} {name}" for name, count in port["answered"].items()) or "nothing yet"
        ignored = ", ".join(f"{count} {name}" for name, count in port["ignored"].items()) or "nothing"
        yield f"  {port['interface']}: answered {answered}; ignored {ignored}"
        if port.get("advertisements"):
            yield f"  {port['interface']}: advertised its router {port['advertisements']} times unsolicited"
