"""The side of a guest port that speaks unasked: router advertisements in their time."""

from __future__ import annotations

from _random import Random  # without the distributions around it

from dhcp.decision import Decision
from dhcp.v6.neighbour import encode_to_all_nodes
from dhcp.v6.ra_timers import Advertiser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dhcp.v6.lease import Port6


class Router:
    """Advertises through `send`, which takes a frame and may raise OSError. Times are monotonic seconds."""

    def __init__(self, send: Callable[[bytes], object], port: Port6, now: float) -> None:
        self.sent = 0
        self._send = send
        self._port = port
        self._advertiser = Advertiser(now, Random().random)

    @property
    def due(self) -> float:
        """When the next advertisement to all nodes goes out."""
        return self._advertiser.due

    def configure(self, port: Port6, now: float) -> None:
        """Advertise this from now on; one that the guest has been told of and that is another router is withdrawn."""
        if port.address != self._port.address:
            self.withdraw()
        self._port = port
        self._advertiser.restart(now)

    def advertise(self, now: float) -> None:
        """Send the advertisement that is due, if one is."""
        if now >= self._advertiser.due:
            self._advertiser.sent(now)
            self._say(self._port.advertisement)

    def limit(self, decision: Decision, now: float) -> Decision:
        """The decision about a solicitation, or silence where it would be answered more often than is good."""
        if decision.frames[0][0] & 1:  # to all nodes: not sooner than three seconds after the last one
            self._advertiser.hasten(now)
            return Decision(
                "told to all nodes in its time", message=decision.message, client=decision.client, cause="rs-deferred"
            )
        if self._advertiser.may_answer(now):
            return decision
        return Decision("solicits too often", cause="rs-limit")

    def withdraw(self) -> None:
        """Tell the guest that this router is none any more (RFC 4861 §6.2.5)."""
        self._say(self._port.farewell)

    def _say(self, message: bytes) -> None:
        try:
            self._send(encode_to_all_nodes(self._port, message))
            self.sent += 1
        except OSError:
            return  # the guest is not there; when it comes it will ask
