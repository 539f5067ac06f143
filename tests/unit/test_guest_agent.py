"""What a guest says of itself by its agent: decoded, whatever it answers, compared, and never waited for too long."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from launcher.guest.agent import NO_ANSWER, Questions
from launcher.guest.answers import (
    LARGEST,
    MOST_INTERFACES,
    BadAnswer,
    GuestInterface,
    GuestRoute,
    GuestWord,
    answer_of,
    interfaces_in,
    routes_in,
    system_in,
)
from launcher.guest.comparison import Served, differences
from launcher.machine.libvirt_root import LibvirtError

MAC = "02:00:00:00:00:05"
ETH0 = {
    "name": "eth0",
    "hardware-address": MAC.upper(),
    "ip-addresses": [
        {"ip-address-type": "ipv4", "ip-address": "10.0.0.2", "prefix": 24},
        {"ip-address-type": "ipv6", "ip-address": "fe80::1%eth0", "prefix": 64},
    ],
}
"""As an agent of QEMU 7.2 answers."""
ROUTES = [
    {"iface": "eth0", "destination": "0.0.0.0", "gateway": "10.0.0.1", "mask": "0.0.0.0", "metric": 100, "version": 4},
    {
        "iface": "eth0",
        "destination": "10.0.0.0",
        "gateway": "0.0.0.0",
        "mask": "255.255.255.0",
        "metric": 0,
        "version": 4,
    },
    {"iface": "eth0", "destination": "::", "desprefixlen": "0", "nexthop": "fe80::2", "metric": 1024, "version": 6},
    {"iface": "lo", "destination": "::", "desprefixlen": "0", "nexthop": "::", "metric": -1, "version": 6},
]
"""As one of QEMU 9.1 and later does."""


def test_interfaces() -> None:
    assert interfaces_in([ETH0]) == (GuestInterface("eth0", MAC, ("10.0.0.2/24", "fe80::1/64")),)


def test_routes() -> None:
    assert routes_in(ROUTES) == (
        GuestRoute("0.0.0.0/0", "10.0.0.1", "eth0", 100),
        GuestRoute("10.0.0.0/24", "", "eth0", 0),
        GuestRoute("::/0", "fe80::2", "eth0", 1024),
    )


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "1", '"x"', "{}", '{"error": {}}', "[" * 100_000, '{"return": ' + "[" * 5_000, " " * (LARGEST + 1)],
    ids=lambda text: f"{text[:8]}*{len(text)}",
)
def test_what_no_agent_answers(text: str) -> None:
    with pytest.raises(BadAnswer) as raised:
        answer_of(text)
    assert len(str(raised.value)) < 80


HOSTILE = [None, 1, "x", [], {}, [None], [[]], [{}], [1], {"name": []}, [{"ip-addresses": 7, "name": {}}]]


@pytest.mark.parametrize("answer", HOSTILE, ids=str)
def test_a_form_that_is_not_the_agents_is_left_out(answer: Any) -> None:
    for interface in interfaces_in(answer):
        assert interface == GuestInterface("", "", ())
    assert routes_in(answer) == ()
    assert system_in(answer) == ("", "")


def test_what_the_guest_says_does_nothing_to_a_terminal_and_has_an_end() -> None:
    bad = {"name": "\x1b]0;x\x07\r\n" * 10_000, "hardware-address": "\u202e", "ip-addresses": [{"ip-address": "\x1b"}]}
    found = interfaces_in([bad] * 10_000)
    assert len(found) == MOST_INTERFACES
    assert found[0].name.isprintable()
    assert len(found[0].name) < 200
    assert found[0].mac.isprintable()
    assert found[0].addresses == ()


SERVED = Served("default", MAC, True, ("10.0.0.2/24", "fd00::2/64"), "10.0.0.1", True)


def word(*addresses: str, routes: tuple[GuestRoute, ...] | None = None, mac: str = MAC) -> GuestWord:
    return GuestWord(interfaces=(GuestInterface("eth0", mac, addresses),), routes=routes)


AS_SERVED = ("10.0.0.2/24", "fd00::2/128", "fe80::1/64")
DEFAULT4, DEFAULT6 = GuestRoute("0.0.0.0/0", "10.0.0.1", "eth0", 0), GuestRoute("::/0", "fe80::2", "eth0", 0)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (GuestWord(), []),
        (word(*AS_SERVED), []),
        (word(*AS_SERVED, routes=(DEFAULT4, DEFAULT6)), []),
        (word(*AS_SERVED, mac="02:00:00:00:00:06"), ["no interface with the VM's MAC 02:00:00:00:00:05"]),
        (word("fd00::2/64"), ["has not the address 10.0.0.2/24"]),
        (word("10.0.0.9/24", "fd00::2/64"), ["has not the address 10.0.0.2/24 but 10.0.0.9/24"]),
        (word("10.0.0.2/16", "fd00::2/64"), ["has 10.0.0.2/16, served is 10.0.0.2/24"]),
        (word(*AS_SERVED, "10.0.0.9/24"), ["has also 10.0.0.9/24"]),
        (word("10.0.0.2/24", "fe80::1/64"), []),
        (word("10.0.0.2/24", routes=(DEFAULT4,)), []),
        (word("10.0.0.2/24", "fd00::9/64"), ["has not the address fd00::2/64 but fd00::9/64"]),
        (word("fe80::1/64"), ["has not the address 10.0.0.2/24", "has not the address fd00::2/64"]),
        (word(*AS_SERVED, routes=()), ["no default route by 10.0.0.1", "no IPv6 default route"]),
        (
            word(*AS_SERVED, routes=(GuestRoute("0.0.0.0/0", "10.0.0.9", "eth0", 0), DEFAULT6)),
            ["no default route by 10.0.0.1 on eth0, but by 10.0.0.9"],
        ),
    ],
)
def test_differences(said: GuestWord, found: list[str]) -> None:
    seen = differences(said, [SERVED])
    assert len(seen) == len(found)
    for difference, what in zip(seen, found, strict=True):
        assert what in difference.what
        assert difference.advice


def test_without_an_address_of_ours_the_guest_may_have_any() -> None:
    assert differences(word("192.0.2.1/24"), [Served("blue", MAC, False)]) == ()


class FakeAgent:
    """Answers from a table, by command; what is not in it the agent does not know."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.hangs = threading.Event()

    def limit_agent(self, seconds: int) -> None:
        pass

    def ask_agent(self, command: str, seconds: int) -> str:
        name = json.loads(command)["execute"].replace("-", "_")
        self.asked.append(name)
        answer = self.answers.get(name, LibvirtError(f"The command {name} has not been found"))
        if answer is None:
            self.hangs.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, str) else json.dumps({"return": answer})


def test_an_agent_without_the_newer_commands() -> None:
    agent = FakeAgent(guest_network_get_interfaces=[ETH0], guest_get_host_name={"host-name": "front"})
    said = Questions(agent).ask()
    assert (said.hostname, said.routes, said.problem, len(said.interfaces)) == ("front", None, "", 1)


def test_an_agent_that_answers_nothing_is_not_waited_for() -> None:
    agent = FakeAgent(guest_network_get_interfaces=[ETH0], guest_get_host_name=None)
    questions, began = Questions(agent, patience=0.2), time.monotonic()
    said = questions.ask()
    assert questions.ask().problem == NO_ANSWER, "the first question is still being asked"
    assert time.monotonic() - began < 5
    assert (said.problem, len(said.interfaces)) == (NO_ANSWER, 1)
    agent.hangs.set()


@pytest.mark.parametrize("answer", ["garbage", LibvirtError("Guest agent is not responding"), "[" * 10_000])
def test_an_agent_that_answers_badly_is_asked_no_more(answer: Any) -> None:
    agent = FakeAgent(guest_network_get_interfaces=answer)
    said = Questions(agent).ask()
    assert said.problem.startswith("the guest's agent ")
    assert agent.asked == ["guest_network_get_interfaces"]
