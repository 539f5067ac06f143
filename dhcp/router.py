"""The side of a guest port that speaks unasked: router advertisements in their time."""

from __future__ import annotations

from dhcp.decision import Decision

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dhcp.advertiser import Advertiser
    from dhcp.port6 import Port6

NEVER = float("inf")


class Router:
    """Advertises through `send`, which takes a frame and may raise OSError. Times are monotonic seconds."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self.sent = 0
        self._send = send
        self._port: Port6 | None = None
        self._advertiser: Advertiser | None = None

    @property
    def due(self) -> float:
        """When the next advertisement to all nodes goes out."""
        return self._advertiser.due if self._advertiser else NEVER

    def configure(self, port: Port6 | None, now: float) -> None:
        """Advertise this from now on; one that the guest has been told of and that is another router is withdrawn."""
        if self._port and (port is None or port.address != self._port.address):
            self.withdraw()
        self._port = port
        if port is None:
            self._advertiser = None
        elif self._advertiser is None:
            from _random import Random  # without the distributions around it

            from dhcp.advertiser import Advertiser

            self._advertiser = Advertiser(now, Random().random)
        else:
            self._advertiser.restart(now)

    def advertise(self, now: float) -> None:
        """Send the advertisement that is due, if one is."""
        if self._port and self._advertiser and now >= self._advertiser.due:
            self._advertiser.sent(now)
            self._say(self._port.advertisement, self._port)

    def limit(self, decision: Decision, now: float) -> Decision:
        """The decision about a solicitation, or silence where it would be answered more often than is good."""
        assert self._advertiser
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
        if self._port:
            self._say(self._port.farewell, self._port)
            self._port = None

    def _say(self, message: bytes, port: Port6) -> None:
        from dhcp.ra import advertise

        try:
            self._send(advertise(port, message))
            self.sent += 1
        except OSError:
            return  # the guest is not there; when it comes it will ask
