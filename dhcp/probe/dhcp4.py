"""Ask the server as a client would and take its offer apart, as a judge that shares no codec with it.

Ethernet to BOOTP is scapy's; options are taken apart here, because scapy reads on past END and does not join what RFC
3396 splits. Needs the extra `probe`. Nothing of the server imports this file.
"""

from __future__ import annotations

import contextlib
import ipaddress
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from dhcp.config import ClientConfig, parse_configs
from dhcp.lifetimes import config_at

BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
UDP_AT, BOOTP_AT = 34, 42
HEADER_OCTETS = 240
FILE_OCTETS = 128
MS_ROUTES = 249
"""Microsoft's number for 121, where the configuration does not use it as the private one that it is (RFC 3942)."""
TIMES = ("lease_seconds", "t1_seconds", "t2_seconds")
ASKED = tuple(code for code in range(1, 255) if code != MS_ROUTES)
LARGEST_REPLY = 1500
ON_LINK = "0.0.0.0"


class NotAnOffer(ValueError):
    """A frame that no client would take as its lease; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A lease as a client understands it. Addresses are dotted quads, times seconds; empty or 0 is "not sent"."""

    message: str
    """`offer` or `ack`."""
    address: str
    """With its prefix length."""
    header: dict[str, str]
    """The fields before the options by their names in RFC 2131, and `source`, the IP address it comes from.

    `file` and `sname` are missing where they hold options."""
    server: str = ""
    netmask: str = ""
    broadcast: str = ""
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
        """Where packets go: a client that supports option 121 ignores option 3 beside it (RFC 3442)."""
        return frozenset(self.routes or ([("0.0.0.0/0", self.router)] if self.router else []))


def asked_of(config: Mapping[str, Any]) -> tuple[int, ...]:
    """What to ask for where this is configured: everything, so that nothing can be served unseen."""
    return (*ASKED, MS_ROUTES) if str(MS_ROUTES) in config.get("options", ()) else ASKED


def discover(mac: str, xid: int, asked: tuple[int, ...] = ASKED) -> bytes:
    """A DISCOVER frame of the client with this MAC, asking for these options."""
    return _frame(mac, xid, [("message-type", "discover")], asked)


def request(mac: str, xid: int, offer: Offer, asked: tuple[int, ...] = ASKED) -> bytes:
    """The REQUEST for what was offered."""
    chosen = [("requested_addr", offer.address.partition("/")[0]), ("server_id", offer.server)]
    return _frame(mac, xid, [("message-type", "request"), *chosen], asked)


def _frame(mac: str, xid: int, options: list[Any], asked: tuple[int, ...]) -> bytes:
    further = [("max_dhcp_size", LARGEST_REPLY), ("param_req_list", list(asked)), "end"]
    bootp = BOOTP(chaddr=bytes.fromhex(mac.replace(":", "")), xid=xid) / DHCP(options=[*options, *further])
    addresses = IP(src="0.0.0.0", dst="255.255.255.255")
    return bytes(Ether(src=mac, dst=BROADCAST_MAC) / addresses / UDP(sport=68, dport=67) / bootp)


def decode_offer(frame: bytes, mac: str, xid: int) -> Offer:
    """The OFFER or ACK in a frame, as the client with this MAC and transaction id; raises NotAnOffer."""
    packet = Ether(frame.ljust(BOOTP_AT + HEADER_OCTETS, b"\0"))
    if BOOTP not in packet or packet[IP].ihl != 5 or packet[UDP].dport != 68:
        raise NotAnOffer("not a DHCP message to a client")
    fresh = packet.copy()
    for layer in (IP, UDP):
        del fresh[layer].chksum, fresh[layer].len
    fresh = Ether(bytes(fresh))
    if any((fresh[layer].chksum, fresh[layer].len) != (packet[layer].chksum, packet[layer].len) for layer in (IP, UDP)):
        raise NotAnOffer("a checksum or a length is wrong")
    bootp = packet[BOOTP]
    if packet.dst not in (mac, BROADCAST_MAC) or bootp.chaddr[:6].hex(":") != mac or bootp.xid != xid:
        raise NotAnOffer("meant for another client")
    if (bootp.op, bootp.htype, bootp.hlen) != (2, 1, 6):
        raise NotAnOffer("not a reply to an Ethernet client")
    options, overloaded = decode_options(frame[BOOTP_AT : UDP_AT + packet[UDP].len])
    kind = {b"\2": "offer", b"\5": "ack", b"\6": "nak"}.get(options.pop(53, b""), "of unknown kind")
    if kind not in ("offer", "ack"):
        raise NotAnOffer(f"the answer is {kind}")
    header = {name: str(getattr(bootp, name)) for name in ("ciaddr", "yiaddr", "siaddr", "giaddr")}
    for name, use in (("file", 1), ("sname", 2)):
        if not overloaded & use:
            header[name] = getattr(bootp, name).rstrip(b"\0").decode(errors="replace")
    return _offer(kind, header | {"source": packet[IP].src}, options)


def decode_options(message: bytes) -> tuple[dict[int, bytes], int]:
    """The options of a DHCP message by number, and what option 52 says of `file` (1) and `sname` (2).

    What is split is joined (RFC 3396 §7). Stricter than clients are: raises NotAnOffer for an option that is empty or
    cut off, and for fields that do not end with END and zeros.
    """
    pieces = list(_pieces(message[HEADER_OCTETS:]))
    use = b"".join(piece for code, piece in pieces if code == 52) or b"\0"
    if use not in (b"\0", b"\1", b"\2", b"\3"):
        raise NotAnOffer(f"option 52 is 0x{use.hex()}")
    for value, overloaded in ((1, message[108:236]), (2, message[44:108])):
        pieces += _pieces(overloaded) if use[0] & value else ()
    found: dict[int, bytes] = {}
    for code, piece in pieces:
        found[code] = found.get(code, b"") + piece
    found.pop(52, None)
    return found, use[0]


def _pieces(area: bytes) -> Iterator[tuple[int, bytes]]:
    octets = iter(area)
    for code in octets:
        if code == 0:
            continue
        if code == 255:
            if any(octets):
                raise NotAnOffer("something follows the end of the options")
            return
        length = next(octets, 0)
        value = bytes(islice(octets, length))
        if not value or len(value) != length:
            raise NotAnOffer(f"option {code} is empty or cut off")
        yield code, value
    raise NotAnOffer("the options have no end")


def _address(value: bytes) -> str:
    return str(ipaddress.IPv4Address(value))


def _addresses(value: bytes) -> tuple[str, ...]:
    return tuple(_address(value[at : at + 4]) for at in range(0, len(value), 4))


def _number(octets: int) -> Callable[[bytes], int]:
    def decode(value: bytes) -> int:
        if len(value) != octets:
            raise ValueError(f"{len(value)} octets instead of {octets}")
        return int.from_bytes(value, "big")

    return decode


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
        position, end, start = at, 0, at
        while length := value[position]:
            if length >= 0xC0:
                target = (length & 0x3F) << 8 | value[position + 1]
                end = end or position + 2
                if target >= start:
                    raise ValueError("a name does not point backwards")
                position = start = target
                continue
            labels.append(value[position + 1 : position + 1 + length].decode())
            position += 1 + length
        yield ".".join(labels)
        at = end or position + 1


# Option → the name of its value in an Offer (and, as far as it is there, in the configuration), and how to decode it.
_DECODED: dict[int, tuple[str, Callable[[bytes], Any]]] = {
    1: ("netmask", _address),
    3: ("router", _address),
    6: ("dns", _addresses),
    12: ("hostname", bytes.decode),
    15: ("domain", bytes.decode),
    26: ("mtu", _number(2)),
    28: ("broadcast", _address),
    42: ("ntp", _addresses),
    51: ("lease_seconds", _number(4)),
    54: ("server", _address),
    58: ("t1_seconds", _number(4)),
    59: ("t2_seconds", _number(4)),
    66: ("tftp_server", bytes.decode),
    67: ("boot_file", bytes.decode),
    119: ("search", lambda value: tuple(decode_names(value))),
    121: ("routes", lambda value: tuple(decode_routes(value))),
}


def _offer(kind: str, header: dict[str, str], options: dict[int, bytes]) -> Offer:
    decoded: dict[str, Any] = {}
    further: dict[int, str] = {}
    for code, value in sorted(options.items()):
        if code not in _DECODED:
            further[code] = value.hex()
            continue
        name, decode = _DECODED[code]
        try:
            decoded[name] = decode(value)
        except (ValueError, IndexError) as error:
            raise NotAnOffer(f"option {code} cannot be decoded: {error}") from None
    try:
        prefix = ipaddress.IPv4Network((0, decoded.get("netmask", "255.255.255.255"))).prefixlen
    except ValueError as error:
        raise NotAnOffer(f"option 1 is no netmask: {error}") from None
    return Offer(message=kind, address=f"{header['yiaddr']}/{prefix}", header=header, options=further, **decoded)


def differences(offer: Offer, config: Mapping[str, Any], left_out: Collection[int] = ()) -> list[str]:
    """How an offer differs from a configuration in the server's JSON shape, a line each; empty when it does not.

    All of its content is compared: the header, each option by its number, and the routes for what they do.
    Options that are `left_out` for want of room may be missing, and the last of search list (119) and routes (121).
    """
    found = []
    for name, configured in _expected_header(config).items():
        if name in offer.header and offer.header[name] != configured:
            found.append(f"{name}: offered {_shown(offer.header[name])}, configured {_shown(configured)}")
    expected = _expected_options(config)
    for code in sorted(expected.keys() | offer.options.keys()):
        name = _DECODED[code][0] if code in _DECODED else ""
        offered, wanted = getattr(offer, name) if name else _hexadecimal(offer.options.get(code)), expected.get(code)
        if name in TIMES and config.get("lease_end") and within(offered, wanted):
            continue
        cut = code in left_out and (not offered or (code == 119 and (wanted or ())[: len(offered)] == offered))
        if (offered or None) != (wanted or None) and not cut:
            label = f"option {code} ({name})" if name else f"option {code}"
            found.append(f"{label}: offered {_shown(offered)}, configured {_shown(wanted)}")
    return found + list(_route_differences(offer, config, is_cut=121 in left_out))


def within(offered: object, expected: object) -> bool:
    """Whether a time that runs down is offered as expected, but for the moments between the two."""
    return isinstance(offered, int) and isinstance(expected, int) and abs(offered - expected) <= 3


def served_now(config: Mapping[str, Any]) -> ClientConfig:
    """The configuration as the server has it now: with the times that are left to their defaults, or run down."""
    (served,) = parse_configs(dict(config))
    return config_at(served, time.clock_gettime(time.CLOCK_BOOTTIME))


def _expected_header(config: Mapping[str, Any]) -> dict[str, str]:
    """The boot file's name and server are repeated for boot ROMs that read no options, as far as they fit."""
    boot_file, next_server = config.get("boot_file", ""), ON_LINK
    with contextlib.suppress(ValueError):  # of a name, which option 66 alone can carry
        next_server = str(ipaddress.IPv4Address(config.get("tftp_server", ""))) if boot_file else ON_LINK
    return {
        "ciaddr": ON_LINK,
        "yiaddr": config["client_address"].partition("/")[0],
        "siaddr": next_server,
        "giaddr": ON_LINK,
        "sname": "",
        "file": boot_file if len(boot_file) < FILE_OCTETS else "",
        "source": config["server_address"],
    }


def _expected_options(config: Mapping[str, Any]) -> dict[int, Any]:
    """Every option but 121 that is to be there, decoded; a value that is empty or 0 is not to be."""
    network = ipaddress.IPv4Interface(config["client_address"]).network
    served = served_now(config)
    values = {
        "netmask": str(network.netmask),
        "broadcast": {32: "", 31: "255.255.255.255"}.get(network.prefixlen, str(network.broadcast_address)),
        "server": config["server_address"],
        "lease_seconds": served.lease_seconds,
        "t1_seconds": served.t1_seconds,
        "t2_seconds": served.t2_seconds,
    }
    expected = {code: values.get(name, config.get(name)) for code, (name, _) in _DECODED.items() if name != "routes"}
    expected = {code: tuple(value) if isinstance(value, list) else value for code, value in expected.items()}
    # Those of private use, which are all that a record can have, are text or hexadecimal digits.
    for code, text in config.get("options", {}).items():
        value = bytes.fromhex(text[2:]) if text[:2] in ("0x", "0X") else text.encode()
        expected[int(code)] = _hexadecimal(value.hex())
    return expected


def _hexadecimal(digits: str | None) -> str:
    return f"0x{digits}" if digits else ""


def _route_differences(offer: Offer, config: Mapping[str, Any], *, is_cut: bool) -> Iterator[str]:
    wanted = {(route["destination"], route.get("gateway", ON_LINK)) for route in config.get("routes", ())}
    if config.get("router"):
        wanted.add(("0.0.0.0/0", config["router"]))
    # A gateway that is not on the link is made reachable by a host route of its own.
    on_link = [ipaddress.ip_network(destination) for destination, gateway in wanted if gateway == ON_LINK]
    on_link = [ipaddress.IPv4Interface(config["client_address"]).network, *(n for n in on_link if n.prefixlen)]
    for gateway in {gateway for _, gateway in wanted} - {ON_LINK}:
        if not any(ipaddress.ip_address(gateway) in network for network in on_link):
            wanted.add((f"{gateway}/32", ON_LINK))
    for destination, gateway in () if is_cut else sorted(wanted - offer.effective_routes):
        yield f"option 121 (routes): {destination} via {gateway} is configured and not offered"
    for destination, gateway in sorted(offer.effective_routes - wanted):
        yield f"option 121 (routes): {destination} via {gateway} is offered and not configured"


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) and value else str(value or "nothing")
