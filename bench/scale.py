#!/usr/bin/env python3
"""Measure how the hook scales with pods on a host, interfaces of a VM, attached ones too, and routes of an interface.

    .venv/bin/python bench/scale.py [--quick]

Root. One warm process goes from pod to pod, as a node's agent would. Times are medians in milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

if __name__ == "__main__":  # Python would look for modules beside this file, where `dhcp` is another one
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench.laboratory import pss_mib
from dhcp.daemon.connection import connect
from launcher.container.described import Described, manifest_of
from launcher.container.pod_setup import PodSetup, Settings
from launcher.control.interfaces import RunningInterfaces
from launcher.machine.live_interfaces import LiveInterface
from launcher.prestart import setup_pod_network, teardown_pod_network
from launcher.request import SetupRequest
from launcher.vmi.load import load_document
from launcher.vmi.model import DEFAULT_INTERFACE, InterfaceSpec
from netsetup.kernel.netns import enter

PREFIX = f"vlscale{os.getpid()}"
PODS, NICS, ROUTES = (1, 10, 50, 200), (1, 4, 16), (10, 100, 1000, 5000)
ATTACHED = (2, 4, 8, 16)
ROUNDS = 5


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, to see that it works")
    quick = parser.parse_args().quick
    for title, unit, sizes, measure in (
        ("Pods at once", "pod", PODS, pods),
        ("Interfaces of one VM", "interface", NICS, nics),
        ("Interfaces attached to a running VM", "interface", ATTACHED, attached),
        ("Routes of one interface", "route", ROUTES, routes),
    ):
        print(f"\n### {title}\n")
        for number, size in enumerate(sizes[:2] if quick else sizes):
            figures = measure(size)
            if number == 0:
                print("| " + " | ".join([title.lower(), *(name.format(unit) for name in figures)]) + " |")
                print("|---" * (len(figures) + 1) + "|")
            print("| " + " | ".join([str(size), *(f"{value:.2f}" for value in figures.values())]) + " |", flush=True)
    return 0


def pods(count: int) -> dict[str, float]:
    """Set up `count` pods one after the other, all existing at the same time."""
    with namespaces(count + 1) as names, tempfile.TemporaryDirectory() as state:
        node, *inside = names
        for number, name in enumerate(inside):
            make_interface(name, node, "eth0", number)
        setups: list[float] = []
        memory: list[float] = []
        for name in inside:
            in_namespace(name, lambda name=name: setups.append(set_up(Path(state, name))))
        for name in inside:
            in_namespace(name, lambda: memory.append(server_memory()))
        teardowns: list[float] = []
        for name in inside:
            in_namespace(name, lambda name=name: teardowns.append(put_back(Path(state, name))))
    return {
        "set-up per {}": median(setups),
        "last set-up": setups[-1],
        "teardown per {}": median(teardowns),
        "MiB per {}": median(memory),
        "MiB in all": sum(memory),
    }


def nics(count: int) -> dict[str, float]:
    """Set up a pod whose VM has `count` bridged interfaces."""
    names = [f"net{number}" for number in range(count)]
    interfaces = [DEFAULT_INTERFACE, *(InterfaceSpec(n, pod_network=False, multus_network=n) for n in names[1:])]
    return one_pod(lambda pod, node: make_interfaces(pod, node, names), tuple(interfaces), count)


class NoMachine:
    """In libvirt's place: plugs in and out in no time."""

    def __init__(self) -> None:
        self.live: dict[str, LiveInterface] = {}

    def interfaces(self) -> dict[str, LiveInterface]:
        return self.live

    def free_buses(self) -> tuple[int, ...]:
        return (1,)

    def plug(self, _xml: str) -> None:
        """It is there at once."""

    def unplug(self, _name: str) -> None:
        """It has gone at once."""


def attached(count: int) -> dict[str, float]:
    """Attach interfaces to a VM with one, one by one until there are `count`, and detach the last again and again."""
    names = [f"net{number}" for number in range(count)]
    took: list[float] = []
    gone: list[float] = []
    with namespaces(2) as (node, pod), tempfile.TemporaryDirectory() as state:
        make_interfaces(pod, node, names)
        vmi = load_document(manifest_of(Described("vm")))
        settings = Settings(f"{state}/pod", "/etc/resolv.conf", None, "text", False, None)
        setup = PodSetup(SetupRequest.from_vmi(vmi), settings)
        machine: Any = NoMachine()
        running = RunningInterfaces(vmi, lambda: machine, setup.request, setup)
        memory: list[float] = []

        def grow() -> None:
            setup.converge()
            memory.append(server_memory())
            for name in names[1:]:
                attach(name)
            memory.append(server_memory())
            for _ in range(ROUNDS):
                began = time.perf_counter()
                running.detach({"name": names[-1]})
                gone.append((time.perf_counter() - began) * 1e3)
                took.append(attach(names[-1]))
            put_back(Path(state, "pod"))

        def attach(name: str) -> float:
            interface = {"name": name, "bridge": {}}
            network = {"name": name, "multus": {"networkName": name}}
            document = manifest_of(Described("vm"))
            document["spec"]["domain"]["devices"]["interfaces"] = [interface]
            document["spec"]["networks"] = [network]
            began = time.perf_counter()
            running.attach({"vmi": document, "new": True})
            return (time.perf_counter() - began) * 1e3

        in_namespace(pod, grow)
    return {
        "attach the last {}": median(took),
        "detach it": median(gone),
        "server, MiB": memory[-1],
        "MiB per further {}": (memory[-1] - memory[0]) / (count - 1),
    }


def routes(count: int) -> dict[str, float]:
    """Set up a pod whose interface has `count` routes."""

    def prepare(pod: str, node: str) -> None:
        make_interface(pod, node, "eth0", 0)
        lines = (f"route add 172.{16 + n // 65536}.{n // 256 % 256}.{n % 256}/32 via 10.0.0.1" for n in range(count))
        batch(pod, *lines)

    return one_pod(prepare, (DEFAULT_INTERFACE,), count)


def one_pod(prepare: Callable[[str, str], None], interfaces: tuple[InterfaceSpec, ...], count: int) -> dict[str, float]:
    setups, teardowns = [], []
    with namespaces(2) as (node, pod), tempfile.TemporaryDirectory() as state:
        prepare(pod, node)

        def rounds() -> None:
            for _ in range(ROUNDS + 1):
                setups.append(set_up(Path(state, "pod"), interfaces))
                teardowns.append(put_back(Path(state, "pod")))

        in_namespace(pod, rounds)
    setup, teardown = median(setups[1:]), median(teardowns[1:])
    return {
        "set-up": setup,
        "set-up per {}": setup / count,
        "teardown": teardown,
        "teardown per {}": teardown / count,
    }


def set_up(state: Path, interfaces: tuple[InterfaceSpec, ...] = (DEFAULT_INTERFACE,)) -> float:
    return setup_pod_network(SetupRequest.of(*interfaces), state_dir=state).elapsed_ms["total"]


def put_back(state: Path) -> float:
    began = time.perf_counter()
    teardown_pod_network(state)
    return (time.perf_counter() - began) * 1e3


def server_memory() -> float:
    """The server's proportional set size (PSS) in MiB."""
    server = connect()
    assert server is not None
    shared, _ = pss_mib(server.pid)
    server.release()
    return shared


@contextlib.contextmanager
def namespaces(count: int) -> Iterator[list[str]]:
    names = [f"{PREFIX}-{number}" for number in range(count)]
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def in_namespace(name: str, action: Callable[[], object]) -> None:
    """Run `action` in the network namespace `name`, then return to the present one."""
    with open("/proc/thread-self/ns/net") as back:
        enter(name)
        try:
            action()
        finally:
            enter(f"/proc/self/fd/{back.fileno()}")


def make_interfaces(pod: str, node: str, names: Sequence[str]) -> None:
    """The interfaces of networks by KubeVirt's names, that of the first eth0."""
    devices = ["eth0", *(f"pod{hashlib.sha256(name.encode()).hexdigest()[:11]}" for name in names[1:])]
    for number, device in enumerate(devices):
        make_interface(pod, node, device, number)


def make_interface(pod: str, node: str, device: str, number: int) -> None:
    """Add a veth pair as a CNI does, with an address and, on eth0, a default route."""
    prefix = f"10.{number // 256}.{number % 256}"
    batch(
        pod,
        f"link add {device} type veth peer name p{number} netns {node}",
        f"addr add {prefix}.5/24 dev {device}",
        f"link set {device} up",
    )
    batch(node, f"link set p{number} up")
    if device == "eth0":
        batch(pod, f"route add default via {prefix}.1")


def batch(namespace: str, *lines: str) -> None:
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input="\n".join(lines), text=True, check=True)


if __name__ == "__main__":
    sys.exit(main())
