"""RFC checklist RA-01 … RA-11: router advertisements, and which solicitations get one (RFC 4861 §6, 8106, 4191)."""

from __future__ import annotations

import struct

import pytest
from exchange6 import CONFIG6, FOREVER, SUBSTITUTE_ROUTER, Exchange6, names, nd_options, well_formed_nd
from lab.requests import CLIENT_MAC, mac_octets
from lab.requests6 import (
    CLIENT6,
    CLIENT_LINK_LOCAL,
    ROUTER_LINK_LOCAL,
    ROUTER_MAC,
    datagram6,
    icmp6,
    message6,
    neighbour_solicitation,
    packed6,
    router_solicitation,
)
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_RA, IPv6

SLLA, PREFIX, MTU, ROUTE, RDNSS, DNSSL = 1, 3, 5, 24, 25, 31
GLOBAL_ROUTER = "fd00:10:244:1::1"
PORT_MAC = "02:00:00:00:00:0a"


def test_ra_01_form(server6: Exchange6) -> None:
    packet = server6.advertisement(router_solicitation())
    assert (packet.src, packet[IPv6].src) == (ROUTER_MAC, ROUTER_LINK_LOCAL)
    assert [kind for kind, _ in nd_options(packet)] == [SLLA, MTU, RDNSS, DNSSL]
    ra = packet[ICMPv6ND_RA]
    assert (ra.chlim, ra.reachabletime, ra.retranstimer) == (0, 0, 0), "each is unspecified"


@pytest.mark.parametrize(
    "fields",
    [
        {"hop_limit": 254},
        {"hop_limit": 1},
        {"code": 1},
        {"checksum": 0x1234},
        {"options": b"\1\0" + mac_octets(CLIENT_MAC)},
        {"options": b"\1\2" + mac_octets(CLIENT_MAC)},
        {"options": b"\x0e"},
        {"source": "::", "options": b"\1\1" + mac_octets(CLIENT_MAC)},
        {"source_mac": "52:54:00:0a:00:03"},
        {"source": "ff02::1"},
        {"source": "::1"},
        {"length": 4},
    ],
    ids=str,
)
def test_ra_02_not_a_solicitation(server6: Exchange6, fields: dict[str, object]) -> None:
    assert server6.silent(router_solicitation(**fields))  # type: ignore[arg-type]


def test_ra_02_shorter_than_its_fixed_part(server6: Exchange6) -> None:
    message = bytes((133, 0, 0, 0, 0, 0, 0))
    assert server6.silent(icmp6(message, source=CLIENT_LINK_LOCAL, destination="ff02::2"))
    assert server6.silent(icmp6(b"", source=CLIENT_LINK_LOCAL, destination="ff02::2", checksum=0))


@pytest.mark.parametrize("kind", [0, 1, 128, 130, 132, 134, 136, 137, 143, 255])
def test_ra_03_other_types(server6: Exchange6, kind: int) -> None:
    assert server6.silent(router_solicitation(kind=kind))


@pytest.mark.parametrize("destination", ["ff02::2", "ff02::1", ROUTER_LINK_LOCAL])
def test_ra_04_answered_to_the_guest_at_once(server6: Exchange6, destination: str) -> None:
    """Choice: the random delay of 0 to 0.5 s is 0, because there is one router."""
    packet = server6.advertisement(router_solicitation(destination=destination))
    assert (packet.dst, packet[IPv6].dst) == (CLIENT_MAC, CLIENT_LINK_LOCAL)


@pytest.mark.parametrize("fields", [{"options": b""}, {"options": b"\x0e\1" + bytes(6)}, {"source": CLIENT6}], ids=str)
def test_ra_04_unusual_solicitations(server6: Exchange6, fields: dict[str, object]) -> None:
    assert server6.advertisement(router_solicitation(**fields))[IPv6].dst == fields.get("source", CLIENT_LINK_LOCAL)  # type: ignore[arg-type]


def test_ra_07_router_lifetime(server6: Exchange6) -> None:
    assert 600 <= server6.advertisement(router_solicitation())[ICMPv6ND_RA].routerlifetime <= 65535
    server6.serve(router6=None, router6_lladdr=None)
    packet = server6.advertisement(router_solicitation())
    assert packet[ICMPv6ND_RA].routerlifetime == 0
    assert (packet.src, packet[IPv6].src) == (PORT_MAC, SUBSTITUTE_ROUTER)


def test_ra_07_routes_without_a_default_one(server6: Exchange6) -> None:
    routes = [{"destination": d, "gateway": ROUTER_LINK_LOCAL} for d in ("fd00:10:96::/112", "fd00:11::/48")]
    server6.serve(router6=None, routes6=routes)
    packet = server6.advertisement(router_solicitation())
    assert (packet[ICMPv6ND_RA].routerlifetime, packet[IPv6].src) == (0, ROUTER_LINK_LOCAL)
    told = [octets for kind, octets in nd_options(packet) if kind == ROUTE]
    assert [(o[1], o[2], o[3], o[8:].ljust(16, b"\0")) for o in told] == [
        (3, 112, 0, packed6("fd00:10:96::")),
        (2, 48, 0, packed6("fd00:11::")),
    ]


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({}, (1, 0)),
        ({"client_address6": None}, (0, 1)),
        ({"client_address6": None, "dns6": None}, (0, 0)),
    ],
    ids=str,
)
def test_ra_08_flags(server6: Exchange6, fields: dict[str, object], flags: tuple[int, int]) -> None:
    server6.serve(**fields)
    ra = server6.advertisement(router_solicitation())[ICMPv6ND_RA]
    assert flags == (ra.M, ra.O)


@pytest.mark.parametrize("length", [128, 127, 64, 48, 1])
def test_ra_09_no_prefix_makes_an_address(server6: Exchange6, length: int) -> None:
    server6.serve(client_address6=f"{CLIENT6}/{length}")
    prefixes = [octets for kind, octets in nd_options(server6.advertisement(router_solicitation())) if kind == PREFIX]
    if length == 128:
        assert prefixes == []
        return
    ((_, _, told, flags, valid, preferred, reserved, prefix),) = [struct.unpack("!4B3I16s", o) for o in prefixes]
    assert (told, flags, reserved) == (length, 0x80, 0), "on-link, never autonomous"
    assert 0 < preferred <= valid
    value = int.from_bytes(prefix)
    assert value >> 128 - length == int.from_bytes(packed6(CLIENT6)) >> 128 - length
    assert value % (1 << 128 - length) == 0


@pytest.mark.parametrize(("mtu", "told"), [(1280, 1280), (1400, 1400), (9001, 9001), (None, None)])
def test_ra_10_mtu(server6: Exchange6, mtu: int | None, told: int | None) -> None:
    server6.serve(mtu=mtu)
    values = [
        int.from_bytes(o[4:]) for kind, o in nd_options(server6.advertisement(router_solicitation())) if kind == MTU
    ]
    assert values == ([] if told is None else [told])


@pytest.mark.parametrize("router", [ROUTER_LINK_LOCAL, GLOBAL_ROUTER])
def test_ra_10_link_layer_address_is_the_gateways(server6: Exchange6, router: str) -> None:
    server6.serve(router6=router)
    packet = server6.advertisement(router_solicitation())
    assert packet.src == ROUTER_MAC
    assert packet[IPv6].src == (router if router == ROUTER_LINK_LOCAL else SUBSTITUTE_ROUTER)
    assert dict(nd_options(packet))[SLLA] == b"\1\1" + mac_octets(ROUTER_MAC)


def test_ra_10_link_layer_address_unknown(server6: Exchange6) -> None:
    """The guest resolves the gateway's link-local address itself."""
    server6.serve(router6_lladdr=None)
    packet = server6.advertisement(router_solicitation())
    assert (packet.src, packet[IPv6].src) == (PORT_MAC, ROUTER_LINK_LOCAL)
    assert SLLA not in dict(nd_options(packet))


@pytest.mark.parametrize("resolvers", [[], ["fd00:10:96::a"], ["fd00::1", "fd00::2", "fd00::3"]], ids=len)
def test_ra_11_resolvers_equal_those_of_dhcpv6(server6: Exchange6, resolvers: list[str]) -> None:
    server6.serve(dns6=resolvers)
    options = dict(nd_options(server6.advertisement(router_solicitation())))
    reply = server6.reply(datagram6(message6(11)))
    if not resolvers:
        assert RDNSS not in options
        assert reply.option(23) is None
        return
    assert options[RDNSS][1] == 2 * len(resolvers) + 1
    assert int.from_bytes(options[RDNSS][4:8]) >= 3 * 600
    assert options[RDNSS][8:] == reply.option(23)


@pytest.mark.parametrize("search", [[], ["a.b"], list(CONFIG6["search"])], ids=len)
def test_ra_11_search_list_equals_that_of_dhcpv6(server6: Exchange6, search: list[str]) -> None:
    server6.serve(search=search)
    options = dict(nd_options(server6.advertisement(router_solicitation())))
    reply = server6.reply(datagram6(message6(11)))
    if not search:
        assert DNSSL not in options
        return
    assert len(options[DNSSL]) % 8 == 0
    assert int.from_bytes(options[DNSSL][4:8]) >= 3 * 600
    assert names(options[DNSSL][8:]) == names(reply.option(24) or b"") == search


def test_ra_11_too_much_for_one_packet(server6: Exchange6) -> None:
    search = [f"{chr(97 + n) * 60}.example" for n in range(26)]
    routes = [{"destination": f"fd00:{n:x}::/32"} for n in range(1, 200)]
    server6.serve(mtu=1280, search=search, routes6=routes, dns6=[f"fd00::{n}" for n in range(1, 17)])
    packet = server6.advertisement(router_solicitation())
    assert packet[IPv6].plen <= 1280 - 40
    kinds = [kind for kind, _ in nd_options(packet)]
    assert {SLLA, MTU, RDNSS, DNSSL, ROUTE} == set(kinds)


def test_ra_12_the_same_after_a_restart(server6: Exchange6) -> None:
    before = server6.advertisement(router_solicitation())
    server6.restart()
    assert bytes(server6.advertisement(router_solicitation())) == bytes(before)


def test_an_infinite_lease(server6: Exchange6) -> None:
    server6.serve(client_address6=f"{CLIENT6}/64", lease_seconds=FOREVER)
    assert dict(nd_options(server6.advertisement(router_solicitation())))[PREFIX][4:12] == b"\xff" * 8


# --- neighbours -------------------------------------------------------------------------------------------------------


def neighbour(server6: Exchange6, request: bytes) -> tuple[str, str, int, int, int] | None:
    """(MAC, destination, R, S, O) of the one answer, or None."""
    frames = server6.frames(request)
    if not frames:
        return None
    (frame,) = frames
    packet = well_formed_nd(frame)
    na = packet[ICMPv6ND_NA]
    assert packet[IPv6].src == na.tgt
    mac = bytes(na.payload)[2:8]
    assert bytes(na.payload)[:2] == b"\2\1"
    assert mac_octets(packet.src) == mac
    return mac.hex(":"), packet[IPv6].dst, na.R, na.S, na.O


def test_the_address_that_stands_for_the_gateway_is_at_its_mac(server6: Exchange6) -> None:
    """R must be set: without it the client removes the router from its list (RFC 4861 §7.2.5)."""
    server6.serve(router6=GLOBAL_ROUTER)
    answer = neighbour(server6, neighbour_solicitation(SUBSTITUTE_ROUTER))
    assert answer == (ROUTER_MAC, CLIENT_LINK_LOCAL, 1, 1, 1)
    unreachable = neighbour(server6, neighbour_solicitation(SUBSTITUTE_ROUTER, destination=SUBSTITUTE_ROUTER))
    assert unreachable == answer, "a check whether it is still there"
    assert neighbour(server6, neighbour_solicitation(SUBSTITUTE_ROUTER, source="::")) == (
        ROUTER_MAC,
        "ff02::1",
        1,
        0,
        1,
    )


def test_permanent_neighbours(server6: Exchange6) -> None:
    server6.serve(router6="fe80::1", neighbours={"fe80::1": ROUTER_MAC, "fd00::99": "02:00:00:00:00:99"})
    assert neighbour(server6, neighbour_solicitation("fe80::1")) == (ROUTER_MAC, CLIENT_LINK_LOCAL, 1, 1, 1)
    assert neighbour(server6, neighbour_solicitation("fd00::99")) == ("02:00:00:00:00:99", CLIENT_LINK_LOCAL, 0, 1, 1)


@pytest.mark.parametrize("target", [CLIENT6, CLIENT_LINK_LOCAL, ROUTER_LINK_LOCAL, GLOBAL_ROUTER, "fe80::fc:2"])
@pytest.mark.parametrize("source", ["::", CLIENT_LINK_LOCAL])
def test_nobody_elses_address_is_answered_for(server6: Exchange6, target: str, source: str) -> None:
    """Neither the guest's own, whose duplicate-address detection must succeed, nor that of a gateway on the link."""
    server6.serve(router6=GLOBAL_ROUTER)
    assert neighbour(server6, neighbour_solicitation(target, source=source)) is None
    server6.serve()
    assert neighbour(server6, neighbour_solicitation(SUBSTITUTE_ROUTER, source=source)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"hop_limit": 64},
        {"code": 1},
        {"checksum": 0x1234},
        {"options": b"\1\0" + bytes(6)},
        {"options": b"\1"},
        {"source": "::", "options": b"\1\1" + mac_octets(CLIENT_MAC)},
        {"source": "::", "destination": "ff02::1"},
        {"source": "ff02::1"},
        {"source_mac": "53:54:00:0a:00:02"},
        {"source_mac": ROUTER_MAC},
        {"length": 23},
    ],
    ids=str,
)
def test_solicitations_that_are_none(server6: Exchange6, fields: dict[str, object]) -> None:
    server6.serve(router6=GLOBAL_ROUTER)
    assert server6.silent(neighbour_solicitation(SUBSTITUTE_ROUTER, **fields))  # type: ignore[arg-type]
