"""What `doctor` asks of IPv6, judged by scapy, and what it makes of the answers, without a wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.vmnetworks import bridged
from scapy.layers.dhcp6 import (
    DUID_LL,
    DHCP6_Advertise,
    DHCP6_InfoRequest,
    DHCP6_Reply,
    DHCP6_Solicit,
    DHCP6OptClientId,
    DHCP6OptIA_NA,
    DHCP6OptIAAddress,
    DHCP6OptOptReq,
)
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from launcher.doctor.frames6 import decode_dhcp6_answer, decode_echo_answer6, decode_neighbour, decode_router
from launcher.doctor.prober6 import Inquiry6
from launcher.doctor.targets import Side, Target, families_of
from netsetup.model.kernel import AF_INET6, Address, Link, Neighbour, Route
from netsetup.model.pod_interface import PodInterface

VM_MAC, VM, VM_LINK_LOCAL = "aa:58:f0:00:01:03", "fd00:1::3", "fe80::a858:f0ff:fe00:103"
GATEWAY_MAC, GATEWAY = "0a:00:00:00:00:01", "fd00:1::1"
PORT_MAC, PORT_LINK_LOCAL = "fe:00:00:00:00:01", "fe80::fc00:ff:fe00:1"
OTHER_MAC = "0a:00:00:00:00:99"
MTU = 1450


def inquiry(*routes: Route, neighbours: tuple[Neighbour, ...] = (), is_guarded: bool = True) -> Inquiry6:
    link = Link(2, "eth0", "veth", VM_MAC, MTU, 0x10043, 0, "", None, None)
    default = (Route(AF_INET6, "::/0", interface=2, gateway=GATEWAY),)
    pod = PodInterface(link, (Address(AF_INET6, VM, 64),), routes or default, neighbours)
    network = bridged(pod, mtu=MTU)
    (family,) = families_of(network)
    return Inquiry6(network, family, PORT_MAC, is_guarded=is_guarded)


def asked(inquired: Inquiry6, number: int, side: Side) -> list[Packet]:
    """By scapy, which has found every checksum to be what it would have written itself."""
    packets = [Ether(frame) for where, frame in inquired.questions(number) if where is side]
    for packet in packets:
        fresh = packet.copy()
        layer = fresh[UDP] if UDP in fresh else fresh[IPv6].payload
        delattr(layer, "chksum" if UDP in fresh else "cksum")
        assert bytes(fresh) == bytes(packet)
    return packets


def from_node(inquired: Inquiry6, packet: Packet, mac: str = GATEWAY_MAC, to: str = VM_MAC) -> None:
    inquired.take(Side.NODE, bytes(Ether(src=mac, dst=to) / packet), False)


def advertisement(target: str, mac: str) -> Packet:
    return IPv6(src=target, dst=VM) / ICMPv6ND_NA(tgt=target, S=1) / ICMPv6NDOptDstLLAddr(lladdr=mac)


def test_who_else_has_the_address_is_asked_in_the_vms_name() -> None:
    packets = [packet for packet in asked(inquiry(), 0, Side.NODE) if ICMPv6ND_NS in packet]
    assert [(p.src, p[IPv6].src, p[ICMPv6ND_NS].tgt, p[ICMPv6NDOptSrcLLAddr].lladdr) for p in packets] == [
        (VM_MAC, VM_LINK_LOCAL, VM, VM_MAC),
        (VM_MAC, VM, GATEWAY, VM_MAC),
    ]
    assert packets[0].dst == "33:33:ff:00:00:03"


def test_servers_and_routers_are_asked_for_as_a_client_does() -> None:
    packets = asked(inquiry(), 0, Side.NODE)
    solicit = next(packet[DHCP6_Solicit] for packet in packets if DHCP6_Solicit in packet)
    assert solicit[DHCP6OptClientId].duid == DUID_LL(lladdr=VM_MAC)
    assert (len(solicit[DHCP6OptIA_NA].ianaopts), solicit[DHCP6OptOptReq].reqopts) == (0, [23, 24])
    (stateless,) = (packet for packet in packets if DHCP6_InfoRequest in packet)
    assert DHCP6OptIA_NA not in stateless
    assert (stateless.dst, stateless[IPv6].src, stateless[IPv6].dst, stateless[IPv6].hlim) == (
        "33:33:00:01:00:02",
        VM_LINK_LOCAL,
        "ff02::1:2",
        1,
    )
    (router,) = (packet for packet in packets if ICMPv6ND_RS in packet)
    assert (router[IPv6].dst, router[IPv6].hlim, router[ICMPv6NDOptSrcLLAddr].lladdr) == ("ff02::2", 255, VM_MAC)


def test_no_router_is_asked_for_where_its_answer_would_reach_the_guest() -> None:
    assert not any(ICMPv6ND_RS in packet for packet in asked(inquiry(is_guarded=False), 0, Side.NODE))


def test_the_guest_is_asked_by_nobody_it_knows_and_then_by_its_gateway() -> None:
    inquired = inquiry()
    (first,) = asked(inquired, 0, Side.GUEST)
    assert (first.src, first[IPv6].src, first[ICMPv6ND_NS].tgt) == (PORT_MAC, PORT_LINK_LOCAL, VM)
    from_node(inquired, advertisement(GATEWAY, GATEWAY_MAC))
    _, second = asked(inquired, 1, Side.GUEST)
    assert (second.src, second[IPv6].src, second[ICMPv6ND_NS].tgt) == (GATEWAY_MAC, GATEWAY, VM)


def test_a_gateway_that_is_silent_is_gone_around() -> None:
    inquired = inquiry()
    from_node(inquired, advertisement(GATEWAY, GATEWAY_MAC))
    assert inquired.answers.gateway_mac == GATEWAY_MAC
    first = [p for p in asked(inquired, 1, Side.NODE) if ICMPv6EchoRequest in p]
    assert [(p[IPv6].dst, len(p[IPv6]), p[IPv6].hlim) for p in first] == [(GATEWAY, MTU, 64), (GATEWAY, 84, 64)]
    beyond = [p for p in asked(inquired, 2, Side.NODE) if ICMPv6EchoRequest in p and p[IPv6].dst != GATEWAY]
    assert [(p[IPv6].dst, len(p[IPv6]), p[IPv6].hlim) for p in beyond] == [
        ("2001:db8:ffff::1", MTU, 1),
        ("2001:db8:ffff::1", 84, 1),
    ]
    from_node(inquired, IPv6(src=GATEWAY, dst=VM) / ICMPv6TimeExceeded() / bytes(beyond[0][IPv6])[:1200])
    assert (inquired.answers.large, inquired.answers.echoed) == (True, False)
    assert inquired.answers.returned == {Target.BEYOND}


def test_a_permanent_neighbour_is_not_asked_for() -> None:
    first = asked(inquiry(neighbours=(Neighbour(AF_INET6, GATEWAY, GATEWAY_MAC),)), 0, Side.NODE)
    assert [packet[ICMPv6ND_NS].tgt for packet in first if ICMPv6ND_NS in packet] == [VM]
    assert {packet.dst for packet in first if ICMPv6EchoRequest in packet} == {GATEWAY_MAC}


def test_what_does_not_fit_on_a_link_farther_on_is_neither_large_nor_lost() -> None:
    inquired = inquiry()
    from_node(inquired, advertisement(GATEWAY, GATEWAY_MAC))
    large = next(packet for packet in asked(inquired, 1, Side.NODE) if ICMPv6EchoRequest in packet)
    from_node(inquired, IPv6(src=GATEWAY, dst=VM) / ICMPv6PacketTooBig(mtu=1400) / bytes(large[IPv6])[:1200])
    assert (inquired.answers.large, inquired.answers.returned) == (False, {Target.GATEWAY})


def test_another_holder_and_the_guests_own_answer_that_comes_back() -> None:
    inquired = inquiry()
    from_node(inquired, advertisement(VM, VM_MAC), VM_MAC)
    assert inquired.answers.holders == set()
    from_node(inquired, advertisement(VM, OTHER_MAC), OTHER_MAC)
    assert inquired.answers.holders == {OTHER_MAC}


def test_servers_answer_this_question_and_no_other() -> None:
    inquired = inquiry()
    (xid,) = {p[DHCP6_Solicit].trid for p in asked(inquired, 0, Side.NODE) if DHCP6_Solicit in p}
    for number in (xid ^ 1, xid):
        assert inquired.answers.servers == set()
        answer = UDP(sport=547, dport=546) / DHCP6_Reply(trid=number)
        from_node(inquired, IPv6(src="fe80::99", dst=VM_LINK_LOCAL) / answer, OTHER_MAC)
    assert inquired.answers.servers == {("fe80::99", OTHER_MAC)}


def test_a_frame_crosses_when_it_leaves_by_the_other_end() -> None:
    inquired = inquiry()
    answer = bytes(Ether(src=GATEWAY_MAC, dst=VM_MAC) / advertisement(GATEWAY, GATEWAY_MAC))
    inquired.take(Side.NODE, answer, False)
    assert inquired.answers.crosses == {Side.NODE: False}
    inquired.take(Side.GUEST, answer, True)
    assert inquired.answers.crosses == {Side.NODE: True}


@pytest.mark.parametrize(
    ("packet", "router"),
    [
        (IPv6(src="fe80::77", dst="ff02::1", hlim=255) / ICMPv6ND_RA(routerlifetime=1800), ("fe80::77", 1800)),
        (IPv6(src="fe80::77", dst="ff02::1", hlim=255) / ICMPv6ND_RA(routerlifetime=0), ("fe80::77", 0)),
        (IPv6(src="fe80::77", dst="ff02::1", hlim=64) / ICMPv6ND_RA(), None),
        (IPv6(src="fd00::77", dst="ff02::1", hlim=255) / ICMPv6ND_RA(), None),
        (IPv6(src="fe80::77", dst="ff02::2", hlim=255) / ICMPv6ND_RS(), None),
    ],
    ids=["router", "no default router", "from afar", "global source", "solicitation"],
)
def test_a_router(packet: Packet, router: tuple[str, int] | None) -> None:
    inquired = inquiry()
    from_node(inquired, packet, OTHER_MAC, "33:33:00:00:00:01")
    assert inquired.answers.routers == ({(router[0], OTHER_MAC)} if router else set())
    decoded = decode_router(bytes(Ether(src=OTHER_MAC, dst=VM_MAC) / packet))
    assert (decoded.lifetime if decoded else None) == (router[1] if router else None)


def test_the_addresses_of_an_offer() -> None:
    given = DHCP6OptIA_NA(iaid=1, ianaopts=[DHCP6OptIAAddress(addr="fd00:1::7"), DHCP6OptIAAddress(addr="fd00:1::8")])
    message = UDP(sport=547, dport=546) / DHCP6_Advertise(trid=7) / given
    frame = bytes(Ether(src=OTHER_MAC, dst=VM_MAC) / IPv6(src="fe80::99", dst=VM_LINK_LOCAL) / message)
    answer = decode_dhcp6_answer(frame)
    assert answer
    assert (answer.xid, [address.hex() for address in answer.addresses]) == (
        7,
        ["fd000001" + "0" * 23 + digit for digit in "78"],
    )
    cut = bytearray(frame[:-1])
    cut[18:20] = (int.from_bytes(frame[18:20], "big") - 1).to_bytes(2, "big")
    assert decode_dhcp6_answer(bytes(cut)) is not None, "a server that answers nonsense is still a server"


@pytest.mark.parametrize(
    ("message", "answers"),
    [
        (ICMPv6EchoReply(id=0x1234, seq=7), True),
        (ICMPv6EchoRequest(id=0x1234, seq=7), False),
        (ICMPv6DestUnreach() / IPv6(src=VM, dst=GATEWAY) / ICMPv6EchoRequest(id=0x1234, seq=7), True),
        (ICMPv6DestUnreach() / IPv6(src=VM, dst=GATEWAY) / UDP(sport=4, dport=5), False),
    ],
    ids=["reply", "request", "unreachable", "other's"],
)
def test_what_answers_a_ping(message: Packet, answers: bool) -> None:
    frame = bytes(Ether(src=GATEWAY_MAC, dst=VM_MAC) / IPv6(src=GATEWAY, dst=VM) / message)
    assert bool(decode_echo_answer6(frame)) is answers
    for length in range(14, 62):
        assert decode_echo_answer6(frame[:length]) is None


@given(st.sampled_from(Side), st.booleans(), st.binary(max_size=400))
def test_no_frame_is_an_error(side: Side, outgoing: bool, rest: bytes) -> None:
    for frame in (rest, bytes(12) + b"\x86\xdd" + rest, ipv6_of(58, rest), ipv6_of(17, rest)):
        inquiry().take(side, frame, outgoing)
        decode_neighbour(frame)


def ipv6_of(protocol: int, payload: bytes) -> bytes:
    return bytes(Ether(src=OTHER_MAC, dst=VM_MAC) / IPv6(src="fe80::99", dst=VM, nh=protocol, hlim=255) / payload)
