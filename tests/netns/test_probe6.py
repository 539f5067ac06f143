"""`virt-launcher probe` over IPv6: the lease and advertisement that the VM would get, and every kind of difference."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lab.agent import Agent
from lab.pod import MakePod
from lab.sniffer import Sniffer

pytestmark = pytest.mark.root

RESOLVER = "nameserver 10.96.0.10\nnameserver fd00:10:96::a\nsearch cluster.local\n"


def probe(agent: Agent) -> tuple[int, dict[str, Any]]:
    done = agent.run("probe", "--output", "json")
    (network,) = json.loads(done.stdout)["networks"]
    return done.returncode, network


def test_both_families(make_pod: MakePod) -> None:
    pod = make_pod("calico", resolv_conf=RESOLVER)
    pod.guest.ip("link set eth0 up")
    with Agent(pod) as agent:
        agent.prestart()
        with Sniffer(pod.guest, "eth0") as guest:
            code, network = probe(agent)
            text = agent.run("probe").stdout
    assert (code, network["problems"]) == (0, [])
    assert network["offer"]["address"] == "192.168.103.70/32"
    lease, router = network["lease6"], network["router6"]
    assert (lease["address"], lease["dns"], lease["search"]) == (
        "fd00:10:244:1::5",
        ["fd00:10:96::a"],
        ["cluster.local"],
    )
    assert (lease["t1_seconds"], lease["t2_seconds"], lease["lease_seconds"]) == (3_600, 75_600, 86_400)
    assert (router["address"], router["managed"], router["mtu"]) == ("fe80::ecee:eeff:feee:eeee", True, 1440)
    assert "DHCPv6: fd00:10:244:1::5, lease 86400 s" in text
    assert "advertised: router fe80::ecee:eeff:feee:eeee, mtu 1440" in text
    assert not [str(frame) for frame in guest.frames if not frame.outgoing and "DHCP6" in str(frame)]


def test_ipv6_alone(make_pod: MakePod) -> None:
    pod = make_pod("aws-v6", resolv_conf=RESOLVER)
    with Agent(pod) as agent:
        agent.prestart()
        code, network = probe(agent)
    assert (code, network["offer"], network["lease6"]["address"]) == (0, None, "2600:1f18::7")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"client_address6": "fd00:10:244:1::9/128"}, "client_address6: offered fd00:10:244:1::9"),
        ({"client_address6": "fd00:10:244:1::5/64"}, "prefixes on the link: offered fd00:10:244:1::/64"),
        ({"client_address6": None}, "IPv6: Solicit gets no answer"),
        ({"router6": "fe80::1"}, "router6: advertised from fe80::1"),
        ({"router6": None}, "default router: offered nothing"),
        ({"dns6": []}, "dns6: offered nothing, configured fd00:10:96::a"),
        ({"lease_seconds": 20}, "lease_seconds of IPv6: offered 20, configured 86400"),
        ({"t1_seconds": 5}, "t1_seconds of IPv6: offered 5, configured 3600"),
        ({"lease_seconds": 0xFFFFFFFF}, "t2_seconds of IPv6: offered 4294967295, configured 75600"),
        ({"search": ["evil.test"]}, "search of IPv6: offered evil.test, configured cluster.local"),
        ({"mtu": 1300}, "mtu: offered 1300, configured 1440"),
    ],
    ids=str,
)
def test_another_configuration_is_noticed(make_pod: MakePod, changes: dict[str, object], problem: str) -> None:
    with Agent(make_pod("calico", resolv_conf=RESOLVER)) as agent:
        agent.prestart()
        if changes == {"client_address6": None}:
            changes = dict.fromkeys(("client_address6", "router6", "router6_lladdr", "dns6"))
        agent.serve(**changes)
        code, network = probe(agent)
    assert code == 1
    assert any(found.startswith(problem) for found in network["problems"]), network["problems"]
