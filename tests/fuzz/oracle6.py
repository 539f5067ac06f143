"""What must be true of a decision about an IPv6 frame, read off RFC 8415 and RFC 4861 again; see `oracle`."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from dhcp.decision import Decision
from dhcp.v4.lease import ServedLease

ADVERTISE, REPLY = 2, 7
TO_ONE_SERVER = frozenset((3, 5, 8, 9))
TO_ANY_SERVER = frozenset((1, 4, 6))
CLIENT_ID, SERVER_ID, IA_NA, IA_ADDRESS = 1, 2, 3, 5
RS, RA, NS, NA = 133, 134, 135, 136
ALL_AGENTS = bytes.fromhex("ff020000000000000000000000010002")
UDP, ICMP6 = 17, 58
LIFETIMES = struct.Struct("!II")


def must_be_silent6(frame: bytes, port: ServedLease) -> bool:
    """Whether an IPv6 frame is one that may not be answered, as far as its fixed fields tell."""
    ipv6 = port.ipv6
    if ipv6 is None or len(frame) < 62 or frame[14] >> 4 != 6:
        return True
    payload = frame[54 : 54 + struct.unpack_from("!H", frame, 18)[0]]
    if len(payload) < 8:
        return True
    if frame[20] == UDP:
        return not (
            payload[2:4] == struct.pack("!H", 547)
            and frame[6:12] == ipv6.client_mac
            and frame[38:54] == ALL_AGENTS
            and ((frame[22] == 0xFE and frame[23] >> 6 == 2) or frame[22:38] == ipv6.client_address)
            and payload[8:9] in [bytes((kind,)) for kind in (1, 3, 4, 5, 6, 8, 9, 11)]
        )
    # RFC 4861 §6.1.1, §7.1.1
    valid = frame[20] == ICMP6 and frame[21] == 255 and payload[1] == 0 and checks(frame[22:54], payload, ICMP6)
    if not valid or payload[0] not in (RS, NS):
        return True
    if payload[0] == RS:
        return frame[6:12] != ipv6.client_mac
    return len(payload) < 24 or payload[8:24] not in ipv6.neighbours


def check6(frame: bytes, port: ServedLease, decision: Decision) -> None:
    """The one reply to an IPv6 frame; raises AssertionError."""
    (reply,) = decision.frames
    assert reply[12:18] == b"\x86\xdd\x60\0\0\0"
    payload = reply[54:]
    assert struct.unpack_from("!H", reply, 18)[0] == len(payload)
    assert len(reply) - 14 <= max(port.config.mtu, 1280)
    assert checks(reply[22:54], payload, reply[20])
    assert reply[22] != 0xFF, "sent from a multicast address"
    if reply[20] == UDP:
        check_dhcp6(frame, port, reply, payload)
    else:
        check_nd(frame, port, reply, payload)


def check_dhcp6(frame: bytes, port: ServedLease, reply: bytes, payload: bytes) -> None:
    ipv6 = port.ipv6
    assert ipv6 is not None
    assert reply[:12] == ipv6.client_mac + port.mac
    assert reply[22:38] == ipv6.address
    assert reply[38:54] == frame[22:38]
    assert payload[:4] == struct.pack("!HH", 547, 546)
    assert struct.unpack_from("!H", payload, 4)[0] == len(payload)
    message, asked = payload[8:], frame[62:]
    kind = asked[0]
    assert message[0] == REPLY or (message[0] == ADVERTISE and kind == 1)
    assert message[1:4] == asked[1:4], "another transaction id"
    options = list(options_of(message[4:]))
    values = dict(options)
    assert values[SERVER_ID] == ipv6.duid
    # Of the request, only what came before the first broken option counts; it is not read here a second time.
    assert (CLIENT_ID in values) or kind == 11
    for value in (value for code, value in options if code == IA_NA):
        for code, inner in options_of(value[12:]):
            if code == IA_ADDRESS:
                preferred, valid = LIFETIMES.unpack_from(inner, 16)
                assert preferred <= valid
                assert valid == 0 or inner[:16] == ipv6.client_address, "another address than the client's"


def check_nd(frame: bytes, port: ServedLease, reply: bytes, payload: bytes) -> None:
    ipv6 = port.ipv6
    assert ipv6 is not None
    assert reply[20:22] == bytes((ICMP6, 255))
    assert payload[0] == (RA if frame[54] == RS else NA)
    at = 16 if payload[0] == RA else 24
    while at < len(payload):
        assert payload[at + 1] > 0
        at += 8 * payload[at + 1]
    assert at == len(payload)
    if payload[0] == RA:
        assert reply[22:38] == ipv6.address
        return
    target = payload[8:24]
    assert target == frame[62:78]
    assert target != ipv6.client_address, "the client's own address was defended (RFC 4862 §5.4)"
    assert payload[24:32] == b"\2\1" + ipv6.neighbours[target]
    assert reply[6:12] == ipv6.neighbours[target]
    unspecified = not any(frame[22:38])
    assert (reply[38] == 0xFF) == unspecified
    assert bool(payload[4] & 0x40) != unspecified, "the solicited flag (RFC 4861 §7.2.4)"


def options_of(field: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, value) of DHCPv6 options, which must fill the field."""
    at = 0
    while at < len(field):
        code, length = struct.unpack_from("!HH", field, at)
        at += 4 + length
        assert at <= len(field), "an option runs past its field"
        yield code, field[at - length : at]


def checks(addresses: bytes, payload: bytes, protocol: int) -> bool:
    """Whether the checksum over the pseudo-header of RFC 8200 §8.1 is right."""
    octets = addresses + struct.pack("!II", len(payload), protocol) + payload
    total: int = sum(struct.unpack(f"!{(len(octets) + 1) // 2}H", octets + b"\0" * (len(octets) & 1)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF
