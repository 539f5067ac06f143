"""Restarts the DHCP server of a running launcher with what the record says; so a restart loses nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading

from dhcp.process import ServerError, ServerProcess
from launcher.serve import serve
from netsetup.errors import NetworkSetupError
from netsetup.record import read_record

log = logging.getLogger("launcher")

RETRY_SECONDS = 0.2


class DHCPWatchdog:
    """Watches one server process from a thread of its own and starts another as soon as it is gone."""

    def __init__(self, pid: int, state_dir: str | os.PathLike[str], log: int, log_format: str) -> None:
        """`pid` is the living server's, the record is in `state_dir`; a new server logs to the descriptor `log`."""
        self.pid = pid
        self.restarts = 0
        self._state_dir = state_dir
        self._log, self._log_format = log, log_format
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="dhcp-watchdog", daemon=True)

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
        started: list[ServerProcess] = []

        def spawn() -> ServerProcess:
            started.append(ServerProcess.spawn(self._log, log_format=self._log_format))
            return started[-1]

        try:
            # A hook that ran in this moment may have been faster, and the record is what it left.
            record = read_record(self._state_dir)
            pid = serve(record, spawn) if record else None
            if pid is None:
                log.warning("nothing is recorded that needs a DHCP server; waiting for a hook to set the pod up")
                return False
        except (ServerError, NetworkSetupError, OSError) as error:
            log.error("the DHCP server does not start: %s", error)
            for server in started:
                with contextlib.suppress(ServerError):
                    server.stop()
            return False
        self.pid = pid
        self.restarts += 1
        return True
