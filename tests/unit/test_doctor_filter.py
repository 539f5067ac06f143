"""Which frames `doctor` sees, as the kernel runs its filter."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from dhcp.daemon.dry_run import filter_accepts
from dhcp.wire.addresses import parse_mac
from launcher.doctor.probe_socket import probe_filter

VM_MAC = "aa:58:f0:00:01:03"
ASKED_FOR = [
    ARP(),
    IP() / ICMP(),
    IP() / UDP(sport=67, dport=68),
    IPv6() / ICMPv6EchoReply(),
    IPv6() / UDP(sport=547, dport=546),
]
OTHER = [IP() / UDP(sport=68, dport=67), IP() / TCP(), IPv6() / UDP(sport=53), IPv6() / TCP()]


def accepts(packet: Packet, source: str, expected_mac: bytes) -> bool:
    return filter_accepts(probe_filter(expected_mac), bytes(Ether(src=source, dst=VM_MAC) / packet))


@pytest.mark.parametrize("expected_mac", [b"", parse_mac(VM_MAC)], ids=["any", "expected"])
def test_what_is_asked_for_comes_in_from_anybody_and_all_else_only_from_strangers(expected_mac: bytes) -> None:
    for source in (VM_MAC, "aa:58:f0:00:01:04", "0a:58:f0:00:01:03"):
        is_stranger = bool(expected_mac) and source != VM_MAC
        assert all(accepts(packet, source, expected_mac) for packet in ASKED_FOR)
        assert [accepts(packet, source, expected_mac) for packet in OTHER] == [is_stranger] * len(OTHER)
