"""`capture` at a guest port in use: into tshark, into a file within bounds, and what it refuses."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.pod import Pod
from lab.rawclient import RawClient
from lab.waiting import PATIENCE, wait_until
from scapy.layers.dhcp import DHCP
from scapy.layers.l2 import ARP, Dot1Q
from scapy.utils import PcapNgReader

pytestmark = pytest.mark.root


@contextmanager
def capturing(agent: Agent, tmp_path: Path, *options: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The program, once its socket is open."""
    log = tmp_path / "capture.log"
    with log.open("w") as errors:
        process = agent.namespace.popen([*agent.command("capture"), *options], stdout=subprocess.PIPE, stderr=errors)
    wait_until(lambda: "capturing on " in log.read_text(), log=log.read_text)
    with process:
        yield process


def lease(pod: Pod) -> None:
    with RawClient(pod.guest) as client:
        offer = client.discover()
        assert offer
        assert client.request(offer)


def test_a_capture_is_piped_into_tshark(pod: Pod, agent: Agent, tmp_path: Path) -> None:
    agent.prestart()
    pod.guest.ip("link set eth0 up")
    fields = ["frame.interface_name", "frame.packet_flags_direction", "dhcp.option.dhcp"]
    words = [
        "tshark",
        "-n",
        "-r",
        "-",
        "-Y",
        "dhcp",
        "-T",
        "fields",
        *(word for field in fields for word in ("-e", field)),
    ]
    with (
        capturing(agent, tmp_path) as capture,
        subprocess.Popen(words, stdin=capture.stdout, stdout=-1, text=True) as read,
    ):
        lease(pod)
        capture.terminate()
        assert capture.wait(PATIENCE) == 0
        table = read.communicate(timeout=PATIENCE)[0]
    rows = [line.split("\t") for line in table.splitlines()]
    assert [(row[0], row[2]) for row in rows] == [("tap0", "1"), ("tap0", "2"), ("tap0", "3"), ("tap0", "5")]
    assert len({row[1] for row in rows[::2]}) == len({row[1] for row in rows[1::2]}) == 1
    assert rows[0][1] != rows[1][1]


def test_a_file_has_its_bounds(pod: Pod, agent: Agent, tmp_path: Path) -> None:
    agent.prestart()
    pod.guest.write_sysctl("ipv6/conf/eth0/disable_ipv6", 1)  # it would solicit routers meanwhile
    pod.guest.ip("link set eth0 up")
    file = tmp_path / "capture.pcapng"
    with capturing(agent, tmp_path, "--output", file, "--packets", "3") as process:
        lease(pod)
        assert process.wait(PATIENCE) == 0
    kinds = [packet[DHCP].options[0][1] for packet in PcapNgReader(str(file)) if DHCP in packet]
    assert kinds == [1, 2, 3]
    assert file.stat().st_mode & 0o777 == 0o600
    with capturing(agent, tmp_path, "--output", file, "--bytes", "600", "--seconds", "30") as process:
        lease(pod)
        assert process.wait(PATIENCE) == 0
    assert file.stat().st_size <= 700
    (only,) = [packet for packet in PcapNgReader(str(file)) if DHCP in packet]
    assert only[DHCP].options[0][1] == 1
    assert agent.run("capture", "--output", file, "--seconds", "1").returncode == 0


def test_all_frames_with_their_tags(pod: Pod, agent: Agent, tmp_path: Path) -> None:
    agent.prestart()
    pod.guest.ip("link set eth0 up")
    file = tmp_path / "capture.pcapng"
    tagged = bytes(6) + bytes.fromhex("0200000000058100000788b5") + b"experimental".ljust(50, b".")
    with capturing(agent, tmp_path, "--output", file, "--all", "--interface", "tap0") as process:
        with RawClient(pod.guest) as client:
            client.send(tagged)
            client.who_has("10.244.1.1", timeout=0.1)
        wait_until(lambda: b"experimental" in file.read_bytes())
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    (found,) = [packet for packet in PcapNgReader(str(file)) if Dot1Q in packet]
    assert (bytes(found), found[Dot1Q].vlan) == (tagged, 7)
    assert any(ARP in packet for packet in PcapNgReader(str(file)))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "nothing is set up in this network namespace; name an --interface"),
        (("--interface", "tap9"), "tap9: capture: No such device (ENODEV)"),
        (("--output", "/no/such", "--interface", "tap0"), "--output /no/such: No such file or directory"),
        (("--packets", "0"), "argument --packets: 0: must be a number above 0"),
    ],
)
def test_refusals(agent: Agent, options: tuple[str, ...], reason: str) -> None:
    done = agent.run("capture", *options)
    assert done.returncode in (1, 2)
    (line,) = done.stderr.splitlines()
    assert reason in line
