"""A pod's status as values of the metrics (`launcher.sight.metric_table`). Pure but for `read_values`."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Iterator, Mapping
from typing import Any

from dhcp.daemon.control_protocol import PROTOCOL_VERSION
from launcher.sight.metric_table import PREFIX
from launcher.sight.status import NetworkStatus, Status, read_status
from launcher.sight.version import program_version
from netsetup.record import VERSION

log = logging.getLogger("launcher")

Value = tuple[str, tuple[str, ...], float]
"""A metric's name without the prefix, its labels' values in the table's order, and its value."""


def read_values(state_dir: str | os.PathLike[str] | None) -> Iterator[Value]:
    """The values of the current network namespace. A pod that cannot be looked at is a value, too."""
    yield "build_info", (program_version(), str(PROTOCOL_VERSION), str(VERSION), platform.python_version()), 1
    try:
        status = read_status(state_dir)
    except Exception as error:  # whatever it is, the next scrape may succeed
        log.warning("metrics: %s", error)
        yield "status_readable", (), 0
        return
    yield "status_readable", (), 1
    yield "set_up", (), status is not None
    if status is not None:
        yield from values(status, time.time())


def values(status: Status, now: float) -> Iterator[Value]:
    """Those of a pod that is set up; `now` in seconds since the epoch."""
    history, server = status.history, status.dhcp or {}
    if status.launcher is not None:
        yield "launcher_up", (), bool(status.launcher)
    if not status.refused:
        yield "pending_steps", (), len(status.pending)
    yield "warnings", (), len(status.warnings)
    yield "convergences_total", (), history.convergences
    yield "dhcp_restarts_total", (), history.server_restarts
    for part, seconds in history.setup_seconds:
        yield "setup_duration_seconds", (part,), seconds
    yield "dhcp_up", (), status.dhcp is not None and not server.get("problem")
    if "started" in server:
        yield "dhcp_start_time_seconds", (), server["started"]
    if "suppressed_lines" in server:
        yield "dhcp_suppressed_log_lines_total", (), server["suppressed_lines"]
    ports = {port["interface"]: port for port in server.get("ports", ())}
    for network in status.networks:
        yield from _network_values(network, now)
        if port := ports.get(network.guest_port):
            yield from _port_values(network.name, port)


def _network_values(network: NetworkStatus, now: float) -> Iterator[Value]:
    name = network.name
    where = (network.binding, network.pod_interface, network.guest_port, network.mac, network.mac_source)
    yield "network_info", (name, *where), 1
    if network.guest_connected is not None:
        yield "guest_up", (name,), network.guest_connected
    yield "network_mtu_bytes", (name,), network.mtu
    for cause, count in network.dropped.items():
        yield "dropped_packets_total", (name, cause), count
    for port, count in network.forwarded.items():
        yield "forwarded_connections_total", (name, port), count
    for lease in network.leases:
        labels = (name, "ipv6" if ":" in lease.address else "ipv4")
        left = lease.left_seconds
        yield "lease_held", labels, lease.is_held and (left is None or left > 0)
        if lease.is_held:
            yield "lease_renewed_timestamp_seconds", labels, round(now - lease.age_seconds, 3)
        if left is not None:
            yield "lease_expiry_timestamp_seconds", labels, round(now + left, 3)


def _port_values(name: str, port: Mapping[str, Any]) -> Iterator[Value]:
    """Of `dhcp.io.guest_port.GuestPort.status`."""
    for message, count in port["answered"].items():
        yield "dhcp_answers_total", (name, message), count
    for cause, count in port["ignored"].items():
        yield "dhcp_ignored_total", (name, cause), count
    yield "dhcp_floods_total", (name,), port["floods"]
    yield "dhcp_send_errors_total", (name,), port["send_errors"]
    yield "router_advertisements_total", (name,), port.get("advertisements", 0)


def named(values: Iterator[Value]) -> dict[str, list[tuple[tuple[str, ...], float]]]:
    """The values by the metrics' whole names."""
    found: dict[str, list[tuple[tuple[str, ...], float]]] = {}
    for name, labels, value in values:
        found.setdefault(PREFIX + name, []).append((labels, float(value)))
    return found
