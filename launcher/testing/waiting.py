"""How long tests wait for what must come."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable

PATIENCE = 30.0
"""Seconds. On an idle machine nearly all comes within one; the rest is for a busy one, and taken by a failure alone.

Where a time is promised, a test says that time instead.
"""


def wait_until(fulfilled: Callable[[], object], seconds: float = PATIENCE, *, log: Callable[[], object] = str) -> None:
    """Wait for an event.

    Raises:
        AssertionError: it has not come; the message is what `log` returns then.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + seconds
    while not fulfilled():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {log()}"
        time.sleep(0.01)


def has_ended(pid: int, seconds: float = PATIENCE) -> bool:
    """Whether a process, which need not be a child, ends in time; its sockets are closed then (pidfd_open(2))."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], seconds)[0])
    finally:
        os.close(process)


def kill(pid: int) -> None:
    """Kill a process, and wait until it has ended and its sockets are closed."""
    os.kill(pid, signal.SIGKILL)
    assert has_ended(pid), f"process {pid} does not end"
