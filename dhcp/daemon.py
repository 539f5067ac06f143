"""The server as a process of its own: control socket, privileges, signals."""

from __future__ import annotations

from _socket import AF_UNIX, SOCK_SEQPACKET, socket
from errno import EADDRINUSE
from posix import chdir, close, closerange, geteuid, getpid, pread

from dhcp.config import ClientConfig, ConfigError, interfaces_of, parse_configs
from dhcp.control import (
    ADDRESS,
    ControlError,
    close_all,
    control_socket,
    peer,
    receive_message,
    send_message,
)
from dhcp.journal import Journal
from dhcp.jsontext import loads
from dhcp.loop import ServerLoop
from dhcp.privileges import drop_privileges
from dhcp.transport import TransportError, open_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIGINT, SIGTERM, set_wakeup_fd, signal
else:
    from _signal import SIGINT, SIGTERM, set_wakeup_fd, signal  # without the enumerations around them

MOST_CONNECTIONS = 8
# What a configuration may take: thousands of routes, but not a guest's or a caller's mistake of any size.
LARGEST_CONFIGURATION = 4 * 1024 * 1024


class Daemon:
    """A server that is configured, asked and stopped through control connections."""

    def __init__(self, journal: Journal) -> None:
        self._loop = ServerLoop(journal)
        self._journal = journal
        self._owners = {0, geteuid()}
        self._connections: set[socket] = set()
        self._problem = ""
        self._listener = control_socket()
        try:
            self._listener.bind(ADDRESS)
            self._listener.setblocking(False)
            self._listener.listen(MOST_CONNECTIONS)  # fixes the credentials that callers see
        except OSError as error:
            self._problem = (
                "another server serves this network namespace already"
                if error.errno == EADDRINUSE
                else f"control socket: {error.strerror}"
            )

    def end_on_signals(self) -> None:
        """Leave the loop on SIGTERM and SIGINT.

        By a socket, because a handler in Python does not run while the loop waits, if the signal came a moment before.
        """
        self._stop = self._loop.stopper()
        set_wakeup_fd(self._stop.fileno())
        for number in (SIGTERM, SIGINT):
            signal(number, _noted)

    def serve_parent(self, parent: socket) -> None:
        """Serve with the process that started us as the first connection.

        Until it has configured us, its going away ends us: nobody else would.
        """
        self._adopt(parent)
        self._serve()

    def serve_interface(self, configs: tuple[ClientConfig, ...], sockets: dict[str, socket]) -> None:
        """Serve what is given, and say "ready" on standard output; raises OSError."""
        if self._problem:
            raise OSError(self._problem)
        self._loop.configure(configs, sockets)
        print("ready", *(config.interface for config in configs), flush=True)
        self._serve()

    def _serve(self) -> None:
        if not self._problem:
            self._loop.watch(self._listener, self._accept)
        try:
            self._loop.serve()
        finally:
            self._loop.flush()

    def _accept(self) -> None:
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]  # what socket.accept() calls
        except OSError:
            return  # gone again
        connection = socket(AF_UNIX, SOCK_SEQPACKET, 0, fd)
        if peer(connection)[1] in self._owners and len(self._connections) < MOST_CONNECTIONS:
            self._adopt(connection)
        else:
            connection.close()

    def _adopt(self, connection: socket) -> None:
        connection.setblocking(False)
        self._connections.add(connection)
        self._loop.watch(connection, lambda: self._receive(connection))

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
            except (ControlError, ConfigError, LookupError, OSError) as error:
                answer = {"error": str(error)}
            send_message(connection, answer)
            for sock in retired:
                sock.close()
        except BlockingIOError:
            return
        except ControlError as error:
            self._journal.write("warning", "control", {"error": str(error)})
            self._disconnect(connection)

    def _disconnect(self, connection: socket) -> None:
        self._loop.unwatch(connection)
        self._connections.discard(connection)
        connection.close()
        if not self._connections and not self._loop.ports:
            self._loop.stop()  # nobody has configured us and nobody is left who might

    def _perform(self, message: dict[str, object], descriptors: list[int], retired: list[socket]) -> dict[str, object]:
        operation = message.get("op")
        if operation == "configure":
            retired += self._configure(message.get("interfaces"), descriptors)
            return {"pid": getpid()}
        close_all(descriptors)
        if operation == "interfaces":
            return {"interfaces": self._loop.held()}
        if operation == "status":
            self._loop.flush()
            return {
                "pid": getpid(),
                "ports": [port.status() for port in self._loop.ports.values()],
                "suppressed_lines": self._journal.suppressed,
                "transactions": list(self._journal.transactions),
            }
        if operation == "try":
            return self._try(str(message.get("interface")), str(message.get("frame")))
        if operation == "stop":
            self._loop.stop()
            return {"pid": getpid()}
        raise ControlError(f"unknown operation {operation!r}")

    def _try(self, interface: str, frame: str) -> dict[str, object]:
        port = self._loop.ports.get(interface)
        if port is None:
            raise ControlError(f"{interface} is not served")
        try:
            return port.try_frame(bytes.fromhex(frame))
        except ValueError:
            raise ControlError("a frame is written in hexadecimal digits") from None

    def _configure(self, interfaces: object, descriptors: list[int]) -> list[socket]:
        """Take a configuration (the first descriptor) and a socket for each of the new interfaces named."""
        if self._problem:
            close_all(descriptors)
            raise ControlError(self._problem)
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
            self._journal.write("info", "configured", {"interface": config.interface, "lease": config.lease_seconds})
        return retired


def run_child(control_fd: int, log_format: str, bounded: bool) -> int:
    """The life of a server started by `ServerProcess.spawn`; returns the exit status."""
    chdir("/")  # or the caller's folder could not be unmounted while we live
    closerange(3, control_fd)
    closerange(control_fd + 1, 1 << 20)
    daemon = Daemon(Journal(2, log_format, bounded))
    parent = socket(fileno=control_fd)
    drop_privileges()
    daemon.end_on_signals()
    daemon.serve_parent(parent)
    return 0


def run_alone(interface: str, path: str, log_format: str) -> int:
    """The server alone, configured by a file; returns the exit status, 2 for a bad configuration."""
    import sys

    try:
        with open(path, encoding="utf-8") as file:
            data = loads(file.read())
        if isinstance(data, dict):
            data = {**data, "interface": interface}
        configs = parse_configs(data)
        if len(configs) != 1 or configs[0].interface != interface:
            raise ConfigError(f"configuration: must be for the one interface {interface!r}")
    except (OSError, ValueError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 2
    try:
        daemon = Daemon(Journal(2, log_format))
        sockets = {name: open_port(name) for name in interfaces_of(configs)}
        drop_privileges()
        daemon.end_on_signals()
        daemon.serve_interface(configs, sockets)
    except (TransportError, OSError) as error:
        print(error.strerror or error, file=sys.stderr)
        return 1
    return 0


def _noted(number: int, frame: object) -> None:
    pass  # that there is a handler is what makes the interpreter write to the socket
