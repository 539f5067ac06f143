"""What must be true of a decision whatever the frame was: read off the RFCs again, with none of the server's code.

Plain octets and no scapy, because a fuzzer comes by some ten thousand times a second.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from oracle6 import check6, must_be_silent6

from dhcp.decision import Decision
from dhcp.v4.lease import ServedLease

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
COOKIE = b"\x63\x82\x53\x63"
BROADCAST_MAC = b"\xff" * 6
PORTS = b"\0\x43\0\x44"  # 67 to 68
SHORTEST_REQUEST = 14 + 20 + 8 + 240
SMALLEST_MAXIMUM = 576
MAX_MESSAGE_SIZE = 57
HOSTS = frozenset(range(1, 256)) - {127, *range(224, 240)}  # first octets, RFC 1122 §3.2.1.3, but for 240/4
ONLY_REQUESTS_HAVE = frozenset((50, 55, 57))
LEASE_OPTIONS = frozenset((51, 58, 59))
IN_A_NAK = frozenset((53, 54, 61))


def must_be_silent(frame: bytes, port: ServedLease) -> bool:
    """Whether the frame is one that no server of this client may answer, as far as the fixed fields tell."""
    if frame[12:14] == b"\x08\x06":
        if len(frame) < 42 or frame[14:22] != b"\0\1\x08\0\6\4\0\1" or frame[38:42] not in port.arp:
            return True
        routers = frame[38:42] == port.config.router and frame[38:42] not in dict(port.config.neighbours)
        return routers and frame[28:32] in (bytes(4), *port.config.allowed_sources)
    if frame[12:14] == b"\x86\xdd":
        return must_be_silent6(frame, port)
    if len(frame) < SHORTEST_REQUEST or frame[12:15] != b"\x08\0\x45" or frame[23] != 17 or frame[36:38] != b"\0\x43":
        return True
    fragment = struct.unpack_from("!H", frame, 20)[0] & 0x3FFF
    header = frame[42:45] == b"\1\1\6" and frame[278:282] == COOKIE
    return bool(fragment) or not header or frame[70:76] != port.config.client_mac or any(frame[66:70])


def check(frame: bytes, port: ServedLease, decision: Decision) -> None:
    """Raises AssertionError for a decision that is none, or whose replies are not what a client may be sent."""
    assert decision.reason
    assert bool(decision.frames) == bool(decision.answer) != bool(decision.cause)
    if decision.frames:
        assert not must_be_silent(frame, port), "this frame must get silence"
        if frame[12:14] == b"\x08\x06":
            check_arp(frame, port, decision)
            return
        if frame[12:14] == b"\x86\xdd":
            check6(frame, port, decision)
            return
    for reply in decision.frames:
        check_reply(frame, port, reply)


def check_arp(frame: bytes, port: ServedLease, decision: Decision) -> None:
    (reply,) = decision.frames
    sender_mac, sender, target = frame[22:28], frame[28:32], frame[38:42]
    mac = port.arp[target]
    assert target != port.config.client_address, "the client's own address was defended (RFC 5227)"
    assert sender != target, "an announcement was answered"
    assert reply[:14] == sender_mac + mac + b"\x08\x06"
    assert reply[14:42] == b"\0\1\x08\0\6\4\0\2" + mac + target + sender_mac + sender
    assert len(reply) >= 60


def check_reply(request: bytes, port: ServedLease, reply: bytes) -> None:
    """One DHCP reply, from Ethernet to its last option."""
    config = port.config
    to, source, addressee = reply[:6], reply[26:30], reply[30:34]
    assert to in (config.client_mac, BROADCAST_MAC)
    assert reply[6:15] == port.mac + b"\x08\0\x45"
    assert source == config.server_address
    if to == BROADCAST_MAC:
        assert addressee == b"\xff" * 4
    else:
        assert addressee[0] in HOSTS, "sent to an address that no host has"
    assert struct.unpack_from("!H", reply, 16)[0] == len(reply) - 14
    assert struct.unpack_from("!H", reply, 38)[0] == len(reply) - 34
    assert reply[34:38] == PORTS
    assert ones_sum(reply[14:34]) == 0xFFFF, "IPv4 checksum"
    pseudo = reply[26:34] + struct.pack("!HH", 17, len(reply) - 34)
    assert ones_sum(pseudo + reply[34:]) == 0xFFFF, "UDP checksum"
    assert reply[40:42] != b"\0\0"

    message = reply[42:]
    assert message[:4] == b"\2\1\6\0"
    assert message[4:8] == request[46:50], "another transaction id"
    assert message[8:12] == b"\0\0" + request[52:54]
    assert message[24:28] == bytes(4)
    assert message[28:44] == request[70:86]
    assert 300 <= len(message) <= max(SMALLEST_MAXIMUM, config.mtu or 1500) - 28
    if MAX_MESSAGE_SIZE not in request[86:]:  # nowhere, so that no reading of the options could find it
        assert len(message) <= SMALLEST_MAXIMUM - 28, "longer than the client said it takes (RFC 2131 §2)"
    assert message[236:240] == COOKIE
    options = dict(options_of(message))
    assert next(options_of(message))[0] == 53
    kind = options[53][0]
    assert options[54] == config.server_address
    assert not ONLY_REQUESTS_HAVE & options.keys()
    ciaddr, yiaddr = message[12:16], message[16:20]
    if kind == NAK:
        assert options.keys() <= IN_A_NAK
        assert not any(message[12:24])
    elif LEASE_OPTIONS & options.keys():
        assert kind in (OFFER, ACK)
        assert yiaddr == config.client_address, "another address than the client's"
        assert options[51] == config.lease_seconds.to_bytes(4)
        assert ciaddr == bytes(4) or (kind == ACK and ciaddr == request[54:58])
    else:  # for an INFORM
        assert kind == ACK
        assert yiaddr == bytes(4)


def options_of(message: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, value) of every option up to END, in the fields that option 52 says; raises AssertionError."""
    overload = 0
    for code, value in walk(message[240:]):
        if code == 52:
            overload = value[0]
        yield code, value
    if overload & 1:
        yield from walk(message[108:236])
    if overload & 2:
        yield from walk(message[44:108])


def walk(field: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while field[at] != 255:
        if field[at] == 0:
            at += 1
            continue
        end = at + 2 + field[at + 1]
        assert end < len(field), "an option runs past its field"
        yield field[at], field[at + 2 : end]
        at = end
    assert not any(field[at + 1 :]), "something after END"


def ones_sum(octets: bytes) -> int:
    """The ones' complement sum (RFC 1071) of octets that are not all zero; 0xFFFF over a good checksum."""
    if len(octets) & 1:
        octets += b"\0"
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total
