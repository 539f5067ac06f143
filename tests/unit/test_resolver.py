"""resolv.conf(5) as it is found in pods."""

from __future__ import annotations

from pathlib import Path

import pytest

from netsetup.model.pod_interface import DNSRequest, Resolver
from netsetup.resolver import merge_dns, parse_resolver, read_resolver


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
        ("search my_site.example a--b.example 9.example", ("my_site.example", "a--b.example", "9.example")),
        ("search a.example,b.example, c.example", ("a.example", "b.example", "c.example")),
        ("domain a.example,b.example", ("a.example",)),
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
        ("search münchen.example", "search münchen.example: a label is letters, digits"),
        ("search -foo.example", "search -foo.example: a label is letters, digits"),
        ("search foo-.example", "search foo-.example: a label is letters, digits"),
        ("search foo.-bar", "search foo.-bar: a label is letters, digits"),
        ("search a$b.example", "search a$b.example: a label is letters, digits"),
        ("domain _tcp.example", "domain _tcp.example: a label is letters, digits"),
        ("nameserver 224.0.0.1", "nameserver 224.0.0.1: not the address of one host"),
        ("nameserver ff02::fb", "nameserver ff02::fb: not the address of one host"),
        ("nameserver 255.255.255.255", "nameserver 255.255.255.255: not the address of one host"),
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


def test_scoped_addresses_keep_their_zone() -> None:
    assert parse_resolver("nameserver FE80::1%eth0").nameservers == ("fe80::1%eth0",)


def test_commas_between_name_servers_are_blanks() -> None:
    resolver = parse_resolver("nameserver 192.0.2.1,192.0.2.2\nnameserver 192.0.2.3, 2001:db8::1\n")
    assert resolver.nameservers == ("192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1")
    assert resolver.problems == ()


POD = Resolver(("10.96.0.10",), ("default.svc.cluster.local",), ("ndots:5",), ("search a$b: a problem",))


def test_a_dns_config_is_merged_as_the_kubelet_does() -> None:
    request = DNSRequest(False, ("192.0.2.1", "10.96.0.10"), ("B.test", "_x"), ("ndots:2", "edns0"))
    merged = merge_dns(POD, request)
    assert merged.nameservers == ("10.96.0.10", "192.0.2.1")
    assert merged.search == ("default.svc.cluster.local", "b.test")
    assert merged.options == ("ndots:2", "edns0")
    assert [line.partition(":")[0] for line in merged.problems] == [
        "search a$b",
        "search _x",
        "dnsConfig option ndots",
        "dnsConfig option edns0",
    ]
    assert merge_dns(merged, request) == merged
    assert merge_dns(POD, None) == POD


def test_the_dns_policy_none_leaves_nothing_of_the_pods() -> None:
    merged = merge_dns(POD, DNSRequest(True, ("192.0.2.1",), ("b.test",)))
    assert merged == Resolver(("192.0.2.1",), ("b.test",))


def test_merged_are_at_most_three_name_servers_and_32_searches() -> None:
    searches = tuple(f"s{n}.test" for n in range(32))
    merged = merge_dns(POD, DNSRequest(False, ("192.0.2.1", "192.0.2.2", "192.0.2.3"), searches))
    assert merged.nameservers == ("10.96.0.10", "192.0.2.1", "192.0.2.2")
    assert merged.search == ("default.svc.cluster.local", *searches[:31])
    assert [line.partition(":")[0] for line in merged.problems[1:]] == ["nameserver 192.0.2.3", "search s31.test"]


def test_a_line_has_one_name_server_and_one_domain() -> None:
    found = parse_resolver("nameserver 192.0.2.1 192.0.2.2\ndomain a.test b.test\n")
    assert (found.nameservers, found.search) == (("192.0.2.1",), ("a.test",))
