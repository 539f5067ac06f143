"""A guest that sends from ever new MACs fills no table of the pod."""

from __future__ import annotations

import pytest
from lab.agent import Agent
from lab.flood import Flood
from lab.pod import Pod
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

pytestmark = pytest.mark.root

MACS = [f"06:00:00:00:{n >> 8:02x}:{n & 255:02x}" for n in range(1024)]


@pytest.mark.parametrize("options", [[], ["--no-isolation"]], ids=["isolated", "not isolated"])
@pytest.mark.parametrize("binding", ["bridge", "masquerade"])
def test_the_bridge_learns_none(pod: Pod, binding: str, options: list[str]) -> None:
    frames = [bytes(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / IP() / UDP()) for mac in MACS]
    with Agent(pod, binding=binding) as agent:
        agent.prestart(*options)
        pod.guest.ip("link set eth0 up")
        with Flood(pod.guest, "eth0", frames, 1) as flood:
            pass
        assert flood.sent >= len(frames)
        entries = pod.pod.run(["bridge", "fdb", "show"]).stdout
        assert not [line for line in entries.splitlines() if line.startswith("06:00:00:00:")]
        agent.teardown()
