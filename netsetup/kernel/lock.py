"""Locks of a network namespace, so that one hook works on it at a time.

A lock is an abstract unix socket (unix(7)): it belongs to the namespace, the kernel frees it when its holder ends in
whatever way, and a second hook can wait for the first by reading from it.
"""

import errno
import socket
import time
from types import TracebackType

from netsetup.errors import HookBusy, KernelRefused

FULL_BACKLOG_SECONDS = 0.05
"""Between two tries where so many wait already that the kernel lets nobody else wait."""


class NamespaceLock:
    """Locks the network namespace of the calling thread, by a name; a context manager."""

    def __init__(self, name: str = "hook", wait_seconds: float = 10.0) -> None:
        self._name = f"\0virt-launcher/{name}"
        self._wait = wait_seconds
        self._socket: socket.socket | None = None

    def __enter__(self) -> "NamespaceLock":
        """Raises HookBusy when another hook holds the namespace for longer than `wait_seconds`, and KernelRefused."""
        deadline = time.monotonic() + self._wait
        while True:
            try:
                listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
                listener.bind(self._name)
                listener.listen(16)
                self._socket = listener
                return self
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise KernelRefused.of("lock the network namespace", error) from None
            left = deadline - time.monotonic()
            if left <= 0:
                raise HookBusy(
                    f"another hook has been at work in this network namespace for {self._wait:.0f} s; try again"
                )
            self._wait_for_holder(left)

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None

    def _wait_for_holder(self, seconds: float) -> None:
        """Return when the holder has closed its end of the connection, or the time is up."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(seconds)
            try:
                connection.connect(self._name)
                connection.recv(1)
            except BlockingIOError:
                time.sleep(min(seconds, FULL_BACKLOG_SECONDS))
            except OSError:
                return  # the caller tries again
