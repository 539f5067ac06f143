"""Serves the metrics over HTTP, on loopback or a unix socket, from one thread."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from launcher.machine.threads import start_thread
from netsetup.errors import InvalidRequest

if TYPE_CHECKING:
    from launcher.sight.exposition import PodCollector

log = logging.getLogger("launcher")

LOOPBACK = "127.0.0.1"
UNIX = "unix:"
MODE = 0o660
"""Of a unix socket: the user and the group of the launcher scrape it."""
LONGEST_PATH = 107
"""Octets of a unix socket's path (unix(7))."""
REQUEST_SECONDS = 5
"""How long a client may take for its request; others wait for it."""
BACKLOG = 16

Address = str | tuple[str, int]
"""The path of a unix socket, or an address and a port."""


def parse_address(text: str) -> Address:
    """Of `PORT` (on loopback), `ADDRESS:PORT`, `[ADDRESS]:PORT` or `unix:PATH`. Raises ValueError."""
    if text.startswith(UNIX):
        path = text.removeprefix(UNIX)
        if not 0 < len(os.fsencode(path)) <= LONGEST_PATH or "\0" in path:
            raise ValueError(f"must be unix: and a path of at most {LONGEST_PATH} bytes")
        return path
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    try:
        if bare:
            socket.inet_pton(family, bare)
        number = int(port) if port.isdecimal() and port.isascii() else 0
    except OSError:
        number = 0
    if not 1 <= number <= 65535 or (family == socket.AF_INET6) != (bare != host):
        raise ValueError("must be PORT, ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH")
    return bare or LOOPBACK, number


class Endpoint:
    """The listening socket, and the thread that answers."""

    def __init__(self, address: Address) -> None:
        """Listens in the current network namespace; scrapes wait until `serve`. Raises InvalidRequest."""
        self._path = address if isinstance(address, str) else ""
        try:
            self._socket = self._listen(address)
        except OSError as error:
            shown = f"unix:{address}" if self._path else " port ".join(map(str, address))
            raise InvalidRequest(f"--metrics: {shown}: {error.strerror or error}; name another") from None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def _listen(self, address: Address) -> socket.socket:
        if self._path:
            family = socket.AF_UNIX
            remove_stale(self._path)
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            if not self._path:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            if self._path:
                os.chmod(self._path, MODE)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
        return listener

    def serve(self, collector: PodCollector) -> None:
        """Answer scrapes from now on, in a thread of this network namespace. Raises ThreadError."""
        self._thread = start_thread("metrics", self._serve, collector)

    def _serve(self, collector: PodCollector) -> None:
        from launcher.sight.http_server import MetricsServer

        with MetricsServer(self._socket, collector, REQUEST_SECONDS) as server:
            while not self._is_closed:
                server.handle_request()

    def close(self) -> None:
        """Stop listening; a scrape that is being answered ends by itself."""
        self._is_closed = True
        if self._thread is None:
            self._socket.close()
        else:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, which closes it
        if self._path:
            with contextlib.suppress(OSError):
                os.unlink(self._path)


def remove_stale(path: str) -> None:
    """Remove the socket of a launcher that was killed. Raises OSError where somebody listens, or it is no socket."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    except FileNotFoundError:
        return
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


@contextlib.contextmanager
def listening(text: str) -> Iterator[Endpoint]:
    """The endpoint that `--metrics` names. Raises InvalidRequest, and MissingFeature without the library."""
    from launcher.sight.exposition import require_library

    require_library()
    try:
        address = parse_address(text)
    except ValueError as error:
        raise InvalidRequest(f"--metrics {text}: {error}") from None
    endpoint = Endpoint(address)
    try:
        yield endpoint
    finally:
        endpoint.close()
