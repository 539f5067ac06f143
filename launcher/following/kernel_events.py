"""A socket that receives changes of interfaces, addresses, routes, rules and neighbours: rtnetlink(7)'s groups."""

from __future__ import annotations

import errno
import socket
import struct

from dhcp.io.bpf import JUMP_IF_EQUAL, JUMP_IF_SET, LOAD_BYTE, LOAD_HALF, LOAD_WORD, VERDICTS, assemble, jump, load
from dhcp.io.sockets import attach_filter
from launcher.following.messages import AF_BRIDGE, RTM_DELNEIGH, RTM_NEWNEIGH, Judge
from netsetup.errors import KernelRefused
from netsetup.model.kernel import NTF_PROXY, NUD_PERMANENT

# linux/rtnetlink.h: links, neighbours, then IPv4's addresses, routes and rules, and IPv6's
GROUPS = (1, 3, 5, 7, 8, 9, 11, 19)
LARGEST = 1 << 16


def _half(value: int) -> int:
    """A 16-bit field in this machine's byte order, as a filter loads it."""
    return int.from_bytes(struct.pack("=H", value), "big")


FILTER = assemble(
    [
        # The family is the first octet of every message, after the header of 16.
        *(load(LOAD_BYTE, 16), jump(JUMP_IF_EQUAL, AF_BRIDGE, "reject", "")),
        *(load(LOAD_HALF, 4), jump(JUMP_IF_EQUAL, _half(RTM_NEWNEIGH), "neighbour", "")),
        jump(JUMP_IF_EQUAL, _half(RTM_DELNEIGH), "neighbour", "accept"),
        "neighbour",  # nobody has asked for it (the port is 0), unless it is configured
        *(load(LOAD_WORD, 12), jump(JUMP_IF_EQUAL, 0, "", "accept")),
        *(load(LOAD_HALF, 24), jump(JUMP_IF_SET, _half(NUD_PERMANENT), "accept", "")),
        *(load(LOAD_BYTE, 26), jump(JUMP_IF_SET, NTF_PROXY, "accept", "reject")),
        *VERDICTS,
    ]
)
"""What a guest causes does not even wake this process, and cannot fill the socket."""


class KernelEvents:
    """The changes of the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        """Raises KernelRefused."""
        self._judge = Judge()
        try:
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
            attach_filter(self._socket, FILTER)
            self._socket.bind((0, sum(1 << (group - 1) for group in GROUPS)))
        except OSError as error:
            raise KernelRefused.of("listen for changes of the network namespace", error) from None

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def drain(self) -> bool:
        """Read what has come; whether something may have changed, as it has when the kernel could not say all of it."""
        changed = False
        while True:
            try:
                changed |= self._judge.any_matters(self._socket.recv(LARGEST))
            except BlockingIOError:
                return changed
            except OSError as error:
                if error.errno not in (errno.ENOBUFS, errno.EINTR):
                    raise KernelRefused.of("listen for changes of the network namespace", error) from None
                changed = True
