"""What becomes of a lease: renewed at T1, by a server that was killed and started again, refused and replaced."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from lab.agent import Agent
from lab.checks import lossless, pings
from lab.clients import CLIENTS, Client, Dhcpcd, Networkd
from lab.pod import MakePod, Pod
from lab.shape import OUTSIDE
from lab.sniffer import Frame, Sniffer
from scapy.layers.dhcp import BOOTP

pytestmark = pytest.mark.root

SHORT = {"lease_seconds": 20, "t1_seconds": 2, "t2_seconds": 16}
OLD, NEW = "192.168.103.70", "192.168.103.99"
REQUEST, ACK, NAK = 3, 5, 6


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_lease_is_renewed_refused_and_replaced(
    make_pod: MakePod, client: type[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One life per client, because clients are slow: the gateway is link-local, renewals are unicast to its MAC.

    "Within two seconds" is counted from the NAK, and leaves out how long a client sulks by itself.
    """
    monkeypatch.setattr(Dhcpcd, "probing", False)
    pod = make_pod("calico")
    with Agent(pod) as agent, client(pod.guest) as running:
        pid = agent.prestart()["dhcp"]["pid"]
        agent.serve(**SHORT)
        with Sniffer(pod.node, "vethpod") as node, Sniffer(pod.guest, "eth0") as guest:
            assert running.acquire().addresses == (f"{OLD}/32",)
            assert pings(pod.guest, OUTSIDE)
            with lossless(pod.guest, OUTSIDE):
                first = renewal(running, guest)
                gateway = pod.node.link("vethpod")["address"]
                assert (first.destination, first.packet()["IP"].dst) == (gateway, "169.254.1.1")

                os.kill(pid, signal.SIGKILL)
                assert agent.prestart()["dhcp"]["pid"] != pid
                agent.serve(**SHORT)
                renewal(running, guest)
                assert running.addresses() == (f"{OLD}/32",)

            agent.serve(client_address=f"{NEW}/32", **SHORT)
            renewal(running, guest, NAK)
            refused = time.monotonic()
            wait_until(lambda: running.addresses() == (f"{NEW}/32",), running.sulks + 5, running.log)
            assert time.monotonic() - refused < running.sulks + 2
        assert [str(frame) for frame in node.frames if frame.is_dhcp()] == []


def renewal(running: Client, guest: Sniffer, verdict: int = ACK) -> Frame:
    """Wait for the client's next renewal and its answer, asking for one if it does not heed T1; the request.

    udhcpc may be deaf to an answer that comes before it has closed the socket it asked through. It asks again by
    itself, soon and by broadcast.
    """
    guest.frames.clear()
    if not running.clock:
        running.renew()
    request = guest.wait_for(lambda f: f.outgoing and f.is_dhcp(REQUEST) and has_address(f), timeout=8)
    guest.wait_for(lambda f: not f.outgoing and f.is_dhcp(verdict), timeout=2)
    if not running.clock:
        heard = running.is_bound if verdict == ACK else lambda: not running.addresses()
        wait_until(heard, 12, running.log)
    return request


def has_address(frame: Frame) -> bool:
    return str(frame.packet()[BOOTP].ciaddr) == OLD


def wait_until(true: Callable[[], bool], timeout: float, log: Callable[[], str]) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, log()
        time.sleep(0.02)


def test_what_the_cni_changes_reaches_the_guest_by_renewal(pod: Pod, agent: Agent) -> None:
    """A route and a name server more: the hook, run again, takes them in, and the client that renews has them."""
    agent.prestart()
    agent.serve(**SHORT)
    with Networkd(pod.guest) as client:  # dhclient's script looks at routes in a new lease only
        before = client.acquire()
        pod.pod.ip("route add 10.99.0.0/16 via 10.244.1.1 dev eth0 onlink")
        pod.pod.write_resolv_conf("nameserver 192.0.2.53\n")
        agent.prestart()
        wait_until(lambda: client.resolver()[0] == ("192.0.2.53",), 8, client.log)
        wait_until(lambda: ("10.99.0.0/16", "10.244.1.1") in client.observe().routes, 2, client.log)
        assert client.addresses() == before.addresses
