"""The pod's interface, on which a gateway is asked for its MAC, because the guest knows it by another address.

It is asked whenever the guest itself doubts it, that is solicits for the address which stands for the gateway.
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

    from dhcp.v6.lease import Port6

_LARGEST_FRAME = 2048
_TURN = 32
ASK_SECONDS = 1.0
"""A guest does not make us ask more often (RFC 4861 §10, RETRANS_TIMER)."""


class Uplink:
    """Asks for the gateway in the guest's name, and hears who answers. The socket is the uplink's from now on."""

    def __init__(self, sock: socket) -> None:
        self.socket = sock
        self._port: Port6 | None = None
        self._learnt: Callable[[bytes], None] = _forget
        self._asked = -ASK_SECONDS

    def serve(self, port: Port6, learnt: Callable[[bytes], None]) -> None:
        """Call `learnt` with every MAC that the gateway of this port tells of from now on. Raises OSError."""
        attach_filter(self.socket, advertisement_filter(port.gateway))
        self._port, self._learnt = port, learnt

    def ask(self, now: float) -> None:
        """Solicit the gateway, unless that has been done within the last second."""
        if self._port is None or now - self._asked < ASK_SECONDS:
            return
        self._asked = now
        try:
            port = self._port
            self.socket.send(encode_neighbour_solicitation(port.client_mac, port.client_address, port.gateway))
        except OSError:
            return  # the interface is down: the guest has no gateway then

    def receive(self) -> None:
        """Take what the gateway says."""
        for _ in range(_TURN):
            try:
                frame = self.socket.recv(_LARGEST_FRAME, MSG_DONTWAIT)
            except OSError:
                return
            try:
                target, mac = decode_neighbour_advertisement(decode_packet6(frame))
            except Unusable:
                continue
            if self._port and target == self._port.gateway:
                self._learnt(mac)


def _forget(mac: bytes) -> None:
    pass
