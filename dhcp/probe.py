"""Ask the server as a client would and take its offer apart, with scapy as the independent judge of both.

Needs the extra `probe`. Nothing of the server imports this file.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from dhcp.options import decode_options
from dhcp.optionvalues import parse_option

BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
HEADER_OCTETS = 240
# What the server may have for any client, and the numbers of private use (RFC 3942) but for Microsoft's 121.
ASKED = (1, 3, 6, 12, 15, 26, 28, 42, 51, 54, 58, 59, 66, 67, 119, 121, *range(224, 249), *range(250, 255))
LARGEST_REPLY = 1500
ON_LINK = "0.0.0.0"


class NotAnOffer(ValueError):
    """A frame that no client would take as its lease; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A lease as a client understands it. Addresses are dotted quads, times seconds; empty or 0 is "not told"."""

    message: str
    """`offer` or `ack`."""
    address: str
    """With its prefix length."""
    server: str
    router: str = ""
    routes: tuple[tuple[str, str], ...] = ()
    """Option 121: (destination, gateway), gateway 0.0.0.0 for on-link."""
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    domain: str = ""
    hostname: str = ""
    mtu: int = 0
    ntp: tuple[str, ...] = ()
    tftp_server: str = ""
    boot_file: str = ""
    lease_seconds: int = 0
    t1_seconds: int = 0
    t2_seconds: int = 0
    options: dict[int, str] = field(default_factory=dict)
    """Further options by number, as hexadecimal digits."""

    @property
    def effective_routes(self) -> frozenset[tuple[str, str]]:
        """Where packets go: a client that knows option 121 ignores option 3 beside it (RFC 3442)."""
        return frozenset(self.routes or ([("0.0.0.0/0", self.router)] if self.router else []))


def discover(mac: str, xid: int) -> bytes:
    """A DISCOVER frame of the client with this MAC, asking for everything that is configured."""
    return _frame(mac, xid, [("message-type", "discover")])


def request(mac: str, xid: int, offer: Offer) -> bytes:
    """The REQUEST for what was offered."""
    chosen = [("requested_addr", offer.address.partition("/")[0]), ("server_id", offer.server)]
    return _frame(mac, xid, [("message-type", "request"), *chosen])


def _frame(mac: str, xid: int, options: list[Any]) -> bytes:
    asked = [("max_dhcp_size", LARGEST_REPLY), ("param_req_list", list(ASKED)), "end"]
    bootp = BOOTP(chaddr=bytes.fromhex(mac.replace(":", "")), xid=xid) / DHCP(options=[*options, *asked])
    addresses = IP(src="0.0.0.0", dst="255.255.255.255")
    return bytes(Ether(src=mac, dst=BROADCAST_MAC) / addresses / UDP(sport=68, dport=67) / bootp)


def decode_offer(frame: bytes, mac: str, xid: int) -> Offer:
    """The OFFER or ACK in a frame, as the client with this MAC and transaction id; raises NotAnOffer.

    Headers are dissected by scapy, and checksums computed by it. Options are not: it reads on past END, and does not
    join what RFC 3396 splits.
    """
    packet = Ether(frame)
    if BOOTP not in packet or packet[UDP].dport != 68:
        raise NotAnOffer("not a DHCP message to a client")
    fresh = packet.copy()
    del fresh[IP].chksum, fresh[UDP].chksum
    fresh = Ether(bytes(fresh))
    if (fresh[IP].chksum, fresh[UDP].chksum) != (packet[IP].chksum, packet[UDP].chksum):
        raise NotAnOffer("a checksum is wrong")
    bootp = packet[BOOTP]
    if packet.dst not in (mac, BROADCAST_MAC) or bootp.chaddr[:6].hex(":") != mac or bootp.xid != xid:
        raise NotAnOffer("meant for another client")
    message = frame[42:]
    options = decode_options(message[HEADER_OCTETS:], message[108:236], message[44:108])
    kind = {b"\2": "offer", b"\5": "ack", b"\6": "nak"}.get(options.pop(53, b""), "of no known kind")
    if kind not in ("offer", "ack"):
        raise NotAnOffer(f"the answer is {kind}")
    try:
        return _offer(kind, str(bootp.yiaddr), options)
    except (ValueError, IndexError, LookupError) as error:
        raise NotAnOffer(f"an option cannot be decoded: {error}") from None


def _offer(kind: str, address: str, options: dict[int, bytes]) -> Offer:
    def take(code: int, decode: Callable[[bytes], Any], default: Any) -> Any:
        value = options.pop(code, None)
        return default if value is None else decode(value)

    prefix = take(1, lambda mask: ipaddress.IPv4Network((0, _address(mask))).prefixlen, 32)
    options.pop(28, None)
    return Offer(
        message=kind,
        address=f"{address}/{prefix}",
        server=take(54, _address, ""),
        router=take(3, lambda value: _address(value[:4]), ""),
        routes=take(121, lambda value: tuple(decode_routes(value)), ()),
        dns=take(6, _addresses, ()),
        search=take(119, lambda value: tuple(decode_names(value)), ()),
        domain=take(15, bytes.decode, ""),
        hostname=take(12, bytes.decode, ""),
        mtu=take(26, _number, 0),
        ntp=take(42, _addresses, ()),
        tftp_server=take(66, bytes.decode, ""),
        boot_file=take(67, bytes.decode, ""),
        lease_seconds=take(51, _number, 0),
        t1_seconds=take(58, _number, 0),
        t2_seconds=take(59, _number, 0),
        options={code: value.hex() for code, value in sorted(options.items())},
    )


def decode_routes(value: bytes) -> Iterator[tuple[str, str]]:
    """Option 121 (RFC 3442) as (destination, gateway); raises ValueError or IndexError."""
    at = 0
    while at < len(value):
        octets = (value[at] + 7) // 8
        destination = value[at + 1 : at + 1 + octets].ljust(4, b"\0")
        yield str(ipaddress.IPv4Network((destination, value[at]))), _address(value[at + 1 + octets : at + 5 + octets])
        at += 5 + octets


def decode_names(value: bytes) -> Iterator[str]:
    """Option 119 (RFC 3397) as domain names; raises ValueError or IndexError."""
    at = 0
    while at < len(value):
        labels: list[str] = []
        position, end = at, 0
        while length := value[position]:
            if length >= 0xC0:
                target = (length & 0x3F) << 8 | value[position + 1]
                end = end or position + 2
                if target >= position:
                    raise ValueError("a name points forwards")
                position = target
                continue
            labels.append(value[position + 1 : position + 1 + length].decode())
            position += 1 + length
        yield ".".join(labels)
        at = end or position + 1


def differences(offer: Offer, config: Mapping[str, Any], fields: Iterable[str]) -> list[str]:
    """How an offer differs in these fields, and in its routes, from a configuration in the server's JSON shape.

    A line each; empty when it does not.
    """
    found = []
    for name in fields:
        offered = getattr(offer, {"client_address": "address", "server_address": "server"}.get(name, name))
        wanted = config.get(name, type(offered)())
        if name == "options":
            wanted = {int(code): parse_option(int(code), text).hex() for code, text in wanted.items()}
        if isinstance(offered, tuple):
            wanted = tuple(wanted)
        if offered != wanted:
            found.append(f"{name}: offered {_shown(offered)}, configured {_shown(wanted)}")
    return found + list(_route_differences(offer, config))


def _route_differences(offer: Offer, config: Mapping[str, Any]) -> Iterator[str]:
    wanted = {(route["destination"], route.get("gateway", ON_LINK)) for route in config.get("routes", ())}
    if config.get("router"):
        wanted.add(("0.0.0.0/0", config["router"]))
    for destination, gateway in sorted(wanted - offer.effective_routes):
        yield f"routes: {destination} via {gateway} is configured and not offered"
    # A gateway outside the subnet is made reachable by a host route of its own.
    ways = {(f"{gateway}/32", ON_LINK) for _, gateway in wanted}
    for destination, gateway in sorted(offer.effective_routes - wanted - ways):
        yield f"routes: {destination} via {gateway} is offered and not configured"


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) and value else str(value or "nothing")


def _address(value: bytes) -> str:
    return str(ipaddress.IPv4Address(value))


def _addresses(value: bytes) -> tuple[str, ...]:
    return tuple(_address(value[at : at + 4]) for at in range(0, len(value), 4))


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")
