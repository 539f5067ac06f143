"""RFC checklist V4-14 … V4-28: header, size and destination of replies (RFC 2131 §4.1, table 3)."""

from __future__ import annotations

import struct

import pytest
from exchange import PORT_MAC, Exchange
from lab.rawclient import Reply
from lab.requests import (
    ACK,
    CLIENT,
    CLIENT_MAC,
    COOKIE,
    DISCOVER,
    NAK,
    OFFER,
    REQUEST,
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
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
OTHER = "10.0.0.9"
MANY_NAMES = [f"domain-number-{i}.with-a-long-name.example" for i in range(40)]


def destination(reply: Reply) -> tuple[str, str]:
    return reply.packet[Ether].dst, reply.packet[IP].dst


def field(reply: Reply, name: str) -> bytes:
    at = {"ciaddr": 12, "yiaddr": 16, "siaddr": 20, "giaddr": 24}[name]
    return reply.payload[at : at + 4]


@pytest.mark.parametrize("flags", [0, 0x8000, 0x8001, 0x7FFF])
def test_v4_14_header_is_copied(server: Exchange, flags: int) -> None:
    chaddr = mac_octets(CLIENT_MAC) + b"0123456789"
    fields = {"xid": 0xDEADBEEF, "secs": 77, "hops": 3, "flags": flags, "chaddr": chaddr}
    messages = (
        discover(**fields),
        selecting(**fields),
        reboot(CLIENT, **fields),
        renewing(CLIENT, **fields),
        inform(CLIENT, **fields),
        selecting(OTHER, **fields),
        reboot(OTHER, **fields),
        renewing(OTHER, **fields),
    )
    replies = [reply for message in messages for reply in server.replies(message)]
    assert [reply.message_type for reply in replies] == [OFFER, *[ACK] * 4, *[NAK] * 4]
    for reply in replies:
        assert reply.payload[:12] == struct.pack("!4BIHH", 2, 1, 6, 0, 0xDEADBEEF, 0, flags)
        assert field(reply, "giaddr") == bytes(4)
        assert reply.payload[28:44] == chaddr


def test_v4_15_addresses_in_the_header(server: Exchange) -> None:
    offer, ack = server.reply(discover()), server.reply(selecting())
    for reply in (offer, ack):
        assert (field(reply, "ciaddr"), field(reply, "yiaddr")) == (bytes(4), packed(CLIENT))
    renewed = server.reply(renewing(CLIENT))
    assert (field(renewed, "ciaddr"), field(renewed, "yiaddr")) == (packed(CLIENT), packed(CLIENT))
    for nak in (server.reply(reboot(OTHER)), *server.replies(renewing(OTHER))):
        assert nak.message_type == NAK
        assert [field(nak, name) for name in ("ciaddr", "yiaddr", "siaddr")] == [bytes(4)] * 3


def test_v4_15_a_nak_says_nothing_about_booting(server: Exchange) -> None:
    """Table 3: `siaddr` 0, and `sname` and `file` unused, even with a boot server configured."""
    server.serve(boot_file="linux.0", tftp_server="10.0.0.8")
    assert field(server.reply(discover()), "siaddr") == packed("10.0.0.8")
    for message in (reboot(OTHER), selecting(OTHER), renewing(OTHER)):
        for nak in server.replies(message):
            assert nak.message_type == NAK
            assert field(nak, "siaddr") == bytes(4)
            assert nak.payload[44:236] == bytes(192)


def test_v4_15_an_ack_of_a_discover_has_no_ciaddr(server: Exchange) -> None:
    """Rapid commit: table 3 takes `ciaddr` from a REQUEST only."""
    server.serve(rapid_commit=True)
    reply = server.reply(discover([(80, b"")], ciaddr=OTHER))
    assert (reply.message_type, field(reply, "ciaddr")) == (ACK, bytes(4))


def test_v4_16_no_next_server_unless_configured(server: Exchange) -> None:
    server.serve(boot_file="linux.0", tftp_server="boot.example")
    assert field(server.reply(discover()), "siaddr") == bytes(4)


def test_v4_16_next_server(server: Exchange) -> None:
    """Choice: file and server address are in the header too, for boot ROMs that read no options."""
    server.serve(boot_file="linux.0", tftp_server="10.0.0.8")
    reply = server.reply(discover())
    assert field(reply, "siaddr") == packed("10.0.0.8")
    assert reply.payload[108:236] == b"linux.0".ljust(128, b"\0")


@pytest.mark.parametrize("message", [discover(), selecting(), reboot(OTHER)], ids=["offer", "ack", "nak"])
def test_v4_17_cookie_first_end_last(server: Exchange, message: bytes) -> None:
    reply = server.reply(message)
    assert reply.payload[236:240] == COOKIE
    assert reply.payload.rstrip(b"\0")[-1] == 255
    assert reply.address(54) == SERVER


def test_v4_18_lease_time_where_it_belongs(server: Exchange) -> None:
    asked = (50, 51, 55, 57, 1)
    for message in (discover(parameters=asked), selecting(parameters=asked)):
        assert server.reply(message).number(51) == 86_400
    for message in (inform(CLIENT, parameters=asked), reboot(OTHER, parameters=asked)):
        assert server.reply(message).option(51) is None
    for message in (discover(parameters=asked), inform(CLIENT, parameters=asked), reboot(OTHER, parameters=asked)):
        assert not {50, 55, 57} & set(server.reply(message).codes)


def test_v4_19_options_of_a_nak(server: Exchange) -> None:
    reply = server.reply(reboot(OTHER, [(61, b"\1abc"), (60, b"x"), (82, b"\1\1a")]))
    assert reply.codes == (53, 54, 61)


@pytest.mark.parametrize("message", [discover(), reboot(OTHER), inform(CLIENT, parameters=None)])
def test_v4_20_at_least_a_bootp_message(server: Exchange, message: bytes) -> None:
    """Choice: padded, because some clients and relays drop shorter messages."""
    assert len(server.reply(message).payload) >= 300


def test_v4_21_ports_source_and_checksums(server: Exchange) -> None:
    """Asserted for every reply in `exchange.well_formed`; for an odd payload length the checksum pads."""
    server.serve(hostname="x" * 69)
    assert len(server.reply(discover()).payload) % 2 == 1


@pytest.mark.parametrize(
    ("maximum", "allowed"), [(None, 576), (0, 576), (575, 576), (576, 576), (577, 577), (1000, 1000), (65535, 1400)]
)
def test_v4_22_size(server: Exchange, maximum: int | None, allowed: int) -> None:
    """A larger maximum than the link's MTU (1400 here) is the MTU: replies are never fragmented."""
    server.serve(search=MANY_NAMES, options={"224": "x" * 400})
    options = [] if maximum is None else [(57, struct.pack("!H", maximum))]
    reply = server.reply(discover(options, parameters=(119, 224)))
    assert allowed - 450 < reply.packet[IP].len <= allowed


def served_to_the_last_octet(server: Exchange, size: int) -> None:
    """Serve options that exactly fill a datagram of `size` octets."""
    server.serve(options={"224": "x" * 200, "225": "y"})
    field = server.reply(discover(parameters=(224, 225))).payload[240:].rstrip(b"\0")
    server.serve(options={"224": "x" * 200, "225": "y" * (1 + size - 28 - 240 - len(field))})


@pytest.mark.parametrize("maximum", [0, 1, 68, 300, 575])
def test_v4_22_less_than_576_is_576(server: Exchange, maximum: int) -> None:
    """RFC 2132 §9.10: the least legal value. An octet less and option 52 would be needed."""
    served_to_the_last_octet(server, 576)
    told = server.reply(discover([(57, maximum.to_bytes(2))], parameters=(224, 225)))
    assert (told.packet[IP].len, told.option(52)) == (576, None)
    for least in (discover([(57, b"\x02\x40")], parameters=(224, 225)), discover(parameters=(224, 225))):
        assert told.frame == server.reply(least).frame


def test_v4_22_an_octet_more_is_used(server: Exchange) -> None:
    served_to_the_last_octet(server, 577)
    for maximum, size in ((576, 576), (577, 577)):
        reply = server.reply(discover([(57, maximum.to_bytes(2))], parameters=(224, 225)))
        assert reply.packet[IP].len <= size
        assert (reply.option(52) is None) == (maximum == 577)


@pytest.mark.parametrize("flags", [0, 0x8000])
def test_v4_23_unicast_to_ciaddr(server: Exchange, flags: int) -> None:
    for message in (renewing(CLIENT, flags=flags), inform(CLIENT, flags=flags)):
        assert destination(server.reply(message)) == (CLIENT_MAC, CLIENT)
    assert destination(server.reply(inform("10.0.0.77", flags=flags))) == (CLIENT_MAC, "10.0.0.77")


@pytest.mark.parametrize("flags", [0x8000, 0x8001, 0xFFFF])
def test_v4_24_broadcast_flag(server: Exchange, flags: int) -> None:
    """RFC 2131 §2: the other bits must be zero, and are ignored when they are not."""
    for message in (discover(flags=flags), selecting(flags=flags), reboot(CLIENT, flags=flags)):
        assert destination(server.reply(message)) == (BROADCAST_MAC, "255.255.255.255")


@pytest.mark.parametrize("flags", [0, 1, 0x7FFF])
def test_v4_25_unicast_to_an_address_not_yet_configured(server: Exchange, flags: int) -> None:
    for message in (discover(flags=flags), selecting(flags=flags), reboot(CLIENT, flags=flags)):
        assert destination(server.reply(message)) == (CLIENT_MAC, CLIENT)


@pytest.mark.parametrize("address", ["255.255.255.255", "224.0.0.1", "127.0.0.1", "0.0.0.7"])
def test_v4_23_nothing_is_sent_to_an_address_that_no_host_has(server: Exchange, address: str) -> None:
    """RFC 1122 §3.2.1.3. A NAK is broadcast, an OFFER is sent to the client's address, an INFORM gets no answer."""
    nak = server.reply(renewing(address))
    assert (nak.message_type, destination(nak)) == (NAK, (BROADCAST_MAC, "255.255.255.255"))
    assert destination(server.reply(discover(ciaddr=address))) == (CLIENT_MAC, CLIENT)
    assert server.silent(inform(address))


@pytest.mark.parametrize("flags", [0, 0x8000])
def test_v4_26_nak_is_broadcast(server: Exchange, flags: int) -> None:
    for message in (reboot(OTHER, flags=flags), selecting(OTHER, flags=flags)):
        reply = server.reply(message)
        assert reply.message_type == NAK
        assert destination(reply) == (BROADCAST_MAC, "255.255.255.255")


@pytest.mark.parametrize("to", [SERVER, "255.255.255.255"], ids=["renewing", "rebinding"])
def test_v4_26_nak_for_a_client_with_an_address_is_unicast_as_well(server: Exchange, to: str) -> None:
    """Choice: networkd, NetworkManager and dhcpcd do not receive a broadcast NAK while renewing."""
    replies = server.replies(renewing(OTHER, server=to))
    assert [reply.message_type for reply in replies] == [NAK, NAK]
    assert [destination(reply) for reply in replies] == [
        (CLIENT_MAC, OTHER),
        (BROADCAST_MAC, "255.255.255.255"),
    ]


@pytest.mark.parametrize("source_mac", ["02:00:00:00:00:77", "ff:ff:ff:ff:ff:ff", PORT_MAC])
def test_v4_27_a_reply_is_for_the_guests_port_alone(server: Exchange, source_mac: str) -> None:
    """Whatever the frame's source, a reply goes to the client behind the guest port; `test_process` has an uplink."""
    for message in (payload(DISCOVER), payload(REQUEST, ciaddr=CLIENT)):
        assert destination(server.reply(frame(message, source_mac=source_mac))) == (CLIENT_MAC, CLIENT)


@pytest.mark.parametrize("port", [67, 1024, 0])
def test_v4_28_replies_go_to_port_68(server: Exchange, port: int) -> None:
    """Choice: any source port is served. RFC 2131 §4.1 fixes the destination ports of messages, not their source
    ports; and a reply to another port than 68 could reach a service of the guest that does not expect it."""
    for message, kind in ((payload(DISCOVER), OFFER), (payload(REQUEST, ciaddr=CLIENT), ACK)):
        reply = server.reply(frame(message, source_port=port))
        assert (reply.message_type, reply.packet[UDP].dport) == (kind, 68)


def test_v4_28_whatever_the_addresses_of_the_frame(server: Exchange) -> None:
    """A client that has its address sends to the router's MAC, or to its server of another network."""
    message = frame(
        payload(REQUEST, ciaddr=CLIENT),
        source=CLIENT,
        destination="192.0.2.1",
        destination_mac="02:11:22:33:44:55",
    )
    assert server.reply(message).message_type == ACK
