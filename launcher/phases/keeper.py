"""The phase `serve`: the DHCP server of a recorded pod, in the foreground, looked after until SIGTERM.

It needs CAP_NET_RAW, to open the server's packet sockets, and reads nothing of the guest's: the server does, which has
no capability. With CAP_NET_ADMIN besides, hooks find the server by its table, and a lock keeps them apart from a
restart; without, they find it by a file (`launcher.phases.server_file`), and the record is followed.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import time
from typing import TYPE_CHECKING

from dhcp.daemon.connection import ServerError, connect
from dhcp.daemon.registration import random_name
from dhcp.process import ServerProcess
from launcher.container.dhcp_watchdog import NOTHING_TO_SERVE, DHCPWatchdog
from launcher.guest.leases import LeaseFollower
from launcher.guest.log import log_event
from launcher.phases.requirements import MissingNeeds, flags_of
from launcher.phases.server_file import publish, published_name, withdraw
from launcher.vmi.errors import ManifestError
from netsetup.errors import InvalidRequest, MissingFeature, NetworkSetupError, RecordError
from netsetup.kernel.capabilities import (
    CAP_NET_ADMIN,
    CAP_NET_RAW,
    CAP_SETGID,
    CAP_SETUID,
    has_capability,
    keep_capabilities,
)
from netsetup.kernel.state_files import opened
from netsetup.record import FILE, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from dhcp.daemon.connection import ServerConnection
    from launcher.phases.news import News

log = logging.getLogger("launcher")

STDERR = 2
NEXT_LOOK_SECONDS = 0.05
"""Between two looks whether the pod is set up by now."""
NEXT_CHECK_SECONDS = 10.0
"""Between two questions whether the thread that looks after the server is alive."""
END = frozenset((signal.SIGTERM, signal.SIGINT))
NEWS = signal.SIGHUP
"""Asks for the pod's changes to be taken in, as daemons are asked for their configuration's."""
AWAITED = END | {NEWS}
"""The caller blocks them."""


def keep_serving(
    folder: str,
    *,
    wait_seconds: float,
    log_format: str,
    news: News | None = None,
    then: Callable[[], object] | None = None,
) -> int:
    """Serve what is recorded in a state directory until SIGTERM or SIGINT.

    Returns the exit code. Waits for the record, `wait_seconds` at most. Of this process's capabilities only those stay
    that a restart of the server needs, and CAP_NET_ADMIN where `news` use it, to change pod and record as the pod
    changes, and on SIGHUP.
    Calls `then` when it serves.

    Raises NotPermitted, MissingFeature when nothing has been set up in time, InvalidRequest when another one looks
    after the pod's server, and ServerError when it does not start.
    """
    if not has_capability(CAP_NET_RAW):
        raise MissingNeeds.of([f"CAP_NET_RAW, to open a packet socket ({flags_of('NET_RAW')})"])
    keep_capabilities({CAP_NET_RAW, CAP_SETUID, CAP_SETGID} | ({CAP_NET_ADMIN} if news else set()))
    deadline = time.monotonic() + wait_seconds
    while (missing := _missing_record(folder)) and time.monotonic() < deadline:
        if signal.sigtimedwait(END, NEXT_LOOK_SECONDS):
            return 0
    if missing:
        raise MissingFeature(
            f"{missing}, after {wait_seconds:g} s; run `virt-launcher prestart --phase network` in this pod first, "
            "with this state directory"
        )
    with _only_one(folder):
        keeper = ServerKeeper(folder, log_format)
        while (problem := keeper.restart()) and problem != NOTHING_TO_SERVE:
            if time.monotonic() > deadline:
                raise ServerError(problem)
            if signal.sigtimedwait(END, NEXT_LOOK_SECONDS):
                return 0
        keeper.start()
        if then is not None:
            then()
        follower = news.follow(keeper.nudge) if news else None
        try:
            while not (received := signal.sigtimedwait(AWAITED, NEXT_CHECK_SECONDS)) or received.si_signo == NEWS:
                if received:
                    _take_news_in(news)
                if not keeper.is_alive:
                    raise ServerError("DHCP server: nothing looks after it any more; start `serve` again")
        finally:
            if follower is not None:
                follower.stop()
            keeper.end()
    return 0


def _take_news_in(news: News | None) -> None:
    if news is None:
        log.warning("what has changed in the pod is not taken in: this takes `serve --keep-admin`, and CAP_NET_ADMIN")
        return
    try:
        news.take_in()
    except (NetworkSetupError, ManifestError) as error:
        log.error("what has changed in the pod is not taken in: %s", error)


def _missing_record(folder: str) -> str:
    """What is missing for a start; empty when the pod is set up. Raises RecordError."""
    try:
        with opened(folder):
            pass
        return "" if read_record(folder) else f"nothing is set up in this network namespace ({folder})"
    except FileNotFoundError:
        return f"nothing is set up in this network namespace (no {folder})"
    except OSError as error:
        raise RecordError(f"{folder}: {error.strerror}") from None


@contextlib.contextmanager
def _only_one(folder: str) -> Iterator[None]:
    """Held as long as this process looks after the server; its user need not be able to write there."""
    with opened(folder) as directory:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidRequest(f"{folder}: another `serve` looks after this pod's DHCP server already") from None
        yield


class ServerKeeper(DHCPWatchdog):
    """Replaces the server when it has ended or does not answer, and has it follow the record."""

    idle_level = logging.INFO

    def __init__(self, folder: str, log_format: str) -> None:
        super().__init__(None, folder, STDERR, log_format, self._log_leases)
        self._leases = LeaseFollower()
        self._name = ""
        self._spawned: tuple[int, str] = (0, "")
        self._served: tuple[int, ...] | None = None

    @property
    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def end(self) -> None:
        """Look after the server no more, and kill it: asked to end, it would take the guest's default route away."""
        if self.is_alive:
            self.stop()
        with contextlib.suppress(ServerError):
            if server := self.find():
                server.kill()
        self._withdraw()
        with contextlib.suppress(OSError):  # there is a record in it
            os.rmdir(self.folder)

    def find(self) -> ServerConnection | None:
        return connect(self._name or published_name(self.folder))

    def lock(self) -> AbstractContextManager[object]:
        return super().lock() if has_capability(CAP_NET_ADMIN) else contextlib.nullcontext()

    def spawn(self, log: int, log_format: str) -> ServerProcess:
        name = random_name()
        process = ServerProcess.spawn(log, log_format=log_format, name=name)
        self._spawned = process.pid, name
        return process

    def restart(self, *, replaces: bool = False) -> str:
        version = self._version()
        problem = super().restart(replaces=replaces)
        if not problem:
            self._served = version
            if self._spawned[0] == self.pid and self._spawned[1] != self._name:
                self._publish(self._spawned[1])
        return problem

    def _log_leases(self, report: Mapping[str, object]) -> None:
        for event in self._leases.news(report):
            log_event(event)

    def look_after(self, server: ServerConnection) -> None:
        """Have it serve what is recorded now, if that has changed."""
        super().look_after(server)
        version = self._version()
        if version == self._served:
            return
        try:
            with self.lock():  # its copy in the kernel follows it a moment later
                record = read_record(self.folder)
        except NetworkSetupError as error:
            log.warning("%s", error)
            return
        if record is None:
            log.info("the pod was put back; the DHCP server ends")
            server.stop()
            self._withdraw()
        elif problem := self.restart():
            log.warning("%s; trying again", problem)
        else:
            log.info("the record has changed, and is served")

    def _version(self) -> tuple[int, ...] | None:
        """What differs between two records; None where there is none."""
        try:
            status = os.stat(f"{self.folder}/{FILE}")
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _withdraw(self) -> None:
        if self._name:
            withdraw(self.folder)
            self._name = ""

    def _publish(self, name: str) -> None:
        self._name = name
        try:
            publish(self.folder, name)
        except (OSError, RecordError) as error:
            reason = getattr(error, "strerror", None) or error
            log.warning("%s: %s; no other verb finds this server", self.folder, reason)
