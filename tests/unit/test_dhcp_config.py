"""The configuration: what is accepted, and that what is not is named by its path."""

from __future__ import annotations

from typing import Any

import pytest

from dhcp.config import INFINITE, ConfigError, Route, parse_configs

BASE: dict[str, Any] = {
    "client_mac": "52:54:00:0a:00:02",
    "client_address": "10.0.0.2/24",
    "server_address": "10.0.0.1",
}


def parse(**fields: Any) -> Any:
    return parse_configs({**BASE, **fields})[0]


def test_three_fields_are_enough() -> None:
    config = parse()
    assert config.client_mac == bytes.fromhex("5254000a0002")
    assert (config.client_address, config.prefix_length) == (b"\x0a\0\0\2", 24)
    assert (config.lease_seconds, config.t1_seconds, config.t2_seconds) == (86_400, 3_600, 75_600)
    assert config.router == b""
    assert config.routes == ()


def test_everything_is_taken_over() -> None:
    config = parse(
        interface="tap0",
        router="10.0.0.254",
        routes=[{"destination": "10.96.0.0/12", "gateway": "10.0.0.254"}, {"destination": "192.0.2.0/24"}],
        dns=["10.96.0.10", "1.1.1.1"],
        search=["a.example.", "_tcp.b.example"],
        domain="b.example",
        hostname="vm-1",
        mtu=1450,
        ntp=["10.0.0.9"],
        tftp_server="boot.example",
        boot_file="/pxe/linux.0",
        options={"224": "text", "240": "0x00ff", "44": "10.0.0.8, 10.0.0.9", "46": "8"},
        neighbours={"169.254.1.1": "ee:ee:ee:ee:ee:ee"},
    )
    assert config.interface == "tap0"
    assert config.routes == (
        Route(bytes((10, 96, 0, 0)), 12, bytes((10, 0, 0, 254))),
        Route(bytes((192, 0, 2, 0)), 24, bytes(4)),
    )
    assert config.dns == (bytes((10, 96, 0, 10)), bytes((1, 1, 1, 1)))
    assert config.search == ("a.example", "_tcp.b.example")
    assert dict(config.options) == {224: b"text", 240: b"\0\xff", 44: b"\n\0\0\x08\n\0\0\x09", 46: b"\x08"}
    assert config.neighbours == ((bytes((169, 254, 1, 1)), b"\xee" * 6),)


def test_null_is_absent() -> None:
    assert parse(router=None, dns=None, mtu=None, options=None) == parse()


@pytest.mark.parametrize(
    ("lease", "times"),
    [
        ({"lease_seconds": 10}, (10, 5, 8)),
        ({"lease_seconds": 4}, (4, 2, 3)),
        ({"lease_seconds": 100, "t1_seconds": 20}, (100, 20, 87)),
        ({"lease_seconds": INFINITE}, (INFINITE, 0, 0)),
        ({"t1_seconds": 60}, (86_400, 60, 75_600)),
    ],
)
def test_times(lease: dict[str, int], times: tuple[int, int, int]) -> None:
    config = parse(**lease)
    assert (config.lease_seconds, config.t1_seconds, config.t2_seconds) == times


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({"client_mac": None}, "client_mac", "required"),
        ({"client_mac": "52:54:00:0a:00"}, "client_mac", "not a MAC"),
        ({"client_mac": "01:00:5e:00:00:01"}, "client_mac", "multicast"),
        ({"client_mac": 5}, "client_mac", "string"),
        ({"client_address": "10.0.0.2"}, "client_address", "prefix length"),
        ({"client_address": "10.0.0.2/33"}, "client_address", "prefix length"),
        ({"client_address": "10.0.2/24"}, "client_address", "not an IPv4 address"),
        ({"client_address": "224.0.0.1/24"}, "client_address", "unicast"),
        ({"server_address": "10.0.0.2"}, "server_address", "client's"),
        ({"server_address": "0.0.0.0"}, "server_address", "unicast"),
        ({"server_address": "fe80::1"}, "server_address", "not an IPv4 address"),
        ({"router": "10.0.0.2"}, "router", "another host"),
        ({"routes": {}}, "routes", "list"),
        ({"routes": [{"gateway": "10.0.0.1"}]}, "routes[0].destination", "required"),
        ({"routes": [{"destination": "10.0.0.1/24"}]}, "routes[0].destination", "beyond its prefix"),
        ({"routes": [{"destination": "10.0.0.0/24", "gateway": "224.0.0.1"}]}, "routes[0].gateway", "unicast"),
        ({"routes": [{"destination": "10.0.0.0/24", "via": "10.0.0.1"}]}, "routes[0].via", "unknown"),
        ({"dns": ["10.0.0.1", "x"]}, "dns[1]", "not an IPv4 address"),
        ({"dns": "10.0.0.1"}, "dns", "list"),
        ({"search": ["a..b"]}, "search[0]", "label"),
        ({"search": ["a" * 64 + ".example"]}, "search[0]", "63"),
        ({"search": [".".join(["a" * 60] * 5)]}, "search[0]", "255"),
        ({"search": [""]}, "search[0]", "printable"),
        ({"domain": "ex ample"}, "domain", "printable"),
        ({"hostname": ""}, "hostname", "printable"),
        ({"hostname": "vm\0"}, "hostname", "printable"),
        ({"mtu": 67}, "mtu", "68"),
        ({"mtu": 65536}, "mtu", "65535"),
        ({"mtu": True}, "mtu", "integer"),
        ({"mtu": "1500"}, "mtu", "integer"),
        ({"lease_seconds": 3}, "lease_seconds", "4"),
        ({"t1_seconds": 80_000}, "t1_seconds", "less than t2"),
        ({"lease_seconds": 10, "t2_seconds": 10}, "t2_seconds", "less than lease"),
        ({"lease_seconds": INFINITE, "t1_seconds": 5}, "t1_seconds", "infinite"),
        ({"rapid_commit": 1}, "rapid_commit", "true or false"),
        ({"interface": "sixteen-letters!"}, "interface", "1 to 15"),
        ({"interface": "a/b"}, "interface", "name of an interface"),
        ({"neighbours": {"10.0.0.2": "ee:ee:ee:ee:ee:ee"}}, "neighbours", "RFC 5227"),
        ({"neighbours": {"10.0.0.9": "x"}}, "neighbours.10.0.0.9", "MAC"),
        ({"neighbours": []}, "neighbours", "object"),
        ({"dns5": ["::1"]}, "dns5", "unknown field"),
        ({"options": {"0": "x"}}, "options.0", "1 to 254"),
        ({"options": {"255": "x"}}, "options.255", "1 to 254"),
        ({"options": {"053": "x"}}, "options.053", "decimal"),
        ({"options": {"-1": "x"}}, "options.-1", "decimal"),
        ({"options": {"53": "x"}}, "options.53", "protocol"),
        ({"options": {"51": "x"}}, "options.51", "protocol"),
        ({"options": {"6": "10.0.0.1"}}, "options.6", "'dns'"),
        ({"options": {"224": ""}}, "options.224", "empty"),
        ({"options": {"224": "0x"}}, "options.224", "empty"),
        ({"options": {"224": "0x123"}}, "options.224", "pairs of hex"),
        ({"options": {"224": 7}}, "options.224", "string"),
        ({"options": {"224": "a\0b"}}, "options.224", "U+0000"),
        ({"options": {"224": "a" * 1025}}, "options.224", "1024"),
        ({"options": {"42": "ntp.example"}}, "options.42", "not an IPv4 address"),
        ({"options": {"42": "0x0a0000"}}, "options.42", "multiple of 4"),
        ({"options": {"33": "10.0.0.1"}}, "options.33", "pairs"),
        ({"options": {"19": "2"}}, "options.19", "0 or 1"),
        ({"options": {"46": "9"}}, "options.46", "1 to 8"),
        ({"options": {"108": "299"}}, "options.108", "300"),
        ({"options": {"108": "0x012c"}}, "options.108", "4 octets"),
        ({"ntp": ["10.0.0.1"], "options": {"42": "10.0.0.1"}}, "options.42", "'ntp'"),
    ],
)
def test_refused_by_path(fields: dict[str, Any], path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**fields)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "configuration: "),
        ("x", "configuration: "),
        (None, "configuration: "),
        ([3], "[0]: must be an object"),
        ([{**BASE, "interface": "a"}, BASE], "[1].interface: is required"),
        ([{**BASE, "interface": "a"}, {**BASE, "interface": "a"}], "[1].interface: 'a' is served twice"),
        ([{**BASE, "options": {"224": ""}}], "[0].options.224: "),
        ([{**BASE, "routes": [{"destination": "x"}]}], "[0].routes[0].destination: "),
    ],
)
def test_lists_are_refused_by_index(data: object, message: str) -> None:
    with pytest.raises(ConfigError, match="^" + message.replace("[", r"\[").replace("]", r"\]")):
        parse_configs(data)


def test_several_interfaces() -> None:
    first, second = parse_configs([{**BASE, "interface": "tap0"}, {**BASE, "interface": "tap1"}])
    assert (first.interface, second.interface) == ("tap0", "tap1")
