"""What is served over IPv6, octet for octet: router advertisements, DHCPv6 replies, and how much they hold."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from lab.requests import (
    CLIENT_MAC,
    mac_octets,
)
from lab.requests6 import (
    CLIENT6,
    IAID,
    REQUEST,
    datagram6,
    ia_na,
    message6,
    packed6,
    router_solicitation,
    solicit,
    tlv6,
)
from test_dhcp_served import BASE, BASE6, MAC, ROUTER_MAC, fields_of, lease

from dhcp.config import parse_configs
from dhcp.handler import handle
from dhcp.v4.lease import ServedLease
from dhcp.v6.router_advertisement import encode_advertisement
from dhcp.wire.search_list import encode_names


def advertised(**fields: Any) -> bytes:
    """The ICMPv6 message, its checksum 0."""
    served = lease(BASE6, **fields).ipv6
    assert served
    return served.advertisement


def head(flags: int, lifetime: int) -> bytes:
    return bytes((134, 0, 0, 0, 0, flags)) + lifetime.to_bytes(2) + bytes(8)


SLLA = b"\1\1" + mac_octets(ROUTER_MAC)
OWN_SLLA = b"\1\1" + MAC
ROUTES = ("::/0", "fd01::/64", "fd02::/65", "8000::/1")
DAY = struct.pack("!I", 86_400)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, head(0x80, 0) + OWN_SLLA),
        ({"client_address6": None, **BASE, "dns6": ["fd00::a"]},
         head(0x40, 0) + OWN_SLLA + b"\x19\3\0\0" + DAY + packed6("fd00::a")),
        ({"client_address6": None, **BASE, "router6": "fe80::1"}, head(0, 65535)),
        ({"client_address6": None, **BASE, "options6": {"59": "x"}}, head(0x40, 0) + OWN_SLLA),
        ({"router6": "fe80::1"}, head(0x80, 65535)),
        ({"router6": "fe80::1", "router6_lladdr": ROUTER_MAC}, head(0x80, 65535) + SLLA),
        ({"router6": "fd00::1", "uplink6": "eth0"}, head(0x80, 0)),
        ({"router6": "fd00::1", "router6_lladdr": ROUTER_MAC}, head(0x80, 65535) + SLLA),
        ({"mtu": 1280}, head(0x80, 0) + OWN_SLLA + b"\5\1\0\0\0\0\5\0"),
        ({"client_address6": "fd00::5/64"},
         head(0x80, 0) + OWN_SLLA + b"\3\4\x40\x80" + DAY + DAY + bytes(4) + packed6("fd00::")),
        ({"client_address6": "fd00::5/127"},
         head(0x80, 0) + OWN_SLLA + b"\3\4\x7f\x80" + DAY + DAY + bytes(4) + packed6("fd00::4")),
        ({"on_link6": ["fd01::/48", "2000::/3"]},
         head(0x80, 0) + OWN_SLLA + b"\3\4\x30\x80" + DAY + DAY + bytes(4) + packed6("fd01::")
         + b"\3\4\x03\x80" + DAY + DAY + bytes(4) + packed6("2000::")),
        ({"routes6": [{"destination": d, "gateway": "fe80::1"} for d in ROUTES]},
         head(0x80, 0) + b"\x18\1\0\0" + DAY + b"\x18\2\x40\0" + DAY + packed6("fd01::")[:8]
         + b"\x18\3\x41\0" + DAY + packed6("fd02::") + b"\x18\2\1\0" + DAY + packed6("8000::")[:8]),
        ({"dns6": ["fd00::a", "fd00::b"], "search": ["a.bc", "d"]},
         head(0x80, 0) + OWN_SLLA + b"\x19\5\0\0" + DAY + packed6("fd00::a") + packed6("fd00::b")
         + b"\x1f\3\0\0" + DAY + b"\1a\2bc\0\1d\0" + bytes(7)),
        ({"search": ["abcdef"]}, head(0x80, 0) + OWN_SLLA + b"\x1f\2\0\0" + DAY + b"\6abcdef\0"),
        ({"search": ["abcdefg"]}, head(0x80, 0) + OWN_SLLA + b"\x1f\3\0\0" + DAY + b"\7abcdefg\0" + bytes(7)),
        ({"client_address6": None, **BASE, "router6": "fe80::1", "search": ["a"]}, head(0, 65535)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_advertisements_to_the_octet(fields: dict[str, Any], message: bytes) -> None:
    """RFC 4861 §4.2, §4.6; RFC 4191 §2.3; RFC 8106 §5; the router lifetime is RFC 8319's longest."""
    assert advertised(**fields) == message


@pytest.mark.parametrize("room", range(88, 130))
def test_search_domains_of_an_advertisement_give_way_to_its_room(room: int) -> None:
    names = ["abcdef", "ghijkl", "m", "nopqr", "stuvwxyz"]
    config = parse_configs({**BASE6, "search": names, "dns6": ["fd00::a"]})[0]
    assert config.ipv6
    bare = len(encode_advertisement(parse_configs({**BASE6, "dns6": ["fd00::a"]})[0], config.ipv6, MAC, room))
    message = encode_advertisement(config, config.ipv6, MAC, room)
    fitting = [
        count
        for count in range(len(names) + 1)
        if bare + (8 + (len(encode_names(names[:count])) + 7) // 8 * 8 if count else 0) <= room
    ]
    value = encode_names(names[: max(fitting, default=0)])
    option = bytes((31, (len(value) + 7) // 8 + 1, 0, 0)) + DAY + value.ljust((len(value) + 7) // 8 * 8, b"\0")
    assert message[bare:] == (option if value else b"")


@pytest.mark.parametrize("room", [64, 126, 127, 128, 129, 160])
def test_routes_take_half_of_an_advertisement_at_most(room: int) -> None:
    routes = [{"destination": f"fd00:0:0:{n}::/64", "gateway": "fe80::1"} for n in range(1, 9)]
    config = parse_configs({**BASE6, "routes6": routes})[0]
    assert config.ipv6
    message = encode_advertisement(config, config.ipv6, b"", room)
    assert len(message) == 16 + max(0, (room // 2 - 16) // 16) * 16


@pytest.mark.parametrize(
    ("fields", "address", "neighbours", "routers"),
    [
        ({}, "fe80::fc:1", {"fe80::fc:1": MAC}, {"fe80::fc:1"}),
        ({"router6": "fe80::1"}, "fe80::1", {}, set()),
        ({"router6": "fd00::1", "router6_lladdr": ROUTER_MAC}, "fe80::fc:1", {"fe80::fc:1": mac_octets(ROUTER_MAC)},
         {"fe80::fc:1"}),
        ({"router6": "fd00::1", "uplink6": "eth0"}, "fe80::fc:1", {}, set()),
        ({"router6": "fe80::1", "neighbours": {"fe80::1": ROUTER_MAC, "fd00::9": ROUTER_MAC, "10.0.0.9": ROUTER_MAC}},
         "fe80::1", {"fe80::1": mac_octets(ROUTER_MAC), "fd00::9": mac_octets(ROUTER_MAC)}, {"fe80::1"}),
    ],
    ids=str,
)  # fmt: skip
def test_which_addresses_are_answered_for(
    fields: dict[str, Any], address: str, neighbours: dict[str, bytes], routers: set[str]
) -> None:
    served = lease(BASE6, **fields).ipv6
    assert served
    assert served.address == packed6(address)
    assert served.neighbours == {packed6(text): mac for text, mac in neighbours.items()}
    assert served.routers == {packed6(text) for text in routers}


@pytest.mark.parametrize("mtu", [None, 1280, 1281, 1500])
def test_the_room_of_a_dhcpv6_reply(mtu: int | None) -> None:
    """One more octet than fits is left out, and named."""
    largest = mtu or 1280
    size = largest - 40 - 8 - len(reply_of(lease(BASE6, mtu=mtu), solicit(oro=[]))) - 4
    for octets, dropped in ((size, ()), (size + 1, (24,))):
        names = names_of(octets)
        served = lease(BASE6, mtu=mtu, search=names)
        decision = handle(solicit(oro=[24]), served)
        assert decision.dropped == dropped
        assert (len(decision.frames[0]) == 14 + largest) is (not dropped)
        if dropped:
            assert encode_names(names[:-1]) in decision.frames[0]
            assert encode_names(names) not in decision.frames[0]


def names_of(octets: int) -> list[str]:
    """A search list of so many octets, uncompressed."""
    names = []
    while octets > 80:
        names.append("n" * 38)
        octets -= 40
    return [*names, "n" * (octets // 2 - 2), "n" * (octets - octets // 2 - 2)]


def reply_of(served: ServedLease, request: bytes) -> bytes:
    (reply,) = handle(request, served).frames
    return reply[62:]


def test_a_dhcpv6_answer_to_the_octet() -> None:
    served = lease(BASE6, dns6=["fd00::a"], rapid_commit=True)
    duid = b"\0\4vmlaun\x80\0\x80\0" + mac_octets(CLIENT_MAC)
    times = struct.pack("!II", 3_600, 75_600)
    address = tlv6([(5, packed6(CLIENT6) + DAY + DAY)])
    client = tlv6([(1, bytes.fromhex("000100012a3b4c5d5254000a0002"))])
    grant = tlv6([(3, IAID + times + address)])
    dns = tlv6([(23, packed6("fd00::a"))])
    identified = tlv6([(2, duid)]) + client
    assert reply_of(served, solicit()) == b"\2\x39\3\xf3" + identified + grant + tlv6([(7, b"\xff")]) + dns
    committed = reply_of(served, solicit([(14, b""), ia_na()]))
    assert committed == b"\7\x39\3\xf3" + identified + grant + tlv6([(14, b"")]) + dns
    request = datagram6(message6(REQUEST, [ia_na()], server=duid))
    assert reply_of(served, request) == b"\7\x39\3\xf3" + identified + grant + dns
    none = b"\0\0\0\7" + bytes(8)
    other = datagram6(message6(REQUEST, [(25, none), ia_na("2001:db8::1")], server=duid, oro=[]))
    refused = (
        none + tlv6([(13, b"\0\6no prefixes here")]),
        IAID + bytes(8) + tlv6([(13, b"\0\4another link's address")]),
    )
    assert reply_of(served, other) == b"\7\x39\3\xf3" + identified + tlv6([(25, refused[0]), (3, refused[1])])
    decision = handle(solicit(), served)
    assert fields_of(decision) == ("SOLICIT", "ADVERTISE", "", mac_octets(CLIENT_MAC), 0x3903F3, ())
    assert not decision.warning
    ignored = handle(datagram6(message6(REQUEST, [ia_na()])), served)
    assert fields_of(ignored) == ("REQUEST6", "", "other-server", mac_octets(CLIENT_MAC), 0x3903F3, ())
    assert fields_of(handle(router_solicitation(), served)) == ("RS", "RA", "", mac_octets(CLIENT_MAC), 0, ())


@pytest.mark.parametrize(
    ("octets", "cause"),
    [
        (b"", "truncated"),
        (bytes(13), "truncated"),
        (bytes(14), "ethertype"),
        (bytes(12) + b"\x08\0", "truncated"),
        (bytes(12) + b"\x08\1", "ethertype"),
        (bytes(12) + b"\x08\6", "truncated"),
        (bytes(12) + b"\x08\7", "ethertype"),
        (bytes(12) + b"\x86\xdd", "ipv6"),
        (bytes(12) + b"\x86\xde", "ethertype"),
        (bytes(12) + b"\x81\0", "vlan"),
        (bytes(12) + b"\x81\1", "ethertype"),
        (bytes(12) + b"\x88\xa8", "vlan"),
        (bytes(12) + b"\x88\xa9", "ethertype"),
    ],
)
def test_other_frames(octets: bytes, cause: str) -> None:
    decision = handle(octets, lease())
    assert (decision.frames, decision.cause) == ((), cause)
    assert handle(bytes(12) + b"\x86\xdd", lease(BASE6)).cause == "truncated"
