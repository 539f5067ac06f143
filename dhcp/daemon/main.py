"""The server as a process of its own: control socket, privileges, signals."""

from __future__ import annotations

from _socket import socket
from posix import O_CLOEXEC, O_RDONLY, chdir, close, closerange, geteuid, open, read

from dhcp.config import LARGEST_CONFIGURATION, ClientConfig, ConfigError, interfaces_of, parse_configs
from dhcp.daemon.kill_socket import arm
from dhcp.daemon.late_modules import keep_importable
from dhcp.daemon.privileges import drop_privileges
from dhcp.daemon.registration import Registration
from dhcp.io.log import Log
from dhcp.io.loop import ServerLoop
from dhcp.io.sockets import TransportError, open_packet_sockets
from dhcp.lean.json import loads
from dhcp.lean.text import printable
from dhcp.standard_streams import open_standard_streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIGINT, SIGTERM, set_wakeup_fd, signal

    from dhcp.daemon.control_server import ControlConnections
else:
    from _signal import SIGINT, SIGTERM, set_wakeup_fd, signal  # without the enumerations around them


class Daemon:
    """A server that is configured, examined and stopped through control connections."""

    def __init__(self, log: Log, name: str = "") -> None:
        self._loop = ServerLoop(log)
        self._log = log
        self._allowed_users = {0, geteuid()}  # before privileges are dropped
        self._connections: ControlConnections | None = None
        self._registration = Registration(name)

    def register(self) -> str:
        """Be found by others, before privileges are dropped; the reason why not, empty when it is. Raises OSError."""
        return self._registration.register()

    def end_on_signals(self) -> None:
        """Leave the loop on SIGTERM and SIGINT, and be killed through the kill socket; once privileges are dropped.

        By a socket, because a handler in Python does not run while the loop waits, if the signal came just before.
        """
        self._stop = self._loop.stopper()
        set_wakeup_fd(self._stop.fileno())
        for number in (SIGTERM, SIGINT):
            signal(number, _ignore)
        if self._registration.kill_socket is not None:
            arm(self._registration.kill_socket)

    def adopt(self, parent: socket) -> None:
        """Have the parent as the first connection; the server ends with it if it has not configured it.

        Raises OSError.
        """
        self._loop.watch(self._registration.listener, self._accept)
        self._control_connections().adopt(parent)

    def serve(self) -> None:
        """Serve until a connection, or a signal, ends it."""
        self._loop.ends_with_namespace = True
        try:
            self._loop.serve()
        finally:
            self._loop.flush()

    def serve_interface(self, configs: tuple[ClientConfig, ...], sockets: dict[str, socket]) -> None:
        """Serve these configurations, and print "ready" on standard output; raises OSError."""
        self._loop.configure(configs, sockets)
        self._loop.watch(self._registration.listener, self._accept)
        try:
            print("ready", *(config.interface for config in configs), flush=True)
        except OSError as error:
            raise OSError(error.errno, f'standard output: {error.strerror}; "ready" cannot be printed') from None
        self.serve()

    def _accept(self) -> None:
        self._control_connections().accept(self._registration.listener)

    def _control_connections(self) -> ControlConnections:
        """Imported with the first connection, which a server that is run alone may never have."""
        if self._connections is None:
            from dhcp.daemon.control_server import ControlConnections

            self._connections = ControlConnections(self._loop, self._log, self._allowed_users)
        return self._connections


def run_child(control_fd: int, log_format: str, bounded: bool, name: str) -> int:
    """The life of a server started by `ServerProcess.spawn`; returns the exit status."""
    parent: socket | None = None
    daemon: Daemon | None = None
    try:
        _close_inherited_fds(control_fd, *keep_importable())
        parent = socket(fileno=control_fd)
        daemon = Daemon(Log(2, log_format, bounded), name)
        if daemon.register() and not _wait_for_end_of_other(daemon, parent):
            return 0
        drop_privileges()
        daemon.end_on_signals()
        daemon.adopt(parent)
    except OSError as error:
        reason = f"cannot be started: {error.strerror or error}"
    else:
        daemon.serve()
        return 0
    Log(2, log_format).fail(f"the server {reason}")
    if parent is not None:
        daemon = None  # and with it the sockets by which it is found
        _refuse(parent, reason)
    return 1


def _refuse(parent: socket, reason: str) -> None:
    """Answer the parent's first request with the reason why this server ends."""
    from dhcp.daemon.control_protocol import ControlError, close_all, receive_message, send_message

    try:
        if received := receive_message(parent):
            close_all(received[1])
            send_message(parent, {"error": f"{reason}; try again"})
    except ControlError:
        return  # the parent has gone


def _wait_for_end_of_other(daemon: Daemon, parent: socket) -> bool:
    """Wait until the server that is registered is ended; False when this one is to end instead.

    It still has its privileges then, and reads nothing but the parent's requests.
    """
    from dhcp.daemon.control_protocol import ControlError
    from dhcp.daemon.control_server import refuse_until_registered

    try:
        return refuse_until_registered(parent, daemon.register)
    except (ControlError, ConnectionResetError):
        return False  # the parent has gone


def run_alone(interface: str, path: str, log_format: str) -> int:
    """The server alone, configured by a file; returns the exit status, 2 for a bad configuration."""
    open_standard_streams()
    log = Log(2, log_format)
    try:
        data = loads(_content(path))
        if isinstance(data, dict):
            data = {**data, "interface": interface}
        configs = parse_configs(data)
        if len(configs) != 1 or configs[0].interface != interface:
            raise ConfigError(f"configuration: must be for the one interface {interface!r}")
    except (OSError, ValueError) as error:
        log.fail(printable(f"{path}: {getattr(error, 'strerror', None) or error}"))
        return 2
    try:
        _close_inherited_fds(*keep_importable())
        daemon = Daemon(log)
        if reason := daemon.register():
            raise OSError(reason)
        sockets = open_packet_sockets(interfaces_of(configs))
        drop_privileges()
        daemon.end_on_signals()
        daemon.serve_interface(configs, sockets)
    except TransportError as error:
        log.fail(str(error))
        return 1
    except OSError as error:
        log.fail(f"the server cannot be started: {error.strerror or error}")
        return 1
    return 0


def _close_inherited_fds(*kept: int) -> None:
    """Close all but the standard streams and `kept`, and leave the caller's folder, which may be unmounted."""
    chdir("/")
    above = 3
    for descriptor in sorted(kept):
        closerange(above, descriptor)
        above = descriptor + 1
    closerange(above, 1 << 20)


def _content(path: str) -> bytes:
    """What is in a file, or comes through a pipe; without the layers above a descriptor, which take time to make."""
    descriptor = open(path, O_RDONLY | O_CLOEXEC)
    try:
        return b"".join(iter(lambda: read(descriptor, LARGEST_CONFIGURATION), b""))
    finally:
        close(descriptor)


def _ignore(number: int, frame: object) -> None:
    pass  # with a handler, the interpreter writes to the socket of set_wakeup_fd
