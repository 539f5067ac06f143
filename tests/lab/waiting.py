"""How long tests wait for what must come."""

from __future__ import annotations

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
