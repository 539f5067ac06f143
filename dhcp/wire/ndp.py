"""Neighbour discovery: what makes its messages valid, and the answer for addresses that nobody else answers for."""

from __future__ import annotations

from dhcp.decision import Decision
from dhcp.wire.addresses import mac_text
from dhcp.wire.addresses6 import ALL_NODES, UNSPECIFIED, ipv6_text, is_host, multicast_mac, solicited_node
from dhcp.wire.ipv4 import Unusable
from dhcp.wire.ipv6 import ICMPV6, ND_HOP_LIMIT, Packet6, encode_icmp6, require_valid_icmp6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dhcp.v6.lease import Port6

NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136
SOURCE_LINK_LAYER, TARGET_LINK_LAYER = 1, 2
ROUTER, SOLICITED, OVERRIDE = 0x80, 0x40, 0x20
# The fixed part of a solicitation and of an advertisement.
_FIXED_OCTETS = 24
_TARGET = slice(8, 24)


def nd_options(packet: Packet6, fixed: int) -> frozenset[int]:
    """Types of the options after `fixed` octets of a solicitation; raises Unusable for one that is not valid.

    The rules that RFC 4861 §6.1.1 and §7.1.1 have in common.
    """
    message = packet.payload
    if packet.hop_limit != ND_HOP_LIMIT:
        raise Unusable("hop-limit", f"hop limit {packet.hop_limit}: not from this link")
    if len(message) < fixed:
        raise Unusable("truncated", "solicitation shorter than its fixed part")
    if message[1] != 0:
        raise Unusable("icmp-code", f"ICMPv6 code {message[1]}")
    require_valid_icmp6(packet)
    types = set()
    at = fixed
    while at < len(message):
        length = message[at + 1] * 8 if at + 1 < len(message) else 0
        if not length or at + length > len(message):
            raise Unusable("nd-options", "an option has no length or runs past the end")
        types.add(message[at])
        at += length
    return frozenset(types)


def answer_neighbour(packet: Packet6, port: Port6) -> Decision:
    """Answer a Neighbour Solicitation for a permanent neighbour, or for the address that stands for the gateway's.

    Nothing else is answered: the guest's own address must be found free (RFC 4862 §5.4), and its real neighbours
    answer for themselves.
    """
    options = nd_options(packet, _FIXED_OCTETS)
    target = packet.payload[_TARGET]
    mac = port.neighbours.get(target)
    if mac is None:
        raise Unusable("nd-other-address", "nobody's address that is answered for here")
    if packet.source_mac[0] & 1 or packet.source_mac == mac:
        raise Unusable("nd-sender", "sender's MAC is not a host's own")
    if packet.source != UNSPECIFIED and not is_host(packet.source):
        raise Unusable("nd-sender", "sender's address is not a host's own")
    flags = OVERRIDE | (ROUTER if target in port.routers else 0)
    if packet.source == UNSPECIFIED:  # duplicate address detection: told to all that it is taken (RFC 4861 §7.2.4)
        if SOURCE_LINK_LAYER in options or packet.destination != solicited_node(target):
            raise Unusable("nd-options", "not a proper probe of an address (RFC 4861 §7.1.1)")
        destination, destination_mac = ALL_NODES, multicast_mac(ALL_NODES)
    else:
        flags |= SOLICITED
        destination, destination_mac = packet.source, packet.source_mac
    message = bytes((NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0)) + target + bytes((TARGET_LINK_LAYER, 1)) + mac
    return Decision(
        f"{ipv6_text(target)} is at {mac_text(mac)}",
        frames=(encode_icmp6(mac, destination_mac, target, destination, message),),
        message="NS",
        answer="NA",
        client=packet.source_mac,
    )


def solicit_neighbour(source_mac: bytes, source: bytes, target: bytes) -> bytes:
    """The frame that asks for a neighbour's MAC, to all who may have the address (RFC 4861 §4.3)."""
    message = bytes((NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0)) + target + bytes((SOURCE_LINK_LAYER, 1)) + source_mac
    group = solicited_node(target)
    return encode_icmp6(source_mac, multicast_mac(group), source, group, message)


def advertised_mac(packet: Packet6) -> tuple[bytes, bytes]:
    """The address that a Neighbour Advertisement speaks of, and its MAC; raises Unusable (RFC 4861 §7.1.2, §7.2.5).

    One without the MAC in an option tells nothing new: it answers whoever knows it already.
    """
    message = packet.payload
    if packet.protocol != ICMPV6 or message[:1] != bytes((NEIGHBOUR_ADVERTISEMENT,)):
        raise Unusable("icmp-type", "not a neighbour advertisement")
    if TARGET_LINK_LAYER not in nd_options(packet, _FIXED_OCTETS):
        raise Unusable("nd-options", "no target link-layer address")
    at = _FIXED_OCTETS
    while message[at] != TARGET_LINK_LAYER:
        at += message[at + 1] * 8
    mac = message[at + 2 : at + 8]
    if mac[0] & 1 or not any(mac):
        raise Unusable("nd-sender", "no host has this MAC")
    return message[_TARGET], mac


def advertise_neighbour(target: bytes, mac: bytes) -> bytes:
    """The frame that tells all nodes a router's MAC unasked (RFC 4861 §7.2.6)."""
    message = bytes((NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, ROUTER | OVERRIDE, 0, 0, 0)) + target
    message += bytes((TARGET_LINK_LAYER, 1)) + mac
    return encode_icmp6(mac, multicast_mac(ALL_NODES), target, ALL_NODES, message)
