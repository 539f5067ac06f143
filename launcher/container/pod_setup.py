"""The network of a launcher that runs, as the threads that change it share it: one request, one change at a time."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Literal

from dhcp.lean.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.phases.result import PodNetwork
    from launcher.request import SetupRequest

log = logging.getLogger("launcher")

CHANGE_SECONDS = 15.0
"""How long the launcher's end waits for a change under way; the teardown then waits for the namespace's lock, too."""


class ShuttingDown(RuntimeError):
    """The pod is about to be put back, and takes no more changes."""

    exit_code = 2


class Settings(Frozen):
    """The arguments of `setup_pod_network` that stay the same for as long as the launcher runs."""

    folder: str
    resolver_path: str
    server_log: int | None
    log_format: str
    host_network: bool
    network_status: str | None
    """A file as of `launcher.vmi.network_status`, read at every change."""
    phase: Literal["all", "network"] = "all"


class PodSetup:
    """Sets the pod up for the current request, and again for every change of the pod or of the request.

    Any thread of the launcher may call it: the launcher enters its network namespace before it starts the first.
    """

    def __init__(self, request: SetupRequest, settings: Settings, *, is_set_up: bool = False) -> None:
        self.request = request
        """What is set up, as of the last `converge` that succeeded; before the first, what is to be."""
        self.changed: Callable[[PodNetwork], object] = lambda pod: None
        """Called with what is set up now, by the thread that has changed it."""
        self._settings = settings
        self._lock = threading.Lock()
        self._is_closed, self._is_set_up = False, is_set_up
        self._warnings: tuple[str, ...] = ()
        self.files = tuple(filter(None, (settings.resolver_path, settings.network_status)))
        """Those that a set-up depends on."""

    def pending(self, waits: bool = True) -> tuple[str, ...]:
        """What `converge` would do now, as `launcher.following.pod_changes.pending_changes` has it."""
        from launcher.following.pod_changes import pending_changes

        settings = self._settings
        with self._lock:
            return pending_changes(
                self._with_status(self.request),
                settings.folder,
                settings.resolver_path,
                host_network=settings.host_network,
                waits=waits,
            )

    def converge(self, change: Callable[[SetupRequest], SetupRequest] | None = None) -> PodNetwork:
        """Have the pod follow the request, as `change` returns it for the current one, and what the CNI has changed.

        The new request is kept only when it is set up. Raises ShuttingDown, and what `change` and `setup_pod_network`
        do: after those the pod is as it was, but for a NotRestored, which says what is not.
        """
        from launcher.prestart import setup_pod_network

        settings = self._settings
        with self._lock:
            if self._is_closed:
                raise ShuttingDown("the launcher is shutting down, and changes its network no more")
            request = self.request if change is None else change(self.request)
            pod = setup_pod_network(
                self._with_status(request),
                state_dir=settings.folder,
                resolver_path=settings.resolver_path,
                server_log=settings.server_log,
                server_log_format=settings.log_format,
                host_network=settings.host_network,
                phase=settings.phase,
                follows=self._is_set_up,
            )
            for line in pod.warnings if self._is_set_up else ():
                if line not in self._warnings:
                    log.warning("%s", line)
            self._warnings = pod.warnings
            self.request, self._is_set_up = request, True
            self.changed(pod)
            return pod

    def close(self) -> None:
        """Take no more changes; returns when one that is under way has ended, after CHANGE_SECONDS at the latest."""
        self._is_closed = True
        if self._lock.acquire(timeout=CHANGE_SECONDS):
            self._lock.release()

    def _with_status(self, request: SetupRequest) -> SetupRequest:
        if self._settings.network_status is None:
            return request
        from launcher.vmi.network_status import with_network_status

        return with_network_status(request, self._settings.network_status)
