"""Resolves the MAC of the pod's IPv6 gateway on the pod's interface: the guest uses a substitute address for it.

It is solicited whenever the guest itself solicits for the substitute address.
"""

from __future__ import annotations

from _socket import MSG_DONTWAIT, socket

from dhcp.io.filters import advertisement_filter
from dhcp.io.sockets import attach_filter
from dhcp.wire.ipv4 import Unusable
from dhcp.wire.ipv6 import decode_packet6
from dhcp.wire.ndp import decode_neighbour_advertisement, encode_neighbour_solicitation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dhcp.v6.lease import ServedLease6

_LARGEST_FRAME = 2048
_FRAMES_A_TURN = 32
SOLICIT_SECONDS = 1.0
"""A guest does not make us solicit more often (RFC 4861 §10, RETRANS_TIMER)."""


class GatewayResolver:
    """Solicits for the gateway with the guest's addresses, and receives its advertisements. The socket is its own."""

    def __init__(self, sock: socket) -> None:
        self.socket = sock
        self._lease: ServedLease6 | None = None
        self._on_mac: Callable[[bytes], None] = _ignore
        self._solicited = -SOLICIT_SECONDS

    def serve(self, lease: ServedLease6, on_mac: Callable[[bytes], None]) -> None:
        """Call `on_mac` with each MAC that the gateway of this lease advertises from now on. Raises OSError."""
        attach_filter(self.socket, advertisement_filter(lease.gateway))
        self._lease, self._on_mac = lease, on_mac

    def solicit(self, now: float) -> None:
        """Solicit the gateway, unless that has been done within the last second."""
        lease = self._lease
        if lease is None or now - self._solicited < SOLICIT_SECONDS:
            return
        self._solicited = now
        try:
            self.socket.send(encode_neighbour_solicitation(lease.client_mac, lease.client_address, lease.gateway))
        except OSError:
            return  # the interface is down: the guest has no gateway then

    def receive(self) -> None:
        """Take the advertisements that wait in the socket."""
        for _ in range(_FRAMES_A_TURN):
            try:
                frame = self.socket.recv(_LARGEST_FRAME, MSG_DONTWAIT)
            except OSError:
                return
            try:
                target, mac = decode_neighbour_advertisement(decode_packet6(frame))
            except Unusable:
                continue
            if self._lease and target == self._lease.gateway:
                self._on_mac(mac)


def _ignore(mac: bytes) -> None:
    pass
