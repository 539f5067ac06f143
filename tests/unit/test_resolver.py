"""resolv.conf(5) as it is found in pods."""

from __future__ import annotations

from pathlib import Path

import pytest

from netsetup.resolver import parse_resolver, read_resolver


def test_a_cluster_pod() -> None:
    resolver = parse_resolver(
        "nameserver 10.96.0.10\nnameserver fd00:10:96::a\n"
        "search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5 timeout:1\n"
    )
    assert resolver.nameservers == ("10.96.0.10", "fd00:10:96::a")
    assert resolver.search == ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")
    assert resolver.options == ("ndots:5", "timeout:1")
    assert resolver.problems == ()


@pytest.mark.parametrize(
    ("text", "search"),
    [
        ("search a.example b.example", ("a.example", "b.example")),
        ("search\ta.example \t b.example  ", ("a.example", "b.example")),
        ("search first.example\nsearch last.example", ("last.example",)),
        ("domain one.example two.example", ("one.example",)),
        ("search HABANA-LABS.COM DHCP", ("habana-labs.com", "dhcp")),
        ("search example.com.", ("example.com",)),
        ("search .", ()),
        ("search a.example # and so on", ("a.example",)),
        ("search a.example a.example", ("a.example",)),
        ("search 114.114.114.114", ("114.114.114.114",)),
        ("search _tcp.example", ("_tcp.example",)),
    ],
)
def test_search_lists(text: str, search: tuple[str, ...]) -> None:
    resolver = parse_resolver(text)
    assert resolver.search == search
    assert resolver.problems == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nameserver nowhere", "nameserver nowhere: not an IP address"),
        ("nameserver 1234", "nameserver 1234: not an IP address"),
        ("search a..b", "search a..b: an empty label"),
        (f"search {'a' * 64}.example", "a label longer than 63 characters"),
        (f"search {'a.' * 130}example", "longer than 253 characters"),
        ("search münchen.example", "search münchen.example: not plain ASCII"),
    ],
)
def test_what_cannot_be_used_is_reported_and_skipped(text: str, problem: str) -> None:
    resolver = parse_resolver(f"{text}\nnameserver 192.0.2.53")
    assert len(resolver.problems) == 1
    assert problem in resolver.problems[0]
    assert resolver.nameservers == ("192.0.2.53",)


def test_nothing_is_invented() -> None:
    assert parse_resolver("") == parse_resolver("# empty\n; too\nnameserver\n")
    assert parse_resolver("").nameservers == ()


def test_a_missing_file_is_an_empty_resolver_that_says_so(tmp_path: Path) -> None:
    resolver = read_resolver(tmp_path / "none")
    assert resolver.nameservers == ()
    assert "No such file" in resolver.problems[0]


def test_scoped_addresses_lose_their_zone() -> None:
    assert parse_resolver("nameserver fe80::1%eth0").nameservers == ("fe80::1",)
