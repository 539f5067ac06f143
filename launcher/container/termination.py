"""SIGTERM and SIGINT as an exception, which comes only while the VM runs."""

from __future__ import annotations

import signal
from types import FrameType


class Terminated(BaseException):
    """SIGTERM or SIGINT was received."""


class Termination:
    """Raises Terminated on SIGTERM or SIGINT: once, and only while the VM runs.

    The hook and the teardown are not interrupted: the hook is short, and the signal requests the teardown.
    """

    def __init__(self) -> None:
        self._asked = False
        self._held = True

    def listen(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def release(self) -> None:
        """Raise from now on, also for a signal received before."""
        self._held = False
        if self._asked:
            raise Terminated

    def hold(self) -> None:
        self._held = True

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        # Once only: the shutdown that follows must not be interrupted by a second signal.
        again, self._asked = self._asked, True
        if not again and not self._held:
            raise Terminated
