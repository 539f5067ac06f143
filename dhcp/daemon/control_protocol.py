"""Control messages between launcher and server: JSON objects over a unix socket, with file descriptors (unix(7))."""

from __future__ import annotations

from _socket import (
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_TRUNC,
    SCM_RIGHTS,
    SO_PEERCRED,
    SOL_SOCKET,
    socket,
)
from _struct import calcsize, unpack
from posix import close
from sys import byteorder

from dhcp.lean.json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Raised with every change of the messages, or of what a server makes of a configuration: a launcher replaces a server
# of another version. 1 is that of the servers that do not answer `{"op": "version"}`.
PROTOCOL_VERSION = 5
CLOSED = "has closed the connection without an answer; its log has the reason"
LARGEST_MESSAGE = 128 * 1024
# One configuration and its sockets; the kernel's own limit is 253 (SCM_MAX_FD).
MOST_DESCRIPTORS = 64


class ControlError(Exception):
    """A message that is not of the protocol, or a connection that is closed."""


def send_message(sock: socket, message: dict[str, object], descriptors: Sequence[int] = ()) -> None:
    """Send one message; raises ControlError."""
    rights = b"".join(fd.to_bytes(4, byteorder) for fd in descriptors)
    ancillary = [(SOL_SOCKET, SCM_RIGHTS, rights)] if rights else []
    try:
        sock.sendmsg([dumps(message).encode()], ancillary)
    except TimeoutError:
        raise ControlError("it does not read") from None
    except BrokenPipeError:
        raise ControlError(CLOSED) from None
    except OSError as error:
        raise ControlError(error.strerror or str(error)) from None


def receive_message(sock: socket) -> tuple[dict[str, object], list[int]] | None:
    """The next message and its file descriptors, which become the caller's; None when the peer has closed.

    Raises ControlError, and closes the descriptors, for anything that is not a message; BlockingIOError when
    a non-blocking socket has none.
    """
    try:
        data, ancillary, flags, _ = sock.recvmsg(LARGEST_MESSAGE, CMSG_SPACE(MOST_DESCRIPTORS * 4), MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        raise
    except TimeoutError:
        raise ControlError("no answer in time") from None
    except ConnectionResetError:  # closed, with what we sent last unread
        return None
    except OSError as error:
        raise ControlError(error.strerror or str(error)) from None
    descriptors = [
        int.from_bytes(rights[at : at + 4], byteorder)
        for level, kind, rights in ancillary
        if level == SOL_SOCKET and kind == SCM_RIGHTS
        for at in range(0, len(rights) - 3, 4)
    ]
    if not data:
        close_all(descriptors)
        return None
    message: object = None
    if not flags & (MSG_TRUNC | MSG_CTRUNC):
        try:
            message = loads(data.decode())
        except ValueError:
            message = None
    if not isinstance(message, dict):
        close_all(descriptors)
        raise ControlError("not a message of this protocol")
    return message, descriptors


def peer(sock: socket) -> tuple[int, int]:
    """Process id and user id of the other end, as they were when it connected or began to listen."""
    pid, uid, _ = unpack("3i", sock.getsockopt(SOL_SOCKET, SO_PEERCRED, calcsize("3i")))
    return pid, uid


def close_all(descriptors: Sequence[int]) -> None:
    """Close file descriptors that came with a refused message."""
    for fd in descriptors:
        close(fd)
