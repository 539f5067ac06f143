"""Where the server of a network namespace is found: an nftables table that it owns, whose comment names its sockets.

Only CAP_NET_ADMIN makes such a table (`dhcp.lean.owned_table`), and the control socket's name is random: so no other
process of the pod has the name first, or passes for the server. On a kernel without such tables, and for a server
without that capability, the sockets have fixed names, as those of earlier releases have.
"""

from __future__ import annotations

from _socket import socket
from posix import urandom

from dhcp.daemon.kill_socket import FIXED_PORT, open_kill_socket
from dhcp.io.sockets import CONTROL_ADDRESS, MOST_CONNECTIONS, control_socket
from dhcp.lean.owned_table import UNSUPPORTED, OwnedTable

TABLE = "virt-launcher-server"
FIXED = (CONTROL_ADDRESS, FIXED_PORT)
_EPERM = 1
NO_TABLES = UNSUPPORTED | {_EPERM}
"""The errno of a kernel that has no such tables, or does not let us look at them."""
ANOTHER_SERVES = "another server serves this network namespace already"


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

    def __init__(self) -> None:
        """Raises OSError."""
        # The first descriptor to be closed when the process ends: then nobody finds a socket that is closed.
        try:
            self._table: OwnedTable | None = OwnedTable(TABLE)
        except OSError as error:
            if error.errno not in NO_TABLES:
                raise
            self._table = None
        self.listener = control_socket()
        self.kill_socket: socket | None = None
        self._name = ""

    def register(self) -> str:
        """Be found, unless another server is: then the reason why not. Before privileges are dropped: `listen` fixes
        the credentials that callers see. May be called again. Raises OSError."""
        if self._table is not None:
            if not self._name:
                self._name = f"virt-launcher/dhcp/{urandom(16).hex()}"
                self._listen(b"\0" + self._name.encode())
                self.kill_socket = open_kill_socket(0)
            port = self.kill_socket.getsockname()[0] if self.kill_socket is not None else 0
            try:
                return "" if self._table.take(f"{self._name} {port}") else ANOTHER_SERVES
            except OSError as error:
                if error.errno not in NO_TABLES:
                    raise
                self._table.close()
                self._table = None
                self.listener.close()
                self.listener = control_socket()
        try:
            self._listen(CONTROL_ADDRESS)
        except OSError as error:
            from errno import EADDRINUSE

            if error.errno == EADDRINUSE:
                return ANOTHER_SERVES
            return f"control socket: {error.strerror}"
        self.kill_socket = open_kill_socket(FIXED_PORT)
        return ""

    def _listen(self, address: bytes) -> None:
        self.listener.setblocking(False)
        self.listener.bind(address)
        self.listener.listen(MOST_CONNECTIONS)
