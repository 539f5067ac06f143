"""One guest port in service: its socket, what is served on it, and how often what happened."""

from __future__ import annotations

from _socket import MSG_DONTWAIT, socket
from time import monotonic

from dhcp.config import ClientConfig
from dhcp.decision import Decision
from dhcp.handler import handle
from dhcp.io.filters import guest_filter
from dhcp.io.flood_guard import Guard
from dhcp.io.log import Journal
from dhcp.io.reply_cache import (
    HEAD,
    REPLY,
    REPLY_HEAD,
    REPLY_OFFSET,
    SHORTEST_REQUEST,
    XID,
    XID_OFFSET,
    PreparedReply,
    is_preparable,
)
from dhcp.io.sockets import attach_filter, port_mac
from dhcp.lean.frozen import replace
from dhcp.v4.lease import Port, serve_port
from dhcp.wire.addresses import mac_text
from dhcp.wire.dhcp4 import FOREIGN_MAC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dhcp.io.gateway_resolver import Uplink
    from dhcp.io.ra_sender import Router
    from dhcp.io.reply_cache import RequestKey
    from dhcp.v6.lease import Port6

NEVER = float("inf")
# More than an Ethernet frame; a longer one on a jumbo link is no DHCP request and is cut.
_LARGEST_FRAME = 2048
# Frames taken from one port before the others and the control socket get their turn.
_TURN = 32
# Transactions that wait for a quiet moment to be logged; of a burst the last ones are kept.
_UNLOGGED = 64
# A guest that varies its requests only empties the store more often.
MOST_REQUESTS = 64
# Answered like the others, but no transactions worth a line each.
_RESOLUTION = frozenset(("", "ARP", "NS"))
# In place of the latest request, its reply's key and the reply: no request has this key.
_NOTHING_YET: tuple[tuple[bytes, ...], bytes, PreparedReply] = ((), b"", PreparedReply(Decision("")))


def attach_guest_filter(sock: socket, config: ClientConfig) -> None:
    """Let in, from now on, what a server with this configuration may answer. Raises OSError."""
    attach_filter(sock, _filter(serve_port(config, port_mac(sock))))


def _filter(port: Port, only_client: bytes = b"") -> bytes:
    return guest_filter(port.arp, only_client, port.ipv6.neighbours if port.ipv6 else None)


class ServedPort:
    """Answers the frames of one guest port. The socket is the port's from now on."""

    def __init__(self, sock: socket, config: ClientConfig, journal: Journal) -> None:
        self.socket = sock
        self.answered: dict[str, int] = {}
        self.ignored: dict[str, int] = {}
        self.send_errors = 0
        self._journal = journal
        self._frame = bytearray(_LARGEST_FRAME)
        self._prepared: dict[RequestKey, PreparedReply] = {}
        self._latest = _NOTHING_YET
        self._unlogged: list[tuple[Decision, int]] = []
        self._happened = 0
        self._guard = Guard()
        self._router: Router | None = None
        self.uplink: Uplink | None = None
        self.lingers = False
        self.configure(config)

    @property
    def unlogged(self) -> bool:
        """Whether `flush` has something to do."""
        return bool(self._unlogged)

    @property
    def due(self) -> float:
        """When the next advertisement to all nodes goes out, in monotonic seconds."""
        return self._router.due if self._router else NEVER

    @property
    def guarded(self) -> bool:
        """Whether the kernel keeps a flood of hopeless frames out; `flush` ends it in time."""
        return self._guard.raised

    def configure(self, config: ClientConfig) -> None:
        """Serve this from the next frame on; frames that wait in the socket are kept. Raises OSError."""
        self.count()
        self._prepared = {}
        self._latest = _NOTHING_YET
        self.config = config
        self.port = serve_port(config, port_mac(self.socket))
        self._attach_filter()
        self._serve_router(self.port.ipv6)

    def _serve_router(self, ipv6: Port6 | None) -> None:
        """Advertise what is served, or nothing any more."""
        if ipv6 is None:
            self.withdraw()
        elif self._router:
            self._router.configure(ipv6, monotonic())
        else:
            from dhcp.io.ra_sender import Router

            self._router = Router(self.socket.send, ipv6, monotonic())

    def _attach_filter(self) -> None:
        attach_filter(self.socket, self.filter(self.config.client_mac if self._guard.raised else b""))

    def filter(self, only_client: bytes = b"") -> bytes:
        """The BPF program of quiet times, or the one that keeps out what cannot be of the only client."""
        return _filter(self.port, only_client)

    def answer_waiting(self) -> None:
        """Answer the frames that wait in the socket, at most one turn of them.

        Written for speed: this loop is what a client's, or a hostile guest's, every message goes through.
        """
        receive, send, frame = self.socket.recv_into, self.socket.send, self._frame
        unlogged = self._unlogged
        del unlogged[:-_UNLOGGED]
        split, read, fill = HEAD.unpack_from, XID.unpack_from, REPLY.pack_into
        goes_on_with, offset = frame.startswith, HEAD.size
        flags = 0 if self.lingers else MSG_DONTWAIT
        head, rest, reply = self._latest
        expected = offset + len(rest)
        for _ in range(_TURN):
            try:
                octets = receive(frame, 0, flags)
            except BlockingIOError:
                return
            except OSError as error:
                self._broken("receive", error)
                return
            if octets < SHORTEST_REQUEST:
                self._answer(self.decide(bytes(frame[:octets])))
                continue
            if octets != expected or not goes_on_with(rest, offset) or split(frame) != head:
                latest = self._prepare(bytes(frame[:octets]))
                if latest is None:
                    continue
                head, rest, reply = self._latest = latest
                expected = offset + len(rest)
            (xid,) = read(frame, XID_OFFSET)
            reply.hits += 1
            unlogged.append((reply.decision, xid))
            try:
                for answer, total in reply.frames:
                    fill(answer, REPLY_OFFSET, -(total + xid) % 0xFFFF or 0xFFFF, REPLY_HEAD, xid)
                    send(answer)
            except OSError as error:
                self._broken("send", error)

    def _prepare(self, frame: bytes) -> tuple[tuple[bytes, ...], bytes, PreparedReply] | None:
        """The key of a request that is not the latest one and its reply; None when it has been dealt with already."""
        head, rest = HEAD.unpack_from(frame), frame[HEAD.size :]
        reply = self._prepared.get((head, rest))
        if reply is None:
            decision = self.decide(frame)
            if not is_preparable(frame, decision):
                self._answer(decision)
                return None
            if len(self._prepared) >= MOST_REQUESTS:
                self.count()
                self._prepared.clear()
            reply = self._prepared[head, rest] = PreparedReply(decision)
        return head, rest, reply

    def decide(self, frame: bytes) -> Decision:
        """What to do about a frame that passed the filter; never raises."""
        try:
            return handle(frame, self.port)
        except Exception as error:  # a defect must cost this frame its answer, not the guest its server
            self._journal.write("error", "defect", {"error": repr(error), "frame": frame.hex()})
            return Decision(repr(error), cause="defect")

    def ask_through(self, uplink: Uplink | None) -> None:
        """Keep the gateway's MAC fresh by this uplink; None where the guest does so itself. Raises OSError."""
        self.uplink = uplink
        if uplink and self.port.ipv6 and self.config.ipv6:
            uplink.serve(self.port.ipv6, self._learn_router)
            if not self.config.ipv6.router_mac:
                uplink.ask(monotonic())

    def advertise(self, now: float) -> None:
        """Send the advertisement that is due; one without a router is a moment to ask for it again."""
        assert self._router
        self._router.advertise(now)
        if self.uplink and self.config.ipv6 and not self.config.ipv6.router_mac:
            self.uplink.ask(now)

    def withdraw(self) -> None:
        """Tell the guest that its router is none any more."""
        if self._router:
            self._router.withdraw()
            self._router = None

    def _learn_router(self, mac: bytes) -> None:
        from dhcp.wire.addresses6 import ipv6_text
        from dhcp.wire.ndp import OVERRIDE, ROUTER, encode_neighbour_advertisement

        ipv6, port = self.config.ipv6, self.port.ipv6
        if ipv6 is None or port is None or ipv6.router_mac == mac:
            return
        fields = {"interface": self.config.interface, "router": ipv6_text(ipv6.router), "mac": mac_text(mac)}
        self._journal.write("info", "router", {**fields, "before": mac_text(ipv6.router_mac)})
        self.configure(replace(self.config, ipv6=replace(ipv6, router_mac=mac)))
        if ipv6.router_mac:  # the guest has the old one, and an advertisement may have to wait
            try:
                self.socket.send(encode_neighbour_advertisement(port.address, mac, ROUTER | OVERRIDE))
            except OSError as error:
                self._broken("send", error)

    def _answer(self, decision: Decision) -> None:
        if decision.answer in ("NA", "RA") and self.uplink:
            self.uplink.ask(monotonic())
        if decision.answer == "RA":
            assert self._router
            decision = self._router.limit(decision, monotonic())
        self._count(decision, 1)
        if decision.message not in _RESOLUTION:
            self._unlogged.append((decision, decision.xid))
            self._happened += 1
        if decision.cause:
            self._ignored(decision)
        try:
            for answer in decision.frames:
                self.socket.send(answer)
        except OSError as error:
            self._broken("send", error)

    def _ignored(self, decision: Decision) -> None:
        """A guest may send such frames faster than anybody can look at them: then the kernel drops them."""
        if decision.cause == FOREIGN_MAC:
            self._journal.stranger(self.config, decision)
        floods = self._guard.floods
        if not self._guard.hopeless(monotonic()):
            return
        self._attach_filter()
        if self._guard.floods != floods:
            fields: dict[str, object] = {
                "interface": self.config.interface,
                "cause": decision.cause,
                "reason": "frames that get no answer come too fast to be counted; the kernel drops them meanwhile",
            }
            self._journal.warn("flood", fields)

    def _broken(self, doing: str, error: OSError) -> None:
        """A port that is down or gone may come back, or be replaced by a reconfiguration: keep on."""
        from errno import ENETDOWN

        if doing == "send":
            self.send_errors += 1
        if error.errno != ENETDOWN or doing == "send":
            fields: dict[str, object] = {"interface": self.config.interface, "error": error.strerror}
            self._journal.write("warning", f"{doing}-failed", fields)

    def count(self) -> None:
        """Bring the counters up to date with what prepared replies did."""
        for reply in self._prepared.values():
            if reply.hits:
                self._count(reply.decision, reply.hits)
                self._happened += reply.hits
                reply.hits = 0

    def _count(self, decision: Decision, times: int) -> None:
        counters = self.answered if decision.frames else self.ignored
        name = decision.answer if decision.frames else decision.cause
        counters[name] = counters.get(name, 0) + times

    def flush(self) -> None:
        """Log the transactions since the last time, and see whether a flood is over."""
        self.count()
        if self._guard.raised and self._guard.is_over(monotonic()):
            self._attach_filter()
        del self._unlogged[:-_UNLOGGED]
        lost = self._happened - len(self._unlogged)
        self._happened = 0
        if lost > 0:
            self._journal.lost(lost)
        for decision, xid in self._unlogged:
            self._journal.transaction(self.config, decision, xid)
        self._unlogged.clear()

    def status(self) -> dict[str, object]:
        """Counters and addresses, for people and for metrics."""
        self.count()
        return {
            "interface": self.config.interface,
            "answered": dict(sorted(self.answered.items())),
            "ignored": dict(sorted(self.ignored.items())),
            **({"advertisements": self._router.sent} if self._router else {}),
            "floods": self._guard.floods,
            "send_errors": self.send_errors,
        }
