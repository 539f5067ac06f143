"""One rtnetlink socket: requests and dumps as octets, and errno turned into typed errors. See netlink(7)."""

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Final, Self

from netsetup.errors import KernelRefused, NotPermitted

# linux/netlink.h
NLMSG: Final = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLM_F_DUMP_INTR = 0x10
NLMSG_ERROR, NLMSG_DONE = 2, 3
NETLINK_EXT_ACK, NLMSGERR_ATTR_MSG, NLM_F_ACK_TLVS = 11, 1, 0x200
SOL_NETLINK = 270

# linux/rtnetlink.h
RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETNEIGH, RTM_GETRULE = 18, 22, 26, 30, 34
DUMPED: Final = {
    RTM_GETLINK: "interfaces",
    RTM_GETADDR: "addresses",
    RTM_GETROUTE: "routes",
    RTM_GETNEIGH: "neighbours",
    RTM_GETRULE: "rules",
}
DUMP_ATTEMPTS: Final = 5
MEMORY_SHORTAGE: Final = (errno.ENOBUFS, errno.ENOMEM)
BATCH: Final = 64
"""So many errors, each of which quotes its request, find room in the socket's buffer."""


class NetlinkSocket:
    """One rtnetlink socket in the caller's network namespace; a context manager."""

    def __init__(self) -> None:
        """Raises KernelRefused."""
        self._sequence = 0
        self._open()

    def _open(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
            self._socket.bind((0, 0))
        except OSError as error:
            raise KernelRefused.of("open a netlink socket", error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def request(self, what: str, payload: bytes, kind: int, flags: int = 0) -> None:
        """Have one change made; `what` it is, for messages. Raises KernelRefused and NotPermitted."""
        try:
            self._send(payload, kind, flags | NLM_F_REQUEST | NLM_F_ACK)
            for header, data in self._receive():
                if header == NLMSG_ERROR:
                    _raise_for(what, data)
                    return
        except OSError as error:
            raise KernelRefused.of(what, error) from None

    def outcomes(self, what: str, payloads: Sequence[bytes], kind: int, flags: int = 0) -> Iterator[int]:
        """Have changes made, many at a time, and yield the errno of each in turn, 0 for one that was made.

        Raises KernelRefused for the socket's own failure.
        """
        try:
            for start in range(0, len(payloads), BATCH):
                yield from self._outcomes(payloads[start : start + BATCH], kind, flags | NLM_F_REQUEST | NLM_F_ACK)
        except OSError as error:
            raise KernelRefused.of(what, error) from None

    def _outcomes(self, payloads: Sequence[bytes], kind: int, flags: int) -> Iterator[int]:
        first, batch = self._sequence + 1, b""
        for payload in payloads:
            self._sequence += 1
            head = NLMSG.pack(NLMSG.size + len(payload), kind, flags, self._sequence, 0)
            batch += head + payload + bytes(-len(payload) % 4)
        self._socket.send(batch)
        while first <= self._sequence:
            for header, data in self._receive(first):
                if header == NLMSG_ERROR:
                    first += 1
                    yield -struct.unpack_from("i", data, NLMSG.size)[0]

    def dump(self, request: bytes, kind: int) -> list[bytes]:
        """All messages of one table, as sent; read again when it changed under way, or when the kernel was short of
        memory. Raises KernelRefused and NotPermitted."""
        what = f"read the kernel's {DUMPED[kind]}"
        failure = KernelRefused(what, errno.EINTR, "they kept changing meanwhile")
        for _ in range(DUMP_ATTEMPTS):
            try:
                messages = self._dump_once(what, request, kind)
            except OSError as error:
                failure = KernelRefused.of(what, error)
                if failure.errno not in MEMORY_SHORTAGE:
                    break
                self.close()  # and with it what is left of this dump
                self._open()
                continue
            if messages is not None:
                return messages
        raise failure

    def _dump_once(self, what: str, request: bytes, kind: int) -> list[bytes] | None:
        """None when the table has changed under way (NLM_F_DUMP_INTR)."""
        self._send(request, kind, NLM_F_REQUEST | NLM_F_DUMP)
        messages: list[bytes] = []
        interrupted = False
        while True:
            for header, data in self._receive():
                interrupted |= bool(struct.unpack_from("H", data, 6)[0] & NLM_F_DUMP_INTR)
                if header == NLMSG_DONE:
                    return None if interrupted else messages
                if header == NLMSG_ERROR:
                    _raise_for(what, data)
                else:
                    messages.append(data)

    def _send(self, payload: bytes, kind: int, flags: int) -> None:
        """Raises OSError, as `_receive` does."""
        self._sequence += 1
        self._socket.send(NLMSG.pack(NLMSG.size + len(payload), kind, flags, self._sequence, 0) + payload)

    def _receive(self, sequence: int | None = None) -> Iterator[tuple[int, bytes]]:
        """(message type, message with its header) for each message of one datagram that answers our last request, or
        that with this number."""
        wanted = self._sequence if sequence is None else sequence
        buffer = self._socket.recv(1 << 16)
        offset = 0
        while offset + 16 <= len(buffer):
            length, kind, _, answered, _ = struct.unpack_from("IHHII", buffer, offset)
            if answered == wanted:
                yield kind, buffer[offset : offset + length]
            offset += (length + 3) & ~3


def _raise_for(what: str, data: bytes) -> None:
    """Raise for a NLMSG_ERROR message unless it is a plain acknowledgement (error 0)."""
    code = -struct.unpack_from("i", data, 16)[0]
    if code == 0:
        return
    if code in (errno.EPERM, errno.EACCES):
        raise NotPermitted(what)
    raise KernelRefused(what, code, _extended_ack(data))


def _extended_ack(data: bytes) -> str:
    """The kernel's message about an error (NETLINK_EXT_ACK), empty when there is none."""
    _, _, flags = struct.unpack_from("IHH", data)
    if not flags & NLM_F_ACK_TLVS:
        return ""
    offset = 36  # our header, the error, and the header of the request (NLM_F_CAPPED or not, see below)
    request_length = struct.unpack_from("I", data, 20)[0]
    if not flags & 0x100:  # not NLM_F_CAPPED: the whole request is quoted
        offset = 20 + ((request_length + 3) & ~3)
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("HH", data, offset)
        if length < 4:
            break
        if kind == NLMSGERR_ATTR_MSG:
            return data[offset + 4 : offset + length].rstrip(b"\0").decode(errors="replace")
        offset += (length + 3) & ~3
    return ""
