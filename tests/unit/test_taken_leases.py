"""Which messages give the client its lease, for how long, and what the server remembers of it."""

from __future__ import annotations

import pytest
from lab import requests6
from lab.requests import (
    CLIENT,
    DECLINE,
    RELEASE,
    SERVER,
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
from lab.requests6 import CLIENT6, RENEW, REQUEST, datagram6, ia_na, message6, packed6, solicit
from test_dhcp_served import BASE, BASE6, lease

from dhcp.config import INFINITE
from dhcp.handler import handle
from dhcp.io.taken_leases import TakenLeases

MAC = "52:54:00:0a:00:02"
OUR_DUID = b"\0\4vmlaun\x80\0\x80\0" + mac_octets(MAC)
LEASE = (packed(CLIENT), 3_600, 75_600, 86_400)
LEASE6 = (packed6(CLIENT6), *LEASE[1:])
NONE = (packed(CLIENT), 0, 0, 0)
NONE6 = (packed6(CLIENT6), 0, 0, 0)


def to_us(kind: int, address: str = CLIENT6) -> bytes:
    return datagram6(message6(kind, [ia_na(address)], server=OUR_DUID))


@pytest.mark.parametrize(
    ("request_frame", "grant"),
    [
        (discover(), None),
        (selecting(), LEASE),
        (reboot(CLIENT), LEASE),
        (renewing(CLIENT), LEASE),
        (discover([(80, b"")]), LEASE),
        (renewing("10.0.0.9"), None),
        (inform(CLIENT), None),
        (frame(payload(RELEASE, [(54, packed(SERVER))], ciaddr=CLIENT)), NONE),
        (frame(payload(RELEASE, [(54, packed("10.0.0.7"))], ciaddr=CLIENT)), None),
        (frame(payload(DECLINE, [(54, packed(SERVER)), (50, packed(CLIENT))])), NONE),
        (solicit(), None),
        (solicit([(14, b""), ia_na()]), LEASE6),
        (to_us(REQUEST), LEASE6),
        (to_us(RENEW), LEASE6),
        (to_us(REQUEST, "2001:db8::9"), None),
        (to_us(requests6.RELEASE), NONE6),
        (to_us(requests6.RELEASE, "2001:db8::9"), None),
        (to_us(requests6.DECLINE), NONE6),
    ],
)
def test_what_a_message_gives_the_client(request_frame: bytes, grant: tuple[bytes, int, int, int] | None) -> None:
    assert handle(request_frame, lease({**BASE, **BASE6}, rapid_commit=True)).grant == grant


def test_the_latest_lease_of_each_family_is_remembered() -> None:
    leases = TakenLeases()
    assert leases.report(5) == []
    leases.take(LEASE6, 1000.0, 1.0)
    leases.take((packed(CLIENT), 0, 0, INFINITE), 1001.0, 2.0)
    for_ever = {"t1": None, "t2": None, "seconds": None}
    day = {"t1": 3_600, "t2": 75_600, "seconds": 86_400}
    assert leases.report(5) == [
        {"address": CLIENT, "at": 1001.0, "age": 3.0, **for_ever},
        {"address": CLIENT6, "at": 1000.0, "age": 4.0, **day},
    ]
    leases.take(NONE, 1003.0, 4.0)
    assert leases.report(5)[0] == {"address": CLIENT, "at": 1003.0, "age": 1.0, "t1": 0, "t2": 0, "seconds": 0}
