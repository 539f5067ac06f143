"""What becomes of a lease: renewed at T1, by a server that was killed and started again, refused and replaced."""

from __future__ import annotations

import time

import pytest
from lab.agent import Agent
from lab.checks import lossless, pings
from lab.clients import CLIENTS, Client, Dhcpcd, Networkd
from lab.pod import MakePod, Pod
from lab.shape import OUTSIDE
from lab.sniffer import Frame, Sniffer
from lab.waiting import kill, wait_until
from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP

pytestmark = pytest.mark.root

SHORT = {"lease_seconds": 20, "t1_seconds": 2, "t2_seconds": 16}
OLD, NEW = "192.168.103.70", "192.168.103.99"
GATEWAY = "169.254.1.1"
DISCOVER, REQUEST, ACK, NAK = 1, 3, 5, 6
UDHCPC_T1 = 15
"""udhcpc heeds no option 58. It renews after half the lease, and takes every lease for one of 30 s at least."""
PROBING = 7
"""The most that RFC 5227 lets a client spend on looking for another holder of its address, seconds (§2.1.1)."""


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_renewal_by_the_clients_own_clock_leaves_nothing_on_the_pod_nic(
    make_pod: MakePod, client: type[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renewals are unicast to the gateway's MAC: they would leave through the pod NIC if nobody took them.

    No frame leaves there, of whatever kind, but the second of the announcements that NetworkManager makes of an address
    it took two seconds ago (RFC 5227 §2.3). The guest knows its gateway's MAC and has no IPv6 here: what its kernel
    asks its neighbours when it pleases is not the renewal's, and would be counted too.
    """
    monkeypatch.setattr(Dhcpcd, "probing", False)
    pod = make_pod("calico")
    pod.guest.write_sysctl("ipv6/conf/eth0/disable_ipv6", 1)
    gateway = pod.node.link("vethpod")["address"]
    t1 = SHORT["t1_seconds"] if client.clock else UDHCPC_T1
    with Agent(pod) as agent, client(pod.guest) as running, Sniffer(pod.guest, "eth0") as guest:
        agent.prestart()
        agent.serve(**SHORT)
        assert running.acquire().addresses == (f"{OLD}/32",)
        pod.guest.ip(f"neigh replace {GATEWAY} lladdr {gateway} dev eth0 nud permanent")
        with Sniffer(pod.node, "vethpod") as node:
            opened = time.monotonic()
            request = guest.wait_for(lambda f: f.time > opened and renews(f), timeout=t1 + 4)
            bound = [frame for frame in guest.frames if is_ack(frame) and frame.time < request.time][-1]
            answer = guest.wait_for(lambda f: is_ack(f) and f.time > request.time)
            time.sleep(0.1)
    assert (request.destination, request.packet()["IP"].dst) == (gateway, GATEWAY)
    assert answer.time - request.time < 0.1
    assert t1 - 1.1 < request.time - bound.time < t1 + 3
    assert [str(frame) for frame in node.frames if not frame.outgoing and not announces(frame, OLD)] == []


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_lease_is_renewed_refused_and_replaced(
    make_pod: MakePod, client: type[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One life per client, because clients are slow: the gateway is link-local, renewals are unicast to its MAC.

    The new address is there within two seconds of the NAK; with udhcpc, which sleeps for three by itself before it
    does anything, half a second after those. What the client pings meanwhile does reach the pod NIC: of IPv4 all else
    is counted there.
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
                assert (first.destination, first.packet()["IP"].dst) == (gateway, GATEWAY)

                kill(pid)
                assert agent.prestart()["dhcp"]["pid"] != pid
                agent.serve(**SHORT)
                renewal(running, guest)
                assert running.addresses() == (f"{OLD}/32",)

            agent.serve(client_address=f"{NEW}/32", **SHORT)
            renewal(running, guest, NAK)
            wait_until(lambda: running.addresses() == (f"{NEW}/32",), running.sulks + 5, log=running.log)
            replaced = time.monotonic()
        assert_replaced(guest, replaced, running.sulks + 0.5 if running.sulks else 2)
        crossed = [frame for frame in node.frames if not frame.outgoing and IP in frame.packet()]
        assert [str(frame) for frame in crossed if ICMP not in frame.packet()] == []


def test_a_client_that_probes_has_its_new_lease_within_two_seconds_of_the_nak(make_pod: MakePod) -> None:
    """From the ACK to the address it takes its own time: three probes of RFC 5227, to which nobody answers."""
    pod = make_pod("calico")
    with Agent(pod) as agent, Dhcpcd(pod.guest) as running:
        agent.prestart()
        agent.serve(**SHORT)
        assert running.acquire().addresses == (f"{OLD}/32",)
        with Sniffer(pod.guest, "eth0") as guest:
            agent.serve(client_address=f"{NEW}/32", **SHORT)
            renewal(running, guest, NAK)
            wait_until(lambda: running.addresses() == (f"{NEW}/32",), 2 + PROBING, log=running.log)
            replaced = time.monotonic()
        acknowledged = assert_replaced(guest, replaced, 2 + PROBING)
        assert acknowledged.time - guest.wait_for(is_nak).time < 2
        arps = [frame for frame in guest.frames if ARP in frame.packet() and acknowledged.time < frame.time < replaced]
        asked = [frame.packet()[ARP] for frame in arps if frame.outgoing]
        assert [probe.pdst for probe in asked if probe.psrc == "0.0.0.0"] == [NEW] * 3
        assert [str(frame) for frame in arps if not frame.outgoing] == []


def assert_replaced(guest: Sniffer, replaced: float, within: float) -> Frame:
    """The address came that soon after the NAK; the server took no time that shows, and neither did asking it."""
    __tracebackhide__ = True
    refused = guest.wait_for(is_nak)
    discover = guest.wait_for(lambda f: f.outgoing and f.is_dhcp(DISCOVER) and f.time > refused.time)
    acknowledged = guest.wait_for(lambda f: is_ack(f) and f.time > discover.time)
    assert acknowledged.time - discover.time < 0.1, f"the client lacked an answer:\n{guest}"
    assert replaced - refused.time < within, f"the client was slow:\n{guest}"
    return acknowledged


def is_ack(frame: Frame) -> bool:
    return not frame.outgoing and frame.is_dhcp(ACK)


def is_nak(frame: Frame) -> bool:
    return not frame.outgoing and frame.is_dhcp(NAK)


def renewal(running: Client, guest: Sniffer, verdict: int = ACK) -> Frame:
    """Wait for the client's next renewal and its answer, asking for one if it does not heed T1; the request.

    udhcpc may be deaf to an answer that comes before it has closed the socket it asked through. It asks again by
    itself, soon and by broadcast.
    """
    guest.frames.clear()
    if not running.clock:
        running.renew()
    request = guest.wait_for(renews)
    guest.wait_for(lambda f: not f.outgoing and f.is_dhcp(verdict))
    if not running.clock:
        heard = running.is_bound if verdict == ACK else lambda: not running.addresses()
        wait_until(heard, log=running.log)
    return request


def announces(frame: Frame, address: str) -> bool:
    packet = frame.packet()
    return ARP in packet and packet[ARP].psrc == packet[ARP].pdst == address


def renews(frame: Frame) -> bool:
    return frame.outgoing and frame.is_dhcp(REQUEST) and str(frame.packet()[BOOTP].ciaddr) == OLD


def test_what_the_cni_changes_reaches_the_guest_by_renewal(pod: Pod, agent: Agent) -> None:
    """A route and a name server more: the hook, run again, takes them in, and the client that renews has them."""
    agent.prestart()
    agent.serve(**SHORT)
    with Networkd(pod.guest) as client:  # dhclient's script looks at routes in a new lease only
        before = client.acquire()
        pod.pod.ip("route add 10.99.0.0/16 via 10.244.1.7 dev eth0 onlink")
        pod.pod.write_resolv_conf("nameserver 192.0.2.53\n")
        agent.prestart()
        wait_until(lambda: client.resolver()[0] == ("192.0.2.53",), 8, log=client.log)
        wait_until(lambda: ("10.99.0.0/16", "10.244.1.7") in client.observe().routes, 2, log=client.log)
        assert client.addresses() == before.addresses
