"""A large hostile corpus against the living server, in random order; then real clients, as if nothing had happened."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.checks import assert_lease, assert_traffic
from lab.clients import Dhclient, Udhcpc
from lab.clients.ipv6 import Dhclient6
from lab.pod import MakePod, Pod
from lab.rawclient import RawClient
from lab.requests import (
    DECLINE,
    RELEASE,
    arp,
    discover,
    frame,
    inform,
    mac_octets,
    packed,
    payload,
    reboot,
    renewing,
    selecting,
)
from lab.requests6 import (
    INFORMATION_REQUEST,
    datagram6,
    message6,
    neighbour_solicitation,
    packed6,
    router_solicitation,
    solicit,
)
from lab.sniffer import Sniffer
from mutation import Mutator

pytestmark = pytest.mark.root

FRAMES = 6_000
AT_ONCE = 50
ADDRESS, ROUTER, OTHER = "10.244.2.5", "10.244.2.1", "10.244.2.9"
# A client's DUID is repeated as it came, however it is made (RFC 8415 §11).
MALFORMED = '(_ws.malformed && !(_ws.expert.message == "DUID: malformed option"))'
FAULTY = f"{MALFORMED} || ip.checksum.status == 0 || udp.checksum.status == 0 || icmpv6.checksum.status == 0"
ADDRESS6 = "fd00:10:244:3::5"


def seeds(mac: str) -> list[bytes]:
    """A frame of every kind that the guest of this MAC may send."""
    frames = [
        discover(chaddr=mac),
        discover([(61, b"\1abcdef"), (57, b"\2\x40"), (81, b"\1\0\0vm"), (80, b"")], flags=0x8000, chaddr=mac),
        selecting(ADDRESS, ROUTER, chaddr=mac),
        selecting(OTHER, ROUTER, chaddr=mac),
        reboot(ADDRESS, chaddr=mac),
        renewing(ADDRESS, server=ROUTER, chaddr=mac),
        renewing(OTHER, server=ROUTER, chaddr=mac),
        inform(ADDRESS, chaddr=mac),
        frame(payload(DECLINE, [(50, packed(ADDRESS)), (54, packed(ROUTER))], chaddr=mac)),
        frame(payload(RELEASE, [(54, packed(ROUTER))], ciaddr=ADDRESS, chaddr=mac)),
        arp(1, ROUTER),
        arp(1, ADDRESS, sender="0.0.0.0"),
        solicit(),
        datagram6(message6(INFORMATION_REQUEST)),
        router_solicitation(),
        neighbour_solicitation(ADDRESS6),
    ]
    return [sent[:6] + mac_octets(mac) + sent[12:] for sent in frames]


def corpus(mac: str, chance: random.Random) -> list[bytes]:
    """Each seed as it is, and mutated once to four times over; in random order."""

    def octets(data: bytes, limit: int) -> bytes:
        changed = bytearray(data[:limit] or b"\0")
        for _ in range(chance.randrange(1, 5)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        return bytes(changed[: chance.randrange(len(changed)) if chance.random() < 0.1 else None])

    addresses = [packed(text) for text in (ADDRESS, ROUTER, OTHER, "0.0.0.0", "255.255.255.255")]
    mutate = Mutator(addresses, [packed6(ADDRESS6), packed6("::"), packed6("ff02::1")], octets)
    frames = seeds(mac)
    for number in range(FRAMES - len(frames)):
        mutated = chance.choice(frames[:16])
        for step in range(chance.randrange(1, 5)):
            mutated = mutate(mutated, 1514, 5 * number + step)
        frames.append(mutated[:1464])  # the link's MTU
    chance.shuffle(frames)
    return [sent for sent in frames if len(sent) >= 14]


def test_clients_are_served_after_a_hostile_corpus(make_pod: MakePod, tmp_path: Path) -> None:
    """RFC checklist E2E-4: leases of both families, a renewal, traffic; and tshark finds all replies well formed."""
    pod = make_pod("ovn-kubernetes")
    with Agent(pod) as agent:
        pid = agent.prestart()["dhcp"]["pid"]
        pod.guest.ip("link set eth0 mtu 1500 up")
        with Sniffer(pod.guest, "eth0") as guest, RawClient(pod.guest) as client:
            for number, sent in enumerate(corpus(pod.mac, random.Random(4))):
                client.send(sent)
                if number % AT_ONCE == 0:  # a flood is the storm's affair; here each frame is looked at
                    list(client.receive(0.02))
            assert client.discover()
            replies = [frame.data for frame in guest.frames if not frame.outgoing]
        assert agent.prestart()["dhcp"]["pid"] == pid
        assert "defect" not in agent.log()
        judge_by_tshark(replies, tmp_path / "replies.pcap")
        be_served(pod)


def judge_by_tshark(frames: list[bytes], file: Path) -> None:
    """No frame is malformed or has a wrong checksum, and there are some of every kind."""
    assert tshark(frames, file, "-Y", FAULTY) == ""
    kinds = tshark(frames, file, "-Tfields", "-edhcp.option.dhcp", "-edhcpv6.msgtype", "-eicmpv6.type").splitlines()
    assert {"2\t\t", "5\t\t", "6\t\t", "\t2\t", "\t7\t", "\t\t134"} <= set(kinds), (
        "OFFER, ACK, NAK; Advertise, Reply; RA"
    )
    # the judge is judged: cut an option's end, and spoil a checksum
    good = next(data for data in frames if data[284:285] == b"\2")
    cut = good[:285] + b"\x0c\xff" + bytes(len(good) - 287)
    spoilt = good[:50] + bytes((good[50] ^ 1,)) + good[51:]
    for bad in (cut, spoilt):
        assert tshark([bad], file, "-Y", FAULTY)


def tshark(frames: list[bytes], file: Path, *words: str) -> str:
    """What tshark prints about these frames."""
    records = b"".join(struct.pack("=IIII", 0, 0, len(data), len(data)) + data for data in frames)
    file.write_bytes(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + records)
    checks = [word for name in ("ip", "udp") for word in ("-o", f"{name}.check_checksum:TRUE")]
    done = subprocess.run(["tshark", "-n", "-r", file, *checks, *words], capture_output=True, text=True, check=True)
    return done.stdout


def be_served(pod: Pod) -> None:
    network = pod.shape.guest
    assert network
    for kind in (Udhcpc, Dhclient):
        with kind(pod.guest) as running:
            assert_lease(running, running.acquire(), network)
            assert_traffic(pod, running)
            if isinstance(running, Udhcpc):
                running.renew()
                running.wait_until_bound()
        pod.guest.ip("addr flush dev eth0", "link set eth0 down")
    with Dhclient6(pod.guest) as running6:
        running6.acquire()
        observed6 = running6.observe6()
        assert (observed6.addresses, len(observed6.routers)) == ((f"{ADDRESS6}/128",), 1)
