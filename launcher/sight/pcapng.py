"""A capture file: blocks of pcapng (draft-ietf-opsawg-pcapng), for frames of one Ethernet device. Pure.

Of our own, because scapy's writer takes half a second to import, and tcpdump is not in a container.
"""

from __future__ import annotations

from struct import pack

_SECTION, _INTERFACE, _PACKET, _STATISTICS = 0x0A0D0D0A, 1, 6, 5
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_LINKTYPE_ETHERNET = 1
_TO_THE_END = 0xFFFFFFFFFFFFFFFF
_END_OF_OPTIONS = bytes(4)
_USER_APPLICATION, _NAME, _TIME_RESOLUTION = 4, 2, 9
_FLAGS, _RECEIVED, _DROPPED = 2, 4, 5
INBOUND, OUTBOUND = 1, 2
"""Seen from the device: inbound is what the guest sent to its port."""


def file_head(program: str, device: str) -> bytes:
    """The file's beginning: who writes it, and the device; times are in nanoseconds since the epoch."""
    section = pack("<IHHQ", _BYTE_ORDER_MAGIC, 1, 0, _TO_THE_END) + _option(_USER_APPLICATION, program.encode())
    interface = pack("<HHI", _LINKTYPE_ETHERNET, 0, 0) + _option(_NAME, device.encode(errors="surrogateescape"))
    interface += _option(_TIME_RESOLUTION, bytes((9,)))
    return _block(_SECTION, section + _END_OF_OPTIONS) + _block(_INTERFACE, interface + _END_OF_OPTIONS)


def packet(frame: bytes, octets: int, nanoseconds: int, direction: int) -> bytes:
    """One frame, which had so many octets, at a time, INBOUND or OUTBOUND."""
    head = pack("<IIIII", 0, nanoseconds >> 32, nanoseconds & 0xFFFFFFFF, len(frame), octets)
    return _block(_PACKET, head + _padded(frame) + _option(_FLAGS, pack("<I", direction)) + _END_OF_OPTIONS)


def statistics(nanoseconds: int, received: int, dropped: int) -> bytes:
    """How many frames came, and how many of them the kernel had no room for."""
    head = pack("<III", 0, nanoseconds >> 32, nanoseconds & 0xFFFFFFFF)
    counts = _option(_RECEIVED, pack("<Q", received)) + _option(_DROPPED, pack("<Q", dropped))
    return _block(_STATISTICS, head + counts + _END_OF_OPTIONS)


def _block(kind: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return pack("<II", kind, length) + body + pack("<I", length)


def _option(code: int, value: bytes) -> bytes:
    return pack("<HH", code, len(value)) + _padded(value)


def _padded(value: bytes) -> bytes:
    return value + bytes(-len(value) % 4)
