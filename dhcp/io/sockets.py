"""The server's sockets: packet sockets on guest ports (packet(7)), and the control socket (unix(7))."""

from __future__ import annotations

from _socket import (
    AF_PACKET,
    AF_UNIX,
    SOCK_CLOEXEC,
    SOCK_RAW,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
)
from _struct import pack

from dhcp.io.bpf import REJECT_ALL
from dhcp.lean.libc import address_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Where a server has no random name (`dhcp.daemon.registration`). Abstract: it exists as long as the server, in its
# network namespace (unix(7), network_namespaces(7)).
CONTROL_ADDRESS = b"\0virt-launcher/dhcp"
MOST_CONNECTIONS = 8
_SO_ATTACH_FILTER = 26
_SO_RCVBUF = 8
_SO_MARK = 36
_SO_RCVTIMEO = 20
_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23
_ETH_P_ALL = 3
# Bounds what a flooding guest can make the kernel hold; some 250 requests.
_RECEIVE_BUFFER = 256 * 1024
# How long a receive blocks for the next frame; the kernel rounds up to its next tick.
RECEIVE_MICROSECONDS = 1000


OUR_MARK = 0x766C6677
"""Set on every frame these sockets send; our tables may drop other frames of the pod with the VM's MAC."""


class UnusableSocket(Exception):
    """Reading from a port's socket fails, again and again: a server with sockets of its own has to take over."""


class TransportError(OSError):
    """A packet socket cannot be opened; the message names the interface and the reason."""

    def __str__(self) -> str:
        return str(self.strerror)


def control_socket() -> socket:
    """A new socket of the kind that both ends of a control connection use."""
    return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)


def open_packet_socket(interface: str) -> socket:
    """A packet socket that receives every frame the guest sends, once a filter accepts it.

    Opened in the current network namespace. ETH_P_ALL, because a bridge takes the frames of its ports before
    a protocol's own handler. Outgoing frames are not received. The caller must not close it on a hot path: that
    waits for the kernel's grace period, some 20 ms. Raises TransportError.
    """
    try:
        sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)
    except PermissionError as error:
        raise TransportError(error.errno, f"{interface}: a packet socket needs CAP_NET_RAW") from None
    except OSError as error:
        raise TransportError(error.errno, f"{interface}: no packet socket: {error.strerror}") from None
    try:
        # before bind, or frames would queue up unfiltered
        attach_filter(sock, REJECT_ALL)
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        sock.setsockopt(SOL_SOCKET, _SO_RCVBUF, _RECEIVE_BUFFER)
        _mark(sock)
        sock.setsockopt(SOL_SOCKET, _SO_RCVTIMEO, pack("ll", 0, RECEIVE_MICROSECONDS))
        sock.bind((interface, _ETH_P_ALL))
    except OSError as error:
        sock.close()
        raise TransportError(error.errno, f"{interface}: {error.strerror or error}") from None
    return sock


def _mark(sock: socket) -> None:
    try:
        sock.setsockopt(SOL_SOCKET, _SO_MARK, OUR_MARK)
    except PermissionError:
        return  # without CAP_NET_ADMIN before Linux 5.17; the capability was there at set-up, if a pod needs the mark


def open_packet_sockets(interfaces: Iterable[str]) -> dict[str, socket]:
    """A packet socket on each of the interfaces, by name; raises TransportError, and none is left open then."""
    sockets: dict[str, socket] = {}
    try:
        for name in interfaces:
            sockets[name] = open_packet_socket(name)
    except OSError:
        for sock in sockets.values():
            sock.close()
        raise
    return sockets


def attach_filter(sock: socket, program: bytes) -> None:
    """Replace the socket's filter by a classic BPF program (`SO_ATTACH_FILTER`), atomically; raises OSError."""
    sock.setsockopt(SOL_SOCKET, _SO_ATTACH_FILTER, pack("HP", len(program) // 8, address_of(program)))


def interface_mac(sock: socket) -> bytes:
    """The current MAC of the interface that the socket is bound to; raises OSError."""
    mac: bytes = sock.getsockname()[4]
    return mac
