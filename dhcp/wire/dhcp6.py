"""The DHCPv6 message of a client: type, transaction and options (RFC 8415 §8, §16). Pure."""

from __future__ import annotations

from dhcp.lean.frozen import Frozen
from dhcp.wire.ipv4 import Unusable
from dhcp.wire.options6 import (
    CLIENT_ID,
    IA_ADDRESS,
    IA_NA,
    IA_PD,
    IA_TA,
    OPTION_REQUEST,
    RAPID_COMMIT,
    SERVER_ID,
    decode_options6,
)

SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE = range(1, 10)
INFORMATION_REQUEST = 11
NAMES6 = {
    SOLICIT: "SOLICIT",
    ADVERTISE: "ADVERTISE",
    REQUEST: "REQUEST6",
    CONFIRM: "CONFIRM",
    RENEW: "RENEW",
    REBIND: "REBIND",
    REPLY: "REPLY",
    RELEASE: "RELEASE6",
    DECLINE: "DECLINE6",
    INFORMATION_REQUEST: "INFORMATION-REQUEST",
}
"""Names of messages; those that DHCPv4 has too end in a 6."""
FROM_CLIENT6 = frozenset(NAMES6) - {ADVERTISE, REPLY}
HEADER_OCTETS6 = 4
# Two octets of type and at most 128 of identifier (RFC 8415 §11.1).
LONGEST_DUID = 130
# One reply must hold the answer to all of them; clients send one or two.
MOST_ASSOCIATIONS = 8
MOST_ADDRESSES6 = 16


class Association(Frozen):
    """An IA_NA or IA_PD of a client, with the addresses of an IA_NA."""

    code: int
    iaid: bytes
    addresses: tuple[bytes, ...] = ()


class Message6(Frozen):
    """A well-formed message of a client."""

    kind: int
    xid: bytes
    """Three octets."""
    client_id: bytes = b""
    """Empty when there is none."""
    server_id: bytes = b""
    requested: tuple[int, ...] = ()
    """Numbers in the Option Request option."""
    associations: tuple[Association, ...] = ()
    """IA_NA and IA_PD in order, at most MOST_ASSOCIATIONS; IA_TA is left out (RFC 9915 has none)."""
    has_associations: bool = False
    """Whether there was an IA of any kind."""
    rapid_commit: bool = False


def decode_message6(payload: bytes) -> Message6:
    """The message in a UDP payload; raises Unusable for one that is malformed or that no client sends.

    Of an option that may appear once the first one counts.
    """
    if len(payload) < HEADER_OCTETS6:
        raise Unusable("truncated", "message shorter than its header")
    kind = payload[0]
    if kind not in FROM_CLIENT6:
        # among them Relay-forward: no relay is behind a guest's port
        raise Unusable("message-type", f"message type {kind} is not one that a client sends to a server")
    options = decode_options6(payload[HEADER_OCTETS6:])
    first: dict[int, bytes] = {}
    for code, value in options:
        first.setdefault(code, value)
    if CLIENT_ID in first and not 3 <= len(first[CLIENT_ID]) <= LONGEST_DUID:
        raise Unusable("client-id", "the Client Identifier is not a DUID (RFC 8415 §11.1)")
    if SERVER_ID in first and not first[SERVER_ID]:
        raise Unusable("server-id", "the Server Identifier is empty")
    numbers = first.get(OPTION_REQUEST, b"")
    if len(numbers) % 2:
        raise Unusable("option-length", "the Option Request option has half a number")
    return Message6(
        kind,
        payload[1:4],
        first.get(CLIENT_ID, b""),
        first.get(SERVER_ID, b""),
        tuple(numbers[at] << 8 | numbers[at + 1] for at in range(0, len(numbers), 2)),
        _associations(options),
        any(code in (IA_NA, IA_TA, IA_PD) for code, _ in options),
        RAPID_COMMIT in first,
    )


def _associations(options: list[tuple[int, bytes]]) -> tuple[Association, ...]:
    found: list[Association] = []
    room = MOST_ADDRESSES6
    for code, value in options:
        if code not in (IA_NA, IA_PD):
            continue
        if len(value) < 12:
            raise Unusable("option-length", f"option {code} is shorter than its fixed part")
        addresses: list[bytes] = []
        for inner, content in decode_options6(value[12:]):
            if code == IA_NA and inner == IA_ADDRESS:
                if len(content) < 24:
                    raise Unusable("option-length", "an IA Address option is shorter than its fixed part")
                addresses.append(content[:16])
        if len(found) < MOST_ASSOCIATIONS:
            found.append(Association(code, value[:4], tuple(addresses[:room])))
            room -= len(found[-1].addresses)
    return tuple(found)
