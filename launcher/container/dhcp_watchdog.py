"""Restarts the DHCP server when it exits, with the configuration from the record."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading

from dhcp.process import ServerError, ServerProcess
from launcher.serve import LOCK, serve
from netsetup.errors import NetworkSetupError
from netsetup.kernel.lock import NamespaceLock
from netsetup.record import read_record

log = logging.getLogger("launcher")

RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.2, 2.0


class DHCPWatchdog:
    """Monitors the server process from a thread of its own, and starts another when it exits."""

    def __init__(self, pid: int, state_dir: str | os.PathLike[str], log: int, log_format: str) -> None:
        """`pid` is the running server's; `state_dir` holds the record; a new server logs to the descriptor `log`."""
        self.pid = pid
        self.restarts = 0
        self._state_dir = state_dir
        self._log, self._log_format = log, log_format
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="dhcp-watchdog", daemon=True)

    def start(self) -> None:
        """Start monitoring, in the network namespace of the calling thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop monitoring; the server keeps running. May be called once."""
        os.write(self._stop_write, b"\0")
        self._thread.join()
        os.close(self._stop_read)
        os.close(self._stop_write)

    def _watch(self) -> None:
        while self._wait_for_exit():
            log.warning("the DHCP server (pid %d) has exited; starting another", self.pid)
            reported, delay = "", RETRY_SECONDS
            while problem := self._restart():
                if problem != reported:  # once for each reason
                    log.error("%s", problem)
                if select.select([self._stop_read], [], [], delay)[0]:
                    return
                reported, delay = problem, min(2 * delay, LONGEST_RETRY_SECONDS)

    def _wait_for_exit(self) -> bool:
        """True when the server has exited, False when `stop` was called."""
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

    def _restart(self) -> str:
        """Have a server serve what is recorded now; why there is none, empty when there is one."""
        started: list[ServerProcess] = []

        def spawn() -> ServerProcess:
            started.append(ServerProcess.spawn(self._log, log_format=self._log_format))
            return started[-1]

        try:
            with NamespaceLock(LOCK):  # not while a hook sets the pod up, or a teardown puts it back
                record = read_record(self._state_dir)
                pid = serve(record, spawn) if record else None
        except (ServerError, NetworkSetupError, ValueError, OSError) as error:
            for server in started:
                with contextlib.suppress(ServerError):
                    server.stop()
            return f"the DHCP server does not start: {error}"
        if pid is None:
            return "no recorded network needs a DHCP server; waiting for a hook to set the pod up"
        self.pid = pid
        self.restarts += 1
        return ""
