"""Resolves the MAC of the pod's IPv6 gateway on the pod's interface: the guest uses a substitute address for it.

It is solicited whenever the guest itself solicits for the substitute address, or an unsolicited advertisement for the
gateway is received. Only the first answer is accepted, from the gateway's address to ours and soon after the
solicitation, because any host on the network can send advertisements (RFC 4861 §7.2.5 accepts unsolicited ones, too).
"""

from __future__ import annotations

from _socket import MSG_DONTWAIT, socket
from time import monotonic

from dhcp.io.filters import advertisement_filter
from dhcp.io.sockets import attach_filter
from dhcp.wire.ipv4 import Unusable
from dhcp.wire.ipv6 import decode_packet6
from dhcp.wire.ndp import SOLICITED, decode_flags, decode_neighbour_advertisement, encode_neighbour_solicitation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dhcp.v6.lease import ServedLease6

_LARGEST_FRAME = 2048
_FRAMES_A_TURN = 32
SOLICIT_SECONDS = 1.0
"""Neither a guest nor a neighbour makes us solicit more often (RFC 4861 §10, RETRANS_TIMER)."""
ANSWER_SECONDS = 3.0
"""How long an answer is waited for (RFC 4861 §10, MAX_UNICAST_SOLICIT times RETRANS_TIMER)."""


class GatewayResolver:
    """Solicits for the gateway with the guest's addresses, and receives its advertisements. The socket is its own."""

    def __init__(self, sock: socket) -> None:
        self.socket = sock
        self._lease: ServedLease6 | None = None
        self._on_mac: Callable[[bytes], None] = _ignore
        self._solicited = -SOLICIT_SECONDS
        self._awaits_answer = False

    def serve(self, lease: ServedLease6, on_mac: Callable[[bytes], None]) -> None:
        """Call `on_mac` with each MAC that the gateway of this lease advertises from now on. Raises OSError."""
        attach_filter(self.socket, advertisement_filter(lease.gateway))
        self._lease, self._on_mac = lease, on_mac

    def solicit(self, now: float) -> None:
        """Solicit the gateway, unless that has been done within the last second."""
        lease = self._lease
        if lease is None or now - self._solicited < SOLICIT_SECONDS:
            return
        self._solicited, self._awaits_answer = now, True
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
            self._take(frame, monotonic())

    def _take(self, frame: bytes, now: float) -> None:
        lease = self._lease
        try:
            packet = decode_packet6(frame)
            target, mac = decode_neighbour_advertisement(packet)
        except Unusable:
            return
        if lease is None or target != lease.gateway:
            return
        answers = decode_flags(packet) & SOLICITED and packet.destination == lease.client_address
        if not answers:
            self.solicit(now)  # its MAC may have changed: it answers with the current one
        elif self._awaits_answer and now - self._solicited < ANSWER_SECONDS and packet.source == lease.gateway:
            self._awaits_answer = False
            self._on_mac(mac)


def _ignore(mac: bytes) -> None:
    pass
