"""The control connections of a server: requests to configure, examine and stop it."""

from __future__ import annotations

from _socket import AF_UNIX, MSG_PEEK, SOCK_SEQPACKET, socket
from posix import close, getpid, pread
from time import sleep

from dhcp.config import LARGEST_CONFIGURATION, ConfigError, parse_configs
from dhcp.daemon.control_protocol import (
    PROTOCOL_VERSION,
    ControlError,
    close_all,
    peer,
    receive_message,
    send_message,
)
from dhcp.io.sockets import MOST_CONNECTIONS
from dhcp.lean.json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dhcp.io.log import Log
    from dhcp.io.loop import ServerLoop

_TRIES, _TRY_AGAIN_SECONDS = 50, 0.01


class ControlConnections:
    """All connections of one server, from the users `allowed_users`."""

    def __init__(self, loop: ServerLoop, log: Log, allowed_users: set[int]) -> None:
        self._loop = loop
        self._log = log
        self._allowed_users = allowed_users
        self._connections: set[socket] = set()

    def accept(self, listener: socket) -> None:
        """Accept a connection, if it is from an allowed user and there are not too many."""
        try:
            fd, _ = listener._accept()  # type: ignore[attr-defined]  # what socket.accept() calls
        except OSError:
            return  # gone again
        connection = None
        try:
            connection = socket(AF_UNIX, SOCK_SEQPACKET, 0, fd)
            if peer(connection)[1] in self._allowed_users and len(self._connections) < MOST_CONNECTIONS:
                self.adopt(connection)
                return
        except OSError as error:  # of this connection alone
            self._log.write("warning", "control", {"error": error.strerror})
        if connection is None:
            close(fd)
        else:
            connection.close()

    def adopt(self, connection: socket) -> None:
        """Answer the requests on a connection."""
        connection.setblocking(False)
        self._loop.watch(connection, lambda: self._receive(connection))
        self._connections.add(connection)

    def _receive(self, connection: socket) -> None:
        try:
            received = receive_message(connection)
            if received is None:
                self._disconnect(connection)
                return
            message, descriptors = received
            retired: list[socket] = []
            try:
                answer = self._perform(message, descriptors, retired)
            except OSError as error:
                answer = {"error": f"it cannot {message.get('op')}: {error.strerror or error}; try again"}
            except (ControlError, ConfigError, LookupError) as error:
                answer = {"error": str(error)}
            send_message(connection, answer)
            for sock in retired:
                sock.close()
        except BlockingIOError:
            return
        except ControlError as error:
            self._log.write("warning", "control", {"error": str(error)})
            self._disconnect(connection)

    def _disconnect(self, connection: socket) -> None:
        self._loop.unwatch(connection)
        self._connections.discard(connection)
        connection.close()
        if not self._connections and not self._loop.ports:
            self._loop.stop()  # not configured, and no connection is left that could

    def _perform(self, message: dict[str, object], descriptors: list[int], retired: list[socket]) -> dict[str, object]:
        operation = message.get("op")
        if operation == "configure":
            retired += self._configure(message.get("interfaces"), descriptors)
            return {"pid": getpid()}
        close_all(descriptors)
        if operation == "version":
            return {"version": PROTOCOL_VERSION}
        if operation == "interfaces":
            return {"interfaces": self._loop.held()}
        if operation == "status":
            self._loop.flush()
            return {
                "pid": getpid(),
                "started": round(self._loop.started, 3),
                "ports": [port.status() for port in self._loop.ports.values()],
                "suppressed_lines": self._log.suppressed,
                "transactions": self._log.transactions,
            }
        if operation == "try":
            return self._try(str(message.get("interface")), str(message.get("frame")))
        if operation == "stop":
            self._loop.stop()
            return {"pid": getpid()}
        raise ControlError(f"unknown operation {operation!r}")

    def _try(self, interface: str, frame: str) -> dict[str, object]:
        from dhcp.daemon.dry_run import try_frame

        port = self._loop.ports.get(interface)
        if port is None:
            raise ControlError(f"{interface} is not served")
        try:
            return try_frame(port, bytes.fromhex(frame))
        except ValueError:
            raise ControlError("a frame is written in hexadecimal digits") from None

    def _configure(self, interfaces: object, descriptors: list[int]) -> list[socket]:
        """Take a configuration (the first descriptor) and a socket for each of the new interfaces named."""
        if not isinstance(interfaces, list) or len(descriptors) != len(interfaces) + 1:
            close_all(descriptors)
            raise ControlError("configure needs a configuration and one socket for each new interface")
        text, *rest = descriptors
        sockets = {str(name): socket(fileno=fd) for name, fd in zip(interfaces, rest, strict=True)}
        try:
            try:
                data = pread(text, LARGEST_CONFIGURATION, 0)
            finally:
                close(text)
            configs = parse_configs(loads(data))
            retired = self._loop.configure(configs, sockets)
        except (ValueError, LookupError, OSError):
            for sock in sockets.values():
                sock.close()
            raise
        for config in configs:
            self._log.write("info", "configured", {"interface": config.interface, "lease": config.lease_seconds})
        return retired


def refuse_until_registered(parent: socket, register: Callable[[], str]) -> bool:
    """Refuse each request of the parent while `register` returns a reason; False when the server is to end.

    `register` is tried again for each request, for half a second: a server that was killed may have closed its
    connections a little before the kernel removes its table. Once it has succeeded, the request is left in the socket.
    """
    while True:
        if not parent.recv(1, MSG_PEEK):
            return False
        for _ in range(_TRIES):
            reason = register()
            if not reason:
                return True
            sleep(_TRY_AGAIN_SECONDS)
        received = receive_message(parent)
        if received is None:
            return False
        message, descriptors = received
        close_all(descriptors)
        if message.get("op") == "stop":
            send_message(parent, {"pid": getpid()})
            return False
        send_message(parent, {"error": reason})
