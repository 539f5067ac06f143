"""The DHCPv6 server's decisions for its single client (RFC 8415 §18.3, and RFC 9915 where it differs). Pure.

As with IPv4 there is one address for one client: the whole state is the configuration. The client is identified by
its MAC; its DUID and the numbers of its IAs may change.
"""

from __future__ import annotations

from dhcp.decision import Decision
from dhcp.wire.addresses6 import ALL_DHCP_AGENTS, ipv6_text, is_link_local
from dhcp.wire.dhcp4 import FOREIGN_MAC
from dhcp.wire.dhcp6 import (
    ADVERTISE,
    CONFIRM,
    DECLINE,
    INFORMATION_REQUEST,
    NAMES6,
    REBIND,
    RELEASE,
    RENEW,
    REPLY,
    REQUEST,
    SOLICIT,
    Association,
    Message6,
    decode_message6,
)
from dhcp.wire.ipv4 import UDP_OCTETS, Unusable
from dhcp.wire.ipv6 import Packet6, decode_datagram6, encode_datagram6
from dhcp.wire.options6 import (
    CLIENT_ID,
    DOMAIN_LIST,
    IA_NA,
    IA_PD,
    NO_ADDRS_AVAIL,
    NO_BINDING,
    NO_PREFIX_AVAIL,
    NOT_ON_LINK,
    PREFERENCE,
    RAPID_COMMIT,
    SERVER_ID,
    SUCCESS,
    encode_address,
    encode_association,
    encode_option6,
    encode_status,
)
from dhcp.wire.search_list import encode_first_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dhcp.decision import Grant
    from dhcp.v6.lease import ServedLease6

# The client need not wait for other servers' offers (RFC 8415 §18.2.1): there are none.
_PREFERRED = encode_option6(PREFERENCE, b"\xff")
_TO_ONE_SERVER = frozenset((REQUEST, RENEW, RELEASE, DECLINE))
_TO_ANY_SERVER = frozenset((SOLICIT, CONFIRM, REBIND))


def answer_dhcp6(packet: Packet6, lease: ServedLease6) -> Decision:
    """Decide about one UDP packet; raises Unusable when it is no message of the client."""
    payload = decode_datagram6(packet)
    if packet.source_mac != lease.client_mac:
        raise Unusable(FOREIGN_MAC, "the message does not come from the client's MAC")
    if packet.destination != ALL_DHCP_AGENTS:
        # RFC 9915 §18.4 discards; RFC 8415 would answer with UseMulticast, which is no use to a client
        # of a server that never allowed unicast.
        raise Unusable("unicast", "not sent to ff02::1:2")
    if not is_link_local(packet.source) and packet.source != lease.client_address:
        raise Unusable("source-address", "the source is neither link-local nor the client's address")
    message = decode_message6(payload)
    if (discarded := _discard(message, lease)) is not None:
        return discarded
    if message.kind == CONFIRM:
        return _answer_confirm(message, packet, lease)
    if message.kind in (RELEASE, DECLINE):
        return _answer_release_or_decline(message, packet, lease)
    if message.kind == INFORMATION_REQUEST:
        return _answer(message, packet, lease, REPLY, "parameters alone", [])
    return _answer_lease(message, packet, lease)


def _discard(message: Message6, lease: ServedLease6) -> Decision | None:
    """No answer to what RFC 8415 §16 has a server discard; None for all else."""
    kind, server_id = message.kind, message.server_id
    if kind == INFORMATION_REQUEST:
        if server_id and server_id != lease.duid:
            return _no_answer(message, lease, "other-server", "the Server Identifier names another server (§16.12)")
        if message.has_associations:
            return _no_answer(message, lease, "contradiction", "an IA in a request for parameters alone (§16.12)")
        return None
    if not message.client_id:
        return _no_answer(message, lease, "no-client-id", "no Client Identifier (§16.2 to §16.9)")
    if kind in _TO_ANY_SERVER and server_id:
        return _no_answer(
            message, lease, "contradiction", "a Server Identifier in a message to all (§16.2, §16.5, §16.7)"
        )
    if kind in _TO_ONE_SERVER and server_id != lease.duid:
        named = "names another server" if server_id else "is missing"
        return _no_answer(message, lease, "other-server", f"the Server Identifier {named} (§16.4, §16.6, §16.8, §16.9)")
    return None


def _answer_lease(message: Message6, packet: Packet6, lease: ServedLease6) -> Decision:
    """Solicit, Request, Renew and Rebind (RFC 8415 §18.3.1, §18.3.2, §18.3.4, §18.3.5): each IA gets its answer."""
    kind = message.kind
    options = []
    leased = False
    for association in message.associations:
        if association.code == IA_PD:
            options.append(_status_in(association, NO_PREFIX_AVAIL, "no prefixes here"))
        elif leased or not lease.client_address:
            options.append(_status_in(association, NO_ADDRS_AVAIL, "one address, one IA"))
        elif kind == REQUEST and _is_foreign(association, lease):
            options.append(_status_in(association, NOT_ON_LINK, "another link's address"))
        else:
            options.append(_encode_address_grant(association, lease, kind in (RENEW, REBIND)))
            leased = True
    reason = f"the client's only address {ipv6_text(lease.client_address)}" if leased else "no address"
    t1, t2, _, valid = lease.lifetimes
    grant = (lease.client_address, t1, t2, valid) if leased else None
    if kind != SOLICIT:
        return _answer(message, packet, lease, REPLY, reason, options, grant=grant)
    if message.rapid_commit and lease.rapid_commit and leased:
        options.append(encode_option6(RAPID_COMMIT, b""))
        return _answer(message, packet, lease, REPLY, f"rapid commit: {reason}", options, grant=grant)
    return _answer(message, packet, lease, ADVERTISE, reason, [*options, _PREFERRED])


def _encode_address_grant(association: Association, lease: ServedLease6, renewing: bool) -> bytes:
    """The address with fresh lifetimes; others that the client has end now (RFC 8415 §18.3.4)."""
    t1, t2, preferred, valid = lease.lifetimes
    addresses = encode_address(lease.client_address, preferred, valid)
    if renewing:
        others = dict.fromkeys(a for a in association.addresses if a != lease.client_address)
        addresses += b"".join(encode_address(address, 0, 0) for address in others)
    return encode_association(IA_NA, association.iaid, t1, t2, addresses)


def _answer_confirm(message: Message6, packet: Packet6, lease: ServedLease6) -> Decision:
    """RFC 8415 §18.3.3. No address but the client's own is any good on this link, whatever its prefix."""
    addresses = [a for association in message.associations for a in association.addresses]
    if not addresses or not lease.client_address:
        return _no_answer(message, lease, "no-address", "nothing to confirm")
    if all(address == lease.client_address for address in addresses):
        return _answer(message, packet, lease, REPLY, "the client's address", [encode_status(SUCCESS, "")])
    wrong = next(address for address in addresses if address != lease.client_address)
    reason = f"{ipv6_text(wrong)} is another link's address"
    return _answer(message, packet, lease, REPLY, reason, [encode_status(NOT_ON_LINK, reason)])


def _answer_release_or_decline(message: Message6, packet: Packet6, lease: ServedLease6) -> Decision:
    """Release and Decline (RFC 8415 §18.3.7, §18.3.8) are confirmed, and the only lease stays what it is."""
    unknown = [
        association
        for association in message.associations
        if association.code == IA_PD or not lease.client_address or lease.client_address not in association.addresses
    ]
    options = [encode_status(SUCCESS, "")]
    options += [_status_in(association, NO_BINDING, "") for association in unknown]
    given_back = len(unknown) < len(message.associations)
    declined = message.kind == DECLINE and given_back
    reason = "noted; the address stays the client's"
    if declined:
        reason = f"the client found {ipv6_text(lease.client_address)} in use by another host"
    grant = (lease.client_address, 0, 0, 0) if given_back else None
    return _answer(message, packet, lease, REPLY, reason, options, warning=declined, grant=grant)


def _is_foreign(association: Association, lease: ServedLease6) -> bool:
    """Whether the client wants addresses, and its own is not among them."""
    return bool(association.addresses) and lease.client_address not in association.addresses


def _status_in(association: Association, status: int, text: str) -> bytes:
    return encode_association(association.code, association.iaid, 0, 0, encode_status(status, text))


def _answer(
    message: Message6,
    packet: Packet6,
    lease: ServedLease6,
    kind: int,
    reason: str,
    options: list[bytes],
    warning: bool = False,
    grant: Grant | None = None,
) -> Decision:
    """The answer: identifiers, what decided, then what was asked for as far as one packet holds it."""
    reply = bytes((kind,)) + message.xid + encode_option6(SERVER_ID, lease.duid)
    if message.client_id:
        reply += encode_option6(CLIENT_ID, message.client_id)
    reply += b"".join(options)
    dropped: list[int] = []
    if message.kind not in (CONFIRM, RELEASE, DECLINE):
        parameters, dropped = _parameters(message, lease, lease.room - UDP_OCTETS - len(reply))
        reply += parameters
    return Decision(
        reason,
        frames=(encode_datagram6(lease.mac, packet.source_mac, lease.address, packet.source, reply),),
        message=NAMES6[message.kind],
        answer=NAMES6[kind],
        client=packet.source_mac,
        xid=int.from_bytes(message.xid, "big"),
        dropped=tuple(dropped),
        warning=warning,
        grant=grant,
    )


def _parameters(message: Message6, lease: ServedLease6, room: int) -> tuple[bytes, list[int]]:
    """What the client asked for (RFC 8415 §21.7), and the numbers of what does not fit.

    Of a search list that does not fit the last names are left out.
    """
    encoded = b""
    dropped = []
    for code, value in lease.options.items():
        if code not in message.requested:
            continue
        left = room - len(encoded) - 4
        if len(value) > left:
            dropped.append(code)
            value = encode_first_names(lease.search, left) if code == DOMAIN_LIST else b""  # noqa: PLW2901
        if value:
            encoded += encode_option6(code, value)
    return encoded, dropped


def _no_answer(message: Message6, lease: ServedLease6, cause: str, reason: str) -> Decision:
    return Decision(
        reason,
        message=NAMES6[message.kind],
        cause=cause,
        client=lease.client_mac,
        xid=int.from_bytes(message.xid, "big"),
    )
