"""The DHCP server of a recorded pod: started, configured and replaced by what the record says, and nothing else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dhcp.process import ServerConnection, ServerError, ServerProcess, connect
from launcher.dhcpconfig.client import client_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from netsetup.record import Record

log = logging.getLogger("launcher")


def server_configs(record: Record) -> list[dict[str, object]]:
    """The configuration of every network that is served, as `dhcp.config` reads it. Pure. Raises NoServerAddress."""
    return [config for network in record.networks.values() if (config := client_config(network)) is not None]


def serve(record: Record, spawn: Callable[[], ServerProcess], spawned: ServerProcess | None = None) -> int | None:
    """Have a server of the current network namespace serve what the record says; its pid, or None when none is needed.

    A server that is there goes on with the new configuration. One that speaks another version of the control protocol,
    or does not answer, is replaced without a frame of the guest being lost. `spawn` starts a server, unless that has
    been done ahead, which `spawned` is then. Raises ServerError, NoServerAddress and `dhcp.config.ConfigError`.
    """
    configs = server_configs(record)
    running = connect()
    if running is not None and spawned is not None and running.pid == spawned.pid:
        running.release()
        running = None
    if not configs:
        if running is not None:
            running.stop()
        if spawned is not None:
            spawned.stop()
        return None
    if running is not None and running.is_current:
        try:
            return _configured(running, configs, spawned)
        except ServerError as error:
            log.warning("%s; replacing it", error)
            running = connect()
    server = spawned or spawn()
    if running is not None:
        server.take_over(running, configs)
    else:
        try:
            server.configure(configs)
        except ServerError:
            # A teardown that we waited for has ended ours.
            server.stop()
            server = spawn()
            server.configure(configs)
    server.release()
    return server.pid


def _configured(running: ServerConnection, configs: list[dict[str, object]], spawned: ServerProcess | None) -> int:
    """The pid of the server that is there, with its new configuration; the one started ahead is not needed."""
    running.configure(configs)
    running.release()
    if spawned is not None:
        spawned.stop()
    return running.pid
