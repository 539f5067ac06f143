"""Real clients in pods whose default route is of a rare kind: what they end with, and that it works."""

from __future__ import annotations

import pytest
from lab.agent import Agent
from lab.checks import pings
from lab.clients import CLIENTS, Client, Dhclient, Dhcpcd, Udhcpc
from lab.clients.ipv6 import Client6, Dhcpcd6, KernelOnly, Networkd6, NetworkManager6
from lab.doctor import examine
from lab.pod import MakePod, Pod
from lab.shape import OUTSIDE, OUTSIDE6
from lab.snapshot import assert_restored, take_snapshot
from lab.waiting import wait_until

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def without_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dhcpcd, "probing", False)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
@pytest.mark.parametrize(("own", "gateway"), [("10.250.0.2", "10.250.0.3"), ("10.250.0.3", "10.250.0.2")])
def test_both_ends_of_a_31(make_pod: MakePod, client: type[Client], own: str, gateway: str) -> None:
    """The other end is the last address of the subnet for the even one, which is no broadcast address (RFC 3021)."""
    pod = make_pod()
    pod.node.ip(f"addr add {gateway}/31 dev cni0")
    pod.pod.ip("addr flush dev eth0 scope global", f"addr add {own}/31 dev eth0", f"route add default via {gateway}")
    with Agent(pod) as agent, client(pod.guest) as running:
        agent.prestart()
        observed = running.acquire()
        assert (observed.addresses, observed.router) == ((f"{own}/31",), gateway)
        assert pings(pod.guest, OUTSIDE)


def lead_through_ipv6(pod: Pod) -> None:
    """Lead the pod's IPv4 default route over the node's IPv6 link-local address (RFC 8950)."""
    pod.node.settle()
    (link,) = pod.node.ip_json("-6 addr show dev cni0 scope link")
    pod.pod.ip("route del default", f"route add 0.0.0.0/0 via inet6 {link['addr_info'][0]['local']} dev eth0")


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_an_ipv6_next_hop_of_the_ipv4_default_route(make_pod: MakePod, client: type[Client]) -> None:
    pod = make_pod()
    lead_through_ipv6(pod)
    before = take_snapshot(pod.pod)
    with Agent(pod) as agent, client(pod.guest) as running:
        assert agent.prestart()["warnings"] == []
        observed = running.acquire()
        assert observed.router
        assert observed.router.startswith("169.254.")
        assert pings(pod.guest, OUTSIDE)
        if client is Udhcpc:
            examine(agent).assert_names({})
            assert "as configured" in agent.run("probe", check=True).stdout
        agent.teardown()
        assert_restored(pod.pod, before)


def test_an_ipv6_next_hop_without_an_answer_is_a_warning(make_pod: MakePod) -> None:
    pod = make_pod()
    pod.pod.ip(
        "route del default",
        "route add 0.0.0.0/0 via inet6 fe80::dead dev eth0",
        "route add 10.7.0.0/16 via inet6 fe80::1 dev eth0",
    )
    with Agent(pod) as agent, Dhclient(pod.guest) as client:
        warnings = agent.prestart()["warnings"]
        assert [line.partition(" via ")[0].rpartition(": ")[2] for line in warnings] == [
            "IPv4 route 10.7.0.0/16",
            "IPv4 route default",
        ]
        assert client.acquire().addresses == ("10.244.1.3/24",)


@pytest.mark.parametrize("client", [KernelOnly, Networkd6, Dhcpcd6, NetworkManager6], ids=lambda client: client.name)
def test_an_ipv6_default_route_without_a_gateway(make_pod: MakePod, client: type[Client6]) -> None:
    """The VM resolves every address on its link, as the pod did; the node answers for them."""
    pod = make_pod()
    address = "fd00:5::5"
    pod.node.write_sysctl("ipv6/conf/cni0/proxy_ndp", 1)
    pod.node.ip(f"neigh add proxy {OUTSIDE6} dev cni0", f"route add {address}/128 dev cni0")
    pod.pod.ip(f"addr add {address}/128 dev eth0 nodad", "route add ::/0 dev eth0")
    assert pings(pod.pod, OUTSIDE6)
    with Agent(pod) as agent, client(pod.guest) as running:
        assert agent.prestart()["warnings"] == []
        running.start()
        if not client.manages_addresses:
            pod.guest.ip(f"addr add {address}/128 dev eth0 nodad")
        wait_until(lambda: pings(pod.guest, OUTSIDE6), running.patience, log=running.log)
        routes = {route["dst"] for route in pod.guest.ip_json("-6 route show dev eth0")}
        assert ("2000::/3" if client is NetworkManager6 else "default") in routes
        if client is Networkd6:  # the others do not configure IPv4 here
            examine(agent).assert_names({})
