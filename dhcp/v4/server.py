"""The DHCPv4 server's decisions for its single client (RFC 2131 §4.3). Pure.

The server has one lease, for one client, so a decision needs nothing but the frame and the configuration: there is no
state to lose in a restart, and none for a guest to exhaust.
"""

from __future__ import annotations

from dhcp.decision import Decision
from dhcp.lean.frozen import replace
from dhcp.v4.lease import ServedLease
from dhcp.wire.addresses import ANY, BROADCAST, BROADCAST_MAC, ipv4_text, is_unicast, parse_ipv4
from dhcp.wire.dhcp4 import (
    ACK,
    BROADCAST_FLAG,
    CHADDR_AT,
    DECLINE,
    DISCOVER,
    FOREIGN_MAC,
    HEADER_OCTETS,
    INFORM,
    MAC_OCTETS,
    NAK,
    NAMES,
    OFFER,
    RELEASE,
    REQUEST,
    Message,
    decode_message,
    encode_reply,
)
from dhcp.wire.ipv4 import (
    IPV4_UDP_OCTETS,
    MESSAGE_AT,
    Datagram,
    Unusable,
    decode_datagram,
    encode_datagram,
)
from dhcp.wire.option_codes import (
    BROADCAST_ADDRESS,
    CLASSLESS_ROUTES,
    CLIENT_FQDN,
    CLIENT_ID,
    DOMAIN_NAME,
    DOMAIN_NAME_SERVER,
    DOMAIN_SEARCH,
    HOST_NAME,
    INTERFACE_MTU,
    IPV6_ONLY_PREFERRED,
    IPXE,
    LEASE_TIME,
    MAX_MESSAGE_SIZE,
    MESSAGE_TYPE,
    MS_CLASSLESS_ROUTES,
    NTP_SERVERS,
    PARAMETER_LIST,
    RAPID_COMMIT,
    REBINDING_TIME,
    RENEWAL_TIME,
    REQUESTED_ADDRESS,
    ROUTER,
    SERVER_ID,
    SUBNET_MASK,
    USER_CLASS,
)
from dhcp.wire.options4 import FILE_OCTETS, Layout, lay_out_plainly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Every host takes a datagram of this size (RFC 791 §3.1), and option 57 must not be less (RFC 2132 §9.10).
SMALLEST_MAXIMUM = 576
ETHERNET_MTU = 1500
# Sent whether in option 55 or not: without them no network works, and clients differ in what they ask for.
_TIMES = (LEASE_TIME, RENEWAL_TIME, REBINDING_TIME)
_ALWAYS_SENT = (*_TIMES, SUBNET_MASK, ROUTER, CLASSLESS_ROUTES, DOMAIN_NAME_SERVER, INTERFACE_MTU)
_NOT_FOR_INFORM = frozenset(_TIMES)  # RFC 2131 §4.3.5
# The order in which options survive when a client's maximum is too small for all of them.
_NEVER_DROPPED = (MESSAGE_TYPE, SERVER_ID, *_TIMES, CLIENT_ID, RAPID_COMMIT)
_PRECEDENCE = (
    *_NEVER_DROPPED,
    SUBNET_MASK,
    BROADCAST_ADDRESS,
    ROUTER,
    INTERFACE_MTU,
    DOMAIN_NAME_SERVER,
    CLASSLESS_ROUTES,
    MS_CLASSLESS_ROUTES,
    DOMAIN_NAME,
    HOST_NAME,
    DOMAIN_SEARCH,
    NTP_SERVERS,
)
# iPXE's own sub-option 176, "no-pxedhcp" = 1: do not wait two seconds for a proxy DHCP server.
_IPXE_NO_PROXY = b"\xb0\x01\x01"
_LONGEST_CLIENT_ID = 255
_USUAL = bytes((SUBNET_MASK, ROUTER, DOMAIN_NAME_SERVER, HOST_NAME, DOMAIN_NAME, INTERFACE_MTU, NTP_SERVERS))
_USUAL += bytes((DOMAIN_SEARCH, CLASSLESS_ROUTES))
_USUAL_CLIENT_ID = bytes(19)  # a type, an IAID and a DUID (RFC 4361 §6.1)
_CHADDR = slice(MESSAGE_AT + CHADDR_AT, MESSAGE_AT + CHADDR_AT + MAC_OCTETS)


def answer_v4(frame: bytes, lease: ServedLease) -> Decision:
    """Decide about one IPv4 frame."""
    try:
        datagram = decode_datagram(frame)
        message = decode_message(datagram.payload, lease.config.client_mac)
    except Unusable as unusable:
        claimed = frame[_CHADDR] if unusable.cause == FOREIGN_MAC else b""
        return Decision(unusable.reason, cause=unusable.cause, client=claimed)
    for code in (REQUESTED_ADDRESS, SERVER_ID):
        if len(message.options.get(code, ANY)) != 4:
            return _no_answer(message, "option-length", f"option {code} is not four octets")
    if not lease.config.client_address:
        return _offer_no_address(message, lease)
    if message.kind == DISCOVER:
        return _answer_discover(message, lease)
    if message.kind == REQUEST:
        return _answer_request(message, datagram, lease)
    if message.kind == INFORM:
        return _answer_inform(message, datagram, lease)
    return _answer_release_or_decline(message, lease)


def _answer_discover(message: Message, lease: ServedLease) -> Decision:
    """RFC 2131 §4.3.1. The only address is offered, whatever option 50 requests."""
    asked = message.options.get(PARAMETER_LIST, b"")
    ipv6_only = IPV6_ONLY_PREFERRED in asked and IPV6_ONLY_PREFERRED in lease.options
    # RFC 4039 §3.1; RFC 8925 §3.2 leaves an IPv6-only client the choice that an OFFER gives.
    if lease.config.rapid_commit and RAPID_COMMIT in message.options and not ipv6_only:
        return _send_lease(message, lease, ACK, "rapid commit was asked for", [(RAPID_COMMIT, b"")])
    return _send_lease(message, lease, OFFER, "the client's only address")


def _offer_no_address(message: Message, lease: ServedLease) -> Decision:
    """RFC 8925 §3.3: a pod without IPv4 offers 0.0.0.0 to a client that can do without, and only to such a one."""
    asked = message.options.get(PARAMETER_LIST, b"")
    if message.kind != DISCOVER or IPV6_ONLY_PREFERRED not in asked or IPV6_ONLY_PREFERRED not in lease.options:
        return _no_answer(message, "no-ipv4", "no IPv4 is served here")
    layout = _layout(message, lease, OFFER)
    frame = _broadcast(lease, encode_reply(message, layout))
    return _answer(message, NAMES[OFFER], "no IPv4 address, IPv6 is all there is", (frame,), layout)


def _answer_request(message: Message, datagram: Datagram, lease: ServedLease) -> Decision:
    """RFC 2131 §4.3.2: which of its four states the client is in, and whether it requests its own address."""
    config = lease.config
    server = message.options.get(SERVER_ID)
    wanted = message.options.get(REQUESTED_ADDRESS)
    current = message.client_address
    if server is not None:  # SELECTING
        if server != config.server_address:
            return _no_answer(message, "other-server", f"selecting: option 54 names {ipv4_text(server)}")
        if current == config.client_address:
            return _no_answer(message, "contradiction", "selecting: ciaddr is the client's address beside option 54")
        if wanted is None:
            return _no_answer(message, "no-address", "selecting: option 50 is missing")
        if wanted != config.client_address:
            return _send_nak(message, lease, f"selecting: option 50 is {ipv4_text(wanted)}")
        # Table 5 has ciaddr 0 here, but NetworkManager goes on with that of the lease a NAK has ended,
        # and would never be acknowledged.
        return _send_lease(message, lease, ACK, "selecting: option 50 is the client's address")
    if current != ANY:  # RENEWING is unicast, REBINDING broadcast; the answer is the same
        state = "rebinding" if datagram.destination == BROADCAST else "renewing"
        if current != config.client_address:
            return _send_nak(message, lease, f"{state}: ciaddr is {ipv4_text(current)}")
        return _send_lease(message, lease, ACK, f"{state}: ciaddr is the client's address")
    if wanted is None:
        return _no_answer(message, "no-address", "none of option 50, option 54 and ciaddr")
    if wanted != config.client_address:  # INIT-REBOOT
        return _send_nak(message, lease, f"init-reboot: option 50 is {ipv4_text(wanted)}")
    return _send_lease(message, lease, ACK, "init-reboot: option 50 is the client's address")


def _answer_inform(message: Message, datagram: Datagram, lease: ServedLease) -> Decision:
    """RFC 2131 §4.3.5: parameters for a client that has its address from elsewhere; never a NAK."""
    target = message.client_address if message.client_address != ANY else datagram.source
    if not is_unicast(target):
        return _no_answer(message, "no-address", "neither ciaddr nor the source is a host's address to answer to")
    layout = _layout(message, lease, ACK)
    payload = encode_reply(message, layout, ciaddr=message.client_address, **_boot_fields(lease))
    frame = _unicast(message, lease, target, payload)
    return _answer(message, "ACK", f"parameters for {ipv4_text(target)}", (frame,), layout)


def _answer_release_or_decline(message: Message, lease: ServedLease) -> Decision:
    """DECLINE and RELEASE (RFC 2131 §4.3.3, §4.3.4) get no answer, and the only lease stays what it is."""
    config = lease.config
    if message.options.get(SERVER_ID, config.server_address) != config.server_address:
        return _no_answer(message, "other-server", "option 54 names another server")
    if message.kind == RELEASE:
        released = _no_answer(message, "release", "noted; the address stays the client's")
        return replace(released, grant=(config.client_address, 0, 0, 0))
    if message.options.get(REQUESTED_ADDRESS) != config.client_address:
        return _no_answer(message, "decline-other", "option 50 is not the client's address")
    return Decision(
        f"the client found {ipv4_text(config.client_address)} in use by another host",
        message=NAMES[DECLINE],
        cause="decline",
        client=config.client_mac,
        xid=message.xid,
        warning=True,
        grant=(config.client_address, 0, 0, 0),
    )


def _send_lease(
    message: Message, lease: ServedLease, kind: int, reason: str, extra: Sequence[tuple[int, bytes]] = ()
) -> Decision:
    """An OFFER or ACK of the client's address, sent as RFC 2131 §4.1 has it for a client without a relay."""
    layout = _layout(message, lease, kind, extra)
    address = lease.config.client_address
    ciaddr = message.client_address if message.kind == REQUEST else ANY  # table 3
    payload = encode_reply(message, layout, ciaddr=ciaddr, yiaddr=address, **_boot_fields(lease))
    if is_unicast(message.client_address):
        frame = _unicast(message, lease, message.client_address, payload)
    elif message.flags & BROADCAST_FLAG:
        frame = _broadcast(lease, payload)
    else:  # the client has no address yet that ARP would resolve; its MAC is in chaddr
        frame = _unicast(message, lease, address, payload)
    answer = _answer(message, NAMES[kind], reason, (frame,), layout)
    if kind != ACK:
        return answer
    config = lease.config
    return replace(answer, grant=(address, config.t1_seconds, config.t2_seconds, config.lease_seconds))


def _send_nak(message: Message, lease: ServedLease, reason: str) -> Decision:
    """A NAK, which carries options 53, 54 and 61 only (RFC 2131 table 3) and is broadcast whatever the flag.

    A renewing client has an address and may receive nothing but unicast until T2 (systemd-networkd,
    NetworkManager, dhcpcd), so there it is sent to `ciaddr` as well.
    """
    options = [(MESSAGE_TYPE, bytes((NAK,))), (SERVER_ID, lease.config.server_address), *_client_id(message)]
    room = _room(message, lease)
    layout = lay_out_plainly(options, room) or _lay_out_within(options, room, ())
    payload = encode_reply(message, layout)
    frames: tuple[bytes, ...] = (_broadcast(lease, payload),)
    if is_unicast(message.client_address):
        frames = (_unicast(message, lease, message.client_address, payload), *frames)
    return _answer(message, NAMES[NAK], f"{reason}, not {ipv4_text(lease.config.client_address)}", frames, layout)


def _layout(message: Message, lease: ServedLease, kind: int, extra: Sequence[tuple[int, bytes]] = ()) -> Layout:
    """The options of an OFFER or ACK: 53 first, then as asked for in option 55, then what always goes out."""
    asked = message.options.get(PARAMETER_LIST, b"")
    withheld = _NOT_FOR_INFORM if message.kind == INFORM else frozenset()
    if MS_CLASSLESS_ROUTES in asked and CLASSLESS_ROUTES not in asked:
        withheld |= {CLASSLESS_ROUTES}  # the same octets under the number that this client requests
    codes = [code for code in dict.fromkeys((*asked, SERVER_ID, *_ALWAYS_SENT)) if code not in withheld]
    if ROUTER in codes and SUBNET_MASK in codes[codes.index(ROUTER) :]:
        codes.remove(SUBNET_MASK)  # RFC 2132 §3.3: the mask comes first when both are sent
        codes.insert(codes.index(ROUTER), SUBNET_MASK)
    options = [(MESSAGE_TYPE, bytes((kind,)))]
    options += [(code, lease.options[code]) for code in codes if code in lease.options]
    options += extra
    if _is_ipxe(message) and IPXE not in lease.options:
        options.append((IPXE, _IPXE_NO_PROXY))
    if CLIENT_FQDN in message.options and CLIENT_FQDN not in lease.options:
        from dhcp.v4.fqdn import answer_fqdn

        options += answer_fqdn(message.options[CLIENT_FQDN])
    options += _client_id(message)
    room = _room(message, lease)
    return lay_out_plainly(options, room) or _lay_out_within(options, room, lease.config.search)


def usual_layout(lease: ServedLease, largest: int, further: Sequence[int] = ()) -> Layout:
    """The options of an OFFER to a client that requests the options that most do, and accepts `largest` octets.

    It requests these `further` ones as well, by their numbers.
    """
    asked = bytes(dict.fromkeys((*_USUAL, *further)))
    options = {PARAMETER_LIST: asked, MAX_MESSAGE_SIZE: largest.to_bytes(2, "big"), CLIENT_ID: _USUAL_CLIENT_ID}
    mac = lease.config.client_mac.ljust(16, b"\0")
    return _layout(Message(DISCOVER, 0, 0, ANY, mac, options), lease, OFFER)


def _lay_out_within(options: Sequence[tuple[int, bytes]], room: int, search: Sequence[str]) -> Layout:
    """With `file` and `sname`, and without the least important options, where the options field is too small."""
    from dhcp.v4.layout import lay_out

    present = [code for code, _ in options]
    expendable = [code for code in reversed(present) if code not in _PRECEDENCE]
    expendable += [code for code in reversed(_PRECEDENCE) if code not in _NEVER_DROPPED]
    return lay_out(options, room, expendable, search)


def _room(message: Message, lease: ServedLease) -> int:
    """Octets for options: the client's option 57, else what every host takes, within the link's MTU."""
    maximum = int.from_bytes(message.options.get(MAX_MESSAGE_SIZE, b"")[:2], "big")
    mtu = max(lease.config.mtu or ETHERNET_MTU, SMALLEST_MAXIMUM)
    return min(max(maximum, SMALLEST_MAXIMUM), mtu) - IPV4_UDP_OCTETS - HEADER_OCTETS


def _client_id(message: Message) -> list[tuple[int, bytes]]:
    """Option 61 as the client sent it (RFC 6842 §3), if it is one (RFC 2132 §9.14: at least two octets)."""
    value = message.options.get(CLIENT_ID, b"")
    return [(CLIENT_ID, value)] if 2 <= len(value) <= _LONGEST_CLIENT_ID else []


def _is_ipxe(message: Message) -> bool:
    return b"iPXE" in message.options.get(USER_CLASS, b"")


def _boot_fields(lease: ServedLease) -> dict[str, bytes]:
    """`siaddr` and `file` for boot ROMs that read no options: set when the next server is named by address."""
    config = lease.config
    if not config.boot_file:
        return {}
    name = config.boot_file.encode()
    fields = {"file": name if len(name) < FILE_OCTETS else b""}
    try:
        fields["siaddr"] = parse_ipv4(config.tftp_server)
    except ValueError:
        return fields  # a name: option 66 alone carries it
    return fields


def _unicast(message: Message, lease: ServedLease, address: bytes, payload: bytes) -> bytes:
    return encode_datagram(lease.mac, message.hardware_address[:6], lease.config.server_address, address, payload)


def _broadcast(lease: ServedLease, payload: bytes) -> bytes:
    return encode_datagram(lease.mac, BROADCAST_MAC, lease.config.server_address, BROADCAST, payload)


def _no_answer(message: Message, cause: str, reason: str) -> Decision:
    return Decision(
        reason,
        message=NAMES[message.kind],
        cause=cause,
        client=message.hardware_address[:6],
        xid=message.xid,
    )


def _answer(message: Message, answer: str, reason: str, frames: tuple[bytes, ...], layout: Layout) -> Decision:
    return Decision(
        reason,
        frames=frames,
        message=NAMES[message.kind],
        answer=answer,
        client=message.hardware_address[:6],
        xid=message.xid,
        dropped=layout.dropped,
    )
