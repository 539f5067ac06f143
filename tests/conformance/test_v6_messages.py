"""RFC checklist V6-08 … V6-20: the answer to each message, and its content (RFC 8415 §18.3, §21)."""

from __future__ import annotations

import pytest
from exchange6 import CONFIG6, FOREVER, Exchange6, names
from lab.requests6 import (
    ADVERTISE,
    CLIENT6,
    CONFIRM,
    DECLINE,
    DNS,
    DOMAINS,
    FOREIGN6,
    IA_PD,
    IA_TA,
    IAID,
    INFORMATION_REQUEST,
    ORO,
    OTHER6,
    PREFERENCE,
    RAPID_COMMIT,
    REBIND,
    RELEASE,
    RENEW,
    REPLY,
    REQUEST,
    SERVER_ID,
    SOLICIT,
    STATUS,
    datagram6,
    ia_na,
    message6,
    packed6,
    solicit,
    tlv6,
)

SUCCESS, NO_ADDRS_AVAIL, NO_BINDING, NOT_ON_LINK, NO_PREFIX_AVAIL = 0, 2, 3, 4, 6
SECOND = b"\0\0\0\2"
PD = (IA_PD, b"\0\0\0\7" + bytes(8))


@pytest.mark.parametrize("hint", [[], [CLIENT6], [OTHER6], [FOREIGN6, CLIENT6]], ids=str)
def test_v6_08_solicit_is_advertised_the_only_address(server6: Exchange6, hint: list[str]) -> None:
    first, second = server6.reply(solicit([ia_na(*hint)])), server6.reply(solicit([ia_na(*hint)]))
    assert first.kind == ADVERTISE
    (lease,) = first.leases
    ((address, preferred, valid),) = lease.addresses
    assert (lease.iaid, lease.status, address) == (IAID, None, CLIENT6)
    assert 0 < preferred <= valid
    assert first.frame == second.frame


def test_v6_08_no_wait_for_other_servers(server6: Exchange6) -> None:
    assert server6.reply(solicit()).option(PREFERENCE) == b"\xff"


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("asked", [False, True])
def test_v6_09_rapid_commit(server6: Exchange6, enabled: bool, asked: bool) -> None:
    server6.serve(rapid_commit=enabled)
    reply = server6.reply(solicit([(RAPID_COMMIT, b""), ia_na()] if asked else [ia_na()]))
    assert reply.kind == (REPLY if enabled and asked else ADVERTISE)
    assert (reply.option(RAPID_COMMIT) == b"") == (enabled and asked)
    assert reply.addresses == [CLIENT6]


@pytest.mark.parametrize("associations", [[], [PD]], ids=["none", "prefix"])
def test_v6_09_nothing_is_committed_without_an_address(
    server6: Exchange6, associations: list[tuple[int, bytes]]
) -> None:
    server6.serve(rapid_commit=True)
    reply = server6.reply(solicit([(RAPID_COMMIT, b""), *associations]))
    assert (reply.kind, reply.option(RAPID_COMMIT), reply.addresses) == (ADVERTISE, None, [])


def test_v6_09_nothing_is_committed_by_a_server_without_an_address(server6: Exchange6) -> None:
    server6.serve(rapid_commit=True, client_address6=None)
    reply = server6.reply(solicit([(RAPID_COMMIT, b""), ia_na()]))
    assert (reply.kind, reply.option(RAPID_COMMIT), reply.addresses) == (ADVERTISE, None, [])


@pytest.mark.parametrize("kind", [SOLICIT, REQUEST, RENEW, REBIND])
def test_v6_10_other_associations(server6: Exchange6, kind: int) -> None:
    options = [(IA_TA, b"\0\0\0\x09"), PD, ia_na(), ia_na(iaid=SECOND)]
    server = server6.duid if kind in (REQUEST, RENEW) else None
    reply = server6.reply(datagram6(message6(kind, options, server=server)))
    prefix, first, second = reply.leases
    assert (prefix.code, prefix.iaid, prefix.status) == (IA_PD, b"\0\0\0\7", NO_PREFIX_AVAIL)
    assert (first.iaid, [a for a, _, _ in first.addresses]) == (IAID, [CLIENT6])
    assert (second.iaid, second.addresses, second.status) == (SECOND, (), NO_ADDRS_AVAIL)
    assert IA_TA not in reply.codes


def test_v6_10_a_hundred_associations_fit_one_packet(server6: Exchange6) -> None:
    server6.serve(mtu=1280)
    many = [ia_na(*[f"2001:db8::{n}:{m}" for m in range(2)], iaid=n.to_bytes(4)) for n in range(16)]
    reply = server6.reply(server6.ask(RENEW, *many))
    assert len(reply.frame) <= 14 + 1280
    assert reply.addresses == [CLIENT6]


def test_v6_11_request(server6: Exchange6) -> None:
    reply = server6.reply(server6.ask(REQUEST, ia_na(CLIENT6)))
    assert (reply.kind, reply.addresses, reply.option(PREFERENCE)) == (REPLY, [CLIENT6], None)
    assert server6.reply(server6.ask(REQUEST, ia_na())).addresses == [CLIENT6]
    assert server6.reply(server6.ask(REQUEST, ia_na(OTHER6, CLIENT6))).addresses == [CLIENT6]


@pytest.mark.parametrize("address", [FOREIGN6, OTHER6, "::", "fe80::1"])
@pytest.mark.parametrize("length", [64, 128])
def test_v6_11_request_of_another_address(server6: Exchange6, address: str, length: int) -> None:
    """Choice: only the client's own address is on-link, so that the client restarts at once."""
    server6.serve(client_address6=f"{CLIENT6}/{length}")
    (lease,) = server6.reply(server6.ask(REQUEST, ia_na(address))).leases
    assert (lease.status, lease.addresses) == (NOT_ON_LINK, ())


def test_v6_12_renew(server6: Exchange6) -> None:
    reply = server6.reply(server6.ask(RENEW, ia_na(CLIENT6)))
    (lease,) = reply.leases
    assert (reply.kind, lease.addresses) == (REPLY, ((CLIENT6, 86_400, 86_400),))


def test_v6_12_renew_of_an_unknown_ia(server6: Exchange6) -> None:
    """Choice: every IAID is accepted."""
    (lease,) = server6.reply(server6.ask(RENEW, ia_na(iaid=b"\xde\xad\xbe\xef"))).leases
    assert (lease.iaid, lease.addresses) == (b"\xde\xad\xbe\xef", ((CLIENT6, 86_400, 86_400),))


@pytest.mark.parametrize("kind", [RENEW, REBIND])
def test_v6_12_foreign_addresses_end(server6: Exchange6, kind: int) -> None:
    request = message6(kind, [ia_na(OTHER6, CLIENT6, OTHER6)], server=server6.duid if kind == RENEW else None)
    (lease,) = server6.reply(datagram6(request)).leases
    assert lease.addresses == ((CLIENT6, 86_400, 86_400), (OTHER6, 0, 0))


def test_v6_13_rebind(server6: Exchange6) -> None:
    reply = server6.reply(datagram6(message6(REBIND, [ia_na(CLIENT6)])))
    assert (reply.kind, reply.addresses) == (REPLY, [CLIENT6])


@pytest.mark.parametrize(
    ("addresses", "status"),
    [([CLIENT6], SUCCESS), ([FOREIGN6], NOT_ON_LINK), ([CLIENT6, FOREIGN6], NOT_ON_LINK), ([OTHER6], NOT_ON_LINK)],
    ids=str,
)
def test_v6_14_confirm(server6: Exchange6, addresses: list[str], status: int) -> None:
    reply = server6.reply(datagram6(message6(CONFIRM, [ia_na(*addresses)])))
    assert (reply.kind, reply.status, reply.leases) == (REPLY, status, [])


def test_v6_14_nothing_to_confirm(server6: Exchange6) -> None:
    assert server6.silent(datagram6(message6(CONFIRM, [ia_na()])))
    assert server6.silent(datagram6(message6(CONFIRM)))


@pytest.mark.parametrize("kind", [RELEASE, DECLINE])
def test_v6_15_release_and_decline(server6: Exchange6, kind: int) -> None:
    """Choice: there is no other address to give, so the same one is given again; the log has a warning."""
    reply = server6.reply(server6.ask(kind, ia_na(CLIENT6)))
    assert (reply.kind, reply.status, reply.leases) == (REPLY, SUCCESS, [])
    assert server6.reply(solicit()).addresses == [CLIENT6]


@pytest.mark.parametrize("kind", [RELEASE, DECLINE])
def test_v6_15_of_an_unknown_ia(server6: Exchange6, kind: int) -> None:
    reply = server6.reply(server6.ask(kind, ia_na(FOREIGN6, iaid=SECOND), PD, ia_na(CLIENT6)))
    assert reply.status == SUCCESS
    assert [(lease.iaid, lease.status, lease.addresses) for lease in reply.leases] == [
        (SECOND, NO_BINDING, ()),
        (b"\0\0\0\7", NO_BINDING, ()),
    ]


@pytest.mark.parametrize("duid", [None, b"\0\3\0\1\x02\0\0\0\0\1"])
def test_v6_16_information_request(server6: Exchange6, duid: bytes | None) -> None:
    reply = server6.reply(datagram6(message6(INFORMATION_REQUEST, duid=duid)))
    assert (reply.kind, reply.leases, reply.option(1)) == (REPLY, [], duid)
    assert reply.option(DNS) == packed6("fd00:10:96::a")
    assert names(reply.option(DOMAINS) or b"") == CONFIG6["search"]


def test_v6_17_stateless(server6: Exchange6) -> None:
    server6.serve(client_address6=None)
    for reply in (server6.reply(solicit()), server6.reply(server6.ask(REQUEST, ia_na(FOREIGN6)))):
        (lease,) = reply.leases
        assert (lease.status, lease.addresses) == (NO_ADDRS_AVAIL, ())
    assert server6.reply(datagram6(message6(INFORMATION_REQUEST))).option(DNS) == packed6("fd00:10:96::a")
    assert server6.silent(datagram6(message6(CONFIRM, [ia_na(CLIENT6)])))


@pytest.mark.parametrize(
    ("fields", "times"),
    [
        ({}, (3_600, 75_600, 86_400)),
        ({"lease_seconds": 1_000}, (500, 875, 1_000)),
        ({"lease_seconds": 10, "t1_seconds": 3, "t2_seconds": 7}, (3, 7, 10)),
        ({"lease_seconds": FOREVER}, (FOREVER, FOREVER, FOREVER)),
    ],
    ids=str,
)
def test_v6_18_times(server6: Exchange6, fields: dict[str, int], times: tuple[int, int, int]) -> None:
    """The lease of DHCPv4: T1 of an hour brings a change to the client within the hour."""
    server6.serve(**fields)
    for request in (solicit(), server6.ask(REQUEST, ia_na(CLIENT6)), server6.ask(RENEW, ia_na(CLIENT6))):
        (lease,) = server6.reply(request).leases
        assert (lease.t1, lease.t2, lease.addresses) == (*times[:2], ((CLIENT6, times[2], times[2]),))


def test_v6_19_server_identifier_outlives_the_server(server6: Exchange6) -> None:
    before = server6.duid
    server6.restart()
    assert server6.duid == before
    # a UUID (RFC 6355) of version 8 (RFC 9562)
    assert (len(before), before[:2], before[8] >> 4, before[10] >> 6) == (18, b"\0\4", 8, 2)
    assert server6.reply(server6.ask(RENEW, ia_na(CLIENT6))).addresses == [CLIENT6]


def test_v6_20_resolvers_and_search_list(server6: Exchange6) -> None:
    resolvers = ["fd00:10:96::a", "2001:4860:4860::8888"]
    server6.serve(dns6=resolvers)
    reply = server6.reply(solicit(oro=[DOMAINS, 99, DNS, DNS]))
    assert reply.option(DNS) == b"".join(packed6(resolver) for resolver in resolvers)
    assert names(reply.option(DOMAINS) or b"") == CONFIG6["search"]
    assert reply.codes.count(DNS) == 1


@pytest.mark.parametrize("oro", [None, [], [DNS], [DOMAINS], [31, 56, 59, 0, 65535]], ids=str)
def test_v6_20_only_what_was_asked_for(server6: Exchange6, oro: list[int] | None) -> None:
    reply = server6.reply(solicit(oro=oro))
    assert {DNS, DOMAINS} & set(reply.codes) == {DNS, DOMAINS} & set(oro or [])
    assert ORO not in reply.codes


def test_v6_20_what_is_not_configured_is_absent(server6: Exchange6) -> None:
    server6.serve(dns6=None, search=None)
    assert server6.reply(solicit(oro=[DNS, DOMAINS, 32, 82, 83])).codes == [SERVER_ID, 1, 3, PREFERENCE]


def test_v6_20_times_of_the_protocol(server6: Exchange6) -> None:
    server6.serve(options6={"32": "3600", "82": "120", "83": "0x00000e10"})
    reply = server6.reply(solicit(oro=[32, 82]))
    assert (reply.option(32), reply.option(82), reply.option(83)) == (b"\0\0\x0e\x10", b"\0\0\0\x78", None)
    assert server6.reply(datagram6(message6(INFORMATION_REQUEST, oro=[83]))).option(83) == b"\0\0\x0e\x10"


def test_v6_20_a_search_list_gives_way_name_by_name(server6: Exchange6) -> None:
    search = [f"{chr(97 + n) * 60}.example" for n in range(26)]
    server6.serve(mtu=1280, search=search)
    reply = server6.reply(solicit())
    kept = names(reply.option(DOMAINS) or b"")
    assert len(reply.frame) <= 14 + 1280
    assert 10 < len(kept) < 26
    assert kept == search[: len(kept)]
    assert reply.option(DNS)


def test_options_that_a_server_has_nothing_to_do_with(server6: Exchange6) -> None:
    """Elapsed time, user and vendor class, FQDN, reconfigure accept, and an unassigned one."""
    odd = [(8, b"\xff\xff"), (15, b"\0\1x"), (16, bytes(4)), (39, b"\0\4guest"), (20, b""), (65000, bytes(200))]
    assert server6.reply(solicit([*odd, ia_na()])).addresses == [CLIENT6]


def test_a_client_that_wants_no_address(server6: Exchange6) -> None:
    reply = server6.reply(solicit([]))
    assert (reply.kind, reply.leases, reply.status) == (ADVERTISE, [], None)
    assert tlv6([(STATUS, b"")]) not in reply.payload
