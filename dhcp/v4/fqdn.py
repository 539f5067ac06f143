"""The client's name, option 81 (RFC 4702). Pure."""

from __future__ import annotations

from dhcp.wire.option_codes import CLIENT_FQDN


def answer_fqdn(value: bytes) -> list[tuple[int, bytes]]:
    """Option 81 as the client sent it, with the flags that no DNS update is done here (RFC 4702 §4: N=1, S=0).

    A malformed one is not repeated.
    """
    if len(value) < 3 or len(value) > 255:
        return []
    flags = value[0]
    if flags & 0b0100 and not _is_name(value[3:]):
        return []
    overridden = 0b0010 if flags & 0b0001 else 0
    return [(CLIENT_FQDN, bytes((flags & 0b0100 | 0b1000 | overridden, 255, 255)) + value[3:])]


def _is_name(encoded: bytes) -> bool:
    """Whether these are labels (RFC 1035 §3.1); a partial name lacks the empty one at its end (RFC 4702 §2.3.1)."""
    at = 0
    while at < len(encoded) and 0 < encoded[at] < 64:
        at += 1 + encoded[at]
    return at == len(encoded) or encoded[at:] == b"\0"
