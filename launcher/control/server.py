"""Answers the requests that come by `launcher.sock`, each client in a thread of its own.

Clients are of the launcher's user, or root (SO_PEERCRED). None can hold up the launcher or the others for long: there
are places for a few, and who does not send, or read, within seconds loses its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

from launcher.control.protocol import BUSY, LONGEST_LINE, BadRequest, Object, answer_line, error_line, parse_request
from launcher.exit_codes import FAILED, is_typed, log_untyped, message_of
from launcher.machine.threads import ThreadError, start_thread
from launcher.sight.endpoint import remove_stale

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Handler = Callable[[Object], Object]

log = logging.getLogger("launcher")

MODE = 0o660
"""Root of another container may lack CAP_DAC_OVERRIDE, but has the volume's group; others of it are refused."""
BACKLOG = 64
MOST_CLIENTS = 8
CLIENT_SECONDS = 5.0
"""How long a client may take to send a request, or to read an answer."""
NOT_ALLOWED = "only root and the launcher's own user may ask"
END_SECONDS = 10.0
"""How long `close` waits for requests under way; one that changes the network it waits for elsewhere."""


class ControlServer:
    """The listening socket, and the threads that answer."""

    def __init__(self, path: str, handlers: Mapping[str, Handler]) -> None:
        """Listens at once; `handlers` by the requests' names. Raises OSError, and ThreadError."""
        self._path = path
        self._handlers = handlers
        self._places = threading.BoundedSemaphore(MOST_CLIENTS)
        self._is_closed = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            remove_stale(path)
            self._socket.bind(path)
            os.chmod(path, MODE)
            self._socket.listen(BACKLOG)
            self._thread = start_thread("control", self._accept)
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Take no more requests, and wait for those under way."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, which closes it
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        deadline = time.monotonic() + END_SECONDS
        for _ in range(MOST_CLIENTS):
            if not self._places.acquire(timeout=max(0.0, deadline - time.monotonic())):
                return

    def _accept(self) -> None:
        with self._socket:
            while not self._is_closed:
                try:
                    client, _ = self._socket.accept()
                except OSError:
                    if not self._is_closed:
                        time.sleep(0.1)  # no descriptor is left, for now
                    continue
                self._admit(client)

    def _admit(self, client: socket.socket) -> None:
        """Have a thread answer a client that may ask, and for whom there is a place."""
        refusal, code = ("", FAILED) if _is_allowed(client) else (NOT_ALLOWED, BadRequest.exit_code)
        has_place = not refusal and self._places.acquire(blocking=False)
        if has_place:
            try:
                start_thread("control-client", self._serve, client)
                return
            except ThreadError as error:
                self._places.release()
                refusal = str(error)
        with client, contextlib.suppress(OSError):
            client.setblocking(False)
            client.send(error_line(refusal or BUSY, code))

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, contextlib.suppress(OSError):
                received = b""
                while not self._is_closed:
                    line, received = _read_line(client, received)
                    if not line:
                        return
                    _send(client, self._answer(line))
        finally:
            self._places.release()

    def _answer(self, line: bytes) -> bytes:
        try:
            name, request = parse_request(line)
            handler = self._handlers.get(name)
            if handler is None:
                raise BadRequest(f"unknown request `{name}`: this launcher has {', '.join(sorted(self._handlers))}")
            answer = answer_line(handler(request))
            if len(answer) > LONGEST_LINE:
                raise BadRequest(f"{name}: the answer would have {len(answer)} octets")
            return answer
        except Exception as error:  # whatever it is, the VM runs on
            code = getattr(error, "exit_code", FAILED)
            if not is_typed(error):
                log_untyped(error)
            lines = getattr(error, "lines", (message_of(error),))
            return error_line("; ".join(lines), code)


def serve_requests(path: str, handlers: Mapping[str, Handler]) -> ControlServer | None:
    """A server that listens at `path`; None where there cannot be one, which is logged: the VM runs without, too."""
    try:
        return ControlServer(path, handlers)
    except (OSError, ThreadError) as error:
        log.warning("%s: %s; attach, detach and link are not to be had", path, error)
        return None


def _is_allowed(client: socket.socket) -> bool:
    _, uid, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return uid in (0, os.geteuid())


def _read_line(client: socket.socket, received: bytes) -> tuple[bytes, bytes]:
    """The next line, empty at the end, and what came after it. Raises OSError for one that does not come in time."""
    deadline = time.monotonic() + CLIENT_SECONDS
    parts, size = [received], len(received)
    while b"\n" not in parts[-1]:
        if size >= LONGEST_LINE:
            _send(client, error_line(f"the request is longer than {LONGEST_LINE} octets", BadRequest.exit_code))
            return b"", b""
        client.settimeout(max(0.001, deadline - time.monotonic()))
        parts.append(client.recv(1 << 16))
        size += len(parts[-1])
        if not parts[-1]:
            return b"", b""
    line, _, rest = b"".join(parts).partition(b"\n")
    return line or b" ", rest


def _send(client: socket.socket, line: bytes) -> None:
    client.settimeout(CLIENT_SECONDS)
    client.sendall(line)  # as a whole within that time
