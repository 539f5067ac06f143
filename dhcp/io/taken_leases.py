"""The leases of one port as the client took them: when, and for how long; one of each family. Pure.

Nothing is served by them: a server that is started anew has none, until the client renews.
"""

from __future__ import annotations

from dhcp.config import INFINITE
from dhcp.wire.addresses import ipv4_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dhcp.decision import Grant


class TakenLeases:
    """The latest grant of each family, with when it was: in seconds since the epoch, and since the boot."""

    def __init__(self) -> None:
        self._latest: dict[int, tuple[Grant, float, float]] = {}

    def take(self, grant: Grant, at: float, since_boot: float) -> None:
        """The client has been granted a lease, or has given it back (a grant of no time)."""
        self._latest[len(grant[0])] = grant, at, since_boot

    def report(self, since_boot: float) -> list[dict[str, object]]:
        """IPv4 first: `address`, `at` (seconds since the epoch), `age` and the lease's `t1`, `t2` and `seconds`.

        All in seconds; the latter three are None for ever, and 0 where the client has given the address back.
        """
        leases = [self._latest[octets] for octets in sorted(self._latest)]
        return [
            {
                "address": _text(address),
                "at": round(at, 3),
                "age": round(since_boot - granted, 3),
                **{name: None if INFINITE in (time, seconds) else time for name, time in (("t1", t1), ("t2", t2))},
                "seconds": None if seconds == INFINITE else seconds,
            }
            for (address, t1, t2, seconds), at, granted in leases
        ]


def _text(address: bytes) -> str:
    if len(address) == 4:
        return ipv4_text(address)
    from dhcp.wire.addresses6 import ipv6_text

    return ipv6_text(address)
