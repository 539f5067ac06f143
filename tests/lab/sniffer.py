"""Records the frames on one interface in the background; scapy dissects them afterwards."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from scapy.layers.dhcp import DHCP  # which binds BOOTP to UDP ports 67 and 68
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from lab.namespace import Namespace
from lab.waiting import PATIENCE

ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_AUXDATA = 8
_TP_STATUS_VLAN_VALID = 1 << 4
_AUXDATA = struct.Struct("=IIIHHHH")


@dataclass(frozen=True, slots=True)
class Frame:
    """One recorded frame."""

    time: float
    """time.monotonic() when it was read."""
    outgoing: bool
    """Sent by the sniffed interface; otherwise received."""
    vlan: int | None
    """VLAN id. The kernel takes the tag out of the frame: it is here, and not in `data`."""
    data: bytes

    @property
    def source(self) -> str:
        return self.data[6:12].hex(":")

    @property
    def destination(self) -> str:
        return self.data[0:6].hex(":")

    def packet(self) -> Packet:
        """Dissected by scapy."""
        return Ether(self.data)

    def is_dhcp(self, message_type: int | None = None) -> bool:
        """Whether it is DHCPv4, by ports (a client may use any source port), and of this type if one is given."""
        packet = self.packet()
        if UDP not in packet or {packet[UDP].sport, packet[UDP].dport}.isdisjoint({67, 68}):
            return False
        return message_type is None or ("message-type", message_type) in packet[DHCP].options

    def __str__(self) -> str:
        direction = "out" if self.outgoing else "in "
        return f"{direction} {self.packet().summary()}"


class Sniffer:
    """Records every frame of an interface, in both directions, from its construction until it is closed.

    A packet socket receives frames before bridge and netfilter. Use as a context manager; `frames` may be read at any
    time.
    """

    def __init__(self, namespace: Namespace, interface: str) -> None:
        self.interface = interface
        self.frames: list[Frame] = []
        with namespace.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self._socket.bind((interface, ETH_P_ALL))
        self._stop, self._stopping = os.pipe()
        self._thread = threading.Thread(target=self._record, name=f"sniffer {interface}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Read what is queued, then stop. May be called twice."""
        if self._socket.fileno() < 0:
            return
        os.write(self._stopping, b".")
        self._thread.join()
        self._socket.close()
        os.close(self._stop)
        os.close(self._stopping)

    def wait_for(self, wanted: Callable[[Frame], bool], timeout: float = PATIENCE) -> Frame:
        """Wait for a frame that matches, and return the first.

        Raises:
            AssertionError: none came; the message lists what did.
        """
        deadline = time.monotonic() + timeout
        seen = 0
        while True:
            for frame in self.frames[seen:]:
                seen += 1
                if wanted(frame):
                    return frame
            if time.monotonic() > deadline:
                raise AssertionError(f"no such frame on {self.interface} in {timeout:g} s; seen:\n{self}")
            time.sleep(0.005)

    def __str__(self) -> str:
        return "\n".join(map(str, self.frames)) or "(nothing)"

    def _record(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            self._drain()
            if self._stop in ready:
                return

    def _drain(self) -> None:
        while True:
            try:
                data, ancillary, _, address = self._socket.recvmsg(65536, 256, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:  # the interface went down or was removed; keep the frames before
                return
            self.frames.append(Frame(time.monotonic(), address[2] == 4, _vlan(ancillary), data))


def _vlan(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA) and len(data) >= _AUXDATA.size:
            status, _, _, _, _, tag, _ = _AUXDATA.unpack_from(data)
            if status & _TP_STATUS_VLAN_VALID:
                return int(tag & 0x0FFF)
    return None
