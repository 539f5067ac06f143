"""`doctor --quick`: the health check of a container, which asks the kernel and the DHCP server, and sends no frame."""

from __future__ import annotations

import os
from collections.abc import Iterable

from dhcp.daemon.connection import ServerError
from launcher.doctor.findings import Check, Hop
from launcher.phases.server_file import find_server
from launcher.serve import server_configs
from netsetup.kernel.netns import state_directory
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.kernel import Link
from netsetup.nft.tables import reading_tables
from netsetup.record import Record, find_record


def examine_quickly(state_dir: str | os.PathLike[str] | None = None) -> tuple[Check, ...]:
    """Whether the current namespace is set up, its devices are there and the DHCP server answers for each.

    Waits for no hook; takes two seconds at most where the server does not answer, else some 100 ms. It needs no
    capability beyond what finding the server takes. Raises NotPermitted, KernelRefused and RecordError's NewerRecord.
    """
    folder = state_directory(state_dir)
    with Netlink() as netlink:
        links = netlink.links()
        record = find_record(folder, netlink.namespace_cookie, _no_copy, links)
        record = record or find_record(folder, netlink.namespace_cookie, _kept_copy, links)
    if record is None:
        finding = "nothing is set up in this network namespace"
        return (Check(Hop.RECORD.value, False, finding, "run `virt-launcher prestart`"),)
    devices = _devices(record, links)
    return (*devices, _server(folder, record)) if all(check.ok for check in devices) else devices


def _no_copy() -> str:
    return ""


def _kept_copy() -> str:
    """The kernel's copy of the record, which takes CAP_NET_ADMIN and ten times as long as the file."""
    with reading_tables() as tables_read:
        return tables_read().copy


def _devices(record: Record, links: Iterable[Link]) -> tuple[Check, ...]:
    present = {link.name for link in links}
    checks = []
    for network in record.networks.values():
        wanted = (network.pod.name, network.bridge, network.guest_port)
        missing = ", ".join(name for name in wanted if name and name not in present)
        finding = f"missing: {missing}" if missing else " ".join(name for name in wanted if name)
        advice = "run `virt-launcher prestart` again" if missing else ""
        checks.append(Check(f"network {network.name}", not missing, finding, advice))
    return tuple(checks)


def _server(folder: str, record: Record) -> Check:
    """Whether a server of our version answers, on the guest port of every network that is served."""
    wanted = {str(config["interface"]) for config in server_configs(record)}
    problem = "no DHCP server runs in this network namespace"
    served: set[str] = set()
    try:
        server = find_server(folder)
        if server is not None:
            problem = server.problem
            ports = [] if problem else server.status()["ports"]
            assert isinstance(ports, list)
            served = {port["interface"] for port in ports}
            server.release()
    except ServerError as error:
        problem = str(error)
    if not wanted:
        return Check(Hop.SERVER.value, True, "no network is served", "")
    if unserved := ", ".join(sorted(wanted - served)):
        finding = problem or f"the DHCP server does not serve {unserved}"
        return Check(Hop.SERVER.value, False, finding, "`virt-launcher prestart` starts or replaces it")
    return Check(Hop.SERVER.value, True, f"the DHCP server answers on {', '.join(sorted(served))}", "")
