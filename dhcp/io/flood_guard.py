"""When frames that can get no answer come so fast that they would crowd the client's own out of the socket. Pure."""

from __future__ import annotations

# So many within so many seconds are a flood: some 5,000 a second, which keep the server busy for a thirtieth of
# its time. Below that each one is looked at and counted.
FLOOD_FRAMES = 256
FLOOD_SECONDS = 0.05
# How long the kernel then keeps them out before it is tried again. To see whether the flood goes on costs some
# five milliseconds of it.
GUARDED_SECONDS = 1.0
# A pause that makes the next flood another one, worth a line in the log.
CALM_SECONDS = 10.0


class Guard:
    """Watches how often frames are hopeless, and says when to keep them out and when to try again."""

    def __init__(self) -> None:
        self.raised = False
        self.floods = 0
        self._frames = 0
        self._since = 0.0
        self._until = -CALM_SECONDS

    def hopeless(self, now: float) -> bool:
        """Count one more at `now` (monotonic seconds); whether the guard must be raised for it."""
        self._frames += 1
        if self._frames < FLOOD_FRAMES:
            return False
        flood = now - self._since < FLOOD_SECONDS
        self._frames = 0
        self._since = now
        if not flood or self.raised:
            return False
        if now - self._until > CALM_SECONDS:
            self.floods += 1
        self.raised = True
        self._until = now + GUARDED_SECONDS
        return True

    def is_over(self, now: float) -> bool:
        """Whether the guard is raised and may be lowered to see if the flood goes on."""
        if not self.raised or now < self._until:
            return False
        self.raised = False
        self._frames = 0
        self._since = now
        return True
