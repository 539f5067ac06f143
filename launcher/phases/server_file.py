"""Where a server is found whose starter has no CAP_NET_ADMIN: a file of the state directory has its random name.

Who may write that file is who may write the record (`netsetup.kernel.state_files`). A process that takes the name once
the server has ended is of another user, and is not believed (`dhcp.daemon.connection`).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from dhcp.daemon.connection import connect

if TYPE_CHECKING:
    from dhcp.daemon.connection import ServerConnection

FILE = "server"


def find_server(folder: str) -> ServerConnection | None:
    """The server of the current network namespace, by its table or by the file. Raises as `connect` does."""
    return connect(published_name(folder))


def published_name(folder: str) -> str:
    """The name in the file; empty where there is none, or none that is to be believed."""
    if not os.path.exists(f"{folder}/{FILE}"):
        return ""
    from dhcp.daemon.registration import is_random_name
    from netsetup.errors import RecordError
    from netsetup.kernel.state_files import read_file

    try:
        name = (read_file(folder, FILE) or b"").decode("ascii", "replace").strip()
    except (OSError, RecordError):
        return ""
    return name if is_random_name(name) else ""


def publish(folder: str, name: str) -> None:
    """Write the file. Raises RecordError and OSError."""
    from netsetup.kernel.state_files import write_file

    write_file(folder, FILE, f"{name}\n".encode())


def withdraw(folder: str) -> None:
    """Remove the file, if it is there."""
    with contextlib.suppress(OSError):
        os.unlink(f"{folder}/{FILE}")
