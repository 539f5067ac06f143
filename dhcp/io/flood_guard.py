"""Detects floods of frames that get no answer, and times the strict filter that the kernel drops them by. Pure."""

from __future__ import annotations

# So many within so many seconds are a flood: some 5,000 a second, which keep the server busy for a thirtieth of
# its time. Below that each one is looked at and counted.
FLOOD_FRAMES = 256
FLOOD_SECONDS = 0.05
# How long the strict filter then stays before the usual one is tried again. To see whether the flood goes on costs
# some five milliseconds of it.
STRICT_SECONDS = 1.0
# A pause that makes the next flood another one, worth a line in the log.
CALM_SECONDS = 10.0


class FloodGuard:
    """Counts unanswered frames of one guest port. `is_strict`: its socket has to have the strict filter."""

    def __init__(self) -> None:
        self.is_strict = False
        self.floods = 0
        self._frames = 0
        self._since = 0.0
        self._until = -CALM_SECONDS

    def count_unanswered(self, now: float) -> bool:
        """Count a frame at `now` (monotonic seconds); whether the strict filter has to be attached because of it."""
        self._frames += 1
        if self._frames < FLOOD_FRAMES:
            return False
        flood = now - self._since < FLOOD_SECONDS
        self._frames = 0
        self._since = now
        if not flood or self.is_strict:
            return False
        if now - self._until > CALM_SECONDS:
            self.floods += 1
        self.is_strict = True
        self._until = now + STRICT_SECONDS
        return True

    def is_over(self, now: float) -> bool:
        """Whether the usual filter has to be attached again, to see if the flood goes on."""
        if not self.is_strict or now < self._until:
            return False
        self.is_strict = False
        self._frames = 0
        self._since = now
        return True
