"""Keeps the DHCP server of a running launcher alive; its state is its configuration, so a restart loses nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections.abc import Sequence

from dhcp.process import ServerConnection, ServerError, ServerProcess, connect

log = logging.getLogger("launcher")

RETRY_SECONDS = 0.2


class DHCPKeeper:
    """Watches one server process from a thread of its own and starts another as soon as it is gone."""

    def __init__(self, pid: int, configs: Sequence[dict[str, object]], log: int, log_format: str) -> None:
        """`pid` is the living server's, `configs` what it was told; a new one logs to the descriptor `log`."""
        self.pid = pid
        self.restarts = 0
        self._configs = list(configs)
        self._log, self._log_format = log, log_format
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="dhcp-keeper", daemon=True)

    def start(self) -> None:
        """Begin to watch, in the network namespace of the calling thread."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer; the server is left as it is. May be called once."""
        os.write(self._stop_write, b"\0")
        self._thread.join()
        os.close(self._stop_read)
        os.close(self._stop_write)

    def _watch(self) -> None:
        while self._wait_for_end():
            log.warning("the DHCP server (pid %d) has died; starting another", self.pid)
            while not self._restart():
                if select.select([self._stop_read], [], [], RETRY_SECONDS)[0]:
                    return

    def _wait_for_end(self) -> bool:
        """True when the server is gone, False when the watch is over."""
        try:
            process = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            poll = select.poll()
            poll.register(process, select.POLLIN)
            poll.register(self._stop_read, select.POLLIN)
            ready = {descriptor for descriptor, _ in poll.poll()}
        finally:
            os.close(process)
        if self._stop_read in ready:
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return True

    def _restart(self) -> bool:
        server: ServerConnection | ServerProcess | None = None
        try:
            # A hook that ran in this moment may have been faster.
            server = connect() or ServerProcess.spawn(self._log, log_format=self._log_format)
            server.configure(self._configs)
        except (ServerError, OSError) as error:
            log.error("the DHCP server does not start: %s", error)
            if isinstance(server, ServerProcess):
                with contextlib.suppress(ServerError):
                    server.stop()
            return False
        server.release()
        self.pid = server.pid
        self.restarts += 1
        return True
