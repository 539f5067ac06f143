"""What is served over IPv4, octet for octet: the options of a lease, their order and limits, and where replies go."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from lab.rawclient import decode_reply
from lab.requests import (
    CLIENT_MAC,
    arp,
    discover,
    frame,
    inform,
    mac_octets,
    packed,
    payload,
    reboot,
    renewing,
    selecting,
)
from lab.requests6 import (
    CLIENT6,
)

from dhcp.config import parse_configs
from dhcp.decision import Decision
from dhcp.handler import handle
from dhcp.v4.lease import ServedLease, prepare_lease
from dhcp.v4.server import usual_layout
from dhcp.wire.options4 import decode_options

MAC = mac_octets("02:00:00:00:00:0a")
ROUTER_MAC = "ee:ee:ee:ee:ee:ee"
BASE = {"client_mac": CLIENT_MAC, "client_address": "10.0.0.2/24", "server_address": "10.0.0.1"}
BASE6 = {"client_mac": CLIENT_MAC, "client_address6": f"{CLIENT6}/128"}


def lease(base: dict[str, Any] = BASE, **fields: Any) -> ServedLease:
    return prepare_lease(parse_configs({**base, **fields})[0], MAC)


def offered(served: ServedLease, request: bytes) -> list[tuple[int, bytes]]:
    """The options of the one reply, in their order."""
    (reply,) = handle(request, served).frames
    decoded = decode_reply(reply)
    assert decoded
    assert decoded.codes is not None
    return [(code, decoded.option(code) or b"") for code in decoded.codes]


ALL = tuple(range(1, 255))
SERVED = {
    51: struct.pack("!I", 86_400),
    54: packed("10.0.0.1"),
    58: struct.pack("!I", 3_600),
    59: struct.pack("!I", 75_600),
}


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {1: packed("255.255.255.0"), 28: packed("10.0.0.255")}),
        ({"client_address": "10.0.0.2/30"}, {1: packed("255.255.255.252"), 28: packed("10.0.0.3")}),
        ({"client_address": "10.0.0.2/31"}, {1: packed("255.255.255.254"), 28: packed("255.255.255.255")}),
        ({"client_address": "10.0.0.2/32"}, {1: packed("255.255.255.255")}),
    ],
    ids=str,
)
def test_mask_and_broadcast_address(fields: dict[str, Any], options: dict[int, bytes]) -> None:
    assert dict(offered(lease(**fields), discover(parameters=ALL))) == {53: b"\2", **SERVED, **options}


def test_everything_that_a_configuration_has() -> None:
    served = lease(
        router="10.0.0.254",
        dns=["10.0.0.3", "10.0.0.4"],
        search=["a.b"],
        domain="d.e",
        hostname="vm",
        mtu=1400,
        ntp=["10.0.0.5", "10.0.0.6"],
        tftp_server="10.0.0.7",
        boot_file="boot",
        options={"224": "x", "108": "1800"},
        lease_seconds=0xFFFFFFFF,
    )
    assert dict(offered(served, discover(parameters=ALL))) == {
        53: b"\2", 54: packed("10.0.0.1"), 51: b"\xff" * 4, 1: packed("255.255.255.0"), 28: packed("10.0.0.255"),
        3: packed("10.0.0.254"), 6: packed("10.0.0.3") + packed("10.0.0.4"), 119: b"\1a\1b\0", 15: b"d.e", 12: b"vm",
        26: struct.pack("!H", 1400), 42: packed("10.0.0.5") + packed("10.0.0.6"), 66: b"10.0.0.7", 67: b"boot",
        224: b"x", 108: struct.pack("!I", 1800),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "codes"),
    [
        (None, [53, 54, 51, 58, 59, 1, 3, 121, 6, 26]),
        ((), [53, 54, 51, 58, 59, 1, 3, 121, 6, 26]),
        ((6, 3, 1), [53, 6, 1, 3, 54, 51, 58, 59, 121, 26]),  # RFC 2132 §3.3: the mask before the router
        ((1, 3, 6), [53, 1, 3, 6, 54, 51, 58, 59, 121, 26]),
        ((3,), [53, 1, 3, 54, 51, 58, 59, 121, 6, 26]),
        ((1,), [53, 1, 54, 51, 58, 59, 3, 121, 6, 26]),
        ((249, 6), [53, 249, 6, 54, 51, 58, 59, 1, 3, 26]),
        ((249, 121), [53, 249, 121, 54, 51, 58, 59, 1, 3, 6, 26]),
        ((12, 12, 28, 200), [53, 28, 54, 51, 58, 59, 1, 3, 121, 6, 26]),
    ],
    ids=str,
)
def test_the_order_of_options(parameters: tuple[int, ...] | None, codes: list[int]) -> None:
    served = lease(dns=["10.0.0.3"], mtu=1400, router="10.0.0.9", routes=[{"destination": "10.1.0.0/16"}])
    assert [code for code, _ in offered(served, discover(parameters=parameters))] == codes


def test_a_mask_that_comes_after_the_router_moves_before_it() -> None:
    served = lease(router="10.0.0.9")
    assert [code for code, _ in offered(served, inform("10.0.0.2", parameters=(28, 3, 15, 1)))] == [53, 28, 1, 3, 54]
    assert [code for code, _ in offered(lease(), inform("10.0.0.2", parameters=(1, 28)))] == [53, 1, 28, 54]


def routes_of(**fields: Any) -> list[str]:
    """`destination/length via gateway`, as option 121 has them."""
    value = dict(offered(lease(**fields), discover(parameters=ALL))).get(121, b"")
    assert dict(offered(lease(**fields), discover(parameters=ALL))).get(249, b"") == value
    found = []
    while value:
        octets = (value[0] + 7) // 8
        destination = value[1 : 1 + octets].ljust(4, b"\0")
        gateway = value[1 + octets : 5 + octets]
        found.append(f"{'.'.join(map(str, destination))}/{value[0]} via {'.'.join(map(str, gateway))}")
        value = value[5 + octets :]
    return found


@pytest.mark.parametrize(
    ("address", "router", "routes", "option"),
    [
        ("10.0.0.2/24", None, [], []),
        ("10.0.0.2/24", "10.0.0.1", [], []),
        ("10.0.0.2/24", "10.0.1.1", [], ["10.0.1.1/32 via 0.0.0.0", "0.0.0.0/0 via 10.0.1.1"]),
        ("10.0.0.2/32", "169.254.1.1", [], ["169.254.1.1/32 via 0.0.0.0", "0.0.0.0/0 via 169.254.1.1"]),
        ("10.0.0.2/24", None, [("10.9.0.0/16", "10.0.0.1")], ["10.9.0.0/16 via 10.0.0.1"]),
        ("10.0.0.2/24", None, [("0.0.0.0/0", "10.0.0.1")], ["0.0.0.0/0 via 10.0.0.1"]),
        ("10.0.0.2/24", None, [("0.0.0.0/0", "0.0.0.0")], ["0.0.0.0/0 via 0.0.0.0"]),
        (
            "10.0.0.2/24",
            "10.0.0.1",
            [("10.9.0.0/16", "10.0.5.1"), ("10.0.4.0/22", "0.0.0.0"), ("10.8.0.0/16", "0.0.0.0")],
            [
                *("10.0.4.0/22 via 0.0.0.0", "0.0.0.0/0 via 10.0.0.1", "10.8.0.0/16 via 0.0.0.0"),
                "10.9.0.0/16 via 10.0.5.1",
            ],
        ),
        (
            "10.0.0.2/24",
            "10.0.0.1",
            [("0.0.0.0/0", "10.0.0.3"), ("10.9.0.0/16", "172.16.0.1"), ("10.8.0.0/16", "172.16.0.1")],
            [
                *("172.16.0.1/32 via 0.0.0.0", "0.0.0.0/0 via 10.0.0.3"),
                *("10.9.0.0/16 via 172.16.0.1", "10.8.0.0/16 via 172.16.0.1"),
            ],
        ),
    ],
    ids=str,
)
def test_classless_routes(address: str, router: str | None, routes: list[tuple[str, str]], option: list[str]) -> None:
    listed = [{"destination": destination, "gateway": gateway} for destination, gateway in routes]
    assert routes_of(client_address=address, router=router, routes=listed) == option


@pytest.mark.parametrize(
    ("routes", "router"),
    [
        ([], None),
        ([("0.0.0.0/0", "10.0.0.1")], packed("10.0.0.1")),
        ([("0.0.0.0/0", "0.0.0.0")], None),
        ([("0.0.0.0/1", "10.0.0.1")], None),
        ([("0.0.0.0/0", "0.0.0.0"), ("0.0.0.0/0", "10.0.0.3")], packed("10.0.0.3")),
    ],
    ids=str,
)
def test_the_router_of_a_default_route_among_the_others(routes: list[tuple[str, str]], router: bytes | None) -> None:
    listed = [{"destination": destination, "gateway": gateway} for destination, gateway in routes]
    assert dict(offered(lease(routes=listed), discover())).get(3) == router


@pytest.mark.parametrize(
    ("mtu", "maximum", "largest"),
    [
        (None, None, 576),
        (None, 0, 576),
        (None, 575, 576),
        (None, 577, 577),
        (None, 1499, 1499),
        (None, 1500, 1500),
        (None, 1501, 1500),
        (None, 65535, 1500),
        (1400, 65535, 1400),
        (9000, 2000, 2000),
        (68, 1500, 576),
        (577, 1500, 577),
    ],
)
def test_the_largest_reply(mtu: int | None, maximum: int | None, largest: int) -> None:
    """Option 57 is the IP datagram's size (RFC 2132 §9.10)."""
    filling = {str(code): "0x" + "aa" * 200 for code in range(224, 254)}
    told = [] if maximum is None else [(57, maximum.to_bytes(2))]
    asked = range(224, 254)
    served = lease(mtu=mtu, options=filling)
    (reply,) = handle(discover(told, parameters=asked), served).frames
    assert largest - 202 < int.from_bytes(reply[16:18]) <= largest
    sizes = set()
    for size in range(1, 200):  # one option takes what the others have left
        fitted = lease(mtu=mtu, options={**filling, "224": "0x" + "aa" * size})
        decision = handle(discover(told, parameters=asked), fitted)
        sizes.add(int.from_bytes(decision.frames[0][16:18]))
    assert max(sizes) == largest


@pytest.mark.parametrize(("length", "echoed"), [(0, False), (1, False), (2, True), (255, True), (256, False)])
def test_the_clients_identifier(length: int, echoed: bool) -> None:
    value = bytes(range(256))[:length]
    told = [(61, value[:255]), (61, value[255:])] if length > 255 else [(61, value)]
    assert (dict(offered(lease(), discover(told))).get(61) == value) is echoed


@pytest.mark.parametrize(
    ("file", "server", "siaddr", "field"),
    [
        ("boot", "10.0.0.7", "10.0.0.7", b"boot"),
        ("boot", "tftp.example", "0.0.0.0", b"boot"),
        ("boot", None, "0.0.0.0", b"boot"),
        ("b" * 127, "10.0.0.7", "10.0.0.7", b"b" * 127),
        ("b" * 128, "10.0.0.7", "10.0.0.7", b""),
        (None, "10.0.0.7", "0.0.0.0", b""),
    ],
)
def test_the_fields_for_boot_roms(file: str | None, server: str | None, siaddr: str, field: bytes) -> None:
    served = lease(boot_file=file, tftp_server=server)
    for request in (discover(), inform("10.0.0.2"), renewing("10.0.0.2")):
        (reply,) = handle(request, served).frames
        message = reply[42:]
        assert message[20:24] == packed(siaddr)
        assert message[108:236] == field.ljust(128, b"\0")


def test_what_ipxe_is_told() -> None:
    for user_class, told in ((b"iPXE", b"\xb0\1\1"), (b"\4iPXE", b"\xb0\1\1"), (b"other", None)):
        assert dict(offered(lease(), discover([(77, user_class)]))).get(175) == told
    assert dict(offered(lease(), discover())).get(175) is None
    own = lease(options={"175": "0x01"})
    assert dict(offered(own, discover([(77, b"iPXE")], parameters=(175,)))).get(175) == b"\1"
    assert dict(offered(own, discover([(77, b"iPXE")]))).get(175) is None


def test_an_ipv6_only_pod_offers_no_address() -> None:
    """RFC 8925 §3.3."""
    served = lease(BASE6, server_address="10.0.0.1", options={"108": "1800"})
    (reply,) = handle(discover(parameters=(108,)), served).frames
    decoded = decode_reply(reply)
    assert decoded
    assert (decoded.yiaddr, decoded.option(108), reply[:6]) == ("0.0.0.0", struct.pack("!I", 1800), b"\xff" * 6)
    for request in (discover(parameters=(1, 3)), selecting(parameters=(108,)), inform("10.0.0.2", parameters=(108,))):
        assert (handle(request, served).frames, handle(request, served).cause) == ((), "no-ipv4")
    without = lease(BASE6, server_address="10.0.0.1")
    assert (handle(discover(parameters=(108,)), without).frames) == ()
    assert lease(BASE6).options == {}


def test_what_is_logged_of_a_message() -> None:
    served = lease()
    answered = handle(discover(xid=0x01020304), served)
    expected = ("DISCOVER", "OFFER", "", mac_octets(CLIENT_MAC), 0x01020304, ())
    assert fields_of(answered) == expected
    ignored = handle(selecting(server="10.0.0.9", xid=0x01020304), served)
    assert fields_of(ignored) == ("REQUEST", "", "other-server", mac_octets(CLIENT_MAC), 0x01020304, ())
    foreign = handle(discover(chaddr="52:54:00:0a:00:03"), served)
    assert (foreign.cause, foreign.client) == ("foreign-mac", mac_octets("52:54:00:0a:00:03"))
    assert handle(discover(op=2), served).client == b""
    declined = handle(frame(payload(4, [(50, packed("10.0.0.2")), (54, packed("10.0.0.1"))], xid=7)), served)
    assert (fields_of(declined), declined.warning) == (("DECLINE", "", "decline", mac_octets(CLIENT_MAC), 7, ()), True)
    probed = handle(arp(1, "10.0.0.1", sender="0.0.0.0"), served)
    assert probed.reason == "10.0.0.1 is at 02:00:00:00:00:0a (the sender is probing it)"
    assert handle(arp(1, "10.0.0.1"), served).reason == "10.0.0.1 is at 02:00:00:00:00:0a"
    assert fields_of(probed) == ("ARP", "ARP-REPLY", "", mac_octets(CLIENT_MAC), 0, ())
    for length in (3, 5):
        wrong = handle(frame(payload(3, [(50, bytes(length))])), served)
        assert (wrong.cause, wrong.message) == ("option-length", "REQUEST")


def fields_of(decision: Decision) -> tuple[str, str, str, bytes, int, tuple[int, ...]]:
    return (decision.message, decision.answer, decision.cause, decision.client, decision.xid, decision.dropped)


@pytest.mark.parametrize(
    ("request_frame", "destination", "mac", "ciaddr", "flags"),
    [
        (discover(), "10.0.0.2", CLIENT_MAC, "0.0.0.0", 0),
        (discover(flags=0x8000), "255.255.255.255", "ff:ff:ff:ff:ff:ff", "0.0.0.0", 0x8000),
        (discover(flags=0x7FFF), "10.0.0.2", CLIENT_MAC, "0.0.0.0", 0x7FFF),
        (discover(ciaddr="10.0.0.8"), "10.0.0.8", CLIENT_MAC, "0.0.0.0", 0),
        (renewing("10.0.0.2"), "10.0.0.2", CLIENT_MAC, "10.0.0.2", 0),
        (selecting(ciaddr="10.0.0.8", flags=0x8000), "10.0.0.8", CLIENT_MAC, "10.0.0.8", 0x8000),
        (reboot("10.0.0.2"), "10.0.0.2", CLIENT_MAC, "0.0.0.0", 0),
    ],
)
def test_where_a_reply_goes(request_frame: bytes, destination: str, mac: str, ciaddr: str, flags: int) -> None:
    """RFC 2131 §4.1, table 3."""
    (reply,) = handle(request_frame, lease()).frames
    assert (reply[:6], reply[30:34]) == (mac_octets(mac), packed(destination))
    assert (reply[54:58], reply[58:62], reply[52:54]) == (packed(ciaddr), packed("10.0.0.2"), flags.to_bytes(2))


def test_a_nak_is_broadcast_and_goes_to_a_renewing_client() -> None:
    first, second = handle(renewing("10.0.0.9", options=[(61, b"\1abcdef")], flags=5), lease()).frames
    assert (first[:6], first[30:34]) == (mac_octets(CLIENT_MAC), packed("10.0.0.9"))
    assert (second[:6], second[30:34]) == (b"\xff" * 6, b"\xff" * 4)
    for nak in (first, second):
        assert nak[54:70] == bytes(16), "no address in the header"
        assert decode_options(nak[282:], bytes(128), bytes(64)) == {53: b"\6", 54: packed("10.0.0.1"), 61: b"\1abcdef"}
    assert len(handle(reboot("10.0.0.9"), lease()).frames) == 1


def test_the_usual_layout_is_that_of_an_offer() -> None:
    """The measure by which too long lists are reported before a client asks."""
    served = lease(dns=["10.0.0.3"], router="10.0.0.9", search=["a.b"], hostname="vm", domain="d.e", mtu=1500)
    layout = usual_layout(served, 1500)
    codes = list(decode_options(layout.field, layout.file, layout.sname))
    assert codes == [53, 1, 3, 6, 12, 15, 26, 119, 54, 51, 58, 59, 61]
    assert decode_options(layout.field, b"", b"")[61] == bytes(19)
    long = lease(options={"42": ",".join(["10.0.0.7"] * 140)})
    assert (usual_layout(long, 576).dropped, usual_layout(long, 1500).dropped) == ((42,), ())
