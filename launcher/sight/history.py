"""What has happened to a pod since it was set up, in a file beside the record; nothing is decided by it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping

from dhcp.lean.frozen import Frozen, as_dict, replace
from dhcp.lean.json import dumps, loads
from netsetup.errors import RecordError
from netsetup.kernel.netns import state_directory
from netsetup.kernel.state_files import read_file, write_file

FILE = "history.json"


class History(Frozen):
    """Counts since the pod was set up."""

    setup_seconds: tuple[tuple[str, float], ...] = ()
    """How long that took, by its parts as in `PodNetwork.elapsed_ms`, and in `total`."""
    convergences: int = 0
    """How often the hook found changes of the CNI, or of others, in the pod that was set up, and took them in."""
    server_restarts: int = 0
    """How often the DHCP server was replaced because it had exited or did not answer."""


def read_history(state_dir: str | os.PathLike[str] | None = None) -> History:
    """What the state directory says; nothing of it where it cannot be read."""
    return _read(state_directory(state_dir))


def note_setup(folder: str, elapsed_ms: Mapping[str, float]) -> None:
    """A pod was set up that was as the CNI left it. Like all of these, a failure costs the note alone."""
    _write(folder, History(tuple((name, ms / 1000) for name, ms in elapsed_ms.items())))


def note_convergence(folder: str) -> None:
    """The hook has changed something in a pod that was set up."""
    _change(folder, lambda known: replace(known, convergences=known.convergences + 1))


def note_restart(folder: str) -> None:
    """Another server serves in the place of one that had exited or did not answer."""
    _change(folder, lambda known: replace(known, server_restarts=known.server_restarts + 1))


def _change(folder: str, change: Callable[[History], History]) -> None:
    """The caller holds the lock of the hooks."""
    _write(folder, change(_read(folder)))


def _write(folder: str, history: History) -> None:
    with contextlib.suppress(OSError, RecordError):
        write_file(folder, FILE, dumps(as_dict(history)).encode())


def _read(folder: str) -> History:
    try:
        content = loads(read_file(folder, FILE) or b"{}")
        seconds = content.get("setup_seconds", ())
        return History(
            tuple((str(name), float(value)) for name, value in seconds),
            int(content.get("convergences", 0)),
            int(content.get("server_restarts", 0)),
        )
    except (OSError, RecordError, ValueError, TypeError, AttributeError):
        return History()
