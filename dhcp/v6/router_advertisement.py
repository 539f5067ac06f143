"""The Router Advertisement: default route, MTU, and the flag that sends the guest to DHCPv6 (RFC 4861 §4.2, §6). Pure.

The guest's router is the pod's, whose advertisements are for all of its link: so this one is ours, in its name.
"""

from __future__ import annotations

from _struct import Struct

from dhcp.config import DEFAULT_LEASE, SMALLEST_MTU6
from dhcp.wire.addresses6 import is_link_local, network6
from dhcp.wire.ndp import ADVERTISEMENT, ROUTER_ADVERTISEMENT, SOURCE_LINK_LAYER
from dhcp.wire.search_list import encode_first_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from dhcp.config import ClientConfig
    from dhcp.config6 import ClientConfig6

PREFIX, MTU = 3, 5
ROUTE, RDNSS, DNSSL = 24, 25, 31  # RFC 4191 §2.3, RFC 8106 §5
MANAGED, OTHER = 0x80, 0x40
ON_LINK = 0x80
# The longest there is (RFC 8319 §4): the server may be away for 18 hours before the guest loses its route …
ROUTER_LIFETIME = 65535
# … and for a day, as with a lease, before it loses what has lifetimes of 32 bits.
LIFETIME = DEFAULT_LEASE

LONGEST_OPTION = 254  # units of eight octets, besides the first: its length is one octet (RFC 4861 §4.6)

_PREFIX = Struct("!BBBBIII16s")


def encode_advertisement(config: ClientConfig, ipv6: ClientConfig6, source_mac: bytes, room: int) -> bytes:
    """The ICMPv6 message, its checksum 0, at most `room` octets: the last search domains give way, and
    prefixes and routes that would take more than half of it.

    M=1 is DHCPv6 for addresses and all else, O=1 for all else only (RFC 4861 §4.2). No prefix
    has the A flag, whatever its length: the pod owns one address, and others that a guest configured would be
    unreachable. The current hop limit is 0, "unspecified".
    """
    served = bool(ipv6.client_address or ipv6.dns or ipv6.options)
    flags = MANAGED if ipv6.client_address else OTHER if served else 0
    # A gateway whose MAC is not resolved yet cannot be reached by its substitute address.
    reachable = ipv6.router and (ipv6.router_mac or is_link_local(ipv6.router))
    lifetime = ROUTER_LIFETIME if ipv6.is_default and reachable else 0
    message = ADVERTISEMENT.pack(ROUTER_ADVERTISEMENT, 0, 0, 0, flags, lifetime, 0, 0)
    if source_mac:
        message += bytes((SOURCE_LINK_LAYER, 1)) + source_mac
    if config.mtu >= SMALLEST_MTU6:
        message += bytes((MTU, 1, 0, 0)) + config.mtu.to_bytes(4, "big")
    if ipv6.client_address and ipv6.prefix_length < 128:
        prefix = network6(ipv6.client_address, ipv6.prefix_length)
        *_, preferred, valid = lifetimes_of(config, ipv6)
        message += _PREFIX.pack(PREFIX, 4, ipv6.prefix_length, ON_LINK, valid, preferred, 0, prefix)
    for route in ipv6.on_link:
        if len(message) + _PREFIX.size <= room // 2:
            message += _PREFIX.pack(PREFIX, 4, route.prefix_length, ON_LINK, LIFETIME, LIFETIME, 0, route.destination)
    for route in ipv6.routes if reachable else ():
        octets = (route.prefix_length + 63) // 64 * 8
        head = bytes((ROUTE, 1 + octets // 8, route.prefix_length, 0)) + LIFETIME.to_bytes(4, "big")
        if len(message) + len(head) + octets <= room // 2:
            message += head + route.destination[:octets]
    if ipv6.dns:
        message += bytes((RDNSS, 1 + 2 * len(ipv6.dns), 0, 0)) + LIFETIME.to_bytes(4, "big")
        message += b"".join(ipv6.dns)
    return message + _search_option(config.search if served else (), room - len(message))


def lifetimes_of(config: ClientConfig, ipv6: ClientConfig6) -> tuple[int, ...]:
    """T1, T2, preferred and valid lifetime in seconds; an infinite lease has infinite times (RFC 8415 §7.7)."""
    lease = config.lease_seconds
    return ipv6.times or (config.t1_seconds or lease, config.t2_seconds or lease, lease, lease)


def _search_option(names: Sequence[str], room: int) -> bytes:
    """The option of as many names as fit, padded to a multiple of eight octets (RFC 8106 §5.2)."""
    encoded = encode_first_names(names, min((room - 8) // 8, LONGEST_OPTION) * 8)
    if not encoded:
        return b""
    encoded += bytes(-len(encoded) % 8)
    return bytes((DNSSL, 1 + len(encoded) // 8, 0, 0)) + LIFETIME.to_bytes(4, "big") + encoded
