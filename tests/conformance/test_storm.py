"""A flood of frames without an answer, at link speed: the client is still served, and memory does not grow."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from exchange import CONFIG, PORT_MAC
from lab.flood import Flood
from lab.namespace import Namespace
from lab.rawclient import RawClient
from lab.requests import CLIENT, CLIENT_MAC, DISCOVER, OFFER, arp, discover, frame, packed, payload, tlv
from lab.waiting import wait_until

from dhcp.process import ServerProcess

pytestmark = pytest.mark.root

SECONDS = 10
INTERVAL = 0.02
NEIGHBOUR = "169.254.1.1"
DISCOVER_TYPE = bytes((DISCOVER,))
chance = random.Random(7)
RUBBISH = [
    *(discover(chaddr=f"02:00:00:00:00:{n:02x}") for n in range(40)),
    *(discover([(12, b"%d" % n)], op=2) for n in range(20)),
    *(discover(cookie=chance.randbytes(4)) for _ in range(20)),
    *(discover(hlen=n) for n in (0, 5, 7, 16, 255)),
    *(discover(giaddr=f"10.0.0.{n}") for n in range(3, 9)),
    *(frame(payload(kind)) for kind in (0, 2, 5, 6, 13, 200, 255)),
    *(frame(payload(None, field=tlv([(12, chance.randbytes(n))]))) for n in range(20)),
    *(frame(payload(None, field=chance.randbytes(60))) for _ in range(20)),
    *(frame(chance.randbytes(n)) for n in (0, 1, 100, 239, 240, 548, 1472)),
    *(frame(payload(DISCOVER))[:n] for n in (13, 14, 41, 60, 281, 300)),
    *(frame(payload(DISCOVER), fragment=n) for n in (1, 0x2000)),
    *(arp(1, NEIGHBOUR, hardware=n) for n in (0, 6)),
    *(arp(1, f"10.0.0.{n}") for n in range(9)),
]


@pytest.fixture(scope="module")
def guest() -> Iterator[Namespace]:
    with Namespace("guest") as guest:
        yield guest


@pytest.fixture(scope="module")
def server(guest: Namespace) -> Iterator[ServerProcess]:
    with Namespace("pod") as pod:
        pod.ip(f"link add tap0 address {PORT_MAC} type veth peer name eth0 address {CLIENT_MAC} netns {guest.name}")
        for namespace, link in ((pod, "tap0"), (guest, "eth0")):
            namespace.write_sysctl(f"ipv6/conf/{link}/disable_ipv6", 1)
            namespace.ip(f"link set {link} up")
        with pod.entered():
            server = ServerProcess.spawn(None)
            server.configure([{"interface": "tap0", "neighbours": {NEIGHBOUR: "ee:ee:ee:ee:ee:ee"}, **CONFIG}])
        yield server
        server.stop()


@pytest.fixture
def client(guest: Namespace) -> Iterator[RawClient]:
    with RawClient(guest) as client:
        yield client


def resident(pid: int) -> int:
    """KiB of resident memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def ask_steadily(client: RawClient, seconds: float) -> list[float]:
    """Send a DISCOVER every INTERVAL; returns the seconds until each answer, unanswered ones left out."""
    asked: list[float] = []
    took: dict[int, float] = {}
    began = time.monotonic()
    while (now := time.monotonic()) < began + seconds:
        for received in client.receive(began + len(asked) * INTERVAL - now):
            xid = int.from_bytes(received[46:50])
            if received[284:285] == bytes((OFFER,)) and xid < len(asked):
                took.setdefault(xid, time.monotonic() - asked[xid])
        client.send(discover(xid=len(asked)))
        asked.append(time.monotonic())
    return list(took.values())


def test_v4_68_the_client_is_answered_in_a_storm(
    guest: Namespace, server: ServerProcess, client: RawClient, record_property: pytest.RecordProperty
) -> None:
    """Choice: while frames without an answer arrive faster than the server can process them, the kernel drops them."""
    ask_steadily(client, 0.5)
    before = resident(server.pid)
    with Flood(guest, "eth0", RUBBISH, SECONDS) as flood:
        took = ask_steadily(client, SECONDS - 0.5)
    expected = (SECONDS - 0.5) / INTERVAL
    figures = {
        "rubbish_per_second": round(flood.sent / SECONDS),
        "answered": f"{len(took)} of {expected:g}",
        "median_ms": round(sorted(took)[len(took) // 2] * 1e3, 2),
        "grown_kib": resident(server.pid) - before,
    }
    for name, figure in figures.items():
        record_property(name, figure)
    print(figures)
    assert flood.sent > 20_000 * SECONDS
    assert len(took) > 0.9 * expected
    assert figures["grown_kib"] < 512
    (port,) = server.status()["ports"]  # type: ignore[misc]
    assert port["floods"] == 1
    assert {"foreign-mac", "cookie", "not-a-request", "no-message-type", "truncated"} <= port["ignored"].keys()


def test_frames_are_looked_at_again_after_a_storm(guest: Namespace, server: ServerProcess, client: RawClient) -> None:
    """Also kinds that the kernel dropped meanwhile: a message whose type is not its first option is served again."""
    before = resident(server.pid)
    with Flood(guest, "eth0", RUBBISH, 2):
        pass
    assert resident(server.pid) - before < 64, "what a storm needs, the first one has taken"
    unusual = frame(payload(None, field=tlv([(55, b"\1\3"), (50, packed(CLIENT)), (53, DISCOVER_TYPE)]) + b"\xff"))
    wait_until(lambda: [reply.message_type for reply in client.replies(unusual)] == [OFFER])
    counted = server.status()["ports"][0]["ignored"]["foreign-mac"]  # type: ignore[index]
    client.send(discover(chaddr="02:00:00:00:00:01"))
    wait_until(lambda: server.status()["ports"][0]["ignored"]["foreign-mac"] == counted + 1)  # type: ignore[index]


def test_v4_68_a_thousand_requests_a_second(server: ServerProcess, client: RawClient) -> None:
    """For five seconds, no two alike: every one is answered in less than a second, and memory stays flat."""
    seconds, rate = 5, 1000
    asked: dict[int, float] = {}
    slowest = 0.0
    before = 0
    began = time.monotonic()
    for number in range(seconds * rate):
        if number == rate:
            before = resident(server.pid)
        xid = 0x10000 + number
        asked[xid] = time.monotonic()
        client.send(discover([(60, b"client %d" % number)], xid=xid))
        wait = began + (number + 1) / rate - time.monotonic()
        for received in client.receive(1.0 if number == seconds * rate - 1 else wait):
            xid = int.from_bytes(received[46:50])
            slowest = max(slowest, time.monotonic() - asked.pop(xid))
            if not asked:
                break
    assert asked == {}
    assert slowest < 1
    assert resident(server.pid) - before < 256
