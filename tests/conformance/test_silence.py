"""RFC checklist: frames that get no answer cause no packet within half a second.

The other tests end their wait with the answer to a DISCOVER that is sent afterwards, which is quick but would miss a
delayed reply, as an advertisement may be (RFC 4861 §6.2.6).
"""

from __future__ import annotations

import pytest
from exchange import PORT_MAC, Wire
from exchange6 import CONFIG6
from lab.requests import (
    ACK,
    CLIENT,
    DECLINE,
    DISCOVER,
    NAK,
    OFFER,
    RELEASE,
    REQUEST,
    SERVER,
    arp,
    discover,
    frame,
    inform,
    packed,
    payload,
    selecting,
)
from lab.requests6 import (
    CLIENT6,
    ROUTER_LINK_LOCAL,
    SOLICIT,
    datagram6,
    ia_na,
    message6,
    neighbour_solicitation,
    relayed6,
    router_solicitation,
    solicit,
)

pytestmark = pytest.mark.root

SECONDS = 0.6
FOREIGN_MAC = "52:54:00:0a:00:03"
NEIGHBOUR, NEIGHBOUR_MAC = "169.254.1.1", "ee:ee:ee:ee:ee:ee"
ALL_NODES = b"\x33\x33\0\0\0\1"
IN_IPV4 = [
    discover(op=2),  # V4-01
    discover(cookie=bytes(4)),
    frame(payload(None)),  # V4-02
    frame(payload(None, [(53, b"\1\1")])),
    *(frame(payload(kind)) for kind in (0, OFFER, ACK, NAK, 9, 10, 18, 255)),  # V4-03
    *(frame(payload(DISCOVER)[:size]) for size in (0, 28, 239)),  # V4-04
    discover(hlen=0),  # V4-05
    discover(hlen=17),
    discover(htype=6),
    discover(chaddr=FOREIGN_MAC),  # V4-06
    selecting(chaddr=FOREIGN_MAC),
    *(discover([(code, b"abc")]) for code in (50, 54)),  # V4-09
    *(frame(payload(REQUEST, [(code, b"abc")])) for code in (50, 54)),
    discover(giaddr="10.0.0.7"),  # V4-13
    selecting(server="10.0.0.254"),  # V4-31
    frame(payload(REQUEST, [(54, packed(SERVER))])),  # V4-33
    selecting(ciaddr=CLIENT),
    frame(payload(REQUEST)),  # V4-37
    *(frame(payload(DECLINE, [(50, packed(CLIENT)), (54, packed(name))])) for name in (SERVER, "10.0.0.254")),  # V4-38
    frame(payload(DECLINE, chaddr=FOREIGN_MAC)),  # V4-39
    *(frame(payload(RELEASE, ciaddr=CLIENT, chaddr=mac)) for mac in (FOREIGN_MAC, "52:54:00:0a:00:02")),
    inform("0.0.0.0", source="0.0.0.0"),  # V4-41
    *(frame(payload(DISCOVER), ethertype=tag) for tag in (0x8100, 0x88A8)),
    frame(payload(DISCOVER), fragment=0x2000),
    frame(payload(DISCOVER), port=68),
    arp(1, CLIENT, sender="0.0.0.0"),  # RFC 5227
    arp(1, CLIENT),
    arp(1, "10.0.0.9"),
    arp(1, SERVER),
    arp(2, NEIGHBOUR),
    arp(1, NEIGHBOUR, hardware=6),
]
IN_IPV6 = [
    router_solicitation(hop_limit=64),  # RA-02; a good one may be answered half a second later
    router_solicitation(code=1),
    router_solicitation(checksum=0x1234),
    router_solicitation(options=b"\1\0" + bytes(6)),
    router_solicitation(source="::", options=b"\1\1" + bytes(6)),
    router_solicitation(source_mac=FOREIGN_MAC),
    router_solicitation(kind=134),  # RA-03
    neighbour_solicitation(CLIENT6, source="::"),  # RFC 4862 §5.4
    neighbour_solicitation(CLIENT6),
    *(datagram6(message6(kind, [ia_na()])) for kind in (0, 2, 7, 10, 255)),  # V6-02
    datagram6(b"\1\0\0"),
    *(datagram6(message6(kind, [ia_na(CLIENT6)], server=b"\0\3\0\1other")) for kind in (1, 3, 4, 5, 6, 8, 9, 11)),
    solicit(duid=None),  # V6-06
    datagram6(message6(11, [ia_na()])),  # V6-07
    datagram6(relayed6(message6(SOLICIT, [ia_na()]))),  # V6-21
    datagram6(message6(SOLICIT, [ia_na()]), destination=ROUTER_LINK_LOCAL),
    datagram6(message6(SOLICIT, [ia_na()]), source_mac=FOREIGN_MAC),  # V6-22
]


def test_nothing_comes_within_half_a_second(wire: Wire) -> None:
    """All these frames at once; the last one is answered, which shows that an answer would be received."""
    wire.serve(neighbours={NEIGHBOUR: NEIGHBOUR_MAC})
    seen = wire.late_frames([*IN_IPV4, *IN_IPV6, discover(xid=0x51)], SECONDS)
    assert [octets[46:50] for octets in seen] == [b"\0\0\0\x51"]


def test_nothing_comes_within_half_a_second_where_ipv6_is_served(wire: Wire) -> None:
    """Advertisements to all nodes are no answers; the valid solicitation at the end gets its own."""
    wire.serve(**CONFIG6, neighbours={NEIGHBOUR: NEIGHBOUR_MAC})
    seen = wire.late_frames([*IN_IPV4, *IN_IPV6, solicit(xid=b"abc"), discover(xid=0x52)], SECONDS)
    answers = [octets for octets in seen if octets[:6] != ALL_NODES]
    assert [octets[46:50] if octets[12] == 8 else octets[63:66] for octets in answers] == [b"abc", b"\0\0\0\x52"]
    assert {octets[6:12].hex(":") for octets in answers} == {PORT_MAC}


def test_every_silent_frame_is_judged_alone(wire: Wire) -> None:
    """One frame at a time, so that none hides another in the two tests above; the server still answers after each."""
    wire.serve(**CONFIG6, neighbours={NEIGHBOUR: NEIGHBOUR_MAC})
    for request in [*IN_IPV4, *IN_IPV6]:
        assert [octets for octets in wire.frames(request) if octets[:6] != ALL_NODES] == []
