"""Addresses are read and written as the C library does it."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcp.wire.addresses import ipv4_text, parse_ipv4, parse_network
from dhcp.wire.addresses6 import ipv6_text, parse_ipv6, parse_network6

GROUPS = st.sampled_from(["", "0", "1", "00", "ffff", "FFFF", "0000", "12345", "g", "192.0.2.1", "1.2.3", "0:0", ":"])


def of_the_library(family: int, text: str) -> bytes | None:
    try:
        return socket.inet_pton(family, text)
    except (OSError, ValueError):
        return None


def ours(parse: Callable[[str], bytes], text: str) -> bytes | None:
    try:
        return parse(text)
    except ValueError:
        return None


@given(st.text("0123456789.٣ x", max_size=17) | st.lists(st.integers(0, 300).map(str), max_size=5).map(".".join))
def test_ipv4_text_is_read_as_by_the_library(text: str) -> None:
    assert ours(parse_ipv4, text) == of_the_library(socket.AF_INET, text)


@given(st.lists(GROUPS, max_size=9).map(":".join) | st.text("0123456789abF:.%", max_size=40))
def test_ipv6_text_is_read_as_by_the_library(text: str) -> None:
    assert ours(parse_ipv6, text) == of_the_library(socket.AF_INET6, text)


@given(st.lists(st.sampled_from([0, 0, 0, 1, 0xFF, 0xFFFF, 0x1200]), min_size=8, max_size=8))
def test_ipv6_is_written_as_by_the_library(groups: list[int]) -> None:
    address = b"".join(group.to_bytes(2) for group in groups)
    assert ipv6_text(address) == socket.inet_ntop(socket.AF_INET6, address)
    assert parse_ipv6(ipv6_text(address)) == address


@given(st.binary(min_size=4, max_size=4))
def test_ipv4_is_written_as_by_the_library(address: bytes) -> None:
    assert ipv4_text(address) == socket.inet_ntop(socket.AF_INET, address)


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "10.0.0.1/-1", "10.0.0.1/٣", "/8", "::/8"])
def test_what_is_no_ipv4_network(text: str) -> None:
    with pytest.raises(ValueError, match="IPv4 address"):
        parse_network(text)


@pytest.mark.parametrize("text", ["::1", "::1/", "::1/129", "::1/1280", "fe80::1%eth0/64", "10.0.0.1/8"])
def test_what_is_no_ipv6_network(text: str) -> None:
    with pytest.raises(ValueError, match="IPv6 address"):
        parse_network6(text)


@pytest.mark.parametrize(
    "text",
    [
        *("::", "::1", "::2:3", "1::", "1::2", "1:0:2::", "1:0:2:0:3:0:4:0", "1:2:3:4:5:6:7:8", "0:1:2:3:4:5:6:7"),
        *("::1.2.3.4", "::ffff:1.2.3.4", "::fffe:1.2.3.4", "::1:2:3", "1::1:2", "0:1::102:304", "0:1::ffff:102:304"),
        *("1:0:0:2::3", "1::2:0:0:3", "0:0:1::", "::1:0:0:0", "0:1:2:3:4:5:6:0", "1:2:3:4:5:6::"),
    ],
)
def test_runs_of_zeros_as_by_the_library(text: str) -> None:
    address = socket.inet_pton(socket.AF_INET6, text)
    assert ipv6_text(address) == socket.inet_ntop(socket.AF_INET6, address)
