"""A tun device whose other end is this process: what leaves a namespace by a VPN, and an answer to it."""

from __future__ import annotations

import fcntl
import os
import select
import struct
from types import TracebackType
from typing import Self

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from lab.namespace import Namespace

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
PATIENCE = 5


class Tunnel:
    """A tun device of a namespace; a context manager that removes it."""

    def __init__(self, namespace: Namespace, name: str) -> None:
        with namespace.entered():
            self.file = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
            fcntl.ioctl(self.file, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.file)

    def answer(self, port: int) -> str:
        """Answer one UDP datagram to a port; the address that it comes from, as seen here. Raises TimeoutError."""
        while select.select([self.file], [], [], PATIENCE)[0]:
            data = os.read(self.file, 65535)
            packet: Packet = (IPv6 if data[0] >> 4 == 6 else IP)(data)
            if UDP in packet and packet[UDP].dport == port:
                reply = type(packet)(src=packet.dst, dst=packet.src) / UDP(sport=port, dport=packet[UDP].sport)
                os.write(self.file, bytes(reply / b"answer"))
                return str(packet.src)
        raise TimeoutError
