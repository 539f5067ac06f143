"""A neighbour that claims to be the gateway does not get the guest's traffic by our server."""

from __future__ import annotations

import time

import pytest
from lab.agent import DIRECT, Agent
from lab.checks import pings
from lab.clients.ipv6 import Dhclient6
from lab.flood import Flood
from lab.pod import MakePod
from lab.rawclient import RawClient
from lab.sniffer import Sniffer
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import Ether

pytestmark = pytest.mark.root

GATEWAY6, ADDRESS6, NEIGHBOUR6, SUBSTITUTE = "fd00:10:244:3::1", "fd00:10:244:3::5", "fd00:10:244:3::6", "fe80::fc:1"
NEIGHBOUR_MAC, MAC = "0e:99:00:00:00:01", "0a:58:0a:f4:02:05"


def claim(mac: str, source: str, target: str, destination: str, solicited: int) -> bytes:
    """An advertisement that the gateway has this MAC."""
    link = "33:33:00:00:00:01" if destination == "ff02::1" else MAC
    return bytes(
        Ether(src=NEIGHBOUR_MAC, dst=link)
        / IPv6(src=source, dst=destination, hlim=255)
        / ICMPv6ND_NA(tgt=target, R=1, S=solicited, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=mac)
    )


@pytest.mark.parametrize("binding", DIRECT)
def test_the_guest_keeps_its_router(make_pod: MakePod, binding: str) -> None:
    pod = make_pod("ovn-kubernetes", resolv_conf="nameserver fd00:10:96::a\n")
    claims = [
        claim(f"02:bb:00:00:00:{n:02x}", source, GATEWAY6, destination, solicited)
        for n in range(64)
        for source, destination, solicited in (
            (GATEWAY6, "ff02::1", 0),  # unasked
            (NEIGHBOUR6, ADDRESS6, 1),  # an answer of one who was not asked
            (NEIGHBOUR6, "ff02::1", 0),
        )
    ]
    with Agent(pod, binding=binding) as agent, Dhclient6(pod.guest) as client:
        agent.prestart()
        client.acquire6()
        assert pings(pod.guest, "2001:db8::1")
        before = router_mac(pod.guest.ip_json(f"neigh show {SUBSTITUTE} dev eth0"))
        with Sniffer(pod.guest, "eth0") as seen:
            with Flood(pod.neighbour, "eth0", claims, 3):
                pass
            advertised = [frame for frame in seen.frames if SUBSTITUTE in frame.packet().summary()]
        assert router_mac(pod.guest.ip_json(f"neigh show {SUBSTITUTE} dev eth0")) == before
        assert len(advertised) < 10, "the neighbour makes the server talk"
        assert pings(pod.guest, "2001:db8::1")


def test_a_mac_that_changes_back_and_forth_is_reported(make_pod: MakePod) -> None:
    """Two hosts that both answer the question: which one is right cannot be known here."""
    pod = make_pod("ovn-kubernetes")
    with Agent(pod) as agent, RawClient(pod.neighbour) as neighbour:
        agent.prestart()
        pod.node.ip("addr del fd00:10:244:3::1/64 dev switch0")
        deadline = time.monotonic() + 20
        number = 0
        while "changes back and forth" not in agent.log():
            assert time.monotonic() < deadline
            number += 1
            mac = f"02:bb:00:00:00:{number // 20 % 2:02x}"
            neighbour.send(claim(mac, GATEWAY6, GATEWAY6, "ff02::1", 0))  # makes the server ask
            neighbour.send(claim(mac, GATEWAY6, GATEWAY6, ADDRESS6, 1))
            time.sleep(0.1)


def router_mac(entries: list[dict[str, str]]) -> str:
    return entries[0]["lladdr"]
