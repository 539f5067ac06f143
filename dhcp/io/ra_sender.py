"""Sends router advertisements on a guest port: unsolicited ones in their time, and withdrawals."""

from __future__ import annotations

from _random import Random  # without the distributions around it

from dhcp.decision import Decision
from dhcp.v6.neighbour import encode_to_all_nodes
from dhcp.v6.ra_timers import RATimers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dhcp.v6.lease import ServedLease6


class RASender:
    """Advertises through `send`, which takes a frame and may raise OSError. Times are monotonic seconds."""

    def __init__(self, send: Callable[[bytes], object], lease: ServedLease6, now: float) -> None:
        self.sent = 0
        self._send = send
        self._lease = lease
        self._timers = RATimers(now, Random().random)

    @property
    def due(self) -> float:
        """When the next advertisement to all nodes goes out."""
        return self._timers.due

    def configure(self, lease: ServedLease6, now: float) -> None:
        """Advertise this from now on; a router of another address that the guest still has is withdrawn."""
        if lease.address != self._lease.address:
            self.withdraw()
        self._lease = lease
        self._timers.restart(now)

    def count_down(self, lease: ServedLease6) -> None:
        """Advertise this from now on, which differs by nothing but lifetimes that run down."""
        self._lease = lease

    def advertise(self, now: float) -> None:
        """Send the advertisement that is due to all nodes."""
        self._timers.sent(now)
        self._send_to_all_nodes(self._lease.advertisement)

    def limit(self, decision: Decision, now: float) -> Decision:
        """The decision about a solicitation, or silence where the RFC, or the rate limit, forbids an answer now."""
        if decision.frames[0][0] & 1:  # to all nodes: not sooner than three seconds after the last one
            self._timers.hasten(now)
            return Decision(
                "answered by the next advertisement to all nodes",
                message=decision.message,
                client=decision.client,
                cause="rs-deferred",
            )
        if self._timers.may_answer(now):
            return decision
        return Decision("solicits too often", cause="rs-limit")

    def withdraw(self) -> None:
        """Advertise a router lifetime of 0, which removes the guest's default route (RFC 4861 §6.2.5)."""
        self._send_to_all_nodes(self._lease.withdrawal)

    def _send_to_all_nodes(self, message: bytes) -> None:
        try:
            self._send(encode_to_all_nodes(self._lease, message))
            self.sent += 1
        except OSError:
            return  # the guest is not there; it will solicit when it comes
