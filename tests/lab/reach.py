"""Tests reachability between namespaces, and the addresses seen: one connection or datagram and one answer.

This process opens the sockets in their namespaces, so a test takes a millisecond.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from scapy.layers.sctp import SCTP, SCTPChunkInit, SCTPChunkInitAck

from lab.namespace import Namespace

SCTP_NUMBER = 132


def patience() -> float:
    """Seconds until a request counts as unanswered; more on a busy machine, where the kernel itself has to wait."""
    return 0.25 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@dataclass(frozen=True, slots=True)
class Server:
    """One socket in a namespace that answers each connection or datagram."""

    protocol: str
    port: int
    socket: socket.socket

    def answer(self) -> str:
        """Receive one request and answer it; the client's address as seen here. Raises TimeoutError."""
        if not select.select([self.socket], [], [], patience())[0]:
            raise TimeoutError
        if self.protocol == "tcp":
            connection, client = self.socket.accept()
            with connection:
                connection.sendall(b"answer")
            return str(client[0])
        data, client = self.socket.recvfrom(2048)
        if self.protocol == "udp":
            self.socket.sendto(b"answer", client)
            return str(client[0])
        question = _sctp(data, self.socket.family)
        if question.dport != self.port or SCTPChunkInit not in question:
            return self.answer()
        tag = question[SCTPChunkInit].init_tag
        reply = SCTP(sport=self.port, dport=question.sport, tag=tag) / SCTPChunkInitAck(init_tag=tag + 1)
        self.socket.sendto(bytes(reply), (client[0], 0))
        return str(client[0])


@contextlib.contextmanager
def serving(namespace: Namespace, protocol: str, port: int, address: str) -> Iterator[Server]:
    """A server of ``tcp``, ``udp`` or ``sctp`` (of the latter the handshake's first half) at an address."""
    with _open(namespace, protocol, address) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, 0 if protocol == "sctp" else port))
        if protocol == "tcp":
            server.listen(8)
        yield Server(protocol, port, server)


def seen_by(server: Server, client: Namespace, address: str, *, port: int | None = None, source: str = "") -> str:
    """The client's address as the server at `address` sees it; empty when it is not reached, or its answer is lost."""
    to = (address, port or server.port)
    with _open(client, server.protocol, address) as requester:
        requester.settimeout(patience())
        if source:
            requester.bind((source, 0))
        try:
            if server.protocol == "sctp":
                sport = random.randrange(32768, 60999)
                requester.sendto(bytes(SCTP(sport=sport, dport=to[1]) / SCTPChunkInit(init_tag=sport)), (address, 0))
                seen = server.answer()
                return seen if _has_init_ack(requester, to[1]) else ""
            requester.connect(to)
            if server.protocol == "udp":
                requester.send(b"question")
            seen = server.answer()
            return seen if requester.recv(16) == b"answer" else ""
        except OSError:  # refused, unreachable, or TimeoutError
            return ""


def _open(namespace: Namespace, protocol: str, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "sctp": socket.SOCK_RAW}[protocol]
    with namespace.entered():
        return socket.socket(family, kind | socket.SOCK_CLOEXEC, SCTP_NUMBER if protocol == "sctp" else 0)


def _has_init_ack(requester: socket.socket, port: int) -> bool:
    deadline = time.monotonic() + patience()
    while time.monotonic() < deadline:
        packet = _sctp(requester.recvfrom(2048)[0], requester.family)
        if packet.sport == port and SCTPChunkInitAck in packet:
            return True
    return False


def _sctp(data: bytes, family: int) -> SCTP:
    """The SCTP packet; a raw socket of IPv4 gives the IP header too."""
    return SCTP(data if family == socket.AF_INET6 else data[(data[0] & 15) * 4 :])
