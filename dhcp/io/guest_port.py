"""One guest port: its packet socket, the lease that is served on it, counters, and the log of its transactions."""

from __future__ import annotations

from _socket import MSG_DONTWAIT, socket
from time import CLOCK_BOOTTIME, clock_gettime, monotonic, time

from dhcp.config import ClientConfig
from dhcp.decision import Decision
from dhcp.handler import handle
from dhcp.io.filters import guest_filter
from dhcp.io.flood_guard import FloodGuard
from dhcp.io.log import Log
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
from dhcp.io.sockets import UnusableSocket, attach_filter, interface_mac
from dhcp.lean.frozen import replace
from dhcp.token_bucket import TokenBucket
from dhcp.v4.lease import ServedLease, prepare_lease
from dhcp.wire.addresses import mac_text
from dhcp.wire.dhcp4 import FOREIGN_MAC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dhcp.decision import Grant
    from dhcp.io.gateway_resolver import GatewayResolver
    from dhcp.io.ra_sender import RASender
    from dhcp.io.reply_cache import RequestKey
    from dhcp.io.taken_leases import TakenLeases

NEVER = float("inf")
# More than an Ethernet frame; a longer one on a jumbo link is no DHCP request and is cut.
_LARGEST_FRAME = 2048
# A socket that fails more often, every second, is of no use any more; one that is down fails once each time.
MOST_FAILURES = 1000
# Frames taken from one port before the others and the control socket get their turn.
_FRAMES_A_TURN = 32
# Transactions that wait for a pause to be logged; of a burst the last ones are kept.
_UNLOGGED = 64
# A client has a handful of different requests. A guest that varies them only empties the store more often.
MOST_REQUESTS = 16
# A gateway has one MAC, or a few one after the other.
_MOST_ROUTER_MACS = 16
# Answered like the others, but no transactions worth a line each.
_RESOLUTION = frozenset(("", "ARP", "NS"))
# In place of the latest request, its reply's key and the reply: no request has this key.
_NO_REQUEST: tuple[tuple[bytes, ...], bytes, PreparedReply] = ((), b"", PreparedReply(Decision("")))


def attach_guest_filter(sock: socket, config: ClientConfig) -> None:
    """Let in, from now on, what a server with this configuration may answer. Raises OSError."""
    attach_filter(sock, _filter(prepare_lease(config, interface_mac(sock))))


def _filter(lease: ServedLease, only_client: bytes = b"") -> bytes:
    return guest_filter(lease.arp, only_client, lease.ipv6.neighbours if lease.ipv6 else None)


class GuestPort:
    """Answers the frames that the guest sends on one interface. The socket is the port's from now on."""

    def __init__(self, sock: socket, config: ClientConfig, log: Log) -> None:
        self.socket = sock
        self.answered: dict[str, int] = {}
        self.ignored: dict[str, int] = {}
        self.send_errors = 0
        self._failures = TokenBucket(MOST_FAILURES, 1 / MOST_FAILURES, monotonic())
        self._leases: TakenLeases | None = None
        self._log = log
        self._frame = bytearray(_LARGEST_FRAME)
        self._prepared: dict[RequestKey, PreparedReply] = {}
        self._latest = _NO_REQUEST
        self._unlogged: list[tuple[Decision, int]] = []
        self._transactions = 0
        self._guard = FloodGuard()
        self._ra_sender: RASender | None = None
        self.resolver: GatewayResolver | None = None
        self._router_macs: set[bytes] = set()
        """Those that the gateway had before, the first few."""
        self.blocks_in_receive = False
        self._stale = NEVER
        self.configure(config)

    @property
    def unlogged(self) -> bool:
        """Whether `flush` has something to do."""
        return bool(self._unlogged)

    @property
    def due(self) -> float:
        """When the next advertisement to all nodes goes out, in monotonic seconds."""
        return self._ra_sender.due if self._ra_sender else NEVER

    @property
    def is_strict(self) -> bool:
        """Whether the kernel drops a flood of frames by the strict filter; `flush` ends that in time."""
        return self._guard.is_strict

    def configure(self, config: ClientConfig) -> None:
        """Serve this from the next frame on; frames that wait in the socket are kept. Raises OSError."""
        self.count_prepared()
        self.config = config
        self._prepare_lease()
        self._attach_filter()
        if self.lease.ipv6 is None:
            self.withdraw()
        elif self._ra_sender:
            self._ra_sender.configure(self.lease.ipv6, monotonic())
        else:
            from dhcp.io.ra_sender import RASender

            self._ra_sender = RASender(self.socket.send, self.lease.ipv6, monotonic())

    def _prepare_lease(self) -> None:
        """What is served from now on; of a lease that runs out, for a second."""
        self._prepared, self._latest = {}, _NO_REQUEST
        config, self._stale = self.config, NEVER
        if config.lease_end or (config.ipv6 and (config.ipv6.lease_end or config.ipv6.preferred_end)):
            from dhcp.lifetimes import config_at

            config, self._stale = config_at(config, clock_gettime(CLOCK_BOOTTIME)), monotonic() + 1
        self.lease = prepare_lease(config, interface_mac(self.socket))

    def count_down(self) -> None:
        """Serve what is left by now of a lease that runs out."""
        if monotonic() < self._stale:
            return
        self.count_prepared()
        try:
            self._prepare_lease()
        except OSError:
            return  # the interface has gone
        if self._ra_sender and self.lease.ipv6:
            self._ra_sender.count_down(self.lease.ipv6)

    def _attach_filter(self) -> None:
        attach_filter(self.socket, self.filter(self.config.client_mac if self._guard.is_strict else b""))

    def filter(self, only_client: bytes = b"") -> bytes:
        """The usual BPF program, or the strict one that drops what cannot be the only client's."""
        return _filter(self.lease, only_client)

    def answer_waiting(self) -> None:
        """Answer the frames that wait in the socket, at most one turn of them.

        Written for speed: this loop is what a client's, or a hostile guest's, every message goes through.
        """
        if self._stale != NEVER:
            self.count_down()
        receive, send, frame = self.socket.recv_into, self.socket.send, self._frame
        unlogged = self._unlogged
        del unlogged[:-_UNLOGGED]
        split, read, fill = HEAD.unpack_from, XID.unpack_from, REPLY.pack_into
        matches, offset = frame.startswith, HEAD.size
        flags = 0 if self.blocks_in_receive else MSG_DONTWAIT
        head, rest, reply = self._latest
        expected = offset + len(rest)
        for _ in range(_FRAMES_A_TURN):
            try:
                octets = receive(frame, 0, flags)
            except BlockingIOError:
                return
            except OSError as error:
                self._report_failure("receive", error)
                return
            if octets < SHORTEST_REQUEST:
                self._answer(self.decide(bytes(frame[:octets])))
                continue
            if octets != expected or not matches(rest, offset) or split(frame) != head:
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
                self._report_failure("send", error)

    def _prepare(self, frame: bytes) -> tuple[tuple[bytes, ...], bytes, PreparedReply] | None:
        """The key and reply of a request that is not like the latest one; None when it has been dealt with already."""
        head, rest = HEAD.unpack_from(frame), frame[HEAD.size :]
        reply = self._prepared.get((head, rest))
        if reply is None:
            decision = self.decide(frame)
            if not is_preparable(frame, decision):
                self._answer(decision)
                return None
            if len(self._prepared) >= MOST_REQUESTS:
                self.count_prepared()
                self._prepared.clear()
            reply = self._prepared[head, rest] = PreparedReply(decision)
        return head, rest, reply

    def decide(self, frame: bytes) -> Decision:
        """What to do about a frame that passed the filter; never raises."""
        try:
            return handle(frame, self.lease)
        except Exception as error:  # a defect must cost this frame its answer, not the guest its server
            self._log.write("error", "defect", {"error": repr(error), "frame": frame.hex()})
            return Decision(repr(error), cause="defect")

    def use_resolver(self, resolver: GatewayResolver | None) -> None:
        """Keep the gateway's MAC fresh by this one; None where the guest does so itself. Raises OSError."""
        self.resolver = resolver
        if resolver and self.lease.ipv6 and self.config.ipv6:
            resolver.serve(self.lease.ipv6, self._learn_router)
            if not self.config.ipv6.router_mac:
                resolver.solicit(monotonic())

    def advertise(self, now: float) -> None:
        """Send the advertisement that is due, and solicit the gateway as long as its MAC is missing."""
        assert self._ra_sender
        self.count_down()
        self._ra_sender.advertise(now)
        if self.resolver and self.config.ipv6 and not self.config.ipv6.router_mac:
            self.resolver.solicit(now)

    def withdraw(self) -> None:
        """Withdraw the router, if one is advertised."""
        if self._ra_sender:
            self._ra_sender.withdraw()
            self._ra_sender = None

    def _learn_router(self, mac: bytes) -> None:
        """Advertise the router with the MAC that the gateway has now."""
        from dhcp.wire.addresses6 import ipv6_text
        from dhcp.wire.ndp import OVERRIDE, ROUTER, encode_neighbour_advertisement

        ipv6, lease = self.config.ipv6, self.lease.ipv6
        if ipv6 is None or lease is None or ipv6.router_mac == mac:
            return
        fields = {"interface": self.config.interface, "router": ipv6_text(ipv6.router), "mac": mac_text(mac)}
        level = "info"
        if mac in self._router_macs:
            level, fields["reason"] = "warning", "two hosts answer for it: its MAC changes back and forth"
        elif ipv6.router_mac and len(self._router_macs) < _MOST_ROUTER_MACS:
            self._router_macs.add(ipv6.router_mac)
        self._log.write(level, "router", {**fields, "before": mac_text(ipv6.router_mac)})
        self.configure(replace(self.config, ipv6=replace(ipv6, router_mac=mac)))
        if ipv6.router_mac:  # the guest has the old one, and the next router advertisement may have to wait
            try:
                self.socket.send(encode_neighbour_advertisement(lease.address, mac, ROUTER | OVERRIDE))
            except OSError as error:
                self._report_failure("send", error)

    def _answer(self, decision: Decision) -> None:
        if decision.answer in ("NA", "RA") and self.resolver:
            self.resolver.solicit(monotonic())
        if decision.answer == "RA":
            assert self._ra_sender
            decision = self._ra_sender.limit(decision, monotonic())
        self._count(decision, 1)
        if decision.message not in _RESOLUTION:
            self._unlogged.append((decision, decision.xid))
            self._transactions += 1
        if decision.cause:
            self._guard_against_flood(decision)
        try:
            for answer in decision.frames:
                self.socket.send(answer)
        except OSError as error:
            self._report_failure("send", error)

    def _guard_against_flood(self, decision: Decision) -> None:
        """Count a frame without an answer; of a flood of them the kernel drops the rest by the strict filter."""
        if decision.cause == FOREIGN_MAC:
            self._log.warn_unknown_mac(self.config, decision)
        floods = self._guard.floods
        if not self._guard.count_unanswered(monotonic()):
            return
        self._attach_filter()
        if self._guard.floods != floods:
            fields: dict[str, object] = {
                "interface": self.config.interface,
                "cause": decision.cause,
                "reason": "frames that get no answer come too fast to be counted; the kernel drops them meanwhile",
            }
            self._log.warn("flood", fields)

    def _report_failure(self, doing: str, error: OSError) -> None:
        """Log that a frame was not received or sent; an interface that is down or gone may come back.

        Raises UnusableSocket.
        """
        from errno import ENETDOWN

        if doing == "send":
            self.send_errors += 1
        elif not self._failures.take(monotonic()):
            raise UnusableSocket(f"{self.config.interface}: nothing can be received: {error.strerror}")
        if error.errno != ENETDOWN or doing == "send":
            fields: dict[str, object] = {"interface": self.config.interface, "error": error.strerror}
            self._log.write("warning", f"{doing}-failed", fields)

    def count_prepared(self) -> None:
        """Add the hits of prepared replies to the counters."""
        for reply in self._prepared.values():
            if reply.hits:
                self._count(reply.decision, reply.hits)
                self._transactions += reply.hits
                reply.hits = 0

    def _count(self, decision: Decision, times: int) -> None:
        counters = self.answered if decision.frames else self.ignored
        name = decision.answer if decision.frames else decision.cause
        counters[name] = counters.get(name, 0) + times

    def flush(self) -> None:
        """Log the transactions since the last time, and attach the usual filter again when a flood is over."""
        self.count_prepared()
        if self._guard.is_strict and self._guard.is_over(monotonic()):
            self._attach_filter()
        del self._unlogged[:-_UNLOGGED]
        lost = self._transactions - len(self._unlogged)
        self._transactions = 0
        if lost > 0:
            self._log.count_suppressed(lost)
        for decision, xid in self._unlogged:
            self._log.transaction(self.config, decision, xid)
            if decision.grant:
                self._take(decision.grant)
        self._unlogged.clear()

    def _take(self, grant: Grant) -> None:
        """Remember for `status` what the client has now."""
        if self._leases is None:
            from dhcp.io.taken_leases import TakenLeases

            self._leases = TakenLeases()
        self._leases.take(grant, time(), clock_gettime(CLOCK_BOOTTIME))

    def status(self) -> dict[str, object]:
        """The counters, in the shape of `status`."""
        self.count_prepared()
        return {
            "interface": self.config.interface,
            "answered": dict(sorted(self.answered.items())),
            "ignored": dict(sorted(self.ignored.items())),
            **({"advertisements": self._ra_sender.sent} if self._ra_sender else {}),
            "leases": self._leases.report(clock_gettime(CLOCK_BOOTTIME)) if self._leases else [],
            "floods": self._guard.floods,
            "send_errors": self.send_errors,
        }
