"""Notices that the server's network namespace was deleted: the server is all that keeps it alive then.

`ip netns delete`, and a container runtime likewise, takes the namespace's name away, a mount (ip-netns(8)); the kernel
reports that to who polls /proc/self/mountinfo (proc(5)). A namespace whose name this mount namespace has not, that of
a container seen from within, has no end that could be noticed: there the server ends with the container.
"""

from __future__ import annotations

from _socket import socket
from fcntl import ioctl
from posix import O_CLOEXEC, O_RDONLY, close, open, pread, stat
from select import EPOLLPRI
from sys import byteorder
from time import monotonic

from dhcp.io.guest_port import NEVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from dhcp.io.guest_port import GuestPort

EVENT = EPOLLPRI
GRACE_SECONDS = 2.0
"""Between two looks at a namespace without a name: one may be given another, or its VM a moment to come back."""
_MOUNTS = "/proc/self/mountinfo"
_NAMESPACE = "/proc/self/ns/net"
_CHUNK = 1 << 16
_SIOCGIFFLAGS = 0x8913
_IFF_RUNNING = 0x40


class NamespaceEnd:
    """Whether the namespace has no name any more, and no guest port has a VM behind it."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._name = b" net:[%d] " % stat(_NAMESPACE).st_ino
        self._mounts = open(_MOUNTS, O_RDONLY | O_CLOEXEC)
        self.due = NEVER
        """When it is to be looked for, in monotonic seconds."""
        self.can_come = self._has_name()
        """Whether it could be noticed at all."""

    def fileno(self) -> int:
        """What is polled for changes of mounts, as an EVENT."""
        return self._mounts

    def close(self) -> None:
        close(self._mounts)

    def look_later(self) -> None:
        """Mounts have changed."""
        if self.due == NEVER:
            self.due = monotonic() + GRACE_SECONDS

    def has_come(self, ports: Mapping[str, GuestPort]) -> bool:
        """To be called when it is due."""
        self.due = NEVER
        if self._has_name():
            return False
        if any(_has_carrier(port.socket, name) for name, port in ports.items()):
            self.look_later()
            return False
        return True

    def _has_name(self) -> bool:
        text, last = b"", b" "
        while last:
            last = pread(self._mounts, _CHUNK, len(text))
            text += last
        return self._name in text


def _has_carrier(sock: socket, interface: str) -> bool:
    """Whether a VM is attached to a tap; False for an interface that has gone (netdevice(7))."""
    try:
        answer = ioctl(sock.fileno(), _SIOCGIFFLAGS, interface.encode().ljust(16, b"\0") + bytes(24))
    except OSError:
        return False
    return bool(int.from_bytes(answer[16:18], byteorder) & _IFF_RUNNING)
