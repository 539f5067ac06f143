"""ARP on the guest port: answered for the pod's permanent neighbours and the server's own address, and no other."""

from __future__ import annotations

import pytest
from exchange import PORT_MAC, Exchange
from lab.requests import CLIENT, CLIENT_MAC, SERVER, arp
from scapy.layers.l2 import ARP, Ether

NEIGHBOUR, NEIGHBOUR_MAC = "169.254.1.1", "ee:ee:ee:ee:ee:ee"


def answer(server: Exchange, request: bytes) -> tuple[str, str, str, str] | None:
    """(address, its MAC, target address, Ethernet destination) of the one reply, or None."""
    frames = server.frames(request)
    if not frames:
        return None
    (frame,) = frames
    packet = Ether(frame)
    assert packet[ARP].op == 2
    assert packet[Ether].src == packet[ARP].hwsrc
    assert (packet[ARP].hwtype, packet[ARP].ptype, packet[ARP].hwlen, packet[ARP].plen) == (1, 0x800, 6, 4)
    assert len(frame) >= 60
    return packet[ARP].psrc, packet[ARP].hwsrc, packet[ARP].pdst, packet[Ether].dst


def test_permanent_neighbour(server: Exchange) -> None:
    server.serve(neighbours={NEIGHBOUR: NEIGHBOUR_MAC, "169.254.1.2": "02:00:00:00:00:99"})
    assert answer(server, arp(1, NEIGHBOUR)) == (NEIGHBOUR, NEIGHBOUR_MAC, CLIENT, CLIENT_MAC)
    assert answer(server, arp(1, "169.254.1.2")) == ("169.254.1.2", "02:00:00:00:00:99", CLIENT, CLIENT_MAC)


def test_a_probe_for_a_neighbour_is_told_that_it_is_taken(server: Exchange) -> None:
    server.serve(neighbours={NEIGHBOUR: NEIGHBOUR_MAC})
    assert answer(server, arp(1, NEIGHBOUR, sender="0.0.0.0")) == (NEIGHBOUR, NEIGHBOUR_MAC, "0.0.0.0", CLIENT_MAC)


def test_own_address_only_when_it_is_not_the_routers(server: Exchange) -> None:
    assert answer(server, arp(1, SERVER)) is None
    server.serve(router="10.0.0.254")
    assert answer(server, arp(1, SERVER)) == (SERVER, PORT_MAC, CLIENT, CLIENT_MAC)
    server.serve(router=None)
    assert answer(server, arp(1, SERVER)) == (SERVER, PORT_MAC, CLIENT, CLIENT_MAC)


def test_routers_address_as_a_neighbour(server: Exchange) -> None:
    server.serve(neighbours={SERVER: NEIGHBOUR_MAC})
    assert answer(server, arp(1, SERVER)) == (SERVER, NEIGHBOUR_MAC, CLIENT, CLIENT_MAC)


def test_router_that_does_not_hear_the_guest(server: Exchange) -> None:
    """A guest with the address of an old lease renews by unicast: only our server can answer its ARP for the server."""
    server.serve(heard=[CLIENT, "10.0.0.8"])
    assert answer(server, arp(1, SERVER, sender="10.0.0.9")) == (SERVER, PORT_MAC, "10.0.0.9", CLIENT_MAC)
    for sender in (CLIENT, "10.0.0.8", "0.0.0.0", SERVER):
        assert server.silent(arp(1, SERVER, sender=sender))
    assert server.silent(arp(1, "10.0.0.254", sender="10.0.0.9"))
    server.serve(heard=[CLIENT], neighbours={SERVER: NEIGHBOUR_MAC})
    assert answer(server, arp(1, SERVER)) == (SERVER, NEIGHBOUR_MAC, CLIENT, CLIENT_MAC)
    server.serve(heard=[CLIENT], router="10.0.0.254")
    assert answer(server, arp(1, SERVER)) == (SERVER, PORT_MAC, CLIENT, CLIENT_MAC)
    server.serve()
    assert server.silent(arp(1, SERVER, sender="10.0.0.9"))


@pytest.mark.parametrize(
    "request_frame",
    [
        arp(1, CLIENT, sender="0.0.0.0"),  # duplicate-address probe, RFC 5227 §2.1.1
        arp(1, CLIENT),  # announcement, RFC 5227 §2.3
        arp(2, CLIENT),
        arp(1, "10.0.0.9"),
        arp(1, "0.0.0.0"),
        arp(2, NEIGHBOUR),
        arp(1, NEIGHBOUR, sender=NEIGHBOUR),
        arp(1, NEIGHBOUR, sender_mac="ff:ff:ff:ff:ff:ff"),
        arp(1, NEIGHBOUR, sender_mac=NEIGHBOUR_MAC),
        arp(1, NEIGHBOUR, hardware=6),
        arp(1, NEIGHBOUR, protocol=0x86DD),
        arp(3, NEIGHBOUR),
        arp(1, NEIGHBOUR)[:41],
    ],
    ids=[
        *("probe", "announcement", "reply", "other", "zero", "reply-for-neighbour", "claim", "broadcast-sender"),
        *("own-mac", "hardware", "protocol", "rarp", "cut"),
    ],
)
def test_silence(server: Exchange, request_frame: bytes) -> None:
    server.serve(neighbours={NEIGHBOUR: NEIGHBOUR_MAC})
    assert server.silent(request_frame)
