"""Routes that the pod has learnt from a router survive the enabling of forwarding, by either setting of the kernel."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from lab.forked import SUCCEEDED, WAYS, run_in
from lab.namespace import Namespace
from lab.pod import MakePod, Pod
from lab.snapshot import assert_restored, take_snapshot
from lab.waiting import wait_until
from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6NDOptPrefixInfo, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import Ether

pytestmark = pytest.mark.root

BRIDGE = "cni0"
PREFIX = "fd00:77::"


def advertise(node: Namespace, lifetime: int = 1800) -> None:
    """Send one router advertisement with a prefix for autoconfiguration, from the node's bridge."""
    link = node.link(BRIDGE)
    addresses = node.ip_json(f"addr show dev {BRIDGE}")[0]["addr_info"]
    link_local = next(a["local"] for a in addresses if (a["family"], a["scope"]) == ("inet6", "link"))
    frame = (
        Ether(src=link["address"], dst="33:33:00:00:00:01")
        / IPv6(src=link_local, dst="ff02::1", hlim=255)
        / ICMPv6ND_RA(routerlifetime=lifetime)
        / ICMPv6NDOptSrcLLAddr(lladdr=link["address"])
        / ICMPv6NDOptPrefixInfo(prefix=PREFIX, prefixlen=64, validlifetime=3600, preferredlifetime=1800)
    )
    with node.entered():
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC)
    with packets:
        packets.bind((BRIDGE, 0))
        packets.send(bytes(frame))


def learnt(pod: Pod) -> set[str]:
    """The destinations of the routes that the pod has learnt from advertisements."""
    return {route["dst"] for route in pod.pod.ip_json("-6 route show proto ra")}


@pytest.fixture
def advised(make_pod: MakePod) -> Pod:
    """A pod that has its IPv6 address and default route from a router advertisement."""
    pod = make_pod("flannel")
    pod.node.ip(f"addr add {PREFIX}1/64 dev {BRIDGE} nodad")
    advertise(pod.node)
    wait_until(lambda: "default" in learnt(pod) and PREFIX in str(pod.pod.ip_json("addr show dev eth0")))
    return pod


@pytest.mark.parametrize("way", ["masquerade", "masquerade before 6.17"])
@pytest.mark.parametrize("others", [False, True], ids=["", "beside a router"])
def test_learnt_routes_stay_and_are_refreshed(advised: Pod, way: str, others: bool, tmp_path: Path) -> None:
    """`others`: another interface of the pod forwards already; the restore must not lose the routes then, either."""
    pod = advised
    if others:
        pod.pod.ip("link add net1 type veth peer name net2", "link set net1 up", "link set net2 up")
        for path in ("ipv6/conf/eth0/accept_ra", "ipv6/conf/net2/accept_ra"):
            pod.pod.write_sysctl(path, 2)
        pod.pod.write_sysctl("ipv6/conf/net1/forwarding", 1)
        pod.pod.write_sysctl("ipv6/conf/eth0/accept_ra", 1)
        pod.pod.settle()
    before = take_snapshot(pod.pod)
    routes = learnt(pod)
    assert "default" in routes
    set_up, put_back = WAYS[way]
    assert run_in(pod.pod, set_up, tmp_path) == SUCCEEDED
    assert learnt(pod) == routes
    assert pod.pod.read_sysctl("ipv6/conf/all/forwarding") == ("0" if way == "masquerade" else "1")

    advertise(pod.node, lifetime=9000)
    wait_until(lambda: _expiry(pod) > 1800)
    assert run_in(pod.pod, put_back, tmp_path) == SUCCEEDED
    assert learnt(pod) == routes
    assert_restored(pod.pod, before)
    advertise(pod.node, lifetime=0)
    wait_until(lambda: "default" not in learnt(pod))


def _expiry(pod: Pod) -> int:
    """Remaining lifetime of the default route in seconds."""
    return max(int(r.get("expires", 0)) for r in pod.pod.ip_json("-6 route show default proto ra"))
