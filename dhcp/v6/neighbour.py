"""Answers to Neighbour and Router Solicitations (RFC 4861). Pure."""

from __future__ import annotations

from dhcp.decision import Decision
from dhcp.wire.addresses import mac_text
from dhcp.wire.addresses6 import ALL_NODES, UNSPECIFIED, ipv6_text, is_host, multicast_mac, solicited_node
from dhcp.wire.dhcp4 import FOREIGN_MAC
from dhcp.wire.ipv4 import Unusable
from dhcp.wire.ipv6 import Packet6, encode_icmp6
from dhcp.wire.ndp import (
    NEIGHBOUR_OCTETS,
    OVERRIDE,
    ROUTER,
    ROUTER_SOLICITATION_OCTETS,
    SOLICITED,
    SOURCE_LINK_LAYER,
    decode_nd_options,
    decode_target,
    encode_neighbour_advertisement,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dhcp.v6.lease import ServedLease6


def answer_neighbour_solicitation(packet: Packet6, lease: ServedLease6) -> Decision:
    """Answer for a permanent neighbour, or for the gateway's substitute address.

    Nothing else is answered: the guest's own address must be found free (RFC 4862 §5.4), and its real neighbours
    answer for themselves.
    """
    options = decode_nd_options(packet, NEIGHBOUR_OCTETS)
    target = decode_target(packet)
    mac = lease.neighbours.get(target)
    if mac is None:
        raise Unusable("nd-other-address", "not an address that is answered for here")
    if packet.source_mac[0] & 1 or packet.source_mac == mac:
        raise Unusable("nd-sender", "sender's MAC is not a host's own")
    if packet.source != UNSPECIFIED and not is_host(packet.source):
        raise Unusable("nd-sender", "sender's address is not a host's own")
    flags = OVERRIDE | (ROUTER if target in lease.routers else 0)
    if packet.source == UNSPECIFIED:  # duplicate address detection: all nodes get the answer (RFC 4861 §7.2.4)
        if SOURCE_LINK_LAYER in options or packet.destination != solicited_node(target):
            raise Unusable("nd-options", "not a proper probe of an address (RFC 4861 §7.1.1)")
        frame = encode_neighbour_advertisement(target, mac, flags)
    else:
        frame = encode_neighbour_advertisement(target, mac, flags | SOLICITED, packet.source, packet.source_mac)
    return Decision(
        f"{ipv6_text(target)} is at {mac_text(mac)}",
        frames=(frame,),
        message="NS",
        answer="NA",
        client=packet.source_mac,
    )


def answer_router_solicitation(packet: Packet6, lease: ServedLease6) -> Decision:
    """Answer a Router Solicitation (RFC 4861 §6.1.1, §6.2.6), unicast where the guest has an address yet.

    The delay that a router shall choose from 0 to 0.5 s, so that not all routers of a link answer at once, is
    0 here: there is one router. How often is answered is not decided here, see `dhcp.v6.ra_timers`.
    """
    if packet.source_mac != lease.client_mac:
        raise Unusable(FOREIGN_MAC, "the solicitation does not come from the client's MAC")
    options = decode_nd_options(packet, ROUTER_SOLICITATION_OCTETS)
    if packet.source == UNSPECIFIED:
        if SOURCE_LINK_LAYER in options:
            raise Unusable("nd-options", "a source link-layer address without a source (RFC 4861 §6.1.1)")
        frame, reason = (
            encode_to_all_nodes(lease, lease.advertisement),
            "solicited from no address, sent to all nodes",
        )
    elif not is_host(packet.source):
        raise Unusable("nd-sender", "sender's address is not a host's own")
    else:
        frame = encode_icmp6(lease.router_mac, packet.source_mac, lease.address, packet.source, lease.advertisement)
        reason = "solicited"
    return Decision(reason, frames=(frame,), message="RS", answer="RA", client=packet.source_mac)


def encode_to_all_nodes(lease: ServedLease6, message: bytes) -> bytes:
    """The frame of an advertisement to all nodes."""
    return encode_icmp6(lease.router_mac, multicast_mac(ALL_NODES), lease.address, ALL_NODES, message)
