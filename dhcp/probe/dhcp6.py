"""Ask the server over IPv6 as a client would, and take its answers apart, with scapy as the independent judge of both.

Needs the extra `probe`. Nothing of the server imports this file.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scapy.layers.dhcp6 import (
    DUID_LL,
    DHCP6_Advertise,
    DHCP6_Reply,
    DHCP6_Request,
    DHCP6_Solicit,
    DHCP6OptClientId,
    DHCP6OptDNSDomains,
    DHCP6OptDNSServers,
    DHCP6OptIA_NA,
    DHCP6OptIAAddress,
    DHCP6OptOptReq,
    DHCP6OptServerId,
)
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from dhcp.probe.dhcp4 import TIMES, NotAnOffer, served_now, within
from dhcp.v6.router_advertisement import lifetimes_of

DOMAIN_LIST = 24
ASKED = (23, DOMAIN_LIST)


@dataclass(frozen=True, slots=True)
class Lease6:
    """What DHCPv6 gives, as a client understands it. Times are seconds."""

    address: str
    """Empty where none is given."""
    server_id: str
    """The server's DUID in hexadecimal digits."""
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    t1_seconds: int = 0
    t2_seconds: int = 0
    lease_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Router6:
    """Content of a router advertisement."""

    address: str
    """The link-local address that packets are sent to."""
    mac: str
    """Empty where the client has to resolve it."""
    lifetime: int
    """Seconds for which it is a default router; 0 is none."""
    managed: bool
    """Whether the client is to ask for an address."""
    mtu: int = 0
    on_link: tuple[str, ...] = ()
    autonomous: tuple[str, ...] = ()
    """Prefixes of which the client makes addresses by itself."""
    dns: tuple[str, ...] = ()


def solicit(mac: str, xid: int) -> bytes:
    """A Solicit frame of the client with this MAC."""
    return _frame(mac, DHCP6_Solicit(trid=xid) / _client(mac) / _association())


def request(mac: str, xid: int, offer: Lease6) -> bytes:
    """The Request for what was advertised."""
    server = DHCP6OptServerId(duid=bytes.fromhex(offer.server_id))
    wanted = [DHCP6OptIAAddress(addr=offer.address)] if offer.address else []
    return _frame(mac, DHCP6_Request(trid=xid) / _client(mac) / server / _association(wanted))


def router_solicitation(mac: str) -> bytes:
    """A Router Solicitation frame of the client with this MAC."""
    to = Ether(src=mac, dst="33:33:00:00:00:02") / IPv6(src=link_local(mac), dst="ff02::2", hlim=255)
    return bytes(to / ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=mac))


def link_local(mac: str) -> str:
    """The address that a client makes of its MAC (RFC 4291 appendix A)."""
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] ^= 0x02
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + octets[:3] + b"\xff\xfe" + octets[3:]))


def _client(mac: str) -> Packet:
    return DHCP6OptClientId(duid=DUID_LL(lladdr=mac)) / DHCP6OptOptReq(reqopts=list(ASKED))


def _association(addresses: list[Packet] | None = None) -> Packet:
    return DHCP6OptIA_NA(iaid=1, ianaopts=addresses or [])


def _frame(mac: str, message: Packet) -> bytes:
    to = Ether(src=mac, dst="33:33:00:01:00:02") / IPv6(src=link_local(mac), dst="ff02::1:2", hlim=1)
    return bytes(to / UDP(sport=546, dport=547) / message)


def decode_lease(frame: bytes, mac: str, xid: int) -> Lease6:
    """The lease in an Advertise or Reply, as the client with this MAC and transaction id; raises NotAnOffer."""
    packet = _judged(frame, mac, UDP, "chksum")
    if packet[UDP].dport != 546:
        raise NotAnOffer("not sent to the client's port")
    message = packet[UDP].payload
    if not isinstance(message, (DHCP6_Advertise, DHCP6_Reply)) or message.trid != xid:
        raise NotAnOffer("no answer to this client's question")
    if DHCP6OptServerId not in message or bytes(message[DHCP6OptClientId].duid) != bytes(DUID_LL(lladdr=mac)):
        raise NotAnOffer("an identifier is missing or wrong")
    if DHCP6OptIA_NA not in message:
        raise NotAnOffer("the IA gets no answer")
    association = message[DHCP6OptIA_NA]
    given = [option for option in association.ianaopts if isinstance(option, DHCP6OptIAAddress)]
    domains = message[DHCP6OptDNSDomains].dnsdomains if DHCP6OptDNSDomains in message else []
    return Lease6(
        address=given[0].addr if given else "",
        server_id=bytes(message[DHCP6OptServerId].duid).hex(),
        dns=tuple(message[DHCP6OptDNSServers].dnsservers) if DHCP6OptDNSServers in message else (),
        search=tuple(name.rstrip(".") for name in domains),
        t1_seconds=association.T1,
        t2_seconds=association.T2,
        lease_seconds=given[0].validlft if given else 0,
    )


def decode_router(frame: bytes, mac: str) -> Router6:
    """The router in an advertisement to the client with this MAC; raises NotAnOffer."""
    packet = _judged(frame, mac, ICMPv6ND_RA, "cksum")
    advertisement = packet[ICMPv6ND_RA]
    if packet[IPv6].hlim != 255 or not ipaddress.IPv6Address(packet[IPv6].src).is_link_local:
        raise NotAnOffer("an advertisement that no client accepts (RFC 4861 §6.1.2)")
    options = list(_layers(advertisement.payload))
    prefixes = [option for option in options if isinstance(option, ICMPv6NDOptPrefixInfo)]
    return Router6(
        address=packet[IPv6].src,
        mac=next((option.lladdr for option in options if isinstance(option, ICMPv6NDOptSrcLLAddr)), ""),
        lifetime=advertisement.routerlifetime,
        managed=bool(advertisement.M),
        mtu=next((option.mtu for option in options if isinstance(option, ICMPv6NDOptMTU)), 0),
        on_link=tuple(f"{prefix.prefix}/{prefix.prefixlen}" for prefix in prefixes if prefix.L),
        autonomous=tuple(f"{prefix.prefix}/{prefix.prefixlen}" for prefix in prefixes if prefix.A),
        dns=tuple(server for option in options if isinstance(option, ICMPv6NDOptRDNSS) for server in option.dns),
    )


def _judged(frame: bytes, mac: str, layer: type[Packet], field: str) -> Packet:
    """The frame dissected; raises NotAnOffer when this layer is missing, its checksum wrong or it is another's."""
    packet = Ether(frame)
    if layer not in packet:
        raise NotAnOffer("not the answer that was asked for")
    if packet.dst != mac:
        raise NotAnOffer("meant for another client")
    fresh = packet.copy()
    delattr(fresh[layer], field)
    if getattr(Ether(bytes(fresh))[layer], field) != getattr(packet[layer], field):
        raise NotAnOffer("a checksum is wrong")
    return packet


def _layers(packet: Packet) -> Iterator[Packet]:
    while packet:
        yield packet
        packet = packet.payload


def differences6(
    lease: Lease6, router: Router6, config: Mapping[str, Any], left_out: Collection[int] = ()
) -> list[str]:
    """How they differ from a configuration in the server's JSON shape, a line each; empty when they do not.

    Of a search list (24) that is `left_out` for want of room the last names may be missing.
    """
    address = ipaddress.IPv6Interface(config["client_address6"])
    gateway = config.get("router6", "")
    mtu = config.get("mtu", 0)
    search = tuple(config.get("search", ()))
    search = search[: len(lease.search)] if DOMAIN_LIST in left_out else search
    served = served_now(config)
    assert served.ipv6
    t1, t2, _, valid = lifetimes_of(served, served.ipv6)
    # The gateway's own is what the server has learnt last; without a gateway it is the port's.
    mac_changes = not gateway or "uplink6" in config
    own_prefix = (str(address.network),) if address.network.prefixlen < 128 else ()
    found = []
    for name, offered, wanted in (
        ("client_address6", lease.address, str(address.ip)),
        ("lease_seconds of IPv6", lease.lease_seconds, valid),
        ("t1_seconds of IPv6", lease.t1_seconds, t1),
        ("t2_seconds of IPv6", lease.t2_seconds, t2),
        ("search of IPv6", lease.search, search),
        ("dns6", lease.dns, tuple(config.get("dns6", ()))),
        ("dns6 of the advertisement", router.dns, tuple(config.get("dns6", ()))),
        ("mtu", router.mtu, mtu),
        ("managed flag", router.managed, True),
        ("default router", router.lifetime > 0, bool(gateway)),
        ("prefixes on the link", router.on_link, (*own_prefix, *config.get("on_link6", ()))),
        ("prefix for addresses of its own", router.autonomous, ()),
        ("router6_lladdr", router.mac, router.mac if mac_changes else config.get("router6_lladdr", "")),
    ):
        if name.partition(" ")[0] in TIMES and served.ipv6.times and within(offered, wanted):
            continue
        if offered != wanted:
            found.append(f"{name}: offered {_shown(offered)}, configured {_shown(wanted)}")
    if gateway and ipaddress.ip_address(gateway).is_link_local and router.address != gateway:
        found.append(f"router6: advertised from {router.address}, configured {gateway}")
    return found


def _shown(value: object) -> str:
    return " ".join(value) or "nothing" if isinstance(value, tuple) else str(value or "nothing")
