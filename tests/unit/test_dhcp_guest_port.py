"""A port in service, its socket replaced by a list: the prepared replies are those of `handle`, octet for octet."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from socket import socket
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab.requests import CLIENT, CLIENT_MAC, arp, discover, renewing, selecting
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import Ether
from test_dhcp_handler import CONFIG, PORT, SEEDS, mutated

from dhcp.config import parse_configs
from dhcp.handler import handle
from dhcp.io.gateway_resolver import GatewayResolver
from dhcp.io.guest_port import MOST_REQUESTS, GuestPort
from dhcp.io.log import Log
from dhcp.io.sockets import UnusableSocket


class Line:
    """Stands for a packet socket."""

    def __init__(self) -> None:
        self.waiting: list[bytes | OSError] = []
        self.sent: list[bytes] = []
        self.fails: OSError | None = None

    def getsockname(self) -> tuple[str, int, int, int, bytes]:
        return "tap0", 3, 0, 1, PORT.mac

    def setsockopt(self, *_: object) -> None:
        pass

    def recv_into(self, buffer: bytearray, size: int, flags: int) -> int:
        if not self.waiting:
            raise BlockingIOError
        item = self.waiting.pop(0)
        if isinstance(item, OSError):
            raise item
        octets = item[: size or len(buffer)]
        buffer[: len(octets)] = octets
        return len(octets)

    def recv(self, size: int, flags: int) -> bytes:
        buffer = bytearray(size)
        return bytes(buffer[: self.recv_into(buffer, 0, flags)])

    def send(self, octets: bytes) -> None:
        if self.fails:
            raise self.fails
        self.sent.append(bytes(octets))


class LogFile:
    """A log and the lines that it wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = Log(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "json")

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "dhcp.log")


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def port(line: Line, log: LogFile) -> GuestPort:
    config = parse_configs({**CONFIG, "interface": "tap0"})[0]
    return GuestPort(cast(socket, line), config, log.log)


QUIET = Log(os.open("/dev/null", os.O_WRONLY))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # not on a busy machine
@given(st.lists(st.one_of(st.sampled_from(SEEDS), mutated()), max_size=8), st.lists(st.binary(min_size=4, max_size=4)))
def test_answers_are_those_of_the_protocol(frames: list[bytes], xids: list[bytes]) -> None:
    """Each frame several times, with other transaction ids and with other values where nobody looks."""
    line = Line()
    port = GuestPort(cast(socket, line), parse_configs({**CONFIG, "interface": "tap0"})[0], QUIET)
    for xid in [b"\0\0\0\0", b"\xff\xff\xff\xff", *xids]:
        for octets in frames:
            varied = octets
            if len(octets) > 52:
                varied = octets[:18] + xid[:2] + octets[20:46] + xid + xid[2:] + octets[52:]
            line.sent.clear()
            line.waiting.append(varied)
            port.answer_waiting()
            assert line.sent == list(handle(varied, port.lease).frames)


def test_a_checksum_that_would_be_zero(port: GuestPort, line: Line) -> None:
    """RFC 768: it is sent as all ones. Some transaction id makes it so; it is found by arithmetic."""
    (reply,) = handle(discover(xid=0), port.lease).frames
    xid = int.from_bytes(reply[40:42])
    line.waiting = [discover(xid=1), discover(xid=xid)]
    port.answer_waiting()
    assert line.sent[1] == handle(discover(xid=xid), port.lease).frames[0]
    assert line.sent[1][40:42] == b"\xff\xff"


def test_a_socket_that_always_fails_is_given_up(port: GuestPort, line: Line) -> None:
    """One that is down fails once each time, and may come back."""
    line.waiting = [OSError(errno.ENETDOWN, "Network is down")] * 100
    for _ in range(100):
        port.answer_waiting()
    line.waiting = [OSError(errno.ENOBUFS, "No buffer space available")] * 100_000
    with pytest.raises(UnusableSocket, match="tap0: nothing can be received: No buffer space available"):
        any(port.answer_waiting() for _ in range(100_000))  # type: ignore[func-returns-value]


def test_counters(port: GuestPort, line: Line) -> None:
    foreign = discover(chaddr="52:54:00:ff:ff:ff")
    line.waiting = [*[discover(xid=n) for n in range(5)], selecting(), selecting("10.0.0.9"), foreign, foreign]
    line.waiting += [arp(1, "169.254.1.1"), arp(1, CLIENT), b"", selecting(server="10.0.0.7")]
    port.answer_waiting()
    assert port.status() == {
        "interface": "tap0",
        "answered": {"ACK": 1, "ARP-REPLY": 1, "NAK": 1, "OFFER": 5},
        "ignored": {"arp-other-address": 1, "foreign-mac": 2, "other-server": 1, "truncated": 1},
        "leases": [],  # not before the pause
        "floods": 0,
        "send_errors": 0,
    }


def test_transactions_are_logged_in_a_pause_with_decision_and_reason(port: GuestPort, line: Line, log: LogFile) -> None:
    too_much = discover(xid=0xABCE, parameters=(1, 3, 119, 224))
    line.waiting = [discover(xid=0xABCD, parameters=(1,)), selecting(server="10.0.0.7"), too_much]
    port.answer_waiting()
    assert log.lines() == []
    port.flush()
    first, second, third = log.lines()
    assert (first["level"], first["event"]) == ("info", "dhcp")
    assert (third["level"], third["data"]["dropped_options"]) == ("warning", "224")
    first, second, third = (entry["data"] for entry in (first, second, third))
    assert {key: first[key] for key in ("interface", "message", "answer", "xid", "client")} == {
        "interface": "tap0",
        "message": "DISCOVER",
        "answer": "OFFER",
        "xid": "0000abcd",
        "client": CLIENT_MAC,
    }
    assert first["address"] == f"{CLIENT}/24"
    assert (second["answer"], second["reason"]) == ("none", "selecting: option 54 names 10.0.0.7")
    assert [entry["xid"] for entry in log.log.transactions] == ["0000abcd", "3903f326", "0000abce"]


def test_a_burst_is_counted_where_it_is_not_listed(port: GuestPort, line: Line, log: LogFile) -> None:
    for xid in range(1000):
        line.waiting.append(discover(xid=xid))
        port.answer_waiting()
    port.flush()
    assert port.status()["answered"] == {"OFFER": 1000}
    listed = len([entry for entry in log.lines() if entry["event"] == "dhcp"])
    assert listed + log.log.suppressed == 1000
    assert listed == 64


def test_a_foreign_mac_is_warned_about_once(port: GuestPort, line: Line, log: LogFile) -> None:
    line.waiting = [discover(chaddr="52:54:00:ff:ff:ff")] * 3
    line.waiting += [discover(chaddr=f"52:54:00:ff:00:{n:02x}") for n in range(50)]
    while line.waiting:
        port.answer_waiting()
    port.flush()
    warnings = [entry["data"] for entry in log.lines() if entry["event"] == "foreign-mac"]
    assert warnings[0]["client"] == "52:54:00:ff:ff:ff"
    assert warnings[0]["expected"] == CLIENT_MAC
    assert len(warnings) == len({entry["client"] for entry in warnings}) == 8
    assert port.ignored == {"foreign-mac": 53}


def test_many_different_requests_are_forgotten_but_counted(port: GuestPort, line: Line) -> None:
    for n in range(3 * MOST_REQUESTS):
        line.waiting.append(discover([(12, b"%d" % n)]))
        port.answer_waiting()
    assert len(port._prepared) <= MOST_REQUESTS
    assert port.status()["answered"] == {"OFFER": 3 * MOST_REQUESTS}


def test_configuring_again_takes_effect_with_the_next_frame(port: GuestPort, line: Line) -> None:
    line.waiting = [renewing(CLIENT)]
    port.answer_waiting()
    line.waiting = [renewing(CLIENT)]
    port.configure(parse_configs({**CONFIG, "interface": "tap0", "client_address": "10.0.0.3/24"})[0])
    port.answer_waiting()
    assert [reply[284] for reply in line.sent] == [5, 6, 6]
    assert port.status()["answered"] == {"ACK": 1, "NAK": 1}


def test_a_broken_link_is_no_end(port: GuestPort, line: Line, log: LogFile) -> None:
    line.waiting = [OSError(errno.ENETDOWN, "Network is down"), discover()]
    port.answer_waiting()
    line.fails = OSError(errno.ENOBUFS, "No buffer space available")
    port.answer_waiting()
    line.fails = None
    line.waiting = [discover()]
    port.answer_waiting()
    assert port.send_errors == 1
    (failure,) = log.lines()
    assert (failure["event"], failure["data"]["error"]) == ("send-failed", "No buffer space available")
    assert len(line.sent) == 1


def test_a_defect_costs_one_answer(port: GuestPort, line: Line, log: LogFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no")

    with monkeypatch.context() as patched:
        patched.setattr("dhcp.io.guest_port.handle", broken)
        line.waiting = [discover()]
        port.answer_waiting()
    line.waiting = [discover()]
    port.answer_waiting()
    assert port.status()["ignored"] == {"defect": 1}
    assert log.lines()[0]["event"] == "defect"
    assert len(line.sent) == 1


def test_one_turn_is_bounded(port: GuestPort, line: Line) -> None:
    line.waiting = [discover()] * 200
    port.answer_waiting()
    assert 0 < len(line.sent) < 200


def test_a_gateways_new_mac_is_advertised_as_a_routers(line: Line, log: LogFile) -> None:
    """Override, or the guest keeps the old MAC; router, or it drops its default route (RFC 4861 §7.2.5)."""
    before, after = "02:00:00:00:00:01", "02:00:00:00:00:02"
    ipv6 = {"client_address6": "fd00::5/128", "router6": "fd00::1", "router6_lladdr": before}
    port = GuestPort(cast(socket, line), parse_configs({**CONFIG, **ipv6, "interface": "tap0"})[0], log.log)
    resolver = GatewayResolver(cast(socket, Line()))
    port.use_resolver(resolver)
    resolver.solicit(time.monotonic())
    advertisement = Ether(src=after, dst=CONFIG["client_mac"]) / IPv6(src="fd00::1", dst="fd00::5", hlim=255)
    advertisement /= ICMPv6ND_NA(tgt="fd00::1", S=1) / ICMPv6NDOptDstLLAddr(lladdr=after)
    cast(Line, resolver.socket).waiting = [bytes(advertisement)]
    line.sent.clear()
    resolver.receive()
    (sent,) = (Ether(octets) for octets in line.sent)
    assert (sent.src, sent.dst, sent[IPv6].src, sent[IPv6].dst) == (after, "33:33:00:00:00:01", "fe80::fc:1", "ff02::1")
    told = sent[ICMPv6ND_NA]
    assert (told.R, told.S, told.O, told.tgt, told.lladdr) == (1, 0, 1, "fe80::fc:1", after)
