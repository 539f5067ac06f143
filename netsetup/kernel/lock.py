"""Locks of a network namespace, so that one hook works on it at a time.

A lock is an nftables table that its holder owns (`dhcp.lean.owned_table`): it belongs to the namespace, only
CAP_NET_ADMIN can take it, its comment names the holder, and the kernel frees it when that one ends in whatever way.

Before Linux 5.12 it is an abstract unix socket (unix(7)), which any process of the namespace can take. One of another
user that has it is named, and not waited for.
"""

import contextlib
import errno
import logging
import os
import socket
import struct
import sys
import time
from types import TracebackType
from typing import Final

from dhcp.lean.owned_table import UNSUPPORTED, OwnedTable
from netsetup.errors import HookBusy, KernelRefused, NotPermitted

log = logging.getLogger("netsetup")

WHAT: Final = "lock the network namespace"
NEXT_TRY_SECONDS: Final = 0.005


class NamespaceLock:
    """Locks the network namespace of the calling thread, by a name; a context manager."""

    def __init__(self, name: str = "hook", wait_seconds: float = 10.0, *, note: str = "") -> None:
        """`note` is what the comment says of the holder besides its pid and its command."""
        self._name = name
        self._wait = wait_seconds
        self._note = note
        self._table: OwnedTable | None = None
        self._socket: socket.socket | None = None
        self._holder: tuple[int, int | None] | None = None

    def __enter__(self) -> "NamespaceLock":
        """Raises HookBusy when another hook holds the namespace for longer than `wait_seconds`, NotPermitted and
        KernelRefused."""
        deadline = time.monotonic() + self._wait
        try:
            while (holder := self._take()) is not None:
                if time.monotonic() > deadline:
                    raise HookBusy(holder, self._wait)
                time.sleep(NEXT_TRY_SECONDS)
        except BaseException:
            self._close_table()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._table:
            with contextlib.suppress(OSError):  # to close it frees it as well
                self._table.remove()
        self._close_table()
        if self._socket:
            self._socket.close()
            self._socket = None

    def _take(self) -> str | None:
        """Try once; who has it, or None when we have."""
        try:
            if self._table is None:
                self._table = OwnedTable(f"virt-launcher-{self._name}")
            if self._table.take(description(self._note)):
                return None
            return self._table.comment() or "unknown"
        except OSError as error:
            if error.errno in UNSUPPORTED:
                return self._bind()
            if error.errno == errno.EPERM:
                raise NotPermitted(WHAT) from None
            raise KernelRefused.of(WHAT, error) from None

    def _close_table(self) -> None:
        if self._table:
            self._table.close()
            self._table = None

    def _bind(self) -> str | None:
        """As `_take`, by a socket."""
        name = f"\0virt-launcher/{self._name}"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            listener.bind(name)
            listener.listen(16)
            self._socket = listener
            return None
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise KernelRefused.of(WHAT, error) from None
        if self._holder is None:  # once: each question takes a place in its queue
            self._holder = _holder_of(name)
        pid, uid = self._holder
        if uid in (None, 0, os.geteuid()):
            return f"pid {pid}" if pid else "unknown"
        log.warning("process %d of user %d keeps hooks from locking this network namespace; end it", pid, uid)
        return None


def lock_holder(name: str) -> str:
    """What the lock's comment says of its holder; empty where nobody has it, or it cannot be read. Takes nothing."""
    try:
        table = OwnedTable(f"virt-launcher-{name}")
        comment = table.comment()
    except OSError:
        return ""
    table.close()
    return comment or ""


def description(note: str = "") -> str:
    """How a lock's comment names this process."""
    command = " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:2]])
    return ", ".join(filter(None, (f"pid {os.getpid()}", command, note)))


def _holder_of(name: str) -> tuple[int, int | None]:
    """Pid, 0 for unknown, and user of the process that listens there; None for a user that is unknown, too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as connection:
        try:
            connection.connect(name)
        except OSError:
            return 0, None  # gone in between, or it takes no more connections
        pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid
