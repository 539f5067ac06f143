"""Addresses that run out: served with what is left, renewed as the CNI renews them, put back with what is left."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from lab.agent import Agent
from lab.clients import Dhclient, Networkd
from lab.clients.ipv6 import Dhclient6, Networkd6
from lab.namespace import Namespace
from lab.pod import MakePod, Pod
from lab.waiting import wait_until

pytestmark = pytest.mark.root

ADDRESS, ADDRESS6 = "10.244.1.3", "fd00:5::5"


def limit(pod: Pod, valid: int, preferred: int, verb: str = "change") -> None:
    """Give the pod's address these lifetimes, as a CNI that leases it."""
    pod.pod.ip(f"addr {verb} {ADDRESS}/24 brd + dev eth0 valid_lft {valid} preferred_lft {preferred}")


def address_of(namespace: Namespace, address: str) -> dict[str, Any] | None:
    links = namespace.ip_json("addr show dev eth0")
    return next((a for link in links for a in link["addr_info"] if a.get("local") == address), None)


def probed(agent: Agent) -> dict[str, Any]:
    """The lease as `probe` got it, which is as configured."""
    (network,) = json.loads(agent.run("probe", "--output", "json", check=True).stdout)["networks"]
    assert network["problems"] == []
    return dict(network)


def test_what_is_left_is_served_and_put_back(make_pod: MakePod) -> None:
    """The server counts down by itself, and so does a new one; a client renews in time."""
    pod = make_pod()
    began = time.monotonic()
    limit(pod, 600, 300)
    with Agent(pod) as agent, Dhclient(pod.guest) as client:
        agent.prestart()
        lease = client.acquire().lease
        (seconds,) = re.findall(r"dhcp-lease-time (\d+);", lease)
        assert 570 - (time.monotonic() - began) <= int(seconds) <= 600
        first = probed(agent)["offer"]
        assert first["t1_seconds"] <= first["lease_seconds"] // 2
        assert first["t1_seconds"] < first["t2_seconds"] < first["lease_seconds"]
        wait_until(lambda: probed(agent)["offer"]["lease_seconds"] < first["lease_seconds"] - 1, 20)
        assert agent.run("prestart", "--dry-run").stdout.startswith("nothing to do")
        agent.teardown()
        passed = time.monotonic() - began
        back = address_of(pod.pod, ADDRESS)
        assert back
        assert 597 - passed <= back["valid_life_time"] <= 603 - passed
        assert 297 - passed <= back["preferred_life_time"] <= 303 - passed


def test_what_the_cni_renews_is_renewed(make_pod: MakePod) -> None:
    """It sets the lifetime of the address at the interface anew, or ends that it has one."""
    pod = make_pod()
    limit(pod, 600, 600)
    with Agent(pod) as agent:
        agent.prestart()
        assert probed(agent)["offer"]["lease_seconds"] <= 600
        limit(pod, 7200, 7200, "add")
        agent.prestart()
        assert 7000 < probed(agent)["offer"]["lease_seconds"] <= 7200
        pod.pod.ip(f"addr add {ADDRESS}/24 brd + dev eth0")
        agent.prestart()
        assert probed(agent)["offer"]["lease_seconds"] == 86400
        agent.teardown()
        back = address_of(pod.pod, ADDRESS)
        assert back
        assert back["valid_life_time"] == 2**32 - 1


def test_what_has_run_out_is_neither_served_nor_put_back(make_pod: MakePod) -> None:
    """As the kernel would have it: with the last address all IPv4 routes of the interface are gone."""
    pod, twin = make_pod(), make_pod()
    for one in (pod, twin):
        one.pod.ip(f"addr add {ADDRESS6}/64 dev eth0 nodad")
        limit(one, 20, 20)
    with Agent(pod) as agent, Networkd(pod.guest) as client:
        agent.prestart()
        client.acquire()
        wait_until(lambda: client.addresses() == (), 40)
        assert "has run out" in agent.run("status").stdout
        wait_until(lambda: address_of(twin.pod, ADDRESS) is None, 40)
        agent.teardown()
        for command in ("-4 route show table all dev eth0", "-6 route show table all dev eth0"):
            routes, expected = ([route["dst"] for route in one.pod.ip_json(command)] for one in (pod, twin))
            assert sorted(d for d in routes if "fe80" not in d) == sorted(d for d in expected if "fe80" not in d)
        assert address_of(pod.pod, ADDRESS) is None
        assert address_of(pod.pod, ADDRESS6)


@pytest.mark.parametrize("client", [Networkd6, Dhclient6], ids=lambda client: client.name)
def test_an_ipv6_address(make_pod: MakePod, client: type[Networkd6]) -> None:
    """Both lifetimes, and those of the prefix on the link."""
    pod = make_pod("cilium", resolv_conf="nameserver fd00:53::1\n")
    before = [a for link in pod.pod.ip_json("-6 addr show dev eth0 scope global") for a in link["addr_info"]]
    (address,) = [f"{a['local']}/{a['prefixlen']}" for a in before if a]
    began = time.monotonic()
    pod.pod.ip(f"addr change {address} dev eth0 valid_lft 900 preferred_lft 500")
    with Agent(pod) as agent, client(pod.guest) as running:
        agent.prestart()
        running.acquire6()
        own = address_of(pod.guest, address.partition("/")[0])
        assert own
        assert 870 - (time.monotonic() - began) <= own["valid_life_time"] <= 900
        assert 470 - (time.monotonic() - began) <= own["preferred_life_time"] <= 500
        assert probed(agent)["lease6"]["lease_seconds"] <= 900
        agent.teardown()
        passed = time.monotonic() - began
        back = address_of(pod.pod, address.partition("/")[0])
        assert back
        assert 897 - passed <= back["valid_life_time"] <= 903 - passed
        assert 497 - passed <= back["preferred_life_time"] <= 503 - passed
