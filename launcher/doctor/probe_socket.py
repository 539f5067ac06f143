"""Packet sockets for `doctor`: both directions of an interface, filtered to ARP, ICMP and DHCP."""

from __future__ import annotations

import contextlib
import errno
import select
import time
from collections.abc import Iterable, Sequence
from struct import Struct
from types import TracebackType

from dhcp.io.sockets import TransportError, attach_filter, open_packet_socket
from dhcp.wire.addresses import parse_mac
from dhcp.wire.ipv4 import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, SERVER_PORT, UDP
from dhcp.wire.ipv6 import ICMPV6, SERVER_PORT6
from launcher.doctor.frames import PROTOCOL_ICMP
from launcher.doctor.prober import ROUND_SECONDS, ROUNDS, Inquiry
from launcher.doctor.targets import Side
from netsetup.errors import NotPermitted

LARGEST_FRAME = 65536
# Frames taken from one interface before the others get their turn, however many come.
_TURN = 64

_SOL_PACKET, _PACKET_IGNORE_OUTGOING, _PACKET_OUTGOING = 263, 23, 4

# Classic BPF (Documentation/networking/filter.rst). The offsets of metadata are the kernel's "ancillary" ones.
_INSTRUCTION = Struct("=HBBI")
_WORD, _HALF, _BYTE, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x28, 0x30, 0x15, 0x06
_PACKET_TYPE, _VLAN_TAG_PRESENT = 0xFFFFF004, 0xFFFFF030

Test = tuple[int, int, bool, int]
"""Width to load, offset, whether it must be equal, value."""


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
        attach_filter(self._socket, _filter(parse_mac(expected_mac) if expected_mac else b""))

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
                frame, address = self._socket.recvfrom(LARGEST_FRAME)
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


def _filter(expected_mac: bytes) -> bytes:
    """ARP, ICMP and DHCP servers' messages of both families, untagged; whatever else comes in from another MAC."""
    arp: Test = (_HALF, 12, True, ETHERTYPE_ARP)
    ipv4: Test = (_HALF, 12, True, ETHERTYPE_IPV4)
    ipv6: Test = (_HALF, 12, True, ETHERTYPE_IPV6)
    program = _when([(_WORD, _VLAN_TAG_PRESENT, False, 0)], accept=False)
    program += _when([arp])
    program += _when([ipv4, (_BYTE, 23, True, PROTOCOL_ICMP)])
    program += _when([ipv4, (_BYTE, 23, True, UDP), (_HALF, 34, True, SERVER_PORT)])
    program += _when([ipv6, (_BYTE, 20, True, ICMPV6)])
    program += _when([ipv6, (_BYTE, 20, True, UDP), (_HALF, 54, True, SERVER_PORT6)])
    if expected_mac:
        incoming: Test = (_BYTE, _PACKET_TYPE, False, _PACKET_OUTGOING)
        high, low = int.from_bytes(expected_mac[:4], "big"), int.from_bytes(expected_mac[4:], "big")
        program += _when([incoming, (_WORD, 6, False, high)]) + _when([incoming, (_HALF, 10, False, low)])
    return program + _when([], accept=False)


def _when(tests: Sequence[Test], accept: bool = True) -> bytes:
    """The verdict for a frame that passes all tests; any other goes on to what comes next in the program."""
    code = b""
    for index, (width, offset, equal, value) in enumerate(tests):
        to_next = 2 * (len(tests) - index - 1) + 1
        code += _INSTRUCTION.pack(width, 0, 0, offset)
        code += _INSTRUCTION.pack(_JUMP_IF_EQUAL, *((0, to_next) if equal else (to_next, 0)), value)
    return code + _INSTRUCTION.pack(_RETURN, 0, 0, LARGEST_FRAME if accept else 0)
