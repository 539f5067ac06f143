"""Starts, reconfigures or replaces the DHCP server, with the configuration from the record."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dhcp.config import LARGEST_CONFIGURATION, parse_configs
from dhcp.daemon.connection import ServerConnection, ServerError, connect, connect_by_fixed_name
from dhcp.lean.json import dumps
from dhcp.lean.text import printable
from dhcp.process import ServerProcess
from launcher.dhcpconfig.client import client_config
from netsetup.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from netsetup.record import Record

log = logging.getLogger("launcher")

LOCK = "prestart"
"""The `NamespaceLock` under which network and server are set up, or removed, together; that of `netsetup.apply` is for
the network alone."""


def server_configs(record: Record) -> list[dict[str, object]]:
    """The configuration (`dhcp.config`) of every network that is served. Raises NoServerAddress."""
    networks = record.networks.values()
    return [config for network in networks if (config := client_config(network, networks)) is not None]


ORIGINS = {
    "boot_file": "dhcpOptions.bootFileName",
    "tftp_server": "dhcpOptions.tftpServerName",
    "ntp": "dhcpOptions.ntpServers",
    "options": "dhcpOptions.privateOptions",
}
"""Where a field of the server's configuration comes from, in a manifest's interface."""


def require_servable(record: Record) -> list[dict[str, object]]:
    """The configurations of a record that is to be, as the server will take them.

    Raises InvalidRequest, with what the VM asked for, where it would not, and NoServerAddress.
    """
    configs = server_configs(record)
    names = {network.guest_port: name for name, network in record.networks.items()}
    for config in configs:
        try:
            parse_configs([config])
        except ValueError as error:
            field, _, reason = str(error).removeprefix("[0].").partition(": ")
            name = field.partition(".")[0].partition("[")[0]
            origin = ORIGINS.get(name, name) + field.removeprefix(name)
            where = f"network {names[str(config['interface'])]}: {origin}"
            raise InvalidRequest(printable(f"{where}: {reason}")) from None
    if (octets := len(dumps(configs))) > LARGEST_CONFIGURATION:
        what = f"{octets} bytes of routes, names and options"
        raise InvalidRequest(f"{what} are more than the DHCP server takes ({LARGEST_CONFIGURATION})")
    return configs


def serve(
    configs: list[dict[str, object]],
    spawn: Callable[[], ServerProcess],
    spawned: ServerProcess | None = None,
    *,
    find: Callable[[], ServerConnection | None] = connect,
) -> int | None:
    """Make the DHCP server of the current network namespace serve these; its pid, or None when none is needed.

    The pid is 0 for a server in another PID namespace (`dhcp.daemon.connection`).

    A running server is reconfigured. One with another version of the control protocol is replaced without losing a
    frame of the guest; one that does not answer is killed and replaced. `spawn` starts a server; `spawned` is one
    started ahead; `find` connects to one that runs. Without a network to serve, servers are stopped. The caller holds
    the lock LOCK. Raises ServerError and `dhcp.config.ConfigError`.
    """
    running = _find_other(spawned, find)
    if not configs:
        if running is not None:
            running.stop()
        if spawned is not None:
            spawned.stop()
        return None
    if running is not None and running.is_current:
        try:
            return _reconfigure(running, configs, spawned)
        except ServerError as error:
            log.warning("%s; replacing it", error)
            running = find()
    server = spawned or spawn()
    if running is not None:
        server.take_over(running, configs)
    else:
        try:
            server.configure(configs)
        except ServerError:
            # A teardown, for which we waited, has stopped the server started ahead.
            server.stop()
            server = spawn()
            server.configure(configs)
    server.release()
    return server.pid


def _find_other(spawned: ServerProcess | None, find: Callable[[], ServerConnection | None]) -> ServerConnection | None:
    """The server that runs, but for the one started ahead, which is our child.

    One of an earlier release, which has the fixed name, does not keep ours from starting.
    """
    for way in (find, connect_by_fixed_name):
        running = way()
        if running is None or spawned is None or running.pid != spawned.pid:
            return running
        running.release()
    return None


def _reconfigure(running: ServerConnection, configs: list[dict[str, object]], spawned: ServerProcess | None) -> int:
    """Reconfigure the running server and stop the one started ahead; the former's pid."""
    running.configure(configs)
    running.release()
    if spawned is not None:
        spawned.stop()
    return running.pid
