"""A minute of fuzzing, and the proof that the fuzzer's judge would notice. A long run is in docs/fuzzing.md."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from lab.requests import CLIENT, CLIENT_MAC, SERVER, arp, discover, mac_octets, reboot
from lab.requests6 import (
    CLIENT6,
    ROUTER_LINK_LOCAL,
    ROUTER_MAC,
    neighbour_solicitation,
    router_solicitation,
    solicit,
)
from oracle import check, must_be_silent

from dhcp.config import parse_configs
from dhcp.decision import Decision
from dhcp.handler import handle
from dhcp.v4.lease import prepare_lease

SECONDS = 60
# Of CPU time, for the machine may do other things. Python 3.11 comes to some 5,000, 3.13 to 1,500.
FEWEST_EXECUTIONS_A_SECOND = 500
NEIGHBOUR6 = "fe80::99"
PORT = prepare_lease(
    parse_configs(
        {
            "client_mac": CLIENT_MAC,
            "client_address": f"{CLIENT}/24",
            "server_address": SERVER,
            "router": SERVER,
            "neighbours": {"169.254.1.1": "ee:ee:ee:ee:ee:ee", NEIGHBOUR6: "02:00:00:00:00:99"},
            "client_address6": f"{CLIENT6}/128",
            "router6": ROUTER_LINK_LOCAL,
            "router6_lladdr": ROUTER_MAC,
        }
    )[0],
    mac_octets("02:00:00:00:00:0a"),
)


def test_no_frame_breaks_a_rule(tmp_path: Path) -> None:
    before = cpu_seconds_of_children()
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("frames.py"), "corpus", f"-max_total_time={SECONDS}"],
        cwd=tmp_path,  # where a frame that breaks one is written
        capture_output=True,
        text=True,
        timeout=SECONDS + 60,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]  # the broken rule, and what led to it
    executions = re.search(r"Done (\d+) runs", done.stderr)
    assert executions
    assert int(executions[1]) > FEWEST_EXECUTIONS_A_SECOND * (cpu_seconds_of_children() - before)


def cpu_seconds_of_children() -> float:
    """The CPU time of this process' children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


RIGHT = [discover(), reboot("10.0.0.9"), arp(1, "169.254.1.1"), discover(op=2)]
RIGHT6 = [solicit(), router_solicitation(), neighbour_solicitation(NEIGHBOUR6)]


@pytest.mark.parametrize("request_frame", [*RIGHT, *RIGHT6])
def test_the_judge_accepts_what_is_right(request_frame: bytes) -> None:
    check(request_frame, PORT, handle(request_frame, PORT))


@pytest.mark.parametrize(
    "at",
    [*range(12), 14, 17, 23, 26, 30, 35, 37, 39, 41, 42, 46, 50, 54, 66, 75, 150, 278, 282, 284, 285, 290],
    ids=str,
)
@pytest.mark.parametrize("request_frame", [discover(), reboot("10.0.0.9")], ids=["offer", "nak"])
def test_the_judge_notices_one_wrong_octet(request_frame: bytes, at: int) -> None:
    decision = handle(request_frame, PORT)
    reply = bytearray(decision.frames[0])
    reply[at] ^= 0x55
    with pytest.raises((AssertionError, KeyError)):
        check(request_frame, PORT, Decision("x", frames=(bytes(reply),), answer="x"))


@pytest.mark.parametrize("at", [12, 14, 18, 20, 22, 37, 54, 56, 61, 64])
@pytest.mark.parametrize("request_frame", RIGHT6, ids=["advertise", "ra", "na"])
def test_the_judge_notices_one_wrong_octet_over_ipv6(request_frame: bytes, at: int) -> None:
    reply = bytearray(handle(request_frame, PORT).frames[0])
    reply[at] ^= 0x55
    with pytest.raises((AssertionError, KeyError)):
        check(request_frame, PORT, Decision("x", frames=(bytes(reply),), answer="x"))


def test_the_judge_notices_a_reply_that_is_too_long() -> None:
    config = {"client_mac": CLIENT_MAC, "client_address": f"{CLIENT}/24", "server_address": SERVER}
    port = prepare_lease(parse_configs({**config, "options": {"224": "x" * 500}})[0], PORT.mac)
    told, untold = discover([(57, b"\x05\xdc")], parameters=[224]), discover(parameters=[224])
    decision = handle(told, port)
    check(told, port, decision)
    check(untold, port, handle(untold, port))
    with pytest.raises(AssertionError, match="longer than the client said"):
        check(untold, port, decision)


@pytest.mark.parametrize(
    "request_frame",
    [discover(chaddr="02:00:00:00:00:01"), arp(2, "169.254.1.1"), arp(1, CLIENT), neighbour_solicitation(CLIENT6)],
)
def test_the_judge_notices_an_answer_to_what_must_get_silence(request_frame: bytes) -> None:
    assert must_be_silent(request_frame, PORT)
    with pytest.raises(AssertionError, match="silence"):
        check(request_frame, PORT, Decision("x", frames=handle(discover(), PORT).frames, answer="x"))
