"""Real clients behind the pod's address: they get the VM's own network of both families, and it works."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.agent import Agent
from lab.checks import pings
from lab.clients import CLIENTS, Client
from lab.clients.ipv6 import CLIENTS6, Client6
from lab.masqueraded import ROUTER_LINK_LOCAL, write_manifest
from lab.pod import DNS, RESOLV_CONF, SEARCH, MakePod, Pod

pytestmark = pytest.mark.root

DNS6 = "fd00:10:96::a"
MTU = 1400


def set_up(agent: Agent, pod: Pod, directory: Path) -> None:
    agent.prestart("--vmi", write_manifest(directory, interface={"macAddress": pod.mac}))


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_ipv4(make_pod: MakePod, client: type[Client], tmp_path: Path) -> None:
    pod = make_pod("ovn-kubernetes")
    with Agent(pod) as agent, client(pod.guest) as running:
        set_up(agent, pod, tmp_path)
        observed = running.acquire()
        assert (observed.addresses, observed.router, observed.mtu) == (("10.0.2.2/24",), "10.0.2.1", MTU)
        assert observed.nameservers == DNS
        assert observed.search == (SEARCH if client.search_list else SEARCH[:1])
        assert pings(pod.guest, "192.0.2.1", size=MTU)


@pytest.mark.parametrize("client", CLIENTS6, ids=lambda client: client.name)
def test_ipv6(make_pod: MakePod, client: type[Client6], tmp_path: Path) -> None:
    pod = make_pod("ovn-kubernetes", resolv_conf=f"{RESOLV_CONF}nameserver {DNS6}\n")
    with Agent(pod) as agent, client(pod.guest) as running:
        set_up(agent, pod, tmp_path)
        observed = running.acquire6()
        assert observed.addresses == (("fd10:0:2::2/128",) if client.manages_addresses else ())
        assert (observed.routers, observed.mtu) == ((ROUTER_LINK_LOCAL,), MTU)
        assert set(observed.on_link) == {"fd10:0:2::/120"}
        if client.manages_resolver:
            assert observed.nameservers6 == {DNS6}
            assert set(observed.search) == (set(SEARCH) if client.search_list else set())
        if client.manages_addresses:
            assert pings(pod.guest, "2001:db8::1", size=MTU)
            assert pings(pod.node, "fd00:10:244:3::5"), "the guest is not reached at the pod's address"
