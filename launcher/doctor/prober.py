"""The requests that `doctor` sends about one network, and what the answers mean. Pure: frames in, frames out.

On the pod's interface questions are asked as the VM would ask them, with its MAC and address (where the pod
is its router, with the pod's own), so that the node sees no new host. On the guest's port they are such that no answer
changes the guest's neighbour cache. What the two IP families have in common is here.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TypeVar

from dhcp.wire.addresses import mac_text, parse_mac
from launcher.doctor.frames import Claim, EchoAnswer, Ping
from launcher.doctor.targets import Family, Side, Target
from netsetup.admission import is_ethernet
from netsetup.model.vm_network import VMNetwork

_T = TypeVar("_T")

ROUND_SECONDS = 0.25
ROUNDS = 6
"""Questions without an answer are asked again in each round, and after the last there is no waiting."""
SILENCE_ROUNDS = 4
"""How long nobody may have said anything before it counts as nobody being there; a DHCP server may ping first."""
PROBE_ROUNDS = 3
"""RFC 5227 §1.1: PROBE_NUM."""
SERVER_ROUNDS = (0, 2)
"""When who else serves addresses is asked for."""

SMALL_PING = 84
MOST_FRAMES, MOST_MACS = 64, 8
"""What is kept of one kind, for a guest may send without end."""


class Inquiry(ABC):
    """Requests about one family; the socket loop calls `questions` and `take`."""

    def __init__(self, network: VMNetwork, family: Family, port_mac: str) -> None:
        """`port_mac` is the guest port's own MAC. Answers are stored in `family.answers`."""
        self.answers = family.answers
        self._routed = network.guest.is_routed
        self._mac = parse_mac(network.mac)
        self._address = family.packed(family.address)
        self._port_mac = parse_mac(port_mac)
        has_frames = is_ethernet(network.pod.link)
        self._outer_mac = parse_mac(network.pod.link.mac) if self._routed and has_frames else self._mac
        self._outer_address = family.packed(family.outer_address)
        self._mtu = network.mtu
        self._gateway = family.packed(family.gateway) if has_frames else b""
        self._beyond = family.packed(family.beyond)
        self.answers.gateway_mac = family.permanent_mac
        self._xid = secrets.randbits(24)
        self._identifier = secrets.randbits(16)
        self._has_pinged = False
        self._came_in: dict[Side, set[bytes]] = {side: set() for side in Side}
        self._went_out: dict[Side, set[bytes]] = {side: set() for side in Side}

    # --- what is a family's own ---------------------------------------------------------------------------------------

    @abstractmethod
    def _who_else(self) -> bytes:
        """The question who else on the node's side has the VM's address."""

    @abstractmethod
    def _who_serves(self) -> Iterator[bytes]:
        """The questions that other servers of addresses answer, asked in the VM's name."""

    @abstractmethod
    def _where_is_gateway(self) -> bytes:
        """The question for the gateway's MAC."""

    @abstractmethod
    def _where_is_guest(self) -> Iterator[bytes]:
        """The questions for the VM's address that the guest answers without learning anything untrue."""

    @abstractmethod
    def _asked_by_gateway(self, gateway_mac: bytes) -> bytes:
        """What the gateway would ask the guest; the answer has to cross the bridge."""

    @abstractmethod
    def _echo_request(self, gateway_mac: bytes, ping: Ping) -> bytes: ...

    @abstractmethod
    def _claim(self, frame: bytes) -> Claim | None:
        """The address claim in a frame; None when it has none."""

    @abstractmethod
    def _echo_answer(self, frame: bytes) -> EchoAnswer | None: ...

    def _note_server(self, server: str, mac: str, *, is_own: bool) -> None:
        """Record a DHCP server; the network's own offers the VM what the CNI has given the pod."""
        self.answers.servers.add((server, mac))
        if is_own:
            self.answers.own_servers.add((server, mac))

    @abstractmethod
    def _record_server(self, frame: bytes) -> None:
        """Record a server or a router on the node's side."""

    # --- asking -------------------------------------------------------------------------------------------------------

    def is_answered(self, number: int) -> bool:
        """Whether a further round can be skipped."""
        answers = self.answers
        crosses = self._routed or all(answers.crosses.get(side) for side in Side)
        complete = answers.large and answers.guests and crosses
        return number >= SILENCE_ROUNDS and bool(complete or not self._gateway)

    def questions(self, number: int) -> Iterator[tuple[Side, bytes]]:
        """What to send in a round, counted from 0."""
        if not self._address:
            return
        yield from ((Side.NODE, frame) for frame in self._to_node(number))
        yield from ((Side.GUEST, frame) for frame in self._to_guest())

    def _to_node(self, number: int) -> Iterator[bytes]:
        if number < PROBE_ROUNDS:
            yield self._who_else()
        if number in SERVER_ROUNDS and not self._routed:
            yield from self._who_serves()
        if not self._gateway:
            return
        if not self.answers.gateway_mac:
            yield self._where_is_gateway()
        elif not self.answers.large or not (self._routed or self.answers.crosses.get(Side.NODE)):
            yield from self._pings(Target.GATEWAY, self._gateway, number)
            if self._has_pinged and not self.answers.echoed:
                yield from self._pings(Target.BEYOND, self._beyond, number)
            self._has_pinged = True

    def _pings(self, target: Target, destination: bytes, number: int) -> Iterator[bytes]:
        """The large one first: when the small one after it is answered, the rate of answers was no hindrance."""
        gateway_mac = parse_mac(self.answers.gateway_mac)
        for is_large in (True, False):
            ping = Ping(
                destination,
                self._identifier,
                number << 2 | target.value << 1 | is_large,
                octets=self._mtu if is_large else min(SMALL_PING, self._mtu),
                ttl=1 if target is Target.BEYOND else 64,
            )
            yield self._echo_request(gateway_mac, ping)

    def _to_guest(self) -> Iterator[bytes]:
        answers = self.answers
        if not answers.guests:
            yield from self._where_is_guest()
        if self._gateway and answers.gateway_mac and not self._routed and not answers.crosses.get(Side.GUEST):
            yield self._asked_by_gateway(parse_mac(answers.gateway_mac))

    # --- hearing ------------------------------------------------------------------------------------------------------

    def take(self, side: Side, frame: bytes, outgoing: bool) -> None:
        """Record a frame seen on one side."""
        if outgoing:
            if self._claim(frame) or self._is_ours(self._echo_answer(frame)):
                _note(self._went_out[side], frame, MOST_FRAMES)
        elif side is Side.NODE:
            self._from_node(frame)
        else:
            self._from_guest(frame)
        for came, left in ((Side.NODE, Side.GUEST), (Side.GUEST, Side.NODE)):
            if self._came_in[came]:
                self.answers.crosses[came] = not self._came_in[came].isdisjoint(self._went_out[left])

    def _from_node(self, frame: bytes) -> None:
        answers = self.answers
        must_cross = False
        if claim := self._claim(frame):
            if claim.address == self._outer_address and claim.mac != self._outer_mac:
                answers.holders.add(mac_text(claim.mac))
            if claim.is_answer and claim.address == self._gateway:
                answers.gateway_mac = answers.gateway_mac or mac_text(claim.mac)
                must_cross = True
        elif (echo := self._echo_answer(frame)) and self._is_ours(echo):
            self._returned(echo)
            must_cross = True
        else:
            self._record_server(frame)
        if must_cross and not self._routed and frame[:6] == self._mac:
            _note(self._came_in[Side.NODE], frame, MOST_FRAMES)

    def _returned(self, echo: EchoAnswer) -> None:
        answers = self.answers
        target = Target(echo.sequence >> 1 & 1)
        answers.returned.add(target)
        answers.echoed |= echo.is_reply and target is Target.GATEWAY
        # A gateway's address that is nobody's may be forwarded: what does not fit is then a link farther on.
        answers.large |= bool(echo.sequence & 1) and not echo.is_too_big
        answers.small |= not echo.sequence & 1

    def _is_ours(self, echo: EchoAnswer | None) -> bool:
        return echo is not None and echo.identifier == self._identifier

    def _from_guest(self, frame: bytes) -> None:
        answers = self.answers
        source = frame[6:12]
        if source == self._mac:
            answers.vm_mac_seen = True
        else:
            _note(answers.other_macs, mac_text(source), MOST_MACS)
        claim = self._claim(frame)
        if claim is None or not self._address or claim.address != self._address:
            return
        _note(answers.guests, mac_text(claim.mac), MOST_MACS)
        if not self._routed and source == claim.mac == self._mac and mac_text(frame[:6]) == answers.gateway_mac:
            _note(self._came_in[Side.GUEST], frame, MOST_FRAMES)


def _note(found: set[_T], item: _T, most: int) -> None:
    if len(found) < most:
        found.add(item)
