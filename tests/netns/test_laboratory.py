"""Tests of the laboratory: its observations are complete, and it leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from lab.bridged import BridgedPod
from lab.monitor import Monitor
from lab.namespace import CommandError, Namespace
from lab.pod import SEARCH, Pod
from lab.rawclient import ACK, NAK, OFFER, RawClient, Reply, decode_reply
from lab.shape import load_shape, shape_names
from lab.snapshot import assert_restored, take_snapshot
from lab.sniffer import Sniffer
from lab.waiting import wait_until
from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether

pytestmark = pytest.mark.root


@pytest.mark.parametrize("name", shape_names())
def test_every_shape_can_be_built_and_looks_the_same_twice(name: str) -> None:
    with Pod(name) as pod:
        before = take_snapshot(pod.pod)
        assert_restored(pod.pod, before, within=0)


@pytest.mark.parametrize(
    "change",
    [
        "link set eth0 address 0e:00:00:00:00:01",
        "link set eth0 mtu 1400",
        "link set eth0 txqueuelen 99",
        "link set eth0 alias mine",
        "addr add 10.20.0.99/24 dev eth0",
        "addr change fd00:21::1/128 dev eth0 preferred_lft forever valid_lft forever",
        "addr del fe80::5:1/64 dev eth0",
        "route add 10.9.0.0/16 via 10.20.0.1 table 77",
        "route change fd00:22::/64 via fd00:20::1 dev eth0 mtu 1401 proto bird",
        "route append default via 10.20.0.1 dev eth0 metric 5",
        "rule add from 10.20.0.3 lookup 77 pref 100",
        "neigh add 10.20.0.1 lladdr 0e:00:00:00:00:02 dev eth0 nud permanent",
        "link add br0 type bridge",
        "link set tap0 up",
    ],
)
def test_a_snapshot_sees_every_change(change: str) -> None:
    with Pod("ipv6-addresses") as pod:
        before = take_snapshot(pod.pod)
        pod.pod.ip(change)
        with pytest.raises(AssertionError, match="is not as it was before"):
            assert_restored(pod.pod, before, within=0)


def test_a_snapshot_sees_sysctls_rules_offloads_and_nftables(pod: Pod) -> None:
    before = take_snapshot(pod.pod)
    pod.pod.write_sysctl("ipv4/conf/eth0/arp_ignore", 1)
    assert "+ipv4/conf/eth0/arp_ignore = 1" in before.difference(take_snapshot(pod.pod))
    pod.pod.write_sysctl("ipv4/conf/eth0/arp_ignore", 0)
    assert before.difference(take_snapshot(pod.pod)) == ""
    pod.pod.run(["ip", "-6", "rule", "add", "from", "fd00:20::3", "lookup", "77", "pref", "100"])
    assert '"src": "fd00:20::3"' in before.difference(take_snapshot(pod.pod))
    pod.pod.run(["ip", "-6", "rule", "del", "pref", "100"])
    pod.pod.run(["ethtool", "-K", "eth0", "tx", "off"])
    assert "+tx-checksumming: off" in before.difference(take_snapshot(pod.pod))
    pod.pod.run(["ethtool", "-K", "eth0", "tx", "on"])
    pod.pod.run(["nft", "add table bridge mine"])
    assert before.difference(take_snapshot(pod.pod)).splitlines()[-2:] == ["+table bridge mine {", "+}"]


def test_the_sniffer_sees_both_directions_and_tags(pod: Pod) -> None:
    with Sniffer(pod.node, "vethpod") as sniffer, RawClient(pod.pod, "eth0") as client:
        client.send(client.message(1))
        client.send(client.message(1, vlan=7))
        plain = sniffer.wait_for(lambda frame: frame.is_dhcp() and frame.vlan is None)
        tagged = sniffer.wait_for(lambda frame: frame.vlan == 7)
        pod.node.run(["ping", "-q", "-c", "1", "10.244.1.3"])
        echo = sniffer.wait_for(lambda frame: frame.outgoing and "echo-request" in str(frame))
    assert (plain.outgoing, tagged.outgoing, plain.source) == (False, False, pod.mac)
    assert echo.destination == pod.mac
    with pytest.raises(AssertionError, match="no such frame on vethpod"):
        sniffer.wait_for(lambda frame: frame.vlan == 8, timeout=0)


def test_the_link_monitor_reports_a_lost_carrier_and_nothing_else(pod: Pod) -> None:
    with Monitor(pod.node) as monitor:
        pod.pod.ip("link set eth0 address 0e:00:00:00:00:01", "addr add 10.244.1.9/24 dev eth0")
        assert monitor.events() == []
        pod.pod.ip("link set eth0 down")
        wait_until(lambda: any("NO-CARRIER" in event for event in monitor.events("vethpod")), log=monitor.events)


def test_the_raw_client_has_a_conversation_with_dnsmasq(pod: Pod) -> None:
    pod.guest.ip("link set eth0 up")
    with BridgedPod(pod) as bridged, RawClient(pod.guest) as client:
        offer = client.discover()
        assert offer, bridged.log()
        assert (offer.message_type, offer.yiaddr) == (OFFER, "10.244.1.3")
        assert offer.address(1) == "255.255.255.0"
        assert offer.addresses(6) == ["10.96.0.10"]
        assert offer.number(26) == 1450
        assert offer.search() == list(SEARCH)
        assert offer.routes() == [("0.0.0.0/0", "10.244.1.1")]
        ack = client.request(offer)
        assert ack
        assert ack.message_type == ACK
        wrong = client.reboot("10.244.1.77")
        assert wrong
        assert wrong.message_type == NAK
        right = client.reboot("10.244.1.3")
        assert right
        assert right.message_type == ACK
        informed = client.inform("10.244.1.3")
        assert informed
        assert informed.message_type == ACK
        assert client.replies(client.message(7), timeout=0.1) == []


def test_the_raw_client_joins_split_options_and_follows_overload(pod: Pod) -> None:
    with RawClient(pod.pod, "eth0") as client:
        request = bytearray(client.message(OFFER, parameters=()))
    # turn the frame into a server's: ports, op, and options continued in the file field
    request[34:38] = b"\0\x43\0\x44"
    start = 42
    request[start] = 2
    request[start + 108 : start + 114] = b"\x77\x01\x02\xff\0\0"
    request[-1:] = b"\x77\x02\x00\x01\x34\x01\x01\x00\xff"
    request[38:40] = (len(request) - 34).to_bytes(2)
    reply = decode_reply(bytes(request))
    assert reply
    assert reply.codes == (53, 119, 52, 119)
    assert reply.joined(119) == b"\0\1\2"


def test_wrong_checksums_are_found(pod: Pod) -> None:
    with RawClient(pod.pod, "eth0") as client:
        right = Ether(client.message(OFFER))
    right[UDP].sport, right[UDP].dport, right[BOOTP].op = 67, 68, 2
    del right[UDP].chksum
    for at, verdict in [(None, True), (25, False), (41, False), (60, False)]:
        frame = bytearray(bytes(right))
        if at is not None:
            frame[at] ^= 0x10
        reply = decode_reply(bytes(frame))
        assert reply
        assert reply.checksums_are_valid() is verdict


def test_search_lists_with_pointers() -> None:
    value = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04"
    reply = Reply(b"", None, b"", ((119, value[:9]), (53, b"\x02"), (119, value[9:])))
    assert reply.search() == ["eng.apple.com", "marketing.apple.com"]


def test_arp_probes_of_the_raw_client(pod: Pod) -> None:
    with RawClient(pod.pod, "eth0") as client:
        assert client.who_has("10.244.1.1") == pod.node.link("cni0")["address"]
        assert client.who_has("10.244.1.200", timeout=0.1) is None


def test_a_closed_namespace_leaves_nothing() -> None:
    with Namespace("gone", resolv_conf="nameserver 192.0.2.53\n") as namespace:
        assert namespace.run(["cat", "/etc/resolv.conf"]).stdout == "nameserver 192.0.2.53\n"
        # one that left its session and its parent, as a detached server does
        namespace.run(["sh", "-c", "setsid -f sleep 60 </dev/null >/dev/null 2>&1"])
        child = namespace.popen(["sleep", "60"])
        wait_until(lambda: len(namespace.processes()) == 2)
        left = namespace.processes()
        assert len(left) == 2
    assert child.returncode == -9
    assert not namespace.path.exists()
    assert not namespace.configuration.exists()
    assert not any(map(is_alive, left))
    namespace.close()


def is_alive(pid: int) -> bool:
    """Whether a process runs: an orphan may stay a zombie until PID 1 reaps it."""
    status = Path("/proc", str(pid), "status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_entering_a_namespace_is_for_the_block_only(pod: Pod) -> None:
    outside = os.readlink("/proc/thread-self/ns/net")
    with pod.pod.entered():
        assert os.readlink("/proc/thread-self/ns/net") != outside
    assert os.readlink("/proc/thread-self/ns/net") == outside


def test_failures_say_what_was_tried_where(pod: Pod) -> None:
    with pytest.raises(CommandError, match=rf"(?s)in {pod.pod.name}: exit code 3\nout\nerr$"):
        pod.pod.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    with pytest.raises(CommandError, match=r"(?s)Cannot find device.*2: link set nothing up"):
        pod.pod.ip("link set lo up", "link set nothing up")
    with pytest.raises(subprocess.TimeoutExpired):
        pod.pod.run(["sleep", "9"], timeout=0.05)


def test_duplicate_address_detection_only_on_request() -> None:
    with Pod(duplicate_address_detection=True) as pod:
        assert pod.pod.read_sysctl("ipv6/conf/eth0/accept_dad") == "1"
        assert not any(link["addr_info"] for link in pod.pod.ip_json("-6 addr show tentative"))


def test_shapes_name_their_source() -> None:
    for name in shape_names():
        assert load_shape(name).source, name
