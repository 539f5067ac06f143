"""A token bucket: limits a rate, with a burst. Pure."""

from __future__ import annotations


class TokenBucket:
    """Holds at most `size` tokens, and gets one in each `seconds`. Times are seconds of a clock that runs forward."""

    def __init__(self, size: int, seconds: float, now: float) -> None:
        self._size = float(size)
        self._seconds = seconds
        self._tokens = self._size
        self._refilled = now

    def take(self, now: float) -> bool:
        """Take a token; False when there is none."""
        self._tokens = min(self._tokens + (now - self._refilled) / self._seconds, self._size)
        self._refilled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def fill(self) -> None:
        """Add as many tokens as the bucket holds."""
        self._tokens = self._size
