"""Replaces the DHCP server when it has exited or does not answer, with the configuration from the record."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from typing import TYPE_CHECKING

from dhcp.daemon.connection import TIMEOUT, ServerConnection, ServerError, server_name
from dhcp.process import ServerProcess
from launcher.machine.threads import start_thread
from launcher.phases.server_file import find_server
from launcher.serve import LOCK, serve, server_configs
from launcher.sight.history import note_restart
from netsetup.kernel.lock import NamespaceLock
from netsetup.kernel.netns import state_directory
from netsetup.record import read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

log = logging.getLogger("launcher")

RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.2, 2.0
CLOSING_SECONDS = 0.1
"""Between the moment when a server that is killed closes its connections, and its end."""
HEALTH_CHECK_SECONDS = 2.0
"""Between two questions whether the server still answers; it has two seconds for that."""
NOTHING_TO_SERVE = "no recorded network needs a DHCP server; waiting for a hook to set the pod up"


class DHCPWatchdog:
    """Monitors the server from a thread of its own, and starts another when it has exited or does not answer."""

    idle_level = logging.ERROR
    """Of the message that nothing is to be served: a VM without its network is an error."""

    def __init__(
        self,
        pid: int | None,
        state_dir: str | os.PathLike[str],
        log: int,
        log_format: str,
        on_report: Callable[[Mapping[str, object]], None] | None = None,
    ) -> None:
        """`state_dir` holds the record; a new server logs to the descriptor `log`.

        `pid` is the running server's; None when it is in another PID namespace. The server's reports are told to
        `on_report`, from this thread.
        """
        self._on_report = on_report
        self.pid = pid or 0
        self.restarts = 0
        self.folder = state_directory(state_dir)
        self._log, self._log_format = log, log_format
        self._stop_read, self._stop_write = os.pipe()
        self._nudged = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start monitoring, in the network namespace of the calling thread. Raises ThreadError."""
        self._thread = start_thread("dhcp-watchdog", self._watch)

    def stop(self) -> None:
        """Stop monitoring; the server keeps running. May be called once."""
        os.write(self._stop_write, b"\0")
        if self._thread is not None:
            self._thread.join()
        os.close(self._stop_read)
        os.close(self._stop_write)
        os.close(self._nudged)

    def nudge(self) -> None:
        """Have `look_after` called soon."""
        os.eventfd_write(self._nudged, 1)

    def _watch(self) -> None:
        while problem := self._wait_for_problem():
            log.warning("%s; starting another", problem)
            reported, delay = "", RETRY_SECONDS
            while problem := self.restart(replaces=True):
                if problem != reported:  # once for each reason
                    log.log(self.idle_level if problem == NOTHING_TO_SERVE else logging.ERROR, "%s", problem)
                if select.select([self._stop_read], [], [], delay)[0]:
                    return
                reported, delay = problem, min(2 * delay, LONGEST_RETRY_SECONDS)
            self.restarts += 1

    def _wait_for_problem(self) -> str:
        """Why the server is to be replaced; empty when `stop` was called."""
        server = None
        try:
            server = self.find()
            if server is not None and server.pid == self.pid:
                return self._monitor(server)
        except ServerError as error:
            if not self._reap(CLOSING_SECONDS):
                return str(error)
        finally:
            if server is not None:
                server.release()
        return f"{server_name(self.pid)}: has exited"

    def _monitor(self, server: ServerConnection) -> str:
        """As `_wait_for_problem`; raises ServerError when the server does not answer."""
        waiting = select.poll()
        waiting.register(server, 0)  # poll(2) always reports POLLHUP
        waiting.register(self._stop_read, select.POLLIN)
        waiting.register(self._nudged, select.POLLIN)
        while True:
            server.check_health()
            self.look_after(server)
            ready = {descriptor for descriptor, _ in waiting.poll(int(HEALTH_CHECK_SECONDS * 1000))}
            if self._stop_read in ready:
                return ""
            if self._nudged in ready:
                os.eventfd_read(self._nudged)
            elif ready:
                self._reap(TIMEOUT)
                return f"{server.name}: has exited"

    def look_after(self, server: ServerConnection) -> None:
        """Called between two questions to a server that answers. Raises ServerError."""
        if self._on_report is not None and server.is_current:
            self._on_report(server.status())

    def find(self) -> ServerConnection | None:
        """Connect to the server that runs, if there is one. Raises ServerError."""
        return find_server(self.folder)

    def lock(self) -> AbstractContextManager[object]:
        """Held while a server is started."""
        return NamespaceLock(LOCK)

    def spawn(self, log: int, log_format: str) -> ServerProcess:
        """Start a server's process. Raises ServerError."""
        return ServerProcess.spawn(log, log_format=log_format)

    def _reap(self, seconds: float) -> bool:
        """Reap a child that has closed its connection, which it does while it ends; whether it ends in time."""
        if not self.pid:
            return False
        try:
            process = os.pidfd_open(self.pid)
        except OSError:  # it is gone, and another's child
            return True
        ended = bool(select.select([process], [], [], seconds)[0])
        os.close(process)
        if ended:
            with contextlib.suppress(OSError):  # it is another's child
                os.waitpid(self.pid, os.WNOHANG)
        return ended

    def restart(self, *, replaces: bool = False) -> str:
        """Have a server serve what is recorded now; why there is none, empty when there is one."""
        started: list[ServerProcess] = []

        def spawn() -> ServerProcess:
            started.append(self.spawn(self._log, self._log_format))
            return started[-1]

        try:
            with self.lock():  # not while a hook sets the pod up, or a teardown puts it back
                record = read_record(self.folder)
                pid = serve(server_configs(record), spawn, find=self.find) if record else None
                if pid is not None and replaces:
                    note_restart(self.folder)
        except Exception as error:  # whatever it is, the next try may succeed
            for server in started:
                with contextlib.suppress(ServerError):
                    server.stop()
            return f"the DHCP server does not start: {error}"
        if pid is None:
            return NOTHING_TO_SERVE
        self.pid = pid
        return ""
