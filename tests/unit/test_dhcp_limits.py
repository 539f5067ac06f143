"""Limits of the server's configuration and of what counts time, each from both sides, and the words of refusals."""

from __future__ import annotations

from typing import Any

import pytest
from lab.requests import CLIENT_MAC, mac_octets, packed
from lab.requests6 import packed6

from dhcp.config import LARGEST_CONFIGURATION, ClientConfig, ConfigError, interfaces_of, parse_configs
from dhcp.config6 import ClientConfig6, Route6

LONGEST = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
"""A domain name of 253 octets, 255 when encoded."""
INFINITE = 0xFFFFFFFF
BASE = {"client_mac": CLIENT_MAC, "client_address": "10.0.0.2/24", "server_address": "10.0.0.1"}
BASE6 = {"client_mac": CLIENT_MAC, "client_address6": "fd00::5/64"}


def parse(base: dict[str, Any] = BASE, **fields: Any) -> ClientConfig:
    return parse_configs({**base, **fields})[0]


def refusal(base: dict[str, Any] = BASE, **fields: Any) -> str:
    """The error of a configuration; empty when it is accepted."""
    try:
        parse(base, **fields)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("name", "smallest", "largest"),
    [
        ("mtu", 68, 65535),
        ("lease_end", 1, 2**40),
        ("lease_end6", 1, 2**40),
        ("preferred_end6", 1, 2**40),
        ("lease_seconds", 4, INFINITE),
    ],
)
def test_integers(name: str, smallest: int, largest: int) -> None:
    base = {**BASE, **BASE6} if name.endswith("6") else BASE
    assert refusal(base, **{name: smallest}) == refusal(base, **{name: largest}) == ""
    for wrong in (smallest - 1, largest + 1):
        assert refusal(base, **{name: wrong}) == f"{name}: {wrong} is not in {smallest} to {largest}"
    for text in ("7", 7.0, True, [7]):
        assert refusal(base, **{name: text}) == f"{name}: must be an integer"


@pytest.mark.parametrize(
    ("lease", "t1", "t2", "times"),
    [
        (86_400, None, None, (3_600, 75_600)),
        (86_401, None, None, (43_200, 75_600)),
        (86_399, None, None, (43_199, 75_599)),
        (INFINITE - 1, None, None, (2**31 - 1, 3758096382)),
        (100, 1, 2, (1, 2)),
        (100, 98, 99, (98, 99)),
        (100, 0, None, "t1_seconds: 0 is not in 1 to 4294967294"),
        (100, None, 0, "t2_seconds: 0 is not in 1 to 4294967294"),
        (100, INFINITE, None, "t1_seconds: 4294967295 is not in 1 to 4294967294"),
        (100, None, INFINITE, "t2_seconds: 4294967295 is not in 1 to 4294967294"),
        (100, 50, 50, "t1_seconds: 50 must be less than t2_seconds (50)"),
        (100, 50, 100, "t2_seconds: 100 must be less than lease_seconds (100)"),
        (INFINITE - 1, INFINITE - 3, INFINITE - 2, (INFINITE - 3, INFINITE - 2)),
        (INFINITE, 5, None, "t1_seconds: an infinite lease is never renewed"),
        (INFINITE, None, 5, "t2_seconds: an infinite lease is never renewed"),
    ],
)
def test_times(lease: int, t1: int | None, t2: int | None, times: tuple[int, int] | str) -> None:
    fields = {"lease_seconds": lease, "t1_seconds": t1, "t2_seconds": t2}
    if isinstance(times, str):
        assert refusal(**fields) == times
        return
    config = parse(**fields)
    assert (config.lease_seconds, config.t1_seconds, config.t2_seconds) == (lease, *times)


@pytest.mark.parametrize("name", ["hostname", "tftp_server", "boot_file"])
def test_plain_text(name: str) -> None:
    for text in ("!", "~", "a" * 255):
        assert getattr(parse(**{name: text}), name) == text
    for text in ("", " ", "\x7f", "a b", "é", "a" * 256):
        reason = "must be 1 to 255 printable ASCII characters without blanks"
        assert refusal(**{name: text}) == f"{name}: {text!r} {reason}"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a", "a"),
        ("a.b.", "a.b"),
        ("a" * 63, "a" * 63),
        ("a" * 64, ""),
        (LONGEST, LONGEST),
        (LONGEST + "d", ""),
        (".", ""),
        (".a", ""),
        ("a..b", ""),
        ("a..", ""),
    ],
)
def test_domain_names(text: str, name: str) -> None:
    if name:
        assert (parse(domain=text).domain, parse(search=[text]).search) == (name, (name,))
    else:
        assert refusal(domain=text).startswith("domain: ")
        assert refusal(search=["a", text]).startswith("search[1]: ")


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        ("a", True),
        ("a" * 15, True),
        ("a" * 16, False),
        ("é" * 7, True),
        ("é" * 8, False),
        ("", False),
        ("a/b", False),
        ("a b", False),
        ("a\n", False),
        ("a\0", False),
    ],
)
def test_names_of_interfaces(text: str, is_name: bool) -> None:
    error = "" if is_name else f"interface: {text!r} is not the name of an interface (1 to 15 octets)"
    assert refusal(interface=text) == error


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"client_mac": None}, "client_mac: is required"),
        ({"client_address": None}, "client_address: is required"),
        ({"server_address": None}, "server_address: is required"),
        ({"client_address": "0.0.0.0/0"}, "client_address: must be a unicast address"),
        ({"server_address": "224.0.0.1"}, "server_address: must be a unicast address"),
        ({"server_address": "10.0.0.2"}, "server_address: must not be the client's address"),
        ({"router": "224.0.0.1"}, "router: must be another host's unicast address"),
        ({"router": "10.0.0.2"}, "router: must be another host's unicast address"),
        ({"router": 7}, "router: must be a string"),
        ({"rapid_commit": 0}, "rapid_commit: must be true or false"),
        ({"dns": {}}, "dns: must be a list"),
        ({"dns": [7]}, "dns[0]: must be a string"),
        ({"routes": [7]}, "routes[0]: must be an object"),
        ({"routes": [{"destination": "10.0.0.0/8", "x": 1}]}, "routes[0].x: unknown field"),
        ({"routes": [{"destination": "10.0.0.1/8"}]},
         "routes[0].destination: 10.0.0.1/8 has bits set beyond its prefix length"),
        ({"routes": [{"destination": "10.0.0.0/8", "gateway": "127.0.0.1"}]},
         "routes[0].gateway: must be a unicast address, or 0.0.0.0 for an on-link route"),
        ({"neighbours": 7}, "neighbours: must be an object"),
        ({"neighbours": {"10.0.0.9": 7}}, "neighbours.10.0.0.9: must be a string"),
        ({"options": {"x": "y"}}, "options.x: options are named by their decimal number"),
        ({"options": {"": "y"}}, "options.: options are named by their decimal number"),
        ({"options": {"٣": "y"}}, "options.٣: options are named by their decimal number"),
        ({"options": {"0224": "y"}}, "options.0224: options are named by their decimal number"),
        ({"options": {"224": 7}}, "options.224: must be a string"),
        ({"ntp": ["10.0.0.1"], "options": {"42": "10.0.0.1"}}, "options.42: is already set by the field 'ntp'"),
        ({"tftp_server": "a", "options": {"66": "b"}}, "options.66: is already set by the field 'tftp_server'"),
        ({"boot_file": "a", "options": {"67": "b"}}, "options.67: is already set by the field 'boot_file'"),
        ({"heard": ["x"]}, "heard[0]: 'x' is not an IPv4 address"),
        ({"odd": None}, "odd: unknown field"),
        ({"mtu": 1279, **BASE6}, "mtu: 1279 is too small for IPv6 (RFC 8200 §5: at least 1280)"),
    ],
)  # fmt: skip
def test_words_of_refusals(fields: dict[str, Any], error: str) -> None:
    assert refusal(**fields) == error
    assert parse_error([{**BASE, **fields}]) == f"[0].{error}"


def parse_error(data: object) -> str:
    try:
        parse_configs(data)
    except ConfigError as error:
        return str(error)
    return ""


def test_what_is_accepted() -> None:
    assert parse(mtu=1280, **BASE6).mtu == 1280
    assert parse(mtu=1279).mtu == 1279
    assert dict(parse(options={"42": "10.0.0.1", "66": "a", "67": "b"}).options) == {
        42: b"\n\0\0\1",
        66: b"a",
        67: b"b",
    }
    assert [parse(rapid_commit=value).rapid_commit for value in (True, False, None)] == [True, False, False]
    assert parse(heard=["10.0.0.2", "10.0.0.3"]).allowed_sources == (packed("10.0.0.2"), packed("10.0.0.3"))
    only6 = parse(BASE6)
    assert (only6.client_address, only6.prefix_length, only6.server_address) == (b"", 32, b"")
    assert parse(BASE6, server_address="10.0.0.1").server_address == packed("10.0.0.1")
    assert parse(BASE6, server_address="10.0.0.1", options={"108": "300"}).options
    assert refusal(BASE6, options={"108": "300"}) == "server_address: is required for option 108"
    assert refusal({**BASE6, "client_address6": None}, dns6=["fd00::1"]) == "client_address: is required"
    assert parse_configs([BASE])[0].interface == ""
    assert parse_configs([BASE]) == (parse(),)
    assert LARGEST_CONFIGURATION == 4 << 20
    several = parse_configs([
        {**BASE, "interface": "tap0"},
        {**BASE6, "interface": "tap1", "router6": "fd00::1", "uplink6": "eth1"},
        {**BASE6, "interface": "tap2"},
    ])  # fmt: skip
    assert interfaces_of(several) == ["tap0", "tap1", "tap2", "eth1"]


def test_an_ipv6_configuration_is_taken_over() -> None:
    config = parse(
        {"client_mac": CLIENT_MAC},
        client_address6="fd00::5/64",
        router6="fd00::1",
        router6_lladdr="02:00:00:00:00:01",
        uplink6="eth0",
        routes6=[{"destination": "fd01::/16", "gateway": "fd00::1"}, {"destination": "fd02::/64"}],
        on_link6=["fd03::/32"],
        dns6=["fd00::a"],
        lease_end6=7,
        preferred_end6=6,
        options6={"59": "x"},
    ).ipv6
    assert config == ClientConfig6(
        client_address=packed6("fd00::5"),
        prefix_length=64,
        router=packed6("fd00::1"),
        is_default=True,
        router_mac=mac_octets("02:00:00:00:00:01"),
        uplink="eth0",
        routes=(Route6(packed6("fd01::"), 16), Route6(packed6("fd02::"), 64)),
        on_link=(Route6(packed6("fd03::"), 32),),
        dns=(packed6("fd00::a"),),
        lease_end=7,
        preferred_end=6,
        options=((59, b"x"),),
    )
    bare = parse(BASE6, routes6=[{"destination": "fd01::/16", "gateway": "fe80::1"}]).ipv6
    assert bare
    assert (bare.router, bare.is_default, bare.times) == (packed6("fe80::1"), False, ())


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"dns6": ["fd00::1"] * 16}, ""),
        ({"dns6": ["fd00::1"] * 17}, "dns6: 17 are more than an advertisement has room for (at most 16)"),
        ({"client_address6": "fd00::5/0"},
         "client_address6: a prefix length of 0 would put the whole Internet on the link"),
        ({"client_address6": "fd00::5/1"}, ""),
        ({"client_address6": "fe80::5/64"}, "client_address6: must be a unicast address that is not link-local"),
        ({"client_address6": "ff02::5/64"}, "client_address6: must be a unicast address that is not link-local"),
        ({"router6": "fe80::1"}, ""),
        ({"router6": "ff02::1"}, "router6: must be another host's unicast address"),
        ({"router6": "fd00::5"}, "router6: must be another host's unicast address"),
        ({"router6": "fd00::1"}, "router6_lladdr: is required for a gateway whose address is not link-local"),
        ({"router6": "fd00::1", "uplink6": "eth0"}, ""),
        ({"router6": "fe80::1", "uplink6": "eth0"},
         "uplink6: is for a client_address6 and a router6 that is not link-local"),
        ({"uplink6": "eth0"}, "uplink6: is for a client_address6 and a router6 that is not link-local"),
        ({"on_link6": ["fd00::1/64"]}, "on_link6[0]: fd00::1/64 has bits set beyond its prefix length"),
        ({"routes6": [{"destination": "fd01::/16"}]}, "routes6: no route and no router6 names the gateway"),
        ({"routes6": [{"destination": "fd01::1/16", "gateway": "fe80::1"}]},
         "routes6[0].destination: fd01::1/16 has bits set beyond its prefix length"),
        ({"router6": "fe80::1", "routes6": [{"destination": "fd01::/16", "gateway": "fe80::2"}]},
         "routes6: all routes must have the same gateway: an advertisement is one router's"),
        ({"router6": "fe80::1", "routes6": [{"destination": "fd01::/16", "gateway": "fe80::1"}]}, ""),
        ({"neighbours": {"fd00::5": "02:00:00:00:00:01"}},
         "neighbours: the client's own address must stay unanswered (RFC 5227, RFC 4862 §5.4)"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_words_of_refusals_over_ipv6(fields: dict[str, Any], error: str) -> None:
    assert refusal(BASE6, **fields) == error
