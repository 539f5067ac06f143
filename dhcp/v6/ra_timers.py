"""When a router may and must advertise (RFC 4861 §6.2.4 to §6.2.6): arithmetic on times, without a clock. Pure."""

from __future__ import annotations

from dhcp.token_bucket import TokenBucket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds; the defaults of RFC 4861 §6.2.1, and the constants of its §10.
LONGEST_INTERVAL = 600.0
SHORTEST_INTERVAL = 200.0
INITIAL_INTERVAL = 16.0
INITIAL_ADVERTISEMENTS = 3
MULTICAST_DISTANCE = 3.0
# Answers to the guest alone, which the RFC does not limit: as many at once, and one more for each of these seconds.
ANSWERS_AT_ONCE = 10
ANSWER_SECONDS = 0.5


def interval(sent: int, chance: float) -> float:
    """Seconds to the next unsolicited advertisement after `sent` of them; `chance` is uniform in 0 to 1."""
    seconds = SHORTEST_INTERVAL + (LONGEST_INTERVAL - SHORTEST_INTERVAL) * chance
    return min(seconds, INITIAL_INTERVAL) if sent < INITIAL_ADVERTISEMENTS else seconds


class RATimers:
    """The timers of one advertising interface. `due` is when the next advertisement to all nodes goes out.

    Times are seconds of any clock that only runs forward; `chance` returns numbers uniform in 0 to 1.
    """

    def __init__(self, now: float, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._last = now - MULTICAST_DISTANCE
        self._answers = TokenBucket(ANSWERS_AT_ONCE, ANSWER_SECONDS, now)
        self._sent = 0
        self.due = now

    def restart(self, now: float) -> None:
        """Advertise soon, and often as at the start, because the advertisement has changed (RFC 4861 §6.2.4)."""
        self._sent = 0
        self._answers.fill()
        self.due = max(now, self._last + MULTICAST_DISTANCE)

    def sent(self, now: float) -> None:
        """Record that an advertisement was sent to all nodes."""
        self._last = now
        self._sent += 1
        self.due = now + interval(self._sent, self._chance())

    def hasten(self, now: float) -> None:
        """Advertise as soon as may be, after a solicitation from no address (RFC 4861 §6.2.6)."""
        self.due = min(self.due, max(now, self._last + MULTICAST_DISTANCE))

    def may_answer(self, now: float) -> bool:
        """Whether one more answer to the guest alone is within the rate limit; counts it then."""
        return self._answers.take(now)
