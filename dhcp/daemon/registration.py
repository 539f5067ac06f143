"""Where the server of a network namespace is found: an nftables table that it owns, whose comment names its sockets.

Only CAP_NET_ADMIN makes such a table (`dhcp.lean.owned_table`), and the control socket's name is random: so no other
process of the pod has the name first, or passes for the server. On a kernel without such tables, and for a server
without that capability, the sockets have the name that its starter has made up and keeps, or else fixed ones, as those
of earlier releases have.
"""

from __future__ import annotations

from _socket import socket
from posix import urandom

from dhcp.daemon.kill_socket import FIXED_PORT, open_kill_socket
from dhcp.io.sockets import CONTROL_ADDRESS, MOST_CONNECTIONS, control_socket
from dhcp.lean.owned_table import UNSUPPORTED, OwnedTable

TABLE = "virt-launcher-server"
_PREFIX = "virt-launcher/dhcp/"
FIXED = (CONTROL_ADDRESS, FIXED_PORT)
_EPERM = 1
NO_TABLES = UNSUPPORTED | {_EPERM}
"""The errno of a kernel that has no such tables, or does not let us look at them."""
ANOTHER_SERVES = "another server serves this network namespace already"


def random_name() -> str:
    """A name for a server that nobody can have taken."""
    return f"{_PREFIX}{urandom(16).hex()}"


def is_random_name(text: str) -> bool:
    """Whether it is one of `random_name`."""
    digits = text.removeprefix(_PREFIX)
    return text.startswith(_PREFIX) and len(digits) == 32 and set(digits) <= set("0123456789abcdef")


def sockets_named(name: str) -> tuple[bytes, int]:
    """The control address of a server that was started with a `random_name`, and the port of its kill socket."""
    return b"\0" + name.encode(), int(name[-8:], 16) & 0x3FFFFFFF | 0x40000000  # far from those that the kernel gives


def find_registered() -> tuple[bytes, int] | None:
    """The control address and the kill socket's port of the server in the calling thread's network namespace.

    None where there is none, or where we may not ask. Raises OSError for what else keeps us from asking.
    """
    try:
        table = OwnedTable(TABLE)
        comment = table.comment()
        table.close()
    except OSError as error:
        if error.errno in NO_TABLES:
            return None
        raise
    name, _, port = (comment or "").partition(" ")
    return (b"\0" + name.encode(), int(port)) if port.isdigit() else None


class Registration:
    """The sockets by which a server is found, and the table that says so."""

    def __init__(self, name: str = "") -> None:
        """`name` is a `random_name` by which the server is found without a table. Raises OSError."""
        # The first descriptor to be closed when the process ends: then nobody finds a socket that is closed.
        try:
            self._table: OwnedTable | None = OwnedTable(TABLE)
        except OSError as error:
            if error.errno not in NO_TABLES:
                raise
            self._table = None
        self.listener = control_socket()
        self.kill_socket: socket | None = None
        self._given = name
        self._name = ""

    def register(self) -> str:
        """Be found, unless another server is: then the reason why not. Before privileges are dropped: `listen` fixes
        the credentials that callers see. May be called again. Raises OSError."""
        if self._table is not None:
            if not self._name:
                self._name = self._given or random_name()
                address, port = sockets_named(self._name)
                self._listen(address)
                self.kill_socket = open_kill_socket(port if self._given else 0)
            port = self.kill_socket.getsockname()[0] if self.kill_socket is not None else 0
            try:
                return "" if self._table.take(f"{self._name} {port}") else ANOTHER_SERVES
            except OSError as error:
                if error.errno not in NO_TABLES:
                    raise
                self._table.close()
                self._table = None
                if self._given:
                    return ""
                self.listener.close()
                self.listener = control_socket()
        address, port = sockets_named(self._given) if self._given else FIXED
        try:
            self._listen(address)
        except OSError as error:
            from errno import EADDRINUSE

            if error.errno == EADDRINUSE:
                return ANOTHER_SERVES
            return f"control socket: {error.strerror}"
        self.kill_socket = open_kill_socket(port)
        return ""

    def _listen(self, address: bytes) -> None:
        self.listener.setblocking(False)
        self.listener.bind(address)
        self.listener.listen(MOST_CONNECTIONS)
