"""The one IPv6 lease of a guest port: DHCPv6 options, router advertisements, answered neighbours. Pure."""

from __future__ import annotations

from dhcp.config import SMALLEST_MTU6
from dhcp.config6 import ClientConfig6
from dhcp.lean.frozen import Frozen
from dhcp.v6.router_advertisement import encode_advertisement, lifetimes_of
from dhcp.wire.addresses6 import is_link_local
from dhcp.wire.ipv6 import IPV6_OCTETS
from dhcp.wire.options6 import DNS_SERVERS, DOMAIN_LIST
from dhcp.wire.search_list import encode_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dhcp.config import ClientConfig

# An advertisement must come from a link-local address (RFC 4861 §6.1.2). Where the gateway's own is unknown, this
# one is used instead: no interface generates it (neither EUI-64 nor RFC 7217 yields such zeros), and it is the same in
# every pod, so that a guest that is migrated keeps its router.
SUBSTITUTE_ROUTER = b"\xfe\x80" + bytes(10) + b"\x00\xfc\x00\x01"

# A DUID-UUID (RFC 6355) of a UUID of version 8, whose layout is free (RFC 9562 §5.8): this, then the client's
# MAC. So it outlives restarts and migration, and differs between servers.
_DUID_UUID = b"\x00\x04" + b"vmlaun\x80\x00\x80\x00"


class ServedLease6(Frozen):
    """What is served over IPv6 on one guest port; made by `prepare_lease6`, never changed."""

    client_mac: bytes
    client_address: bytes
    """Empty where DHCPv6 is stateless."""
    lifetimes: tuple[int, ...]
    """T1, T2, preferred and valid lifetime in seconds, 0xFFFFFFFF being forever."""
    mac: bytes
    """MAC of the guest port: the source of DHCPv6."""
    router_mac: bytes
    """Source of advertisements: the gateway's MAC; the guest port's where that is unknown."""
    address: bytes
    """Link-local source of all replies: the gateway's, or SUBSTITUTE_ROUTER."""
    duid: bytes
    """The server's identifier."""
    options: dict[int, bytes]
    """Encoded value of every DHCPv6 option that can be asked for, in the order in which they survive."""
    search: tuple[str, ...]
    room: int
    """Octets that one packet has for what is behind its IPv6 header."""
    rapid_commit: bool
    advertisement: bytes
    """The ICMPv6 message, its checksum left out."""
    withdrawal: bytes
    """The advertisement with a router lifetime of 0 (RFC 4861 §6.2.5)."""
    neighbours: dict[bytes, bytes]
    """MAC that is answered for each IPv6 address."""
    gateway: bytes
    """The gateway's own address, for which `address` is the substitute, or the same; empty when there is none."""
    routers: frozenset[bytes]
    """Those of `neighbours` that are the gateway's addresses."""


def prepare_lease6(config: ClientConfig, ipv6: ClientConfig6, mac: bytes) -> ServedLease6:
    """Everything that can be prepared before the first frame comes."""
    router_mac = ipv6.router_mac or mac
    address = ipv6.router if is_link_local(ipv6.router or b"\0\0") else SUBSTITUTE_ROUTER
    neighbours = {address: mac for address, mac in config.neighbours if len(address) == 16}
    if address == SUBSTITUTE_ROUTER and (ipv6.router_mac or not ipv6.router):
        neighbours.setdefault(address, router_mac)
    options = {DNS_SERVERS: b"".join(ipv6.dns), DOMAIN_LIST: encode_names(config.search)}
    room = max(config.mtu, SMALLEST_MTU6) - IPV6_OCTETS
    source_mac = ipv6.router_mac if ipv6.router else mac
    return ServedLease6(
        client_mac=config.client_mac,
        client_address=ipv6.client_address,
        lifetimes=lifetimes_of(config, ipv6),
        mac=mac,
        router_mac=router_mac,
        address=address,
        duid=_DUID_UUID + config.client_mac,
        options={code: value for code, value in (*options.items(), *ipv6.options) if value},
        search=config.search,
        room=room,
        rapid_commit=config.rapid_commit,
        advertisement=encode_advertisement(config, ipv6, source_mac, room),
        withdrawal=encode_advertisement(config, ClientConfig6(), source_mac, room),
        neighbours=neighbours,
        gateway=ipv6.router,
        routers=frozenset((address, ipv6.router)) & neighbours.keys(),
    )
