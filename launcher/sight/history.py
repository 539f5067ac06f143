"""What has happened to a pod since it was set up, in a file beside the record; nothing is decided by it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping

from dhcp.lean.frozen import Frozen, as_dict, replace
from dhcp.lean.json import dumps, loads
from launcher.serve import LOCK
from netsetup.errors import RecordError
from netsetup.kernel.lock import NamespaceLock
from netsetup.kernel.netns import state_directory
from netsetup.kernel.state_files import read_file, write_file
from netsetup.record import read_record

FILE = "history.json"


class History(Frozen):
    """Counts since the pod was set up."""

    setup_seconds: tuple[tuple[str, float], ...] = ()
    """How long that took, by its parts as in `PodNetwork.elapsed_ms`, and in `total`."""
    convergences: int = 0
    """How often the hook found changes of the CNI, or of others, in the pod that was set up, and took them in."""
    server_restarts: int = 0
    """How often the DHCP server was replaced because it had exited or did not answer."""
    not_taken_in: str = ""
    """Why what has changed in the pod is not taken in, where a launcher or `serve` follows it; empty when it is."""


def read_history(state_dir: str | os.PathLike[str] | None = None) -> History:
    """What the state directory says; nothing of it where it cannot be read."""
    return _read(state_directory(state_dir))


def note_setup(folder: str, elapsed_ms: Mapping[str, float]) -> None:
    """A pod was set up that was as the CNI left it. Like all of these, a failure costs the note alone."""
    _write(folder, History(tuple((name, ms / 1000) for name, ms in elapsed_ms.items())))


def note_convergence(folder: str, *, changed: bool) -> None:
    """The hook has found a pod that was set up, and has taken in what had changed, if anything had."""
    known = _read(folder)
    if changed or known.not_taken_in:
        _write(folder, replace(known, convergences=known.convergences + changed, not_taken_in=""))


def note_not_taken_in(folder: str, reason: str) -> None:
    """What has changed in the pod could not be taken in; empty when nothing of it is left.

    The caller does not hold the lock of the hooks. Raises HookBusy, NotPermitted and KernelRefused.
    """
    with NamespaceLock(LOCK):
        if reason != _read(folder).not_taken_in and read_record(folder) is not None:
            _change(folder, lambda known: replace(known, not_taken_in=reason))


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
            str(content.get("not_taken_in", "")),
        )
    except (OSError, RecordError, ValueError, TypeError, AttributeError):
        return History()
