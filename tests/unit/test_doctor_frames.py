"""The frames that `doctor` sends, judged by scapy, and answers of every kind, right, wrong or cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, UDP, IPerror
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from dhcp.wire.addresses import ANY, parse_ipv4, parse_mac
from dhcp.wire.dhcp4 import DISCOVER, INFORM
from launcher.doctor.frames import (
    Claim,
    DHCPAnswer,
    EchoAnswer,
    Ping,
    decode_arp,
    decode_dhcp_answer,
    decode_echo_answer,
    encode_arp_request,
    encode_dhcp_request,
    encode_echo_request,
)

VM, GATEWAY = "10.244.1.3", "10.244.1.1"
VM_MAC, GATEWAY_MAC = "aa:58:f0:00:01:03", "0a:00:00:00:00:01"


def echo(octets: int = 84, ttl: int = 64) -> bytes:
    source, destination = parse_ipv4(VM), parse_ipv4(GATEWAY)
    ping = Ping(destination, 0x1234, 7, octets, ttl)
    return encode_echo_request(parse_mac(VM_MAC), parse_mac(GATEWAY_MAC), source, ping)


def dissect(frame: bytes) -> Packet:
    """By scapy, which has found every checksum to be what it would have written itself."""
    packet = Ether(frame)
    fresh = packet.copy()
    for layer in (IP, ICMP, UDP):
        if layer in fresh:
            del fresh[layer].chksum
    assert bytes(fresh) == frame
    return packet


def test_an_arp_request() -> None:
    frame = encode_arp_request(parse_mac(VM_MAC), parse_mac(VM_MAC), parse_ipv4(VM), parse_ipv4(GATEWAY))
    packet = dissect(frame)
    assert (packet.dst, packet.src) == ("ff:ff:ff:ff:ff:ff", VM_MAC)
    assert (packet[ARP].op, packet[ARP].hwsrc, packet[ARP].psrc, packet[ARP].pdst) == (1, VM_MAC, VM, GATEWAY)
    assert packet[ARP].hwdst == "00:00:00:00:00:00"


@pytest.mark.parametrize("octets", [28, 84, 1280, 1500, 9001])
def test_a_ping_has_the_size_it_is_asked_for(octets: int) -> None:
    packet = dissect(echo(octets, ttl=1))
    assert (packet[IP].len, len(packet[IP]), packet[IP].ttl, packet[IP].flags) == (octets, octets, 1, "DF")
    assert (packet[IP].src, packet[IP].dst, packet.src, packet.dst) == (VM, GATEWAY, VM_MAC, GATEWAY_MAC)
    assert (packet[ICMP].type, packet[ICMP].id, packet[ICMP].seq) == (8, 0x1234, 7)


@pytest.mark.parametrize(("kind", "address"), [(DISCOVER, "0.0.0.0"), (INFORM, VM)])
def test_a_dhcp_question(kind: int, address: str) -> None:
    packet = dissect(encode_dhcp_request(kind, parse_mac(VM_MAC), parse_ipv4(address), 0xCAFE))
    assert (packet[IP].src, packet[IP].dst, packet[UDP].sport, packet[UDP].dport) == (
        address,
        "255.255.255.255",
        68,
        67,
    )
    assert (packet[BOOTP].xid, packet[BOOTP].ciaddr, packet[BOOTP].flags) == (0xCAFE, address, "B")
    assert packet[BOOTP].chaddr[:6] == parse_mac(VM_MAC)
    assert packet[DHCP].options[0] == ("message-type", kind)


def test_an_arp_answer() -> None:
    answer = ARP(op=2, hwsrc=GATEWAY_MAC, psrc=GATEWAY, hwdst=VM_MAC, pdst=VM)
    frame = bytes(Ether(src=GATEWAY_MAC, dst=VM_MAC) / answer)
    assert decode_arp(frame) == Claim(parse_mac(GATEWAY_MAC), parse_ipv4(GATEWAY), is_answer=True)
    assert decode_arp(frame[:41]) is None
    assert decode_arp(bytes(Ether(type=0x0806) / ARP(hwtype=6) / b"")) is None


def to_vm(*layers: Packet) -> bytes:
    packet = Ether(src=GATEWAY_MAC, dst=VM_MAC) / IP(src=GATEWAY, dst=VM)
    for layer in layers:
        packet /= layer
    return bytes(packet)


QUESTION = Ether(echo())
QUOTE = IPerror(bytes(QUESTION[IP])[:28])


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        (to_vm(ICMP(type=0, id=0x1234, seq=7), Raw(bytes(56))), EchoAnswer(0x1234, 7, True)),
        (to_vm(ICMP(type=11), QUOTE), EchoAnswer(0x1234, 7, False)),
        (to_vm(ICMP(type=3, code=1), QUOTE), EchoAnswer(0x1234, 7, False)),
        (to_vm(ICMP(type=3, code=4, nexthopmtu=1400), QUOTE), EchoAnswer(0x1234, 7, False, True)),
        (to_vm(ICMP(type=5), QUOTE), EchoAnswer(0x1234, 7, False)),
        (to_vm(ICMP(type=8, id=0x1234, seq=7)), None),
        (to_vm(ICMP(type=3), IP(src=VM, dst=GATEWAY), UDP(sport=4, dport=5)), None),
        (to_vm(UDP(sport=67, dport=68), Raw(bytes(40))), None),
        (echo(), None),
    ],
    ids=["reply", "time exceeded", "unreachable", "too big", "redirect", "request", "other's", "UDP", "own"],
)
def test_what_answers_a_ping(frame: bytes, answer: EchoAnswer | None) -> None:
    assert decode_echo_answer(frame) == answer
    for length in range(14, 14 + 28):
        assert decode_echo_answer(frame[:length]) is None


def test_a_dhcp_servers_answer() -> None:
    message = BOOTP(op=2, xid=0xCAFE) / DHCP(options=[("message-type", 2), ("server_id", "10.244.1.9"), "end"])
    frame = to_vm(UDP(sport=67, dport=68), message)
    assert decode_dhcp_answer(frame) == DHCPAnswer(0xCAFE, parse_ipv4("10.244.1.9"), parse_mac(GATEWAY_MAC))
    unnamed = to_vm(UDP(sport=67, dport=68), BOOTP(op=2, xid=1) / DHCP(options=[("message-type", 2), "end"]))
    assert decode_dhcp_answer(unnamed) == DHCPAnswer(1, parse_ipv4(GATEWAY), parse_mac(GATEWAY_MAC))
    assert decode_dhcp_answer(frame[:280]) is None
    question = encode_dhcp_request(DISCOVER, parse_mac(VM_MAC), ANY, 0xCAFE)
    assert decode_dhcp_answer(question) is None


@given(
    st.sampled_from([b"\x08\x00\x45", b"\x08\x00\x4f", b"\x08\x00", b"\x08\x06", b""]),
    st.binary(max_size=600),
)
def test_no_frame_is_an_error(kind: bytes, rest: bytes) -> None:
    frame = bytes(12) + kind + rest
    decode_arp(frame)
    decode_echo_answer(frame)
    decode_dhcp_answer(frame)
