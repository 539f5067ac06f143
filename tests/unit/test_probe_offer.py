"""The probe as a judge: it finds what the server's own codec gets wrong, and nothing in what it gets right."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from dhcp.config import Route, parse_configs
from dhcp.handler import handle
from dhcp.probe.dhcp4 import NotAnOffer, asked_of, decode_names, decode_offer, decode_options, differences, discover
from dhcp.v4.lease import prepare_lease
from dhcp.wire.options4 import encode_classless_routes, encode_option
from dhcp.wire.search_list import encode_search_list

MAC = "02:00:00:00:00:55"
PORT_MAC = bytes.fromhex("0200000000fe")
XID = 0x1234
CONFIG: dict[str, object] = {
    "client_mac": MAC,
    "client_address": "10.244.1.5/24",
    "server_address": "10.244.1.1",
    "router": "10.244.1.1",
    "routes": [{"destination": "10.244.0.0/16", "gateway": "10.244.1.1"}],
    "dns": ["10.96.0.10", "10.96.0.11"],
    "search": ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"],
    "domain": "default.svc.cluster.local",
    "hostname": "vm",
    "mtu": 1450,
    "ntp": ["10.96.0.12"],
    "options": {"240": "site", "241": "0x00FF"},
}
MANY_NAMES = {"search": [f"{'n' * 40}{number}.example" for number in range(12)]}
MANY_ROUTES = {"routes": [{"destination": f"10.1.{n}.0/24", "gateway": "10.244.1.1"} for n in range(40)]}
BOOT = {"boot_file": "linux.0", "tftp_server": "10.244.1.9"}


def judged(config: dict[str, object]) -> list[str]:
    """What the probe finds in the answer of the server, served this, to its DISCOVER."""
    (served,) = parse_configs(json.loads(json.dumps(config)))
    decision = handle(discover(MAC, XID, asked_of(config)), prepare_lease(served, PORT_MAC))
    (frame,) = decision.frames
    return differences(decode_offer(frame, MAC, XID), config, decision.dropped)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        MANY_NAMES,
        MANY_ROUTES,
        BOOT,
        {**BOOT, "tftp_server": "boot.example"},
        {**BOOT, "boot_file": "b" * 200},
        {**BOOT, **MANY_NAMES, "mtu": 576},  # file and sname hold options, and names are left out
        {"client_address": "10.244.1.5/32"},  # the gateway has a host route
        {"client_address": "10.244.1.4/31", "server_address": "10.244.1.5", "router": "10.244.1.5", "routes": []},
        {"lease_seconds": 20},
        {"lease_seconds": 0xFFFFFFFF},
        {"options": {"249": "ours"}},
    ],
    ids=lambda changes: " ".join(changes) or "plain",
)
def test_what_is_right_has_no_finding(changes: dict[str, object]) -> None:
    assert judged(CONFIG | changes) == []


def _whole_destinations(routes: Sequence[Route]) -> bytes:
    return b"".join(bytes((r.prefix_length,)) + r.destination + r.gateway for r in routes)


def _without_final_zeros(names: Sequence[str]) -> bytes:
    return encode_search_list(names).removesuffix(b"\0")


def _reversed_mask(code: int, value: bytes) -> bytes:
    return encode_option(code, value[::-1] if code == 1 else value)


@pytest.mark.parametrize(
    ("place", "defect", "changes", "finding"),
    [
        ("dhcp.v4.lease.encode_classless_routes", _whole_destinations, {}, "option 121"),
        (
            "dhcp.v4.lease.encode_classless_routes",
            lambda routes: encode_classless_routes(routes[1:]),
            {},
            "option 121 (routes): 0.0.0.0/0",
        ),
        ("dhcp.v4.lease.encode_search_list", lambda names: encode_search_list(names[::-1]), {}, "option 119 (search)"),
        ("dhcp.v4.lease.encode_search_list", _without_final_zeros, {"search": ["example"]}, "option 119"),
        ("dhcp.wire.options4.END", 254, {}, "option 254"),
        (
            "dhcp.wire.options4.encode_option",
            lambda c, v: encode_option(c, v) + b"\x34\x01\x03",
            {},
            "option 52 is 0x0303",
        ),
        ("dhcp.wire.options4.encode_option", _reversed_mask, {}, "option 1 (netmask): offered 0.255"),
        ("dhcp.wire.options4.encode_option", lambda c, v: bytes((c, len(v) & 0xFF)) + v, MANY_NAMES, ""),
        (
            "dhcp.config_options._from_text",
            lambda _, text: text.upper().encode(),
            {},
            "option 240: offered 0x53495445",
        ),
        ("dhcp.v4.layout.FILE_OVERLOADED", 2, MANY_ROUTES | {"mtu": 576}, ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_defect_of_the_server_is_found(
    monkeypatch: pytest.MonkeyPatch, place: str, defect: object, changes: dict[str, object], finding: str
) -> None:
    monkeypatch.setattr(place, defect)
    try:
        found = judged(CONFIG | changes)
    except NotAnOffer as refusal:
        found = [str(refusal)]
    assert [line for line in found if line.startswith(finding)], found


@pytest.mark.parametrize(
    ("mangle", "finding"),
    [
        (lambda frame: frame[:26] + bytes((10, 244, 1, 2)) + frame[30:], "a checksum"),
        (lambda frame: frame[:-1] + b"\1", "a checksum"),
        (lambda frame: frame[:16] + b"\2" + frame[17:], "a checksum"),
        (lambda frame: frame[:6], "not a DHCP message"),
    ],
    ids=["source", "last-octet", "length", "short"],
)
def test_a_frame_that_no_client_takes_is_refused(mangle: Callable[[bytes], bytes], finding: str) -> None:
    (served,) = parse_configs(CONFIG)
    (frame,) = handle(discover(MAC, XID), prepare_lease(served, PORT_MAC)).frames
    assert decode_offer(frame + b"padding", MAC, XID).message == "offer"
    with pytest.raises(NotAnOffer, match=finding):
        decode_offer(mangle(frame), MAC, XID)


def message(field: bytes, file: bytes = b"", sname: bytes = b"") -> bytes:
    return bytes(44) + sname.ljust(64, b"\0") + file.ljust(128, b"\0") + b"\x63\x82\x53\x63" + field


@pytest.mark.parametrize(
    ("octets", "options"),
    [
        (message(b"\x35\1\2\xff"), {53: b"\2"}),
        (message(b"\0\0\x35\1\2\0\xff\0\0"), {53: b"\2"}),
        (message(b"\x77\2ab\x35\1\2\x77\2cd\xff"), {53: b"\2", 119: b"abcd"}),
        (message(b"\x34\1\3\x77\1a\xff", b"\x77\1b\xff", b"\x77\1c\xff"), {119: b"abc"}),
        (message(b"\x34\1\2\x77\1a\xff", b"linux.0", b"\x77\1c\xff"), {119: b"ac"}),
        (message(b"\x77\1a\xff", b"\x77\1b\xff"), {119: b"a"}),
    ],
    ids=["one", "padded", "split", "file-then-sname", "sname", "not-overloaded"],
)
def test_options_are_joined(octets: bytes, options: dict[int, bytes]) -> None:
    assert decode_options(octets)[0] == options


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (message(b"\x35\1\2"), "have no end"),
        (message(b"\x35\4\2\xff"), "option 53 is empty or cut off"),
        (message(b"\x0c\0\xff"), "option 12 is empty or cut off"),
        (message(b"\x35\1\2\xff\0\x0c\1a"), "something follows"),
        (message(b"\x34\1\4\xff"), "option 52 is 0x04"),
        (message(b"\x34\1\1\xff", b"\x0c\1a"), "have no end"),
    ],
    ids=["no-end", "cut", "empty", "after-end", "overload", "file-no-end"],
)
def test_options_that_clients_may_misread_are_refused(octets: bytes, reason: str) -> None:
    with pytest.raises(NotAnOffer, match=reason):
        decode_options(octets)


def test_a_name_may_not_point_at_itself() -> None:
    assert list(decode_names(b"\1a\0\1b\xc0\0")) == ["a", "b.a"]
    for value in (b"\1a\xc0\0", b"\xc0\0", b"\1a\xc0\4\0"):
        with pytest.raises(ValueError, match="backwards"):
            list(decode_names(value))
