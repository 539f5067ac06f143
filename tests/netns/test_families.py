"""Pods on kernels and in namespaces without IPv6: no error, and IPv4 works as usual."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from lab.agent import Agent
from lab.pod import MakePod
from lab.rawclient import RawClient
from lab.snapshot import assert_restored, take_snapshot

import netsetup.kernel.rtnetlink
from netsetup.bindings.registry import BUILT_IN
from netsetup.kernel.rtnetlink import Netlink

pytestmark = pytest.mark.root

AF_DECNET = 12
"""A family that no kernel has any more; dumps of it are what those of IPv6 are with `ipv6.disable=1`."""
BOOTED_WITHOUT = ["sh", "-c", 'mount -t tmpfs none /proc/sys/net/ipv6 && exec "$@"', "sh"]


@pytest.mark.parametrize("prefix", [[], BOOTED_WITHOUT], ids=["disable_ipv6", "ipv6.disable"])
@pytest.mark.parametrize("binding", BUILT_IN)
def test_without_ipv6(make_pod: MakePod, binding: str, prefix: Sequence[str]) -> None:
    """The namespace has it switched off; with `ipv6.disable` there are no settings of IPv6 either."""
    pod = make_pod("ipv6-disabled")
    before = take_snapshot(pod.pod)
    address = "10.0.2.2" if binding == "masquerade" else pod.shape.guest.address.partition("/")[0]
    with Agent(pod, binding=binding) as agent:
        for _ in range(2):
            done = agent.run("prestart", "--output", "json", prefix=prefix, check=True)
        assert done.stderr == ""
        network = json.loads(done.stdout)["networks"][0]
        pod.guest.ip("link set eth0 up")
        with RawClient(pod.guest, mac=str(network["mac"])) as client:
            offer = client.discover()
            assert offer
            assert offer.yiaddr == address
        pod.guest.ip("link set eth0 down")
        assert agent.run("teardown", prefix=prefix, check=True).stderr == ""
    assert_restored(pod.pod, before)


def test_routes_on_a_kernel_without_ipv6(make_pod: MakePod, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a kernel answers a dump of IPv6 routes with the IPv4 routes: none may be counted twice."""
    monkeypatch.setattr(netsetup.kernel.rtnetlink, "AF_INET6", AF_DECNET)
    with make_pod("ipv6-disabled").pod.entered(), Netlink() as netlink:
        routes = netlink.routes()
    assert routes
    assert len(routes) == len(set(routes))
