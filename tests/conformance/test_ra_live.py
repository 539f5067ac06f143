"""RFC checklist RA-04, RA-05, RA-06, RA-12 over a veth: unsolicited advertisements, and the rate of answers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from exchange import CONFIG, PORT_MAC
from exchange6 import CONFIG6, SUBSTITUTE_ROUTER, well_formed_nd
from lab.namespace import Namespace
from lab.rawclient import RawClient
from lab.requests import CLIENT_MAC, discover
from lab.requests6 import ROUTER_LINK_LOCAL, router_solicitation, solicit
from scapy.layers.inet6 import ICMPv6ND_RA, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from dhcp.process import ServerProcess

pytestmark = pytest.mark.root

SERVED = {"interface": "tap0", **CONFIG, **CONFIG6}


class Link:
    """A guest port and the guest's NIC, with a server that is not configured yet."""

    def __init__(self) -> None:
        self.pod, self.guest = Namespace("pod"), Namespace("guest")
        nic = f"eth0 address {CLIENT_MAC} netns {self.guest.name}"
        self.pod.ip(f"link add tap0 address {PORT_MAC} type veth peer name {nic}")
        for namespace, name in ((self.pod, "tap0"), (self.guest, "eth0")):
            namespace.write_sysctl(f"ipv6/conf/{name}/disable_ipv6", 1)  # no frames but ours
            namespace.ip(f"link set {name} up")
        self.client = RawClient(self.guest)
        with self.pod.entered():
            self.server = ServerProcess.spawn(None)

    def serve(self, **changes: object) -> None:
        data = {name: value for name, value in {**SERVED, **changes}.items() if value is not None}
        with self.pod.entered():
            self.server.configure([data])

    def advertisements(self, seconds: float) -> list[Packet]:
        """All advertisements within some seconds."""
        packets = [Ether(frame) for frame in self.client.receive(seconds) if frame[12:14] == b"\x86\xdd"]
        return [well_formed_nd(bytes(packet)) for packet in packets if ICMPv6ND_RA in packet]

    def close(self) -> None:
        self.server.stop()
        self.client.close()
        self.guest.close()
        self.pod.close()


@pytest.fixture
def link() -> Iterator[Link]:
    link = Link()
    yield link
    link.close()


def said(packets: list[Packet]) -> list[tuple[str, str, bool]]:
    """(source, destination, whether it is a default router) of each advertisement."""
    return [(p[IPv6].src, p[IPv6].dst, p[ICMPv6ND_RA].routerlifetime > 0) for p in packets]


def test_ra_05_a_configuration_is_advertised_at_once(link: Link) -> None:
    link.serve()
    assert said(link.advertisements(0.5)) == [(ROUTER_LINK_LOCAL, "ff02::1", True)]


def test_ra_04_to_all_nodes_not_more_than_once_in_three_seconds(link: Link) -> None:
    """One advertisement, as soon as allowed, serves a changed configuration and solicitors without an address."""
    link.serve()
    began = time.monotonic()
    assert len(link.advertisements(0.3)) == 1
    link.serve(mtu=1300)
    for _ in range(5):
        link.client.send(router_solicitation(source="::"))
    (packet,) = link.advertisements(3.2)
    assert packet[IPv6].dst == "ff02::1"
    assert bytes(packet).count(b"\5\1\0\0" + (1300).to_bytes(4)) == 1
    assert 2.9 < time.monotonic() - began < 4


def test_ra_05_the_second_one_comes_within_sixteen_seconds(link: Link) -> None:
    link.serve()
    assert len(link.advertisements(16.5)) == 2


def test_ra_06_when_the_server_stops(link: Link) -> None:
    link.serve()
    link.advertisements(0.3)
    link.server.stop()
    assert said(link.advertisements(0.3)) == [(ROUTER_LINK_LOCAL, "ff02::1", False)]


def test_ra_06_when_ipv6_is_served_no_more(link: Link) -> None:
    link.serve()
    link.advertisements(0.3)
    link.serve(**dict.fromkeys(CONFIG6))
    assert said(link.advertisements(0.3)) == [(ROUTER_LINK_LOCAL, "ff02::1", False)]
    link.client.send(router_solicitation())
    assert link.advertisements(0.3) == []


def test_ra_06_when_another_router_takes_over(link: Link) -> None:
    """Otherwise a guest would have two routers after a migration."""
    link.serve()
    link.advertisements(0.3)
    link.serve(router6="fd00::1")
    assert said(link.advertisements(3.2)) == [
        (ROUTER_LINK_LOCAL, "ff02::1", False),
        (SUBSTITUTE_ROUTER, "ff02::1", True),
    ]


def test_ra_12_a_thousand_solicitations_a_second(link: Link) -> None:
    link.serve()
    link.advertisements(0.1)
    request = router_solicitation()
    began = time.monotonic()
    for number in range(2_000):
        link.client.send(request)
        time.sleep(max(0, began + number / 1_000 - time.monotonic()))
    answers = link.advertisements(0.3)
    assert 10 <= len(answers) <= 10 + (time.monotonic() - began) / 0.5 + 1
    assert [frame for frame in answered(link, solicit()) if frame[12:14] == b"\x86\xdd"], "DHCPv6 is served still"
    assert answered(link, discover()), "and DHCPv4"
    (port,) = link.server.status()["ports"]  # type: ignore[misc]
    assert port["ignored"]["rs-limit"] > 1_900


def answered(link: Link, request: bytes) -> list[bytes]:
    link.client.send(request)
    return [frame for frame in link.client.receive(0.3) if frame[:6] == bytes.fromhex(CLIENT_MAC.replace(":", ""))]


def test_what_was_done_is_told(link: Link) -> None:
    link.serve()
    for request in (router_solicitation(), solicit(), solicit(duid=None)):
        answered(link, request)
    status = link.server.status()
    told = [(entry["message"], entry["answer"]) for entry in status["transactions"]]  # type: ignore[attr-defined]
    assert told == [("RS", "RA"), ("SOLICIT", "ADVERTISE"), ("SOLICIT", "none")]
    (port,) = status["ports"]  # type: ignore[misc]
    assert (port["answered"], port["ignored"]) == ({"ADVERTISE": 1, "RA": 1}, {"no-client-id": 1})
    assert port["advertisements"] == 1
