"""Sends IPv6 frames to the server under test; scapy dissects the replies, and this module what scapy does not."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any

from exchange import PORT_MAC, Exchange
from lab.requests import CLIENT_MAC
from lab.requests6 import (
    CLIENT6,
    IA_ADDRESS,
    IA_NA,
    ROUTER_LINK_LOCAL,
    ROUTER_MAC,
    SERVER_ID,
    STATUS,
    datagram6,
    message6,
    solicit,
)
from scapy.layers import dhcp6  # noqa: F401 (scapy's UDP learns of it)
from scapy.layers.inet import UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_RA, IPv6, _ICMPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

CONFIG6 = {
    "client_address6": f"{CLIENT6}/128",
    "router6": ROUTER_LINK_LOCAL,
    "router6_lladdr": ROUTER_MAC,
    "dns6": ["fd00:10:96::a"],
    "search": ["default.svc.cluster.local", "cluster.local"],
}
SUBSTITUTE_ROUTER = "fe80::fc:1"
FOREVER = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Lease6:
    """One IA of a reply."""

    code: int
    iaid: bytes
    t1: int
    t2: int
    addresses: tuple[tuple[str, int, int], ...]
    """Address, preferred and valid lifetime."""
    status: int | None


@dataclass(frozen=True, slots=True)
class Reply6:
    """One DHCPv6 message of the server."""

    frame: bytes
    packet: Packet
    payload: bytes
    options: tuple[tuple[int, bytes], ...]

    @property
    def kind(self) -> int:
        return self.payload[0]

    @property
    def codes(self) -> list[int]:
        return [code for code, _ in self.options]

    def option(self, code: int) -> bytes | None:
        return dict(self.options).get(code)

    @property
    def status(self) -> int | None:
        value = self.option(STATUS)
        return None if value is None else int.from_bytes(value[:2])

    @property
    def leases(self) -> list[Lease6]:
        return [_lease(code, value) for code, value in self.options if code in (IA_NA, 25)]

    @property
    def addresses(self) -> list[str]:
        return [address for lease in self.leases for address, _, valid in lease.addresses if valid]


class Exchange6:
    """Sends requests to a server with CONFIG6, and checks every reply by scapy's dissection first."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.restart = exchange.restart

    def serve(self, **fields: Any) -> None:
        self._exchange.serve(**{**CONFIG6, **fields})

    def frames(self, request: bytes) -> list[bytes]:
        """All replies, without unsolicited advertisements."""
        return [f for f in self._exchange.frames(request) if not (f[:6] == b"\x33\x33\0\0\0\1" and f[54] == 134)]

    def reply(self, request: bytes) -> Reply6:
        (frame,) = self.frames(request)
        return well_formed6(frame)

    def silent(self, request: bytes) -> bool:
        return self.frames(request) == []

    @property
    def duid(self) -> bytes:
        duid = self.reply(solicit()).option(SERVER_ID)
        assert duid
        return duid

    def ask(self, kind: int, *options: tuple[int, bytes], **fields: Any) -> bytes:
        """A message to this server."""
        return datagram6(message6(kind, options, server=self.duid, **fields))

    def advertisement(self, request: bytes) -> Packet:
        (frame,) = self._exchange.frames(request)[-1:]
        return well_formed_nd(frame)


def well_formed6(frame: bytes) -> Reply6:
    """Check the rules that every DHCPv6 reply must follow, and return the reply."""
    packet = Ether(frame)
    assert (packet.src, packet.dst) == (PORT_MAC, CLIENT_MAC)
    assert IPv6Address(packet[IPv6].src).is_link_local
    assert (packet[UDP].sport, packet[UDP].dport) == (547, 546)
    assert packet[IPv6].plen == packet[UDP].len == len(frame) - 54
    assert packet[UDP].chksum == recomputed(packet, UDP).chksum != 0
    payload = frame[62:]
    assert packet[UDP].payload.msgtype == payload[0]
    return Reply6(frame, packet, payload, tuple(options6(payload[4:])))


def well_formed_nd(frame: bytes) -> Packet:
    """Check the rules that every neighbour-discovery message must follow (RFC 4861 §6.1.2, §7.1.2)."""
    packet = Ether(frame)
    kind = ICMPv6ND_RA if ICMPv6ND_RA in packet else ICMPv6ND_NA
    assert packet[IPv6].hlim == 255
    assert packet[kind].code == 0
    assert packet[IPv6].plen == len(frame) - 54
    assert packet[kind].cksum == recomputed(packet, kind).cksum
    return packet


def recomputed(packet: Packet, layer: type[_ICMPv6] | type[UDP]) -> Packet:
    fresh = packet.copy()
    if layer is UDP:
        del fresh[layer].chksum
    else:
        del fresh[layer].cksum
    return Ether(bytes(fresh))[layer]


def options6(field: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(field):
        code, length = struct.unpack_from("!HH", field, at)
        assert at + 4 + length <= len(field), f"option {code} runs past the end"
        yield code, field[at + 4 : at + 4 + length]
        at += 4 + length


def nd_options(packet: Packet, fixed: int = 16) -> list[tuple[int, bytes]]:
    """(type, all octets) of each option of an RA."""
    octets = bytes(packet[IPv6].payload)
    found, at = [], fixed
    while at < len(octets):
        length = octets[at + 1] * 8
        assert length
        assert at + length <= len(octets)
        found.append((octets[at], octets[at : at + length]))
        at += length
    return found


def names(encoded: bytes) -> list[str]:
    """Uncompressed RFC 1035 names; padding at the end is skipped."""
    found, labels, at = [], [], 0
    while at < len(encoded):
        length = encoded[at]
        assert length < 64
        if length:
            labels.append(encoded[at + 1 : at + 1 + length].decode())
        elif labels:
            found.append(".".join(labels))
            labels = []
        at += 1 + length
    assert not labels
    return found


def _lease(code: int, value: bytes) -> Lease6:
    t1, t2 = struct.unpack_from("!II", value, 4)
    addresses = []
    status = None
    for inner, content in options6(value[12:]):
        if inner == IA_ADDRESS:
            preferred, valid = struct.unpack_from("!II", content, 16)
            addresses.append((str(IPv6Address(content[:16])), preferred, valid))
        elif inner == STATUS:
            status = int.from_bytes(content[:2])
    return Lease6(code, value[:4], t1, t2, tuple(addresses), status)
