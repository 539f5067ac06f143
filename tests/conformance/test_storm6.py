"""A flood of IPv6 frames without an answer, at link speed: the client is still served."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest
from exchange import CONFIG, PORT_MAC
from exchange6 import CONFIG6
from lab.flood import Flood
from lab.namespace import Namespace
from lab.rawclient import RawClient
from lab.requests import CLIENT_MAC
from lab.requests6 import (
    CLIENT6,
    RELAY_FORWARD,
    SOLICIT,
    datagram6,
    ia_na,
    message6,
    neighbour_solicitation,
    router_solicitation,
    solicit,
)

from dhcp.process import ServerProcess

pytestmark = pytest.mark.root

SECONDS = 4
INTERVAL = 0.02
chance = random.Random(7)
RUBBISH6 = [
    *(datagram6(message6(SOLICIT, [ia_na()]), source_mac=f"02:00:00:00:00:{n:02x}") for n in range(40)),
    *(router_solicitation(source_mac=f"02:00:00:00:01:{n:02x}") for n in range(40)),
    *(datagram6(message6(RELAY_FORWARD, [ia_na()])) for _ in range(20)),
    *(datagram6(bytes((kind,)) + chance.randbytes(60)) for kind in (0, 2, 7, 10, 13, 200)),
    *(neighbour_solicitation(CLIENT6) for _ in range(20)),
    *(solicit()[:n] for n in (14, 40, 54, 61)),
]


@pytest.fixture
def guest() -> Iterator[Namespace]:
    with Namespace("guest") as guest:
        yield guest


@pytest.fixture
def server(guest: Namespace) -> Iterator[ServerProcess]:
    with Namespace("pod") as pod:
        pod.ip(f"link add tap0 address {PORT_MAC} type veth peer name eth0 address {CLIENT_MAC} netns {guest.name}")
        for namespace, link in ((pod, "tap0"), (guest, "eth0")):
            namespace.write_sysctl(f"ipv6/conf/{link}/disable_ipv6", 1)
            namespace.ip(f"link set {link} up")
        with pod.entered():
            server = ServerProcess.spawn(None)
            server.configure([{"interface": "tap0", **CONFIG, **CONFIG6}])
        yield server
        server.stop()


def test_the_client_is_answered_in_a_storm(guest: Namespace, server: ServerProcess) -> None:
    asked = answered = 0
    with RawClient(guest) as client, Flood(guest, "eth0", RUBBISH6, SECONDS) as flood:
        end = time.monotonic() + SECONDS - 0.5
        while time.monotonic() < end:
            client.send(solicit(xid=asked.to_bytes(3)))
            asked += 1
            answered += any(frame[54 + 8] == 2 for frame in client.receive(INTERVAL) if frame[12:14] == b"\x86\xdd")
    print(f"{flood.sent / SECONDS:.0f} frames of rubbish a second, {answered} of {asked} answered")
    assert flood.sent > 20_000 * SECONDS
    assert answered > 0.9 * asked
    (port,) = server.status()["ports"]  # type: ignore[misc]
    assert port["floods"] == 1
    assert "foreign-mac" in port["ignored"]
