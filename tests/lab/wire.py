"""Sends frames at one end of a VM's network and sees whether they arrive at the other."""

from __future__ import annotations

import json
import time

from scapy.packet import Packet

from lab.agent import Agent
from lab.rawclient import RawClient
from lab.sniffer import Frame, Sniffer
from netsetup.nft.isolation import CAUSES


class Wire:
    """One direction of it.

    Args:
        agent: the pod's program, for what it says of dropped frames.
        sender: sends at one end.
        sniffer: records at the other.
        mark: a frame that passes, sent after each other one: its arrival ends the wait.
    """

    def __init__(self, agent: Agent, sender: RawClient, sniffer: Sniffer, mark: bytes) -> None:
        self._agent, self._sender, self._sniffer, self._mark = agent, sender, sniffer, mark
        self._is_open = False

    def crosses(self, packet: Packet) -> bool:
        """Whether the frame arrives."""
        self._await_open()
        data = bytes(packet)
        self._sniffer.frames.clear()
        self._sender.send(data)
        self._sender.send(self._mark)
        self._sniffer.wait_for(self._is_mark, timeout=10)
        return any(same(frame, data) for frame in self._sniffer.frames if not frame.outgoing)

    def _await_open(self) -> None:
        """A bridge forwards by a port some time after it has a carrier."""
        deadline = time.monotonic() + 10
        while not (self._is_open or any(map(self._is_mark, self._sniffer.frames))):
            assert time.monotonic() < deadline, "the mark does not pass"
            self._sender.send(self._mark)
            time.sleep(0.02)
        self._is_open = True

    def _is_mark(self, frame: Frame) -> bool:
        return not frame.outgoing and frame.data.startswith(self._mark)

    def dropped(self) -> dict[str, int]:
        """How many frames of the guest were dropped, by cause."""
        counts = self.counters()
        return {cause: counts[cause] for cause in CAUSES}

    def counters(self) -> dict[str, int]:
        """How many frames were dropped, by every counter."""
        printed = self._agent.run("status", "--output", "json", check=True).stdout
        counts: dict[str, int] = json.loads(printed)["networks"][0]["dropped"]
        return counts

    def status_text(self) -> str:
        return self._agent.run("status", check=True).stdout


def same(frame: Frame, data: bytes) -> bool:
    """The kernel takes a VLAN tag out of the frame, so compare from behind."""
    return frame.data[-20:] == data[-20:] and frame.source == data[6:12].hex(":")
