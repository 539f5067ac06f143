#!/usr/bin/env python3
"""Measure what a hostile guest costs the server and the network: `.venv/bin/python bench/hostile.py`, as root.

Behind an isolated guest port, 20,000 frames a second are sent of one kind after the other, the last one an honest
guest's; meanwhile a client asks for its lease.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

if __name__ == "__main__":  # Python would look for modules beside this file, where `dhcp` is another one
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench.laboratory import ADDRESS, GUEST_NIC, MAC, ROUTER, Laboratory, Tools, cpu_ns
from netsetup.kernel.netns import enter

RATE, BURST = 20_000, 20
LAUNCHER = Path(sys.executable).with_name("virt-launcher")
OWN, BROADCAST = bytes.fromhex(MAC.replace(":", "")), b"\xff" * 6
ANY, EVERYWHERE = "0.0.0.0", "255.255.255.255"
chance = random.Random(7)


def udp(source: str, destination: str, ports: tuple[int, int], payload: bytes, mac: bytes = OWN) -> bytes:
    """A broadcast frame; the UDP checksum is 0, none."""
    body = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 17, 0)
    head += socket.inet_aton(source) + socket.inet_aton(destination)
    total = sum(struct.unpack("!10H", head))
    head = head[:10] + struct.pack("!H", ~(total % 0xFFFF) & 0xFFFF) + head[12:]
    return BROADCAST + mac + b"\x08\0" + head + body


def discover(chaddr: bytes = OWN, options: bytes = b"\x35\1\1\xff") -> bytes:
    header = struct.pack("!4BLHH16x16s192x", 1, 1, 6, 0, chance.randrange(1 << 32), 0, 0, chaddr)
    return udp(ANY, EVERYWHERE, (68, 67), header + b"\x63\x82\x53\x63" + options)


def arp(sender: str, target: str) -> bytes:
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return BROADCAST + OWN + b"\x08\x06" + head + OWN + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target)


KINDS: dict[str, list[bytes]] = {
    "nothing": [],
    "valid DISCOVERs, no two alike": [discover() for _ in range(4096)],
    "DISCOVERs for other MACs": [discover(chance.randbytes(6)) for _ in range(256)],
    "DISCOVERs with rubbish as options": [discover(options=chance.randbytes(60)) for _ in range(256)],
    "DHCP server's messages": [udp(ROUTER, EVERYWHERE, (67, 68), chance.randbytes(300)) for _ in range(64)],
    "other source MACs": [udp(ADDRESS, EVERYWHERE, (9, 9), b"", b"\2" + chance.randbytes(5)) for _ in range(4096)],
    "other source addresses": [udp(f"10.9.9.{n}", EVERYWHERE, (9, 9), b"") for n in range(256)],
    "ARP as the gateway": [arp(ROUTER, f"10.244.1.{n}") for n in range(256)],
    "what it may send: ARP requests": [arp(ADDRESS, f"10.244.1.{n}") for n in range(6, 250)],
}


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5, help="for which each kind is sent (default: 5)")
    seconds = parser.parse_args().seconds
    with (
        tempfile.TemporaryDirectory() as directory,
        Laboratory(Tools(Path(directory)), pod_interface=True) as laboratory,
    ):
        server = set_up(laboratory)
        guest = packet_socket(laboratory.guest)
        print("| 20,000 a second | sent, /s | server, % of a core | at the node, /s | a client's OFFER after, µs |")
        print("|---|---:|---:|---:|---:|")
        for kind, frames in KINDS.items():
            figures = measure(laboratory, guest, server, frames, seconds)
            print(f"| {kind} | " + " | ".join(figures) + " |", flush=True)
    return 0


def set_up(laboratory: Laboratory) -> int:
    """Set up the pod; returns the server's pid."""
    state = laboratory.directory / "state"
    words = [LAUNCHER, "prestart", "--netns", laboratory.pod, "--state-dir", state, "--output", "json"]
    done = subprocess.run(words, check=True, capture_output=True)
    return int(json.loads(done.stdout)["dhcp"]["pid"])


def packet_socket(namespace: str) -> socket.socket:
    """A packet socket at the guest's NIC, opened in that namespace by a thread, which is not left by this one."""
    opened: list[socket.socket] = []

    def open_it() -> None:
        enter(namespace)
        opened.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        opened[0].bind((GUEST_NIC, 0))

    thread = threading.Thread(target=open_it)
    thread.start()
    thread.join()
    return opened[0]


def measure(
    laboratory: Laboratory, guest: socket.socket, server: int, frames: list[bytes], seconds: float
) -> tuple[str, str, str, str]:
    """The cells of one row."""
    over = threading.Event()
    sent: list[int] = []
    flood = threading.Thread(target=lambda: sent.append(send(guest, frames, over)))
    used, arrived, began = cpu_ns(server), received(laboratory.node), time.monotonic()
    flood.start()
    waits = list(leases(laboratory, began + seconds))
    took = time.monotonic() - began
    used, arrived = cpu_ns(server) - used, received(laboratory.node) - arrived
    over.set()
    flood.join()
    return f"{sent[0] / took:,.0f}", f"{used / took / 1e7:.1f}", f"{arrived / took:,.0f}", f"{median(waits):.0f}"


def send(guest: socket.socket, frames: list[bytes], over: threading.Event) -> int:
    """Send at the rate until it is over; returns how many frames were sent."""
    turn = itertools.cycle(frames)
    sent, began = 0, time.monotonic()
    while not over.wait(max(0.0, began + sent / RATE - time.monotonic()) if frames else None):
        for frame in itertools.islice(turn, BURST):
            guest.send(frame)
        sent += BURST
    return sent


def leases(laboratory: Laboratory, until: float) -> Iterator[float]:
    """Median latencies of fifty DISCOVERs in a row, in microseconds."""
    while time.monotonic() < until:
        yield laboratory.load("sequential", "--count", "50", "--warmup", "0")["p50_us"]
        time.sleep(0.2)


def received(node: str) -> int:
    """Frames that the node has received from the pod."""
    shown = subprocess.run(["ip", "-n", node, "-s", "-j", "link", "show", "pod0"], check=True, capture_output=True)
    return int(json.loads(shown.stdout)[0]["stats64"]["rx"]["packets"])


if __name__ == "__main__":
    sys.exit(main())
