"""What `doctor` asks and what it makes of the answers, without a wire: a node and a guest that are functions."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from lab.vmnetworks import bridged
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from launcher.doctor.prober import ROUND_SECONDS, ROUNDS, SILENCE_ROUNDS, Inquiry
from launcher.doctor.prober4 import Inquiry4
from launcher.doctor.targets import Side, Target, families_of
from netsetup.model.kernel import AF_INET, Address, Link, Neighbour, Route
from netsetup.model.pod_interface import PodInterface

VM_MAC, VM = "aa:58:f0:00:01:03", "10.244.1.3"
GATEWAY_MAC, GATEWAY = "0a:00:00:00:00:01", "10.244.1.1"
PORT_MAC = "fe:00:00:00:00:01"
MTU = 1450


def inquiry(*routes: Route, neighbours: tuple[Neighbour, ...] = ()) -> Inquiry:
    link = Link(2, "eth0", "veth", VM_MAC, MTU, 0x10043, 0, "", None, None)
    default = (Route(AF_INET, "0.0.0.0/0", interface=2, gateway=GATEWAY),)
    pod = PodInterface(link, (Address(AF_INET, VM, 24),), routes or default, neighbours)
    network = bridged(pod, mtu=MTU)
    (family,) = families_of(network)
    return Inquiry4(network, family, PORT_MAC)


def asked(inquiry: Inquiry, number: int, side: Side) -> list[Packet]:
    return [Ether(frame) for where, frame in inquiry.questions(number) if where is side]


def pings(packets: list[Packet]) -> Iterator[tuple[str, int]]:
    return ((packet[IP].dst, packet[IP].len) for packet in packets if ICMP in packet)


def from_node(inquiry: Inquiry, packet: Packet) -> None:
    inquiry.take(Side.NODE, bytes(Ether(src=GATEWAY_MAC, dst=VM_MAC) / packet), False)


def answer_arp(inquiry: Inquiry) -> None:
    from_node(inquiry, ARP(op=2, hwsrc=GATEWAY_MAC, psrc=GATEWAY, hwdst=VM_MAC, pdst=VM))


def time_exceeded(ping: Packet) -> Packet:
    return IP(src=GATEWAY, dst=VM) / ICMP(type=11) / bytes(ping[IP])[:28]


def test_a_gateway_that_is_silent_is_gone_around_only_after_it_had_its_chance() -> None:
    inquired = inquiry()
    assert list(pings(asked(inquired, 0, Side.NODE))) == []
    answer_arp(inquired)
    assert list(pings(asked(inquired, 1, Side.NODE))) == [(GATEWAY, MTU), (GATEWAY, 84)]
    beyond = [packet for packet in asked(inquired, 2, Side.NODE) if ICMP in packet and packet[IP].dst != GATEWAY]
    assert [(packet[IP].dst, packet[IP].ttl, packet[IP].len) for packet in beyond] == [
        ("198.51.100.1", 1, MTU),
        ("198.51.100.1", 1, 84),
    ]
    from_node(inquired, time_exceeded(beyond[0]))
    assert inquired.answers.large
    assert not inquired.answers.echoed
    assert inquired.answers.returned == {Target.BEYOND}


def test_a_permanent_neighbour_is_not_asked_for() -> None:
    inquired = inquiry(neighbours=(Neighbour(AF_INET, GATEWAY, GATEWAY_MAC),))
    first = asked(inquired, 0, Side.NODE)
    assert [packet[ARP].pdst for packet in first if ARP in packet] == [VM]
    assert {packet.dst for packet in first if ICMP in packet} == {GATEWAY_MAC}


def test_what_does_not_fit_on_a_link_farther_on_is_neither_large_nor_lost() -> None:
    inquired = inquiry()
    answer_arp(inquired)
    large = next(packet for packet in asked(inquired, 1, Side.NODE) if ICMP in packet)
    from_node(inquired, IP(src=GATEWAY, dst=VM) / ICMP(type=3, code=4) / bytes(large[IP])[:28])
    assert not inquired.answers.large
    assert inquired.answers.returned == {Target.GATEWAY}


def test_without_a_default_route_something_behind_a_route_is_asked_for() -> None:
    inquired = inquiry(Route(AF_INET, "192.0.0.0/8", interface=2, gateway=GATEWAY))
    answer_arp(inquired)
    for number in (1, 2):
        last = list(pings(asked(inquired, number, Side.NODE)))
    assert {destination for destination, _ in last} == {GATEWAY, "192.0.0.1"}


def test_without_a_gateway_only_silence_is_waited_for() -> None:
    inquired = inquiry(Route(AF_INET, "10.244.1.0/24", interface=2))
    assert list(pings(asked(inquired, 1, Side.NODE))) == []
    assert [inquired.is_answered(number) for number in range(ROUNDS)].index(True) == SILENCE_ROUNDS
    assert ROUNDS * ROUND_SECONDS < 2


def test_a_frame_crosses_whichever_end_is_read_first() -> None:
    answer = bytes(
        Ether(src=GATEWAY_MAC, dst=VM_MAC) / ARP(op=2, hwsrc=GATEWAY_MAC, psrc=GATEWAY, hwdst=VM_MAC, pdst=VM)
    )
    for order in ((Side.NODE, Side.GUEST), (Side.GUEST, Side.NODE)):
        inquired = inquiry()
        for side in order:
            inquired.take(side, answer, side is Side.GUEST)
        assert inquired.answers.crosses == {Side.NODE: True}
    inquired = inquiry()
    inquired.take(Side.NODE, answer, False)
    assert inquired.answers.crosses == {Side.NODE: False}


def test_the_guests_own_frames_that_come_back_are_no_duplicate() -> None:
    inquired = inquiry()
    announcement = Ether(src=VM_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=VM_MAC, psrc=VM, pdst=VM)
    inquired.take(Side.NODE, bytes(announcement), False)
    assert inquired.answers.holders == set()
    other = Ether(src=GATEWAY_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=GATEWAY_MAC, psrc=VM, pdst=VM)
    inquired.take(Side.NODE, bytes(other), False)
    assert inquired.answers.holders == {GATEWAY_MAC}


@given(st.sampled_from(Side), st.booleans(), st.binary(max_size=400))
def test_no_frame_is_an_error(side: Side, outgoing: bool, frame: bytes) -> None:
    inquiry().take(side, frame, outgoing)
