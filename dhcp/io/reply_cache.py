"""Prepared replies to requests that came before: the hot path of a server with a single client. Pure.

`handle` is a pure function, so its decision about a frame holds for every frame that differs only where the
decision does not depend on it or the reply copies it. Those are the transaction id (copied, and part of the
reply's UDP checksum) and fields that are never read: IP identification, both checksums, and `secs`.
"""

from __future__ import annotations

from _struct import Struct

from dhcp.decision import Decision
from dhcp.wire.dhcp4 import BOOTREPLY, ETHERNET, FLAGS_AT, HEADER_OCTETS, MAC_OCTETS, XID_AT
from dhcp.wire.ipv4 import IPV4_CHECKSUM_AT, IPV4_ID_AT, MESSAGE_AT, UDP_CHECKSUM_AT

TYPE_CHECKING = False
if TYPE_CHECKING:
    RequestKey = tuple[tuple[bytes, ...], bytes]

# No shorter frame is a request: Ethernet, IPv4 without options, UDP, BOOTP and the magic cookie.
SHORTEST_REQUEST = MESSAGE_AT + HEADER_OCTETS
# The beginning of a request as what decides about its answer, in four parts. Left out are IP identification, IP
# checksum, UDP checksum, and, behind them, the transaction id and `secs`. A key is these parts and what follows.
HEAD = Struct(
    f"!{IPV4_ID_AT}s2x{IPV4_CHECKSUM_AT - IPV4_ID_AT - 2}s2x{UDP_CHECKSUM_AT - IPV4_CHECKSUM_AT - 2}s2x"
    f"{XID_AT}s{FLAGS_AT - XID_AT}x"
)
XID = Struct("!I")
XID_OFFSET = MESSAGE_AT + XID_AT
# The UDP checksum of a reply; `op`, `htype`, `hlen`, `hops`, the same in all replies; the transaction id.
REPLY = Struct("!HII")
REPLY_OFFSET = UDP_CHECKSUM_AT
REPLY_HEAD = BOOTREPLY << 24 | ETHERNET << 16 | MAC_OCTETS << 8

_PLAIN_IPV4 = b"\x08\x00\x45"


class PreparedReply:
    """The decision about one request, and its frames as templates whose transaction id is replaced.

    `frames` are pairs of a template and what its UDP checksum is made of besides the transaction id. With
    transaction id x the checksum is `-(rest + x) % 0xFFFF or 0xFFFF`: ones' complement arithmetic is arithmetic
    modulo 0xFFFF (RFC 1071), and 0 is sent as 0xFFFF (RFC 768).
    """

    __slots__ = ("decision", "frames", "hits")

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.hits = 0
        self.frames = [(bytearray(frame), _sum_without_xid(frame)) for frame in decision.frames]


def is_preparable(frame: bytes, decision: Decision) -> bool:
    """Whether the decision was reached over a DHCP message behind a plain IPv4 header."""
    return frame[12:15] == _PLAIN_IPV4 and decision.message != ""


def _sum_without_xid(frame: bytes) -> int:
    checksum, _, xid = REPLY.unpack_from(frame, REPLY_OFFSET)
    rest: int = (-checksum - xid) % 0xFFFF
    return rest
