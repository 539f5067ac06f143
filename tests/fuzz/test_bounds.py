"""No frame takes long, and none leaves anything behind: a hostile corpus of all protocols against `handle`."""

from __future__ import annotations

import gc
import random
import time
import tracemalloc

import bounds
import pytest
from bounds import SLOWEST_SECONDS, decide_in_time
from lab.requests import CLIENT_MAC, discover, mac_octets
from oracle import check
from test_replay import ADDRESS, ADDRESS6, ROUTER, corpus

from dhcp.config import parse_configs
from dhcp.decision import Decision
from dhcp.handler import handle
from dhcp.v4.lease import ServedLease, prepare_lease

PORT = prepare_lease(
    parse_configs(
        {
            "client_mac": CLIENT_MAC,
            "client_address": f"{ADDRESS}/24",
            "server_address": ROUTER,
            "routes": [{"destination": f"10.9.{n}.0/24", "gateway": ROUTER} for n in range(100)],
            "search": [f"domain-{n}.example.test" for n in range(60)],
            "hostname": "vm",
            "mtu": 1450,
            "options": {"224": "x" * 300, "225": "y" * 500, "108": "1800"},
            "rapid_commit": True,
            "neighbours": {ROUTER: "ee:ee:ee:ee:ee:ee"},
            "client_address6": f"{ADDRESS6}/128",
            "router6": "fe80::1",
            "router6_lladdr": "ee:ee:ee:ee:ee:ee",
            "dns6": ["fd00:10:96::a"],
        }
    )[0],
    mac_octets("02:00:00:00:00:0a"),
)
FRAMES = 1_500
# Less than three octets for each frame: not even a counter is kept of one.
MOST_KEPT_OCTETS = 4_000


def test_every_decision_is_quick_and_right() -> None:
    """It is worth the name only if many of the frames are answered."""
    answers: dict[str, int] = {}
    for frame in corpus(CLIENT_MAC, random.Random(1)):
        decision = decide_in_time(frame, PORT)
        check(frame, PORT, decision)
        answers[decision.answer] = answers.get(decision.answer, 0) + 1
    assert answers.keys() == {"", "OFFER", "ACK", "NAK", "ARP-REPLY", "ADVERTISE", "REPLY", "RA"}
    assert sum(answers.values()) - answers[""] > 1_000


def test_memory_is_flat() -> None:
    """After frames of all kinds, others take no more, however many they are: nothing is remembered of any."""
    first, second = (corpus(CLIENT_MAC, random.Random(seed))[:FRAMES] for seed in (2, 3))
    for frame in first:  # what is imported or compiled once
        handle(frame, PORT)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for frame in second:
            handle(frame, PORT)
        gc.collect()
        after, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < MOST_KEPT_OCTETS
    assert most - before < 64 * 1024, "one decision takes a few replies' worth at most"


def test_a_slow_decision_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(frame: bytes, port: ServedLease) -> Decision:
        began = time.thread_time()
        while time.thread_time() - began < 1.5 * SLOWEST_SECONDS:
            pass
        return Decision("late")

    monkeypatch.setattr(bounds, "handle", slow)
    with pytest.raises(AssertionError, match="ms for one frame"):
        decide_in_time(discover(), PORT)
