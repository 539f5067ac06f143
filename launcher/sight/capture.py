"""Captures what passes a guest port, by one packet socket, within bounds."""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator

from dhcp.io.bpf import (
    JUMP_IF_EQUAL,
    JUMP_IF_SET,
    LOAD_BYTE,
    LOAD_HALF,
    LOAD_HALF_INDEXED,
    LOAD_IP_HEADER_LENGTH,
    REJECT_ALL,
    VERDICTS,
    accept_one_of,
    assemble,
    jump,
    load,
)
from dhcp.io.sockets import attach_filter
from dhcp.lean.frozen import Frozen
from launcher.sight import pcapng
from launcher.sight.version import program_version
from netsetup.errors import KernelRefused, NetworkSetupError, NotPermitted

log = logging.getLogger("launcher")

ETH_P_ALL = 3
ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
UDP, ICMPV6 = 17, 58
DHCP_PORTS, DHCP6_PORTS = (67, 68), (546, 547)
DISCOVERY = range(133, 138)
"""ICMPv6 types of neighbour discovery (RFC 4861 §4): router and neighbour messages, redirects."""

SOL_PACKET, PACKET_STATISTICS, PACKET_AUXDATA = 263, 6, 8
SO_TIMESTAMPNS = 35
PACKET_OUTGOING = 4
TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID = 0x10, 0x40
ETHERTYPE_VLAN = 0x8100
LARGEST = 65_535
"""Octets of a frame that are kept: all of them, but for what a device with segmentation offload hands over whole."""
BUFFER = 4 << 20
"""For frames that come faster than they are written; the kernel's own limit (net.core.rmem_max) may be less."""


class Bounds(Frozen):
    """When a capture ends: whichever comes first."""

    packets: int
    octets: int
    """Of the file."""
    seconds: float


class Captured(Frozen):
    """What came of it."""

    packets: int
    octets: int
    dropped: int
    """Frames that the kernel had no room for."""


def configuration_filter() -> bytes:
    """The BPF program for DHCP, DHCPv6, ARP and neighbour discovery, both ways, tagged or not."""
    lines = [
        load(LOAD_HALF, 12),
        jump(JUMP_IF_EQUAL, ARP, "accept", ""),
        jump(JUMP_IF_EQUAL, IPV4, "ipv4", ""),
        jump(JUMP_IF_EQUAL, IPV6, "ipv6", "reject"),
        "ipv4",
        load(LOAD_BYTE, 23),
        jump(JUMP_IF_EQUAL, UDP, "", "reject"),
        load(LOAD_HALF, 20),
        jump(JUMP_IF_SET, 0x1FFF, "reject", ""),  # not the first fragment: it has no ports
        load(LOAD_IP_HEADER_LENGTH, 14),
        load(LOAD_HALF_INDEXED, 14),
        *(jump(JUMP_IF_EQUAL, port, "accept", "") for port in DHCP_PORTS),
        load(LOAD_HALF_INDEXED, 16),
        *accept_one_of(DHCP_PORTS),
        "ipv6",
        load(LOAD_BYTE, 20),
        jump(JUMP_IF_EQUAL, ICMPV6, "icmp6", ""),
        jump(JUMP_IF_EQUAL, UDP, "", "reject"),
        load(LOAD_HALF, 54),
        *(jump(JUMP_IF_EQUAL, port, "accept", "") for port in DHCP6_PORTS),
        load(LOAD_HALF, 56),
        *accept_one_of(DHCP6_PORTS),
        "icmp6",
        load(LOAD_BYTE, 54),
        *accept_one_of(DISCOVERY),
    ]
    return assemble([*lines, *VERDICTS])


def open_socket(device: str, program: bytes | None) -> socket.socket:
    """A packet socket that has the frames of a device, both ways, which the BPF program accepts; None is all.

    Raises NotPermitted without CAP_NET_RAW, and KernelRefused.
    """
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    except PermissionError:
        raise NotPermitted(f"{device}: capture", "CAP_NET_RAW") from None
    try:
        attach_filter(sock, REJECT_ALL)  # nothing comes before all is set
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        sock.bind((device, ETH_P_ALL))
        attach_filter(sock, program or assemble([*VERDICTS]))
    except OSError as error:
        sock.close()
        raise KernelRefused.of(f"{device}: capture", error) from None
    return sock


def capture(sock: socket.socket, write: Callable[[bytes], object], bounds: Bounds, signals: Signals) -> Captured:
    """Write what comes as pcapng until a bound is reached, or a signal has come; each frame at once.

    Raises what `write` raises, and NetworkSetupError when the device goes away.
    """
    device = sock.getsockname()[0]
    head = pcapng.file_head(f"virt-launcher {program_version()}", device)
    write(head)
    packets, octets = 0, len(head)
    for frame, whole, nanoseconds, direction in _frames(sock, bounds.seconds, signals):
        block = pcapng.packet(frame, whole, nanoseconds, direction)
        if octets + len(block) > bounds.octets:
            break
        write(block)
        packets, octets = packets + 1, octets + len(block)
        if packets >= bounds.packets:
            break
    received, dropped = struct.unpack("II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
    block = pcapng.statistics(time.time_ns(), received, dropped)
    write(block)
    return Captured(packets, octets + len(block), dropped)


def _frames(sock: socket.socket, seconds: float, signals: Signals) -> Iterator[tuple[bytes, int, int, int]]:
    """Each frame with the octets that it had, its time in nanoseconds, and its direction."""
    deadline = time.monotonic() + seconds
    waiting = select.poll()
    waiting.register(sock, select.POLLIN)
    waiting.register(signals, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        ready = [descriptor for descriptor, _ in waiting.poll(left * 1000)]
        if signals.fileno() in ready:
            now = time.time_ns()
            while (received := _receive(sock)) and received[2] <= now:
                yield received  # which came before the signal
            return
        if ready and (received := _receive(sock)):
            yield received


def _receive(sock: socket.socket) -> tuple[bytes, int, int, int] | None:
    try:
        frame, ancillary, _, address = sock.recvmsg(LARGEST, 256, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.ENETDOWN and sock.getsockname()[0]:
            return None  # it is down, and may come up again
        raise NetworkSetupError("the captured device has gone") from None
    nanoseconds, octets, tag = time.time_ns(), len(frame), b""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            whole, part = struct.unpack("ll", data[:16])
            nanoseconds = whole * 1_000_000_000 + part
        elif (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            octets, tag = struct.unpack("I", data[4:8])[0], _vlan_tag(data)
    direction = pcapng.OUTBOUND if address[2] == PACKET_OUTGOING else pcapng.INBOUND
    return frame[:12] + tag + frame[12:], octets + len(tag), nanoseconds, direction


def _vlan_tag(auxiliary: bytes) -> bytes:
    """The tag that the kernel took out of the frame, of struct tpacket_auxdata (linux/if_packet.h); empty for none."""
    status, _, _, _, _, tag, kind = struct.unpack("IIIHHHH", auxiliary[:20])
    if not status & TP_STATUS_VLAN_VALID:
        return b""
    return struct.pack("!HH", kind if status & TP_STATUS_VLAN_TPID_VALID else ETHERTYPE_VLAN, tag)


class Signals:
    """A descriptor that is readable once SIGINT or SIGTERM has come; a context manager."""

    def __enter__(self) -> Signals:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = signal.set_wakeup_fd(self._write)
        self._handlers = {number: signal.signal(number, _ignore) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def fileno(self) -> int:
        return self._read

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read)
        os.close(self._write)


def _ignore(_number: int, _frame: object) -> None:
    """With a handler, the interpreter writes to the descriptor of set_wakeup_fd."""
