"""Every piece of advice, followed: what an error says is to be done leads to a pod that is set up and restored."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from lab.advice import commands_in
from lab.agent import Agent, binding_field
from lab.doctor import examine
from lab.masqueraded import manifest
from lab.pod import MakePod, Pod
from lab.snapshot import assert_restored, take_snapshot

pytestmark = pytest.mark.root

MACVLAN = ("link del eth0", "link add up9 type veth peer name up8", "link set up8 up", "link set up9 up")
ON_MACVLAN = (
    *MACVLAN,
    "link add eth0 link up9 type macvlan mode bridge",
    "link set eth0 up",
    "addr add 10.244.1.3/24 dev eth0",
)
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


@dataclass(frozen=True)
class Refusal:
    """What stands in the way of a request, and what the error says is to be done."""

    commands: tuple[str, ...]
    advice: str
    binding: str = "bridge"
    network: dict[str, Any] = field(default_factory=dict)
    interface: dict[str, Any] = field(default_factory=dict)


REFUSALS = {
    "foreign bridge": Refusal(("link add k6t-eth0 type bridge",), "remove it"),
    "foreign bridge, renamed": Refusal(("link add k6t-eth0 type bridge",), "or rename it"),
    "port of a bridge": Refusal(("link add br9 type bridge", "link set eth0 master br9"), "release it"),
    "macvlan": Refusal(ON_MACVLAN, "use the fwd or masquerade binding"),
    "macvlan, another MAC": Refusal(
        ON_MACVLAN, "use the masquerade binding", interface={"macAddress": "02:00:00:00:00:77"}
    ),
    "macvlan, fwd with another MAC": Refusal(
        ON_MACVLAN, "no macAddress, and the annotation", "fwd", interface={"macAddress": "02:00:00:00:00:77"}
    ),
    "no address to masquerade": Refusal(("addr flush dev eth0",), "use the bridge or fwd binding", "masquerade"),
    "overlap": Refusal(
        ("addr add 10.0.2.77/24 dev lo",),
        "choose another one with vmNetworkCIDR",
        "masquerade",
        network={"vmNetworkCIDR": "10.0.2.0/24"},
    ),
    "overlap, IPv6": Refusal(
        ("addr add fd98::5/64 dev eth0 nodad",),
        "choose another one with vmIPv6NetworkCIDR",
        "masquerade",
        network={"vmIPv6NetworkCIDR": "fd98::/64"},
    ),
}


class Request:
    """A manifest that is changed as advice says."""

    def __init__(self, directory: Path, refusal: Refusal) -> None:
        self.file = directory / "vmi.json"
        self.binding, self.network, self.interface = refusal.binding, dict(refusal.network), dict(refusal.interface)
        self.metadata: dict[str, Any] = {}

    def write(self) -> Path:
        document = manifest(interface=self.interface, network=self.network, metadata=self.metadata)
        (interface,) = document["spec"]["domain"]["devices"]["interfaces"]
        del interface["masquerade"]
        interface |= binding_field(self.binding)
        self.file.write_text(json.dumps(document))
        return self.file


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
def test_what_an_error_says_is_to_be_done_works(pod: Pod, agent: Agent, tmp_path: Path, refusal: Refusal) -> None:
    pod.pod.ip(*refusal.commands)
    request = Request(tmp_path, refusal)
    done = agent.run("prestart", "--vmi", request.write())
    assert done.returncode == 2, done.stderr
    assert refusal.advice in done.stderr, done.stderr
    for binding in follow(pod, request, refusal, done.stderr):
        request.binding = binding
        original = take_snapshot(pod.pod)
        agent.prestart("--vmi", request.write())
        agent.teardown()
        assert_restored(pod.pod, original)


def follow(pod: Pod, request: Request, refusal: Refusal, message: str) -> list[str]:
    """Do it; the bindings with which it is to work then."""
    if found := re.search(r"use the ([\w ]+) binding", refusal.advice):
        return found[1].split(" or ")
    if "vmNetworkCIDR" in refusal.advice:
        request.network["vmNetworkCIDR"] = "10.77.0.0/24"
    elif "vmIPv6NetworkCIDR" in refusal.advice:
        request.network["vmIPv6NetworkCIDR"] = "fd77::/120"
    elif "macAddress" in refusal.advice:
        del request.interface["macAddress"]
        request.metadata["annotations"] = {"virt-launcher.io/mac": "pod"}
    elif message.rstrip().endswith("; release it"):
        pod.pod.ip("link set eth0 nomaster")
    else:
        (command,) = commands_in(message)
        pod.pod.run(command)
    return [refusal.binding]


@pytest.mark.parametrize("kind", ["macvlan", "tun"])
def test_a_second_network_is_not_told_to_masquerade(make_pod: MakePod, tmp_path: Path, kind: str) -> None:
    """That is for the pod network alone."""
    pod = make_pod()
    if kind == "macvlan":
        pod.pod.ip("link add up9 type veth peer name up8", "link set up8 up", "link set up9 up")
        pod.pod.ip("link add net1 link up9 type macvlan")
    else:
        pod.pod.ip("tuntap add dev net1 mode tun")
    pod.pod.ip("link set net1 up", "addr add 10.244.9.3/24 dev net1")
    file = tmp_path / "vmi.json"
    document = manifest(secondary=["blue"])
    file.write_text(json.dumps(document))
    with Agent(pod) as agent:
        done = agent.run("prestart", "--vmi", file)
        assert done.returncode == 2
        assert done.stderr.count("net1: ") == 1, done.stderr
        assert "masquerade" not in done.stderr
        if kind == "macvlan":
            assert "use the fwd binding" in done.stderr
            document["spec"]["domain"]["devices"]["interfaces"][1] = {"name": "blue", "binding": {"name": "fwd"}}
            file.write_text(json.dumps(document))
            agent.prestart("--vmi", file)


@contextlib.contextmanager
def tun(pod: Pod, name: str) -> Iterator[None]:
    """A device without frames, and so without a MAC, with a process behind it."""
    with pod.pod.entered():
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    try:
        yield
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("gateway", ["", "via 10.244.1.1"])
def test_a_device_without_a_mac(make_pod: MakePod, tmp_path: Path, gateway: str) -> None:
    """Masquerade is what the error names for it, and `doctor` says what it cannot ask there."""
    pod = make_pod()
    pod.pod.ip("link del eth0")
    with tun(pod, "eth0"), Agent(pod) as agent:
        pod.pod.ip("addr add 10.244.1.3/24 dev eth0", "link set eth0 up", f"route add default {gateway} dev eth0")
        done = agent.run("prestart")
        assert done.returncode == 2
        assert "eth0: not an Ethernet device, so it has no frames for a VM; use the masquerade binding" in done.stderr
        file = tmp_path / "vmi.json"
        file.write_text(json.dumps(manifest()))
        printed = agent.prestart("--vmi", file)
        mac = printed["networks"][0]["mac"]
        pod.guest.ip(f"link set eth0 address {mac} up", "addr add 10.0.2.2/24 dev eth0")
        report = examine(agent)
        report.assert_names({}, {"node"} if gateway else set())
        agent.teardown()


def test_another_request_needs_a_teardown_and_then_works(pod: Pod, agent: Agent, tmp_path: Path) -> None:
    file = tmp_path / "vmi.json"
    document = manifest(interface={"macAddress": "02:00:00:00:00:77"})
    file.write_text(json.dumps(document))
    agent.prestart()
    done = agent.run("prestart", "--vmi", file)
    assert done.returncode == 2
    assert done.stderr.rstrip().endswith("run teardown first")
    agent.teardown()
    agent.prestart("--vmi", file)
