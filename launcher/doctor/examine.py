"""`virt-launcher doctor`: the path between the VM and its node, walked hop by hop with real probes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dhcp.daemon.connection import ServerConnection, ServerError
from dhcp.io.sockets import TransportError
from dhcp.wire.addresses import parse_mac
from dhcp.wire.addresses6 import ipv6_text
from dhcp.wire.dhcp6 import SOLICIT
from launcher.dhcpconfig.client import warnings_of
from launcher.doctor.device_checks import judge
from launcher.doctor.findings import (
    Check,
    Evidence,
    Hop,
    Offer6,
    PortReport,
    ServerReport,
    ok,
    trouble_of,
    warning,
    wrong,
)
from launcher.doctor.frames6 import decode_dhcp6_answer, decode_router, encode_dhcp6_request, encode_router_solicitation
from launcher.doctor.probe_socket import ProbeSocket, ask
from launcher.doctor.prober import Inquiry
from launcher.doctor.prober4 import Inquiry4
from launcher.doctor.prober6 import Inquiry6
from launcher.doctor.targets import Family, Side, families_of
from launcher.guest.asking import GuestStatus, guest_status
from launcher.phases.server_file import find_server
from launcher.sight.status import sources_of
from launcher.sight.status_text import most
from netsetup.admission import is_ethernet
from netsetup.bindings.registry import binding_of
from netsetup.discover import observe
from netsetup.errors import InvalidRequest
from netsetup.kernel.lock import NamespaceLock
from netsetup.kernel.netns import state_directory
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.identity import is_marked
from netsetup.model.kernel import Link, Namespace
from netsetup.model.vm_network import VMNetwork
from netsetup.nft.isolation import CAUSES
from netsetup.nft.ruleset import BRIDGE, INET, NETDEV, digest_of
from netsetup.nft.tables import EDITED
from netsetup.plan import plan_setup, table_faults, wanted_tables, with_present_egress
from netsetup.record import Record, copy_of, find_record
from netsetup.steps import LoadTable, SetSysctl, Step

LOCK_SECONDS = 1.0
"""How long to wait for a hook that is at work."""

PACKET_SOCKETS = Path("/proc/thread-self/net/packet")


def examine(state_dir: str | os.PathLike[str] | None = None) -> tuple[Check, ...]:
    """Walk the path of every network of the current namespace; changes nothing, and takes some 1.5 s.

    Raises NetworkSetupError when the kernel does not let us look, or a hook is at work.
    """
    with Netlink() as netlink, NamespaceLock(wait_seconds=LOCK_SECONDS):
        observed = observe(netlink)
        folder = state_directory(state_dir)
        record = find_record(folder, netlink.namespace_cookie, lambda: observed.copy, observed.links)
    if record is None:
        return (_nothing_set_up(observed),)
    listened = _listened_on()  # before we listen ourselves
    table = _table_problem(observed, record)
    families = {name: families_of(network) for name, network in record.networks.items()}
    _probe(observed, record, families, is_guarded=not table)
    steps, conflicts = _pending_steps(observed, record)
    # After the gateway was asked: the server receives its answer, too.
    server = _server_report(folder, record.networks.values())
    checks: list[Check] = []
    for name, network in record.networks.items():
        port = observed.link(network.guest_port)
        checks += judge(
            Evidence(
                network=network,
                observed=observed,
                hops=binding_of(network.binding).hops(network),
                steps=steps.get(name, ()),
                conflict=conflicts.get(name, ""),
                table=table,
                server=server,
                has_listener=port is not None and port.index in listened,
                families=families[name],
            )
        )
    checks += _guest_checks(guest_status(state_dir, record))
    checks += _dropped_sources(record)
    checks += [warning(Hop.LEASE, line) for line in warnings_of(record.networks.values(), observed.now)]
    return tuple(dict.fromkeys(checks))  # what several networks share is reported once


def _guest_checks(guest: GuestStatus | None) -> Iterator[Check]:
    """What the guest's agent says otherwise than is served; nothing of a guest without one."""
    if guest is None:
        return
    for difference in guest.differences:
        yield wrong(Hop.AGENT, difference.what, difference.advice)
    if guest.problem:
        yield warning(Hop.AGENT, guest.problem)
    elif not guest.differences:
        same = "addresses" if guest.routes is None else "addresses and default routes"
        yield ok(Hop.AGENT, f"{guest.hostname or 'the guest'} has the {same} that are served")


def _dropped_sources(record: Record) -> list[Check]:
    """A warning for each cause for which frames of a guest were dropped in the last hour, with their sources."""
    lines = []
    for name, causes in sources_of(record.networks.values()).items():
        for cause, sources in causes.items():
            named = ", ".join(f"{source} ({frames})" for source, frames in most(sources))
            lines.append(f"network {name}: frames of the guest were dropped, {CAUSES[cause]}: {named}")
    return [warning(Hop.GUEST_PORT, line) for line in lines]


def _nothing_set_up(observed: Namespace) -> Check:
    ours = next((link.name for link in observed.links if is_marked(link)), "")
    if ours:
        finding = f"{ours} is ours, but no record says what the pod was before"
        return Check(Hop.RECORD.value, False, finding, "name the --state-dir of `prestart`, or recreate the pod")
    return Check(Hop.RECORD.value, False, "nothing is set up in this network namespace", "run `virt-launcher prestart`")


def _pending_steps(observed: Namespace, record: Record) -> tuple[dict[str, tuple[Step, ...]], dict[str, str]]:
    """What `prestart` would do to each network, and for which it would refuse to do anything; both by name."""
    steps: dict[str, tuple[Step, ...]] = {}
    conflicts: dict[str, str] = {}
    ports = {network.guest_port for network in record.networks.values()}
    for network in record.networks.values():
        others = ports - {network.guest_port}
        try:
            plan = plan_setup(observed, [with_present_egress(observed, network)])
        except InvalidRequest as refusal:
            conflicts[network.name] = str(refusal)
            continue
        steps[network.name] = tuple(
            step
            for step in plan.steps
            # The table is judged as a whole, and a guest port of another network is reported there.
            if not isinstance(step, LoadTable) and not _is_about(step, others)
        )
    return steps, conflicts


def _is_about(step: Step, devices: set[str]) -> bool:
    return isinstance(step, SetSysctl) and step.link in devices


_TABLE_GONE = {
    BRIDGE: "our table is gone: the guest is held to nothing, and foreign DHCP reaches it",
    INET: "our table of the inet family is gone: nothing is translated for the guest",
    NETDEV: "our table of the netdev family is gone: no frame is forwarded between guest and network",
}


def _table_problem(observed: Namespace, record: Record) -> str:
    tables = wanted_tables(record.networks.values(), copy_of(record))
    faults = table_faults(observed, tables)
    for family, digest in faults.items():
        if not digest:
            return _TABLE_GONE[family]
    if any(digest.removesuffix(EDITED) != digest_of(tables.get(family, "")) for family, digest in faults.items()):
        return "our table is not the one of this set-up"
    edited = "rules of our table were changed or deleted since it was loaded, or a device that they name was made anew"
    return edited if faults else ""


def _probe(observed: Namespace, record: Record, families: Mapping[str, Sequence[Family]], *, is_guarded: bool) -> None:
    """Ask what each network answers. An interface through which nothing can pass is not asked.

    `is_guarded` says that our table keeps from the guest what is not meant for it.
    """
    parties = []
    with contextlib.ExitStack() as stack:
        for name, network in record.networks.items():
            nic, port = observed.link(network.pod.name), observed.link(network.guest_port)
            wanted = {Side.NODE: (network.pod.name, nic, ""), Side.GUEST: (network.guest_port, port, network.mac)}
            sockets = {}
            for side, (device, link, expected_mac) in wanted.items():
                if trouble_of(link, device) or not link or not is_ethernet(link):
                    continue
                with contextlib.suppress(TransportError):  # gone since we looked
                    sockets[side] = stack.enter_context(ProbeSocket(device, expected_mac))
            inquiries: list[Inquiry] = [
                Inquiry6(network, family, _mac_of(port), is_guarded=is_guarded)
                if family.is_ipv6
                else Inquiry4(network, family, _mac_of(port))
                for family in families[name]
            ]
            parties.append((inquiries, sockets))
        ask(parties)


def _mac_of(link: Link | None) -> str:
    return link.mac if link else "02:00:00:00:00:00"


def _listened_on() -> set[int]:
    """Indexes of the interfaces that packet sockets of this namespace are bound to (proc(5))."""
    rows = (line.split() for line in PACKET_SOCKETS.read_text().splitlines()[1:])
    return {int(row[4]) for row in rows}


def _server_report(folder: str, networks: Iterable[VMNetwork]) -> ServerReport:
    """The DHCP server's report; takes two seconds at most when the server does not answer."""
    pid = 0
    try:
        server = find_server(folder)
        if server is None:
            return ServerReport(problem="no DHCP server runs in this network namespace")
        pid = server.pid
        status = server.status()
        if not server.is_current:
            return ServerReport(pid, server.problem)
        ports = status["ports"]
        assert isinstance(ports, list)
        reports = {port["interface"]: PortReport(port["answered"], port["ignored"]) for port in ports}
        served6 = [n for n in networks if n.serves6 and n.guest_port in reports]
        offers = {network.guest_port: _offered6(server, network) for network in served6}
        return ServerReport(pid, ports=reports, offers6=offers)
    except ServerError as error:
        return ServerReport(pid, str(error))


def _offered6(server: ServerConnection, network: VMNetwork) -> Offer6:
    """What comes of a DHCPv6 SOLICIT and of a Router Solicitation. Raises ServerError."""
    mac = parse_mac(network.mac)
    address = router = ""
    for question in (encode_dhcp6_request(SOLICIT, mac, 1), encode_router_solicitation(mac)):
        frames = server.try_frame(network.guest_port, question)["frames"]
        assert isinstance(frames, list)
        for frame in map(bytes.fromhex, frames):
            if (offer := decode_dhcp6_answer(frame)) and offer.addresses:
                address = ipv6_text(offer.addresses[0])
            elif (advertised := decode_router(frame)) and advertised.lifetime:
                router = ipv6_text(advertised.source)
    return Offer6(address, router)
