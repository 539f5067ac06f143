"""Replies kept for requests that were seen before: the hot path of a server with a single client.

`handle` is a pure function, so its decision about a frame holds for every frame that differs only where the
decision does not look or where the reply merely copies. Those are the transaction id (copied, and part of the
reply's UDP checksum) and fields that are never read: IP identification, both checksums, and `secs`.
"""

from __future__ import annotations

from dhcp.decision import Decision

# Offsets in a frame with a plain IPv4 header.
_PLAIN_IPV4 = b"\x08\x00\x45"
_UDP_CHECKSUM = 40
_XID = 46
# A guest that varies its requests only empties the store more often.
MOST_REQUESTS = 64


class PreparedReply:
    """The decision about one request, and its frames as templates whose transaction id can be replaced."""

    __slots__ = ("decision", "frames", "hits")

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.hits = 0
        self.frames = [(bytearray(frame), _sum_without_xid(frame)) for frame in decision.frames]

    def with_xid(self, xid: bytes) -> list[bytearray]:
        """The frames as an answer to transaction `xid`; they are valid until the next call."""
        number = int.from_bytes(xid, "big")
        for frame, rest in self.frames:
            frame[46:50] = xid
            # Ones' complement arithmetic is arithmetic modulo 0xFFFF (RFC 1071); 0 is sent as 0xFFFF (RFC 768).
            frame[40:42] = (-(rest + number) % 0xFFFF or 0xFFFF).to_bytes(2, "big")
        return [frame for frame, _ in self.frames]


def request_key(frame: bytes) -> bytes:
    """What of a request decides about its answer; equal keys of preparable frames mean equal answers."""
    return frame[:18] + frame[20:24] + frame[26:40] + frame[42:46] + frame[52:]


def is_preparable(frame: bytes, decision: Decision) -> bool:
    """Whether the decision was reached over a DHCP message behind a plain IPv4 header."""
    return frame[12:15] == _PLAIN_IPV4 and decision.message != ""


def _sum_without_xid(frame: bytes) -> int:
    checksum = int.from_bytes(frame[_UDP_CHECKSUM : _UDP_CHECKSUM + 2], "big")
    xid = int.from_bytes(frame[_XID : _XID + 4], "big")
    return (-checksum - xid) % 0xFFFF
