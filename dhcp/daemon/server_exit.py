"""Waits until a server has ended, and kills one; by its pid where that is known, else by its sockets."""

from __future__ import annotations

import os
from _socket import SO_SNDTIMEO, SOL_SOCKET, socket
from _struct import pack
from select import POLLIN, poll

from dhcp.daemon.kill_socket import kill_server
from dhcp.io.sockets import control_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIGKILL, pidfd_send_signal
else:
    from _signal import SIGKILL, pidfd_send_signal  # without the enumerations around them


class ServerExit:
    """The end of the server on the other side of a control connection, whose pid is 0 in another PID namespace.

    `found` is its control address, empty for a server that we have started, and its kill socket's port. Raises OSError
    when no pidfd can be had.
    """

    def __init__(self, sock: socket, pid: int, found: tuple[bytes, int]) -> None:
        self._socket = sock
        self._address, self._kill_port = found
        self._process = -1
        self._is_over = False
        try:
            self._process = os.pidfd_open(pid) if pid else -1
        except ProcessLookupError:
            self._is_over = True

    def close(self) -> None:
        """Close what is waited by; the connection stays open."""
        if self._process >= 0:
            os.close(self._process)
            self._process = -1

    def wait(self, seconds: float) -> bool:
        """Wait for the end; False when the time has passed."""
        if self._is_over:
            return True
        if self._process >= 0:
            return bool(_events(self._process, POLLIN, seconds))
        return _has_let_go(self._socket, self._address, seconds)

    def kill(self) -> bool:
        """Send SIGKILL; False when we may not. By the kill socket also without CAP_KILL: it runs as another user."""
        try:
            if self._process >= 0:
                pidfd_send_signal(self._process, SIGKILL)
                return True
        except ProcessLookupError:
            self._is_over = True  # gone, and reaped, in between
        except PermissionError:
            pass
        return self._is_over or kill_server(self._kill_port)


def connect_within(sock: socket, address: bytes, seconds: int) -> None:
    """Connect to the server; raises ConnectionRefusedError where there is none, BlockingIOError after that time."""
    sock.setsockopt(SOL_SOCKET, SO_SNDTIMEO, pack("ll", seconds, 0))  # bounds connect(2), see unix(7)
    sock.connect(address)


def _has_let_go(sock: socket, address: bytes, seconds: float) -> bool:
    """Whether the server has closed its end, or its listener where it has accepted no connection: it has ended then."""
    connected, other = sock, None
    try:
        sock.getpeername()
    except OSError:
        connected = other = control_socket()
    try:
        if other is not None:
            connect_within(other, address, max(1, int(seconds)))
        return bool(_events(connected.fileno(), 0, seconds))  # poll(2) always reports POLLHUP
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    finally:
        if other is not None:
            other.close()


def _events(descriptor: int, events: int, seconds: float) -> list[tuple[int, int]]:
    waiting = poll()
    waiting.register(descriptor, events)
    return waiting.poll(int(seconds * 1000))
