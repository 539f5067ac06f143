"""Whose VM this pod has: `run` holds this lock of the network namespace for as long as it lives.

A second VM's launcher would find the first one's network set up, take it for its own, and put it back at its end. So it
is refused, and so is a teardown under a running VM. The kernel frees the lock when its holder ends in whatever way.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from netsetup.errors import HookBusy, InvalidRequest
from netsetup.kernel.lock import NamespaceLock

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK = "vm"


class VMRuns(InvalidRequest):
    """The pod has a VM, whose launcher runs; the message names its pid and its state directory."""


@contextlib.contextmanager
def vm_lock(state_dir: str, way_out: str) -> Iterator[None]:
    """Hold the lock. Raises what the lock does; and VMRuns, which says what can be done, while another has it."""
    lock = NamespaceLock(LOCK, wait_seconds=0, note=f"state directory {state_dir}")
    try:
        lock.__enter__()
    except HookBusy as busy:
        raise VMRuns(f"a VM runs in this pod ({busy.holder}); {way_out}") from None
    try:
        yield
    finally:
        lock.__exit__()
