"""RFC checklist V6-01 … V6-07, V6-21, V6-22: which datagrams are valid messages, which get no answer (RFC 8415 §16)."""

from __future__ import annotations

import pytest
from exchange6 import Exchange6
from lab.requests6 import (
    ADVERTISE,
    CLIENT6,
    CLIENT_LINK_LOCAL,
    CONFIRM,
    DECLINE,
    DUID,
    IA_NA,
    IA_TA,
    INFORMATION_REQUEST,
    REBIND,
    RELEASE,
    RENEW,
    REPLY,
    REQUEST,
    ROUTER_LINK_LOCAL,
    SOLICIT,
    datagram6,
    ia_na,
    message6,
    packet6,
    relayed6,
    solicit,
    tlv6,
)
from scapy.layers.inet6 import IPv6

OTHER_SERVER = bytes.fromhex("0003 0001 020000000099")


def test_v6_01_addresses_and_transaction(server6: Exchange6) -> None:
    reply = server6.reply(solicit(xid=b"\x12\x34\x56"))
    assert reply.payload[1:4] == b"\x12\x34\x56"
    assert (reply.packet[IPv6].src, reply.packet[IPv6].dst) == (ROUTER_LINK_LOCAL, CLIENT_LINK_LOCAL)


def test_v6_01_answers_go_to_port_546_from_wherever_the_question_came(server6: Exchange6) -> None:
    assert server6.reply(datagram6(message6(SOLICIT, [ia_na()]), source_port=40_000)).kind == ADVERTISE


def test_v6_01_the_clients_own_address_is_as_good_a_source(server6: Exchange6) -> None:
    reply = server6.reply(datagram6(message6(SOLICIT, [ia_na()]), source=CLIENT6))
    assert reply.packet[IPv6].dst == CLIENT6


@pytest.mark.parametrize("source", ["::", "::1", "2001:db8::1", "ff02::1"])
def test_v6_01_other_sources(server6: Exchange6, source: str) -> None:
    assert server6.silent(datagram6(message6(SOLICIT, [ia_na()]), source=source))


@pytest.mark.parametrize("kind", [0, 2, 7, 10, 12, 13, *range(14, 40), 255])
def test_v6_02_not_a_message_of_a_client(server6: Exchange6, kind: int) -> None:
    """Leasequery (14 …), Bulk and Active Leasequery, DHCPv4-query (20), failover (24 …) among them."""
    assert server6.silent(datagram6(message6(kind, [ia_na()])))


@pytest.mark.parametrize("size", [0, 1, 3])
def test_v6_02_too_short(server6: Exchange6, size: int) -> None:
    assert server6.silent(datagram6(message6(SOLICIT, [ia_na()])[:size]))


def test_v6_02_options_past_the_end(server6: Exchange6) -> None:
    message = message6(SOLICIT, [ia_na(CLIENT6)], oro=None)
    complete = {4, 4 + 4 + len(DUID), len(message)}
    for size in range(4, len(message)):
        if size not in complete:
            assert server6.silent(datagram6(message[:size]))


@pytest.mark.parametrize(
    "option",
    [
        (IA_NA, b""),
        (IA_NA, bytes(11)),
        (IA_NA, bytes(12) + b"\0"),
        (IA_NA, bytes(12) + tlv6([(5, bytes(23))])),
        (IA_NA, bytes(12) + b"\0\5\0\x18" + bytes(23)),
        (25, bytes(4)),
        (6, b"\0\x17\0"),
    ],
    ids=str,
)
def test_v6_02_malformed_options(server6: Exchange6, option: tuple[int, bytes]) -> None:
    assert server6.silent(datagram6(message6(SOLICIT, [option], oro=None)))


@pytest.mark.parametrize(
    "fields", [{"length": 0}, {"length": 7}, {"length": 2000}, {"version": 4}, {"ethertype": 0x8100}], ids=str
)
def test_v6_02_headers_that_lie(server6: Exchange6, fields: dict[str, int]) -> None:
    assert server6.silent(datagram6(message6(SOLICIT, [ia_na()]), **fields))


@pytest.mark.parametrize("protocol", [0, 43, 44, 60, 6, 59])
def test_v6_02_extension_headers_and_fragments(server6: Exchange6, protocol: int) -> None:
    content = bytes((17, 0, 0, 0, 0, 0, 0, 0)) + solicit()[54:]
    assert server6.silent(packet6(content, protocol))


@pytest.mark.parametrize(
    "duid",
    [
        DUID,
        bytes.fromhex("0002 00007ed9") + bytes(range(100)),
        bytes.fromhex("0003 0001 5254000a0002"),
        bytes.fromhex("0004") + bytes(range(16)),
        b"\xff\xee\xdd",
        b"\0\4" + bytes(128),
    ],
    ids=["LLT", "EN", "LL", "UUID", "unknown", "longest"],
)
def test_v6_03_identifiers(server6: Exchange6, duid: bytes) -> None:
    for request in (solicit(duid=duid), server6.ask(REQUEST, ia_na(CLIENT6), duid=duid)):
        reply = server6.reply(request)
        assert reply.option(1) == duid
        assert reply.option(2) == server6.duid
        assert reply.codes.count(1) == reply.codes.count(2) == 1


@pytest.mark.parametrize("kind", [SOLICIT, CONFIRM, REBIND])
def test_v6_04_a_server_is_named_in_a_message_to_all(server6: Exchange6, kind: int) -> None:
    assert server6.silent(server6.ask(kind, ia_na(CLIENT6)))


@pytest.mark.parametrize("kind", [REQUEST, RENEW, RELEASE, DECLINE])
@pytest.mark.parametrize("named", [None, b"", OTHER_SERVER])
def test_v6_05_another_server_or_none_is_named(server6: Exchange6, kind: int, named: bytes | None) -> None:
    assert server6.silent(datagram6(message6(kind, [ia_na(CLIENT6)], server=named)))


@pytest.mark.parametrize("kind", [SOLICIT, REQUEST, CONFIRM, RENEW, REBIND, RELEASE, DECLINE])
@pytest.mark.parametrize("duid", [None, b"", b"\0", b"\0\1", bytes(131)], ids=["none", "empty", "1", "2", "131"])
def test_v6_06_no_client_identifier(server6: Exchange6, kind: int, duid: bytes | None) -> None:
    """CVE-2015-8373 was an empty one."""
    server = server6.duid if kind in (REQUEST, RENEW, RELEASE, DECLINE) else None
    assert server6.silent(datagram6(message6(kind, [ia_na(CLIENT6)], duid=duid, server=server)))


def test_v6_07_information_request_to_another_server(server6: Exchange6) -> None:
    assert server6.silent(datagram6(message6(INFORMATION_REQUEST, server=OTHER_SERVER)))
    assert server6.reply(server6.ask(INFORMATION_REQUEST)).kind == REPLY


@pytest.mark.parametrize("option", [ia_na(), (IA_TA, bytes(4)), (25, bytes(12))], ids=["NA", "TA", "PD"])
def test_v6_07_information_request_with_an_ia(server6: Exchange6, option: tuple[int, bytes]) -> None:
    assert server6.silent(datagram6(message6(INFORMATION_REQUEST, [option])))


@pytest.mark.parametrize("hops", [0, 3, 32, 255])
def test_v6_21_relayed(server6: Exchange6, hops: int) -> None:
    """No relay is behind a guest port; a type assertion on this message has crashed servers."""
    solicit = message6(SOLICIT, [ia_na()])
    for message in (solicit, relayed6(solicit), None):
        assert server6.silent(datagram6(relayed6(message, hops)))


@pytest.mark.parametrize("destination", [ROUTER_LINK_LOCAL, "ff02::1", "ff05::1:3", CLIENT6, "fe80::fc:1"])
def test_v6_21_not_to_the_agents_address(server6: Exchange6, destination: str) -> None:
    """RFC 8415 §18.4 answers unicast messages with UseMulticast, RFC 9915 discards them."""
    assert server6.silent(datagram6(message6(SOLICIT, [ia_na()]), destination=destination))


def test_v6_22_another_duid_is_the_same_client(server6: Exchange6) -> None:
    for duid in (DUID, b"\0\4" + bytes(16), bytes.fromhex("0003 0001 020000000001")):
        assert server6.reply(solicit(duid=duid)).addresses == [CLIENT6]
        assert server6.reply(server6.ask(RENEW, ia_na(CLIENT6), duid=duid)).addresses == [CLIENT6]


def test_v6_22_another_mac_is_another_client(server6: Exchange6) -> None:
    assert server6.silent(datagram6(message6(SOLICIT, [ia_na()]), source_mac="52:54:00:0a:00:03"))


def test_v6_22_any_link_local_address_is_the_client(server6: Exchange6) -> None:
    """For example one that is not derived from the MAC (RFC 7217)."""
    reply = server6.reply(datagram6(message6(SOLICIT, [ia_na()]), source="fe80::1234:5678:9abc:def0"))
    assert reply.packet[IPv6].dst == "fe80::1234:5678:9abc:def0"
