"""Packet sockets for `doctor`: both directions of an interface, filtered to ARP, ICMP and DHCP."""

from __future__ import annotations

import contextlib
import errno
import select
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from dhcp.io.bpf import (
    JUMP_IF_EQUAL,
    LOAD_BYTE,
    LOAD_HALF,
    LOAD_WORD,
    PACKET_TYPE,
    VERDICTS,
    VLAN_TAG_PRESENT,
    assemble,
    jump,
    load,
    require,
)
from dhcp.io.sockets import TransportError, attach_filter, open_packet_socket
from dhcp.wire.addresses import parse_mac
from dhcp.wire.ipv4 import (
    ETHERNET_OCTETS,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    IPV4_OCTETS,
    IPV4_PROTOCOL_AT,
    SERVER_PORT,
    UDP,
)
from dhcp.wire.ipv6 import ICMPV6, IPV6_OCTETS, SERVER_PORT6
from launcher.doctor.frames import PROTOCOL_ICMP
from launcher.doctor.prober import ROUND_SECONDS, ROUNDS, Inquiry
from launcher.doctor.targets import Side
from netsetup.errors import NotPermitted

if TYPE_CHECKING:
    from dhcp.io.bpf import Line

_LARGEST_FRAME = 65536
# Frames taken from one interface before the others get their turn, however many come.
_TURN = 64

_SOL_PACKET, _PACKET_IGNORE_OUTGOING, _PACKET_OUTGOING = 263, 23, 4


class ProbeSocket:
    """One interface, seen as `tcpdump` sees it, and written to; a context manager.

    With `expected_mac` every frame that comes in from another MAC is seen as well.
    """

    def __init__(self, interface: str, expected_mac: str = "") -> None:
        """Raises NotPermitted without CAP_NET_RAW, TransportError when there is no such interface."""
        try:
            self._socket = open_packet_socket(interface)
        except TransportError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                raise NotPermitted(f"probe {interface}", "CAP_NET_RAW") from None
            raise
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 0)
        attach_filter(self._socket, probe_filter(parse_mac(expected_mac) if expected_mac else b""))

    def __enter__(self) -> ProbeSocket:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, frame: bytes) -> None:
        """Nothing happens when the interface does not take it: that no answer comes says it all."""
        with contextlib.suppress(OSError):
            self._socket.send(frame)

    def receive(self) -> Iterable[tuple[bytes, bool]]:
        """The next frames that wait, each with whether the interface sends it rather than having received it."""
        for _ in range(_TURN):
            try:
                frame, address = self._socket.recvfrom(_LARGEST_FRAME)
            except OSError:
                return  # none left, or the interface went down
            yield frame, address[2] == _PACKET_OUTGOING


def ask(parties: Sequence[tuple[Sequence[Inquiry], dict[Side, ProbeSocket]]]) -> None:
    """Put all questions at once and collect the answers, for `questions.ROUNDS` rounds at most.

    Each of the `parties` is what there is to ask about one network, with its sockets.
    """
    poll = select.poll()
    by_descriptor: dict[int, tuple[Sequence[Inquiry], Side, ProbeSocket]] = {}
    for inquiries, sockets in parties:
        for side, sock in sockets.items():
            by_descriptor[sock.fileno()] = (inquiries, side, sock)
            poll.register(sock, select.POLLIN)
    began = time.monotonic()
    for number in range(ROUNDS):
        if all(inquiry.is_answered(number) for inquiries, _ in parties for inquiry in inquiries):
            return
        for inquiries, sockets in parties:
            for side, frame in (question for inquiry in inquiries for question in inquiry.questions(number)):
                if side in sockets:
                    sockets[side].send(frame)
        until = began + (number + 1) * ROUND_SECONDS
        while (left := until - time.monotonic()) > 0:
            for descriptor, event in poll.poll(left * 1e3):
                inquiries, side, sock = by_descriptor[descriptor]
                for frame, outgoing in sock.receive():
                    for inquiry in inquiries:
                        inquiry.take(side, frame, outgoing)
                if event != select.POLLIN:
                    poll.unregister(descriptor)  # the interface is gone or down


def probe_filter(expected_mac: bytes) -> bytes:
    """ARP, ICMP and DHCP servers' messages of both families, untagged; whatever else comes in from another MAC."""
    otherwise = "other" if expected_mac else "reject"
    lines: list[Line] = [
        *require((LOAD_WORD, VLAN_TAG_PRESENT, 0)),
        load(LOAD_HALF, 12),
        jump(JUMP_IF_EQUAL, ETHERTYPE_ARP, "accept", ""),
        jump(JUMP_IF_EQUAL, ETHERTYPE_IPV4, "ipv4", ""),
        jump(JUMP_IF_EQUAL, ETHERTYPE_IPV6, "ipv6", otherwise),
        "ipv4",
        load(LOAD_BYTE, IPV4_PROTOCOL_AT),
        jump(JUMP_IF_EQUAL, PROTOCOL_ICMP, "accept", ""),
        jump(JUMP_IF_EQUAL, UDP, "", otherwise),
        load(LOAD_HALF, ETHERNET_OCTETS + IPV4_OCTETS),  # the source port
        jump(JUMP_IF_EQUAL, SERVER_PORT, "accept", otherwise),
        "ipv6",
        load(LOAD_BYTE, 20),
        jump(JUMP_IF_EQUAL, ICMPV6, "accept", ""),
        jump(JUMP_IF_EQUAL, UDP, "", otherwise),
        load(LOAD_HALF, ETHERNET_OCTETS + IPV6_OCTETS),
        jump(JUMP_IF_EQUAL, SERVER_PORT6, "accept", otherwise),
    ]
    if expected_mac:
        lines += [
            "other",
            load(LOAD_BYTE, PACKET_TYPE),
            jump(JUMP_IF_EQUAL, _PACKET_OUTGOING, "reject", ""),
            load(LOAD_WORD, 6),
            jump(JUMP_IF_EQUAL, int.from_bytes(expected_mac[:4], "big"), "", "accept"),
            load(LOAD_HALF, 10),
            jump(JUMP_IF_EQUAL, int.from_bytes(expected_mac[4:], "big"), "reject", "accept"),
        ]
    return assemble([*lines, *VERDICTS])
