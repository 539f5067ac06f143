"""Kills a server that does not answer, without its pid: also one that is stopped, or in another PID namespace.

A netlink socket of the server's has the kernel send it SIGKILL when a message arrives (F_SETSIG, fcntl(2)). Only a
process with CAP_NET_ADMIN in the network namespace may send a message to another process's port (netlink(7)).
"""

from __future__ import annotations

from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIGKILL
else:
    from _signal import SIGKILL  # without the enumerations around it

_NETLINK_ROUTE = 0  # any protocol that only root may send by will do
FIXED_PORT = 0x766C6B73  # far above the process ids that the kernel gives as ports


def open_kill_socket(port: int) -> socket | None:
    """The server's end, which kills nobody yet, at this port or, for 0, one that is free; None when another process has
    the port, or a socket cannot be had."""
    try:
        sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_ROUTE)
        sock.bind((port, 0))
    except OSError:
        return None
    return sock


def arm(sock: socket) -> None:
    """From now on a message kills this process, whose user no longer changes."""
    from fcntl import F_SETFL, F_SETOWN, fcntl
    from posix import O_ASYNC, getpid

    f_setsig = 10  # linux/fcntl.h
    fcntl(sock.fileno(), f_setsig, SIGKILL)
    fcntl(sock.fileno(), F_SETOWN, getpid())
    fcntl(sock.fileno(), F_SETFL, O_ASYNC)


def kill_server(port: int) -> bool:
    """Kill the server whose kill socket has this port (0: unknown) in the current network namespace; False when there
    is none, or we lack CAP_NET_ADMIN."""
    if not port:
        return False  # it is the kernel's
    try:
        socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_ROUTE).sendto(b"\0", (port, 0))
    except OSError:
        return False
    return True
