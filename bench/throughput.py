#!/usr/bin/env python3
"""Measure the VM's TCP throughput between node and guest for each binding, compared with a veth pair alone.

    .venv/bin/python bench/throughput.py [--rounds N] [--seconds N]

Root, and iperf3; passt's `pasta` is a peer where it is installed. The guest is a network namespace behind the other end
of `tap0`, so that no emulated processor is measured. All ways are up at once, and take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

PREFIX = f"vlflow{os.getpid()}"
LAUNCHER = Path(sys.executable).with_name("virt-launcher")
PORT = "5201"
MAC = "0a:58:0a:f4:01:05"

MASQUERADE = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachineInstance",
    "metadata": {"name": "bench"},
    "spec": {
        "domain": {
            "memory": {"guest": "64Mi"},
            "devices": {"interfaces": [{"name": "default", "masquerade": {}, "macAddress": MAC}]},
        },
        "networks": [{"name": "default", "pod": {}}],
    },
}


@dataclass(frozen=True, slots=True)
class Way:
    """A node and a guest connected in one way, with the addresses at which they reach each other."""

    name: str
    node: str
    guest: str
    node_address: str
    guest_address: str


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured")
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement, whole ones")
    options = parser.parse_args()
    if shutil.which("iperf3") is None:
        print("bench: there is no iperf3: apt-get install iperf3", file=sys.stderr)
        return 2
    figures: dict[str, dict[str, list[float]]] = {}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ways = [stack.enter_context(make(directory)) for make in WAYS if make is not pasta or shutil.which("pasta")]
        for round_ in range(options.rounds + 1):
            for way in ways:
                for direction in ("to the guest", "from the guest"):
                    rate = measure(way, direction, options.seconds)
                    if round_:  # the first warms up
                        figures.setdefault(way.name, {}).setdefault(direction, []).append(rate)
    print("| way | to the guest, Gbit/s | of the veth pair | from the guest, Gbit/s | of the veth pair |")
    print("|---|---|---|---|---|")
    alone = figures[ways[0].name]
    for name, rates in figures.items():
        cells = [name]
        for direction, values in rates.items():
            ratio = median(a / b for a, b in zip(values, alone[direction], strict=True))
            cells += [f"{median(values):.1f} ({min(values):.1f}–{max(values):.1f})", f"{ratio:.2f}"]
        print("| " + " | ".join(cells) + " |")
    return 0


def measure(way: Way, direction: str, seconds: int) -> float:
    """The throughput of one TCP connection, in Gbit/s."""
    server, client, address = way.guest, way.node, way.guest_address
    if direction == "from the guest":
        server, client, address = way.node, way.guest, way.node_address
    listener = subprocess.Popen(
        ["ip", "netns", "exec", server, "iperf3", "-s", "-1", "-p", PORT],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        command = ["ip", "netns", "exec", client, "iperf3", "-J", "-c", address, "-p", PORT, "-t", str(seconds)]
        for _ in range(20):
            time.sleep(0.1)
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 10)
            ended = json.loads(done.stdout or "{}").get("end", {})
            if "sum_received" in ended:
                return float(ended["sum_received"]["bits_per_second"]) / 1e9
        raise SystemExit(f"bench: {way.name}, {direction}: {done.stdout.strip()[-200:]}")
    finally:
        listener.kill()
        listener.wait()


@contextlib.contextmanager
def veth(_directory: Path) -> Iterator[Way]:
    """Node and guest joined by one veth pair: the host's upper limit."""
    with namespaces("veth", "node", "guest") as (node, guest):
        batch(guest, f"link add eth0 type veth peer name pod0 netns {node}")
        configure(node, guest, "pod0", "eth0")
        yield Way("veth pair alone", node, guest, "10.244.1.1", "10.244.1.5")


@contextlib.contextmanager
def bridge(directory: Path) -> Iterator[Way]:
    with pod("bridge", directory, []) as (node, guest):
        batch(guest, "addr add 10.244.1.5/24 dev eth0")
        yield Way("bridge", node, guest, "10.244.1.1", "10.244.1.5")


@contextlib.contextmanager
def masquerade(directory: Path) -> Iterator[Way]:
    manifest = directory / "vmi.json"
    manifest.write_text(json.dumps(MASQUERADE))
    with pod("masquerade", directory, ["--vmi", str(manifest)]) as (node, guest):
        batch(guest, "addr add 10.0.2.2/24 dev eth0", "route add default via 10.0.2.1")
        yield Way("masquerade", node, guest, "10.244.1.1", "10.244.1.5")


@contextlib.contextmanager
def pasta(_directory: Path) -> Iterator[Way]:
    """pasta, which is passt for a namespace: a process that splices the pod's sockets to the guest's."""
    with namespaces("pasta", "node", "pod", "guest") as (node, inside, guest):
        batch(inside, f"link add eth0 type veth peer name pod0 netns {node}")
        configure(node, inside, "pod0", "eth0")
        options = ["-f", "-q", "-4", "-t", PORT, "--no-map-gw", "--config-net", "--runas", "0"]
        words = ["ip", "netns", "exec", inside, "pasta", *options, "--netns", f"/run/netns/{guest}"]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(1)
            yield Way("pasta", node, guest, "10.244.1.1", "10.244.1.5")
        finally:
            process.terminate()
            process.wait()


WAYS: tuple[Callable[[Path], contextlib.AbstractContextManager[Way]], ...] = (veth, bridge, masquerade, pasta)


@contextlib.contextmanager
def pod(name: str, directory: Path, options: list[str]) -> Iterator[tuple[str, str]]:
    """A pod set up by `virt-launcher prestart`, with its node and its guest."""
    with namespaces(name, "node", "pod", "guest") as (node, inside, guest):
        batch(inside, f"link add eth0 address {MAC} type veth peer name pod0 netns {node}")
        batch(guest, f"link add eth0 address {MAC} type veth peer name tap0 netns {inside}", "link set eth0 up")
        configure(node, inside, "pod0", "eth0")
        verb = ["--netns", inside, "--state-dir", str(directory / name)]
        subprocess.run([LAUNCHER, "prestart", *verb, *options], check=True, stdout=subprocess.DEVNULL)
        try:
            yield node, guest
        finally:
            subprocess.run([LAUNCHER, "teardown", *verb], check=True)


def configure(node: str, pod: str, node_end: str, pod_end: str) -> None:
    batch(node, f"addr add 10.244.1.1/24 dev {node_end}", f"link set {node_end} up")
    batch(pod, f"addr add 10.244.1.5/24 dev {pod_end}", f"link set {pod_end} up", "route add default via 10.244.1.1")


@contextlib.contextmanager
def namespaces(way: str, *roles: str) -> Iterator[list[str]]:
    names = [f"{PREFIX}-{way}-{role}" for role in roles]
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
            batch(name, "link set lo up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def batch(namespace: str, *lines: str) -> None:
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


if __name__ == "__main__":
    sys.exit(main())
