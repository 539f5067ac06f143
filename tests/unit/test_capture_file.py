"""What a capture lets in, by the kernel's own BPF, and its file, read by scapy."""

from __future__ import annotations

import io
import socket

import pytest
from lab.requests import CLIENT, arp, discover, frame, payload
from lab.requests6 import datagram6, message6, neighbour_solicitation, packet6, router_solicitation, solicit
from scapy.utils import PcapNgReader, RawPcapNgReader

from dhcp.io.sockets import attach_filter
from launcher.sight import pcapng
from launcher.sight.capture import configuration_filter

OFFER = frame(payload(2, op=2), source="10.0.0.1", destination=CLIENT, source_port=67, port=68)
ADVERTISE = datagram6(message6(2), source_port=547, port=546)
ADVERTISEMENT = packet6(bytes((134,)) + bytes(15), 58)


@pytest.mark.parametrize(
    ("octets", "passes"),
    [
        (discover(), True),
        (OFFER, True),
        (arp(1, CLIENT), True),
        (solicit(), True),
        (ADVERTISE, True),
        (router_solicitation(), True),
        (neighbour_solicitation("fe80::1"), True),
        (ADVERTISEMENT, True),
        (frame(b"x", source_port=4000, port=53), False),
        (frame(b"x", source_port=68, port=67, fragment=1), False),
        (frame(b"x", protocol=6), False),
        (packet6(bytes((128,)) + bytes(7), 58), False),
        (datagram6(b"x", source_port=4000, port=53), False),
        (packet6(b"x" * 20, 6), False),
        (b"", False),
    ],
)
def test_what_is_captured_unless_all_is(octets: bytes, passes: bool) -> None:
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, its:
        attach_filter(its, configuration_filter())
        its.setblocking(False)
        try:
            ours.send(octets)
            received = its.recv(65536)
        except OSError:  # a sender is told so
            received = None
        assert (received == octets) is passes


def test_a_file_of_frames() -> None:
    nanoseconds = 1_796_000_400_123_456_789
    blocks = pcapng.file_head("virt-launcher 1.0", "tap0")
    for number, octets in enumerate((discover(), arp(1, CLIENT)[:41], OFFER)):
        blocks += pcapng.packet(octets, len(octets) + number, nanoseconds + number, 1 + number % 2)
    blocks += pcapng.statistics(nanoseconds, 3, 0)
    assert [bytes(packet) for packet in PcapNgReader(io.BytesIO(blocks))] == [discover(), arp(1, CLIENT)[:41], OFFER]
    read = [metadata for _, metadata in RawPcapNgReader(io.BytesIO(blocks))]
    assert [metadata.wirelen - len(octets) for octets, metadata in RawPcapNgReader(io.BytesIO(blocks))] == [0, 1, 2]
    assert {(metadata.linktype, metadata.ifname) for metadata in read} == {(1, b"tap0")}
    assert [(metadata.tshigh << 32) + metadata.tslow - nanoseconds for metadata in read] == [0, 1, 2]
    assert [metadata.direction for metadata in read] == [1, 2, 1]
