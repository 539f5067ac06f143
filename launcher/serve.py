"""The DHCP server of a recorded pod: started, configured and replaced by what the record says, and nothing else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dhcp.process import ServerConnection, ServerError, ServerProcess, connect
from launcher.dhcpconfig.ipv4 import client_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from netsetup.record import Record

log = logging.getLogger("launcher")


def server_configs(record: Record) -> list[dict[str, object]]:
    """The configuration of every network that is served, as `dhcp.config` reads it. Pure. Raises NoServerAddress."""
    return [config for network in record.networks.values() if (config := client_config(network)) is not None]


def serve(record: Record, spawn: Callable[[], ServerProcess], spawned: ServerProcess | None = None) -> int | None:
    """Have a server of the current network namespace serve what the record says; its pid, or None when none is needed.

    A server that lives goes on with the new configuration. `spawn` starts another one where none lives, unless that has
    been done ahead, which `spawned` is then. Raises ServerError, NoServerAddress and `dhcp.config.ConfigError`.
    """
    configs = server_configs(record)
    running = connect()
    server: ServerConnection | ServerProcess | None = spawned
    if running is not None and (spawned is None or running.pid != spawned.pid):
        server = running  # of an earlier run, or of a hook that was at work while we waited for it
        if spawned is not None:
            spawned.stop()
    if not configs:
        if server is not None:
            server.stop()
        return None
    try:
        server = server or spawn()
        server.configure(configs)
    except ServerError:
        if running is not None:
            raise
        if server is not None:
            server.stop()
        # A teardown that we waited for has ended ours, or the one whose name ours could not have.
        server = spawn()
        server.configure(configs)
    server.release()
    return server.pid
