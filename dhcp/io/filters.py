"""The BPF programs of the server's packet sockets: on a guest port, and where a gateway's MAC is asked for. Pure.

A packet socket on a guest port would otherwise be woken by all that the guest sends.
"""

from __future__ import annotations

from dhcp.io.bpf import (
    COPY_TO_X,
    JUMP_IF_EQUAL,
    JUMP_IF_EQUAL_X,
    JUMP_IF_GREATER_X,
    JUMP_IF_SET,
    LOAD_BYTE,
    LOAD_HALF,
    LOAD_HALF_INDEXED,
    LOAD_IP_HEADER_LENGTH,
    LOAD_LENGTH,
    LOAD_WORD,
    SUBTRACT,
    VERDICTS,
    VLAN_TAG_PRESENT,
    accept_one_of,
    assemble,
    jump,
    load,
    require,
    require_mac,
)
from dhcp.wire.ipv4 import (
    ETHERNET_OCTETS,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    IPV4_FRAGMENT_AT,
    IPV4_LENGTH_AT,
    IPV4_PROTOCOL_AT,
    MESSAGE_AT,
    SERVER_PORT,
    UDP,
    UDP_LENGTH_AT,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dhcp.io.bpf import Line

# Jumps are one octet, so the list of addresses must end somewhere; beyond it the server sorts out itself.
MOST_ADDRESSES = 100
MOST_ADDRESSES6 = 16


def guest_filter(
    arp_targets: Iterable[bytes], only_client: bytes = b"", nd_targets: Iterable[bytes] | None = None
) -> bytes:
    """The program for untagged DHCPv4 to a server and ARP requests for the given IPv4 addresses.

    Where IPv6 is served, `nd_targets` being the addresses that are answered for, DHCPv6 to a server, router
    solicitations, and neighbour solicitations for these too.

    With a MAC as `only_client` it rejects as well whatever can get no answer by its fixed fields, and messages whose
    type is not the first of their options, where all clients in use have it.
    """
    lines: list[Line] = [
        *require((LOAD_WORD, VLAN_TAG_PRESENT, 0)),
        load(LOAD_HALF, 12),
        jump(JUMP_IF_EQUAL, ETHERTYPE_IPV4, "ipv4", ""),
    ]
    if nd_targets is not None:
        lines.append(jump(JUMP_IF_EQUAL, ETHERTYPE_IPV6, "ipv6", ""))
    lines += [jump(JUMP_IF_EQUAL, ETHERTYPE_ARP, "arp", "reject"), "ipv4", *_match_dhcp4(only_client)]
    if nd_targets is not None:
        lines += ["ipv6", *_match_ipv6(nd_targets, only_client)]
    return assemble([*lines, "arp", *_match_arp(arp_targets, bool(only_client)), *VERDICTS])


def _match_arp(targets: Iterable[bytes], is_strict: bool) -> Iterator[Line]:
    """ARP requests for these addresses; a strict filter wants Ethernet and IPv4 in the types and lengths as well."""
    if is_strict:
        yield from require((LOAD_WORD, 14, 0x00010800), (LOAD_HALF, 18, 0x0604))
    numbers = sorted({int.from_bytes(target, "big") for target in targets})
    yield load(LOAD_HALF, 20)
    if len(numbers) > MOST_ADDRESSES:
        yield jump(JUMP_IF_EQUAL, 1, "accept", "reject")
        return
    yield jump(JUMP_IF_EQUAL, 1, "", "reject")
    yield load(LOAD_WORD, 38)
    yield from accept_one_of(numbers)


def _match_dhcp4(only_client: bytes) -> Iterator[Line]:
    """Datagrams to port 67, and only those that can be messages of a client when its MAC is given."""
    yield from require((LOAD_BYTE, IPV4_PROTOCOL_AT, UDP))
    yield load(LOAD_HALF, IPV4_FRAGMENT_AT)
    yield jump(JUMP_IF_SET, 0x3FFF, "reject", "")  # more fragments, or not the first one
    yield load(LOAD_IP_HEADER_LENGTH, ETHERNET_OCTETS)
    yield load(LOAD_HALF_INDEXED, ETHERNET_OCTETS + 2)  # the UDP destination port, behind the IPv4 header
    yield jump(JUMP_IF_EQUAL, SERVER_PORT, "" if only_client else "accept", "reject")
    if only_client:
        yield from _match_client(only_client)


def _match_client(mac: bytes) -> Iterator[Line]:
    """What the codecs require of a datagram to port 67; a load beyond the frame's end rejects it."""
    from dhcp.wire.dhcp4 import (
        BOOTREQUEST,
        CHADDR_AT,
        COOKIE,
        COOKIE_AT,
        ETHERNET,
        FROM_CLIENT,
        GIADDR_AT,
        HEADER_OCTETS,
        HLEN_AT,
        MAC_OCTETS,
    )
    from dhcp.wire.option_codes import MESSAGE_TYPE

    yield from require((LOAD_BYTE, ETHERNET_OCTETS, 0x45))
    # the datagram is all in the frame …
    yield load(LOAD_LENGTH, 0)
    yield load(SUBTRACT, ETHERNET_OCTETS)
    yield load(COPY_TO_X, 0)
    yield load(LOAD_HALF, IPV4_LENGTH_AT)
    yield jump(JUMP_IF_GREATER_X, 0, "reject", "")
    # … and the UDP one fills the IPv4 one
    yield load(SUBTRACT, 20)
    yield load(COPY_TO_X, 0)
    yield load(LOAD_HALF, UDP_LENGTH_AT)
    yield jump(JUMP_IF_EQUAL_X, 0, "", "reject")
    yield from require(
        (LOAD_WORD, MESSAGE_AT + COOKIE_AT, int.from_bytes(COOKIE, "big")),
        (LOAD_HALF, MESSAGE_AT, BOOTREQUEST << 8 | ETHERNET),
        (LOAD_BYTE, MESSAGE_AT + HLEN_AT, MAC_OCTETS),
        (LOAD_WORD, MESSAGE_AT + GIADDR_AT, 0),
    )
    yield from require_mac(MESSAGE_AT + CHADDR_AT, mac)
    yield from require((LOAD_HALF, MESSAGE_AT + HEADER_OCTETS, MESSAGE_TYPE << 8 | 1))
    yield load(LOAD_BYTE, MESSAGE_AT + HEADER_OCTETS + 2)
    yield from accept_one_of(sorted(FROM_CLIENT))


def _match_ipv6(nd_targets: Iterable[bytes], only_client: bytes) -> Iterator[Line]:
    """What is behind an IPv6 header without extensions. Of a target only the last word is compared."""
    from dhcp.wire.dhcp6 import FROM_CLIENT6
    from dhcp.wire.ipv6 import ICMPV6, SERVER_PORT6
    from dhcp.wire.ndp import NEIGHBOUR_SOLICITATION, ROUTER_SOLICITATION

    if only_client:
        yield from require_mac(6, only_client)
    yield load(LOAD_BYTE, 20)
    yield jump(JUMP_IF_EQUAL, ICMPV6, "icmp6", "")
    yield jump(JUMP_IF_EQUAL, UDP, "", "reject")
    yield load(LOAD_HALF, 56)
    yield jump(JUMP_IF_EQUAL, SERVER_PORT6, "" if only_client else "accept", "reject")
    if only_client:
        yield load(LOAD_BYTE, 62)
        yield from accept_one_of(sorted(FROM_CLIENT6))
    yield "icmp6"
    yield load(LOAD_BYTE, 54)
    yield jump(JUMP_IF_EQUAL, ROUTER_SOLICITATION, "accept", "")
    targets = sorted({int.from_bytes(target[12:], "big") for target in nd_targets})
    if len(targets) > MOST_ADDRESSES6:
        yield jump(JUMP_IF_EQUAL, NEIGHBOUR_SOLICITATION, "accept", "reject")
        return
    yield jump(JUMP_IF_EQUAL, NEIGHBOUR_SOLICITATION, "", "reject")
    yield load(LOAD_WORD, 74)
    yield from accept_one_of(targets)


def advertisement_filter(target: bytes) -> bytes:
    """The program for untagged neighbour advertisements about an IPv6 address, of which the last word is compared."""
    from dhcp.wire.ipv6 import ICMPV6
    from dhcp.wire.ndp import NEIGHBOUR_ADVERTISEMENT

    fields = require(
        (LOAD_WORD, VLAN_TAG_PRESENT, 0),
        (LOAD_HALF, 12, ETHERTYPE_IPV6),
        (LOAD_BYTE, 20, ICMPV6),
        (LOAD_BYTE, 54, NEIGHBOUR_ADVERTISEMENT),
        (LOAD_WORD, 74, int.from_bytes(target[12:], "big")),
    )
    return assemble([*fields, *VERDICTS])
