"""Requests to the server over its control socket, and how a server that runs is found, for the launcher."""

from __future__ import annotations

import os
from _socket import socket

from dhcp.config import interfaces_of, parse_configs
from dhcp.daemon.control_protocol import CLOSED, PROTOCOL_VERSION, ControlError, peer, receive_message, send_message
from dhcp.daemon.registration import FIXED, find_registered, sockets_named
from dhcp.daemon.server_exit import ServerExit, connect_within
from dhcp.io.sockets import control_socket, open_packet_sockets
from dhcp.lean.json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIMEOUT = 5.0
"""Seconds that a server which we have started may take to answer, its start included, and any server to end."""
ANSWER_TIMEOUT = 2
"""Seconds after which a server that was there already counts as one that answers no more; it takes milliseconds."""
# Between two answers a server takes 32 frames from each of its sockets, which hold some 250.
_REQUESTS_TO_DRAIN = 10
_reported_strangers: set[str] = set()


class ServerError(Exception):
    """The server is not there, or refuses a request; the message is its reason."""


def server_name(pid: int) -> str:
    """How messages name a server; one in another PID namespace has no pid in ours."""
    return f"DHCP server (pid {pid or 'unknown here'})"


class Channel:
    """Requests and answers over one control connection."""

    def __init__(self, sock: socket, pid: int, timeout: float) -> None:
        sock.settimeout(timeout)
        self._socket = sock
        self.pid = pid
        """In our PID namespace; 0 for a server in another one (unix(7), SO_PEERCRED), or that accepts no connection."""
        self._failure = ""
        self._found = (b"", 0)
        """Its control address and its kill socket's port; nothing for a server that we have started."""

    @property
    def name(self) -> str:
        """How messages name the server."""
        return server_name(self.pid)

    def _request(self, message: dict[str, object], descriptors: Sequence[int] = ()) -> dict[str, object]:
        """The answer to one message; raises ServerError, and at once where an earlier message got no answer."""
        received = None
        if not self._failure:
            try:
                send_message(self._socket, message, descriptors)
                received = receive_message(self._socket)
                if received is None:
                    self._failure = CLOSED
            except ControlError as error:
                self._failure = str(error)
        if received is None:
            raise ServerError(f"{self.name}: {self._failure}")
        answer = received[0]
        if "error" in answer:
            raise ServerError(f"{self.name}: {answer['error']}")
        return answer

    def configure(self, configs: Sequence[dict[str, object]]) -> None:
        """Serve these configurations and nothing else; returns when the server answers on every interface.

        A packet socket is opened, in the current network namespace, on each interface that the server does
        not hold yet, and passed to it. Interfaces that stay lose no frame. Raises ConfigError for the
        configuration, TransportError for an interface, ServerError with the server's own reason.
        """
        data = list(configs)
        wanted = interfaces_of(parse_configs(data))
        held = self._request({"op": "interfaces"})["interfaces"]
        missing = [name for name in wanted if not isinstance(held, list) or name not in held]
        self.send_configuration(data, open_packet_sockets(missing))

    def send_configuration(self, configs: list[dict[str, object]], sockets: Mapping[str, socket]) -> None:
        """Pass a configuration and the sockets of the new interfaces, which are closed on this side."""
        text = -1
        try:
            text = os.memfd_create("dhcp-configuration", os.MFD_CLOEXEC)
            os.write(text, dumps(configs).encode())
            self._request(
                {"op": "configure", "interfaces": list(sockets)},
                [text, *(sock.fileno() for sock in sockets.values())],
            )
        except OSError as error:
            raise ServerError(f"{self.name}: its configuration cannot be written: {error.strerror}") from None
        finally:
            if text >= 0:
                os.close(text)
            for sock in sockets.values():
                sock.close()  # the server holds it as well, so there is nothing to wait for

    def status(self) -> dict[str, object]:
        """Counters by interface and cause, and the last transactions; raises ServerError."""
        return self._request({"op": "status"})

    def try_frame(self, interface: str, frame: bytes) -> dict[str, object]:
        """The server's decision on a frame, without sending the reply.

        The shape is that of `dhcp.daemon.dry_run.try_frame`. Raises ServerError, also for a port that is not served.
        """
        return self._request({"op": "try", "interface": interface, "frame": frame.hex()})

    def release(self) -> None:
        """Close this end; the server runs on once it has been configured."""
        self._socket.close()

    def end(self, *, ask: bool) -> None:
        """End the server and wait until it is gone: asked to, or else killed; without `ask` the other way round.

        Raises ServerError when it stays.
        """
        try:
            end = ServerExit(self._socket, self.pid, self._found)
        except OSError as error:
            raise ServerError(f"{self.name}: cannot be ended: {error.strerror}") from None
        try:
            ways = (self._is_asked_to_end, end.kill) if ask else (end.kill, self._is_asked_to_end)
            if not any(way() and end.wait(TIMEOUT) for way in ways):
                self._stays()
        except OSError as error:
            raise ServerError(f"{self.name}: its end cannot be waited for: {error.strerror}; try again") from None
        finally:
            end.close()
            self._socket.close()

    def _stays(self) -> None:
        raise ServerError(f"{self.name}: does not end, and may not be killed; end its container")

    def _is_asked_to_end(self) -> bool:
        try:
            self._request({"op": "stop"})
        except ServerError:
            return False
        return True


class ServerConnection(Channel):
    """A connection to a server that was there already."""

    def __init__(
        self, sock: socket, pid: int, found: tuple[bytes, int], failure: str = "", *, anyones: bool = False
    ) -> None:
        super().__init__(sock, pid, ANSWER_TIMEOUT)
        self._found = found
        self._failure = failure
        self._may_be_a_strangers = bool(failure) and anyones
        self.problem = self._problem()
        """Why it is to be replaced: it does not answer, or not in our version of the protocol; empty for none."""

    @property
    def is_current(self) -> bool:
        """Whether it answers, and in our version of the protocol."""
        return not self.problem

    def _problem(self) -> str:
        try:
            if self._request({"op": "version"}).get("version") == PROTOCOL_VERSION:
                return ""
        except ServerError as error:
            if self._failure:
                return str(error)
        return f"{self.name}: is of another release"  # the first one does not answer this

    def fileno(self) -> int:
        """The connection, on which poll(2) reports POLLHUP when the server has ended."""
        return self._socket.fileno()

    def check_health(self) -> None:
        """Have the server answer; raises ServerError when it does not within two seconds."""
        try:
            self._request({"op": "version"})
        except ServerError:
            if self._failure:
                raise

    def stop(self) -> None:
        """Ask the server to end and wait until it is gone; one that does not end is killed. Raises ServerError."""
        self.end(ask=True)

    def drain(self) -> None:
        """Wait until the server has dealt with the frames that came before this call, if it still answers."""
        try:
            for _ in range(_REQUESTS_TO_DRAIN):
                self._request({"op": "interfaces"})
        except ServerError:
            return

    def kill(self) -> None:
        """Kill the server, which then withdraws no router, and wait until it is gone. Raises ServerError."""
        self.end(ask=False)

    def _stays(self) -> None:
        """Of a name that any process can have, and nobody can connect to: it is no server's."""
        if not self._may_be_a_strangers:
            super()._stays()
        _report_stranger("a process")


def connect(name: str = "") -> ServerConnection | None:
    """The server of the current network namespace, or None when there is none.

    `name` is what a server without CAP_NET_ADMIN was started with (`ServerProcess.spawn`), if there is one.
    It may be of another version, or not answer: see `ServerConnection.is_current`. Takes two seconds at most to find
    that out. Raises ServerError when its control socket is another user's, and when we cannot find out.
    """
    try:
        registered = find_registered()
    except OSError as error:
        raise ServerError(f"DHCP server: it cannot be looked for: {error.strerror}; try again") from None
    server = _connect(registered, anyones=False) if registered else None
    if server is None and name:
        server = _connect(sockets_named(name))
    return server or connect_by_fixed_name()


def connect_by_fixed_name() -> ServerConnection | None:
    """As `connect`: the server of an earlier release, or of a kernel without tables that have an owner.

    Any process of the pod can have that name. One of another user is no server: it is logged, and counts as none.
    """
    return _connect(FIXED)


def _connect(found: tuple[bytes, int], *, anyones: bool = True) -> ServerConnection | None:
    """`anyones` says that any process of the pod can have the name, as soon as no server has it."""
    try:
        sock = control_socket()
    except OSError as error:
        raise ServerError(f"DHCP server: no control socket: {error.strerror}; try again") from None
    failure = ""
    pid = uid = 0
    try:
        connect_within(sock, found[0], ANSWER_TIMEOUT)
        pid, uid = peer(sock)
    except (ConnectionRefusedError, FileNotFoundError):
        sock.close()
        return None
    except BlockingIOError:
        failure = "accepts no connection"
    except OSError as error:
        sock.close()
        raise ServerError(f"DHCP server: control socket: {error.strerror}; try again") from None
    if uid in (0, os.geteuid()):
        return ServerConnection(sock, pid, found, failure, anyones=anyones)
    sock.close()
    if anyones:
        _report_stranger(f"process {pid} of user {uid}")
        return None
    raise ServerError(f"process {pid} of user {uid} holds the DHCP server's control socket")


def _report_stranger(who: str) -> None:
    """Once for each: it is in nobody's way, unless the kernel has no tables with an owner."""
    if who not in _reported_strangers:
        from logging import getLogger

        _reported_strangers.add(who)
        getLogger("dhcp").warning("%s has a name that DHCP servers use; it is ignored", who)
