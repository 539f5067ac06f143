"""The DHCP message: the BOOTP header, the magic cookie and the options field (RFC 2131 §2). Pure."""

from __future__ import annotations

from _struct import Struct

from dhcp.lean.frozen import Frozen
from dhcp.wire.addresses import ANY
from dhcp.wire.ipv4 import Unusable
from dhcp.wire.option_codes import MESSAGE_TYPE
from dhcp.wire.options4 import FILE_OCTETS, SNAME_OCTETS, Layout, decode_options

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
NAMES = ("", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM")
FROM_CLIENT = frozenset((DISCOVER, REQUEST, DECLINE, RELEASE, INFORM))
BROADCAST_FLAG = 0x8000
FOREIGN_MAC = "foreign-mac"
# BOOTP header and magic cookie: what precedes the options.
HEADER = Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
HEADER_OCTETS = 240
# Some clients and relays drop what is shorter than a BOOTP message (RFC 951 §3, RFC 1542 §2.1).
SHORTEST_MESSAGE = 300
COOKIE = b"\x63\x82\x53\x63"

BOOTREQUEST, BOOTREPLY, ETHERNET, MAC_OCTETS = 1, 2, 1, 6
# Where fields are in the message (RFC 2131 §2, figure 1).
HLEN_AT, XID_AT, FLAGS_AT, GIADDR_AT, CHADDR_AT, COOKIE_AT = 2, 4, 10, 24, 28, 236


class Message(Frozen):
    """A well-formed message of a client."""

    kind: int
    """DISCOVER, REQUEST, DECLINE, RELEASE or INFORM."""
    xid: int
    flags: int
    client_address: bytes
    """`ciaddr`."""
    hardware_address: bytes
    """All 16 octets of `chaddr`."""
    options: dict[int, bytes]


def decode_message(payload: bytes, client_mac: bytes) -> Message:
    """The message in a UDP payload; raises Unusable when it is malformed or not from `client_mac`."""
    if len(payload) < HEADER_OCTETS:
        raise Unusable("truncated", "message shorter than its fixed header")
    op, htype, hlen, _, xid, _, flags, ciaddr, _, _, giaddr, chaddr, sname, file, cookie = HEADER.unpack_from(payload)
    if op != BOOTREQUEST:
        raise Unusable("not-a-request", "op is not BOOTREQUEST")
    if cookie != COOKIE:
        raise Unusable("cookie", "no DHCP magic cookie (RFC 2131 §3)")
    if htype != ETHERNET or hlen != MAC_OCTETS:
        raise Unusable("hardware-type", "hardware address is not Ethernet's")
    if chaddr[:6] != client_mac:
        raise Unusable(FOREIGN_MAC, "chaddr is not the client's MAC")
    if giaddr != ANY:
        raise Unusable("relayed", "giaddr is set, and no relay is behind a guest's port")
    options = decode_options(payload[HEADER_OCTETS:], file, sname)
    kind = options.get(MESSAGE_TYPE, b"")
    if len(kind) != 1:
        raise Unusable("no-message-type", "option 53 is missing or not one octet")
    if kind[0] not in FROM_CLIENT:
        raise Unusable("message-type", f"message type {kind[0]} is not one that a client sends to a server")
    return Message(kind[0], xid, flags, ciaddr, chaddr, options)


def encode_reply(
    request: Message,
    layout: Layout,
    *,
    ciaddr: bytes = ANY,
    yiaddr: bytes = ANY,
    siaddr: bytes = ANY,
    file: bytes = b"",
) -> bytes:
    """The UDP payload of a reply (RFC 2131 §4.3.1, table 3): hops, secs and giaddr are 0.

    `file` is written unless the layout needs that field for options.
    """
    header = HEADER.pack(
        BOOTREPLY,
        ETHERNET,
        MAC_OCTETS,
        0,
        request.xid,
        0,
        request.flags,
        ciaddr,
        yiaddr,
        siaddr,
        ANY,
        request.hardware_address,
        (layout.sname or b"").ljust(SNAME_OCTETS, b"\0"),
        (layout.file or file).ljust(FILE_OCTETS, b"\0"),
        COOKIE,
    )
    return (header + layout.field).ljust(SHORTEST_MESSAGE, b"\0")
