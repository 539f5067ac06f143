"""Real clients behind a pod bridged by hand and served by dnsmasq: proves the checks, not the program."""

from __future__ import annotations

import pytest
from lab.bridged import BridgedPod
from lab.checks import assert_lease, assert_traffic
from lab.clients import Client, Dhclient, Dhcpcd, Networkd, NetworkManager, Udhcpc
from lab.pod import MakePod
from lab.shape import load_shape, shape_names

pytestmark = pytest.mark.root

SERVED = [name for name in shape_names() if load_shape(name).guest]


@pytest.mark.parametrize("client", [Udhcpc, Dhclient], ids=lambda client: client.name)
@pytest.mark.parametrize("shape", SERVED)
def test_small_clients_in_every_shape(make_pod: MakePod, shape: str, client: type[Client]) -> None:
    check(make_pod, shape, client)


@pytest.mark.parametrize("client", [Networkd, NetworkManager, Dhcpcd], ids=lambda client: client.name)
def test_large_clients(make_pod: MakePod, client: type[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dhcpcd, "probing", False)
    check(make_pod, "calico", client)


def check(make_pod: MakePod, shape: str, client: type[Client]) -> None:
    pod = make_pod(shape)
    network = pod.shape.guest
    assert network
    with BridgedPod(pod) as bridged, client(pod.guest) as running:
        observed = running.acquire()
        bridged.teach_neighbours()
        assert_lease(running, observed, network)
        assert_traffic(pod, running)
        assert network.address.partition("/")[0] in observed.lease


@pytest.mark.parametrize("client", [Udhcpc, Dhcpcd], ids=lambda client: client.name)
def test_renewal_on_demand(make_pod: MakePod, client: type[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dhcpcd, "probing", False)
    pod = make_pod()
    with BridgedPod(pod) as bridged, client(pod.guest) as running:
        before = running.acquire()
        requests = bridged.log().count("DHCPREQUEST")
        running.renew()
        running.wait_until_bound()
        assert running.observe().addresses == before.addresses
        assert bridged.log().count("DHCPREQUEST") > requests


def test_dhclient_started_again_asks_for_its_old_address(make_pod: MakePod) -> None:
    pod = make_pod()
    with BridgedPod(pod) as bridged, Dhclient(pod.guest) as running:
        running.acquire()
        discovers = bridged.log().count("DHCPDISCOVER")
        running.stop()
        assert running.acquire().addresses == ("10.244.1.3/24",)
        assert bridged.log().count("DHCPDISCOVER") == discovers
