"""What a pod has learnt from routers comes back exactly, or the pod is refused before anything is changed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from lab.forked import FAILED, SUCCEEDED, WAYS, run_in
from lab.random_pod import IpPod
from lab.snapshot import assert_restored, take_snapshot
from lab.waiting import wait_until
from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6NDOptMTU, ICMPv6NDOptPrefixInfo, IPv6
from scapy.layers.l2 import Ether

pytestmark = [pytest.mark.root, pytest.mark.parametrize("binding", ["bridge", "fwd"])]

EUI64, RANDOM = 0, 3
"""addr_gen_mode: how the kernel makes addresses."""
ADVERTISED_MTU = "1400"


def advertise(pod: IpPod, router: str, prefix: str = "") -> None:
    """Send one advertisement to the pod's first interface, and wait until it is heard."""
    mac = f"02:00:00:00:77:{router[-1:]:0>2}"
    frame = (
        Ether(src=mac, dst="33:33:00:00:00:01")
        / IPv6(src=router, dst="ff02::1", hlim=255)
        / ICMPv6ND_RA(routerlifetime=1800)
        / ICMPv6NDOptMTU(mtu=int(ADVERTISED_MTU))
    )
    if prefix:
        frame /= ICMPv6NDOptPrefixInfo(prefix=prefix, prefixlen=64, validlifetime=3600, preferredlifetime=1800)
    with pod.node.entered():
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC)
    with packets:
        packets.bind(("node0", 0))
        packets.send(bytes(frame))
    wait_until(lambda: router in str(pod.pod.ip_json("-6 route show proto ra")))
    pod.pod.settle()


def made_by(mode: int) -> IpPod:
    """A pod whose addresses the kernel makes in this way."""
    pod = IpPod(["address add 10.0.0.5/24 dev eth0"]).build()
    if mode != EUI64:
        pod.pod.write_sysctl("ipv6/conf/eth0/addr_gen_mode", mode)
        pod.pod.ip("link set eth0 down", "link set eth0 up")
        wait_until(lambda: "stable-privacy" in str(pod.pod.ip_json("-d addr show dev eth0 -tentative")))
    return pod


@pytest.mark.parametrize(("mode", "prefix"), [(EUI64, "fd00:77::"), (RANDOM, "")], ids=["MTU and prefix", "secret"])
def test_what_is_learnt_comes_back(mode: int, prefix: str, binding: str, tmp_path: Path) -> None:
    """An advertised MTU, and a link-local address that the kernel makes of a secret."""
    there, back = WAYS[binding]
    with made_by(mode) as pod:
        advertise(pod, "fe80::1", prefix)
        before = take_snapshot(pod.pod)
        assert run_in(pod.pod, there, tmp_path) == SUCCEEDED
        assert run_in(pod.pod, back, tmp_path) == SUCCEEDED
        assert_restored(pod.pod, before)
        assert pod.pod.read_sysctl("ipv6/conf/eth0/mtu") == ADVERTISED_MTU


@pytest.mark.parametrize(
    ("mode", "routers", "prefix"),
    [(RANDOM, ("fe80::1",), "fd00:77::"), (EUI64, ("fe80::1", "fe80::2"), "")],
    ids=["an address of a secret", "equal routes of two routers"],
)
def test_what_only_the_kernel_can_make_is_refused_first(
    mode: int, routers: tuple[str, ...], prefix: str, binding: str, tmp_path: Path
) -> None:
    with made_by(mode) as pod:
        for router in routers:
            advertise(pod, router, prefix)
        before = take_snapshot(pod.pod)
        assert run_in(pod.pod, WAYS[binding][0], tmp_path / "state") == FAILED
        assert_restored(pod.pod, before)
        assert not (tmp_path / "state").exists()
