"""A DHCPv4 client that sends single frames, for tests that send one request and check every field of the reply.

Scapy builds the requests, and dissects Ethernet, IP, UDP and the BOOTP header of replies. The options are decoded here:
scapy reads on past END, does not join repeated options (RFC 3396), and one malformed option makes it lose the rest.
"""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypedDict, Unpack

from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from lab.namespace import Namespace
from lab.sniffer import ETH_P_ALL
from lab.waiting import PATIENCE

BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
MAGIC_COOKIE = b"\x63\x82\x53\x63"
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
PARAMETERS = (1, 3, 6, 12, 15, 26, 28, 42, 51, 54, 58, 59, 119, 121)
"""The default parameter request list."""

Options = Sequence[tuple[int, bytes]]


class Header(TypedDict, total=False):
    """The fields of a request besides its options, with the values of a usual client."""

    parameters: Sequence[int]
    """Option 55; empty for none."""
    ciaddr: str
    source: str
    destination: str
    destination_mac: str
    broadcast: bool
    xid: int
    chaddr: str
    vlan: int


@dataclass(frozen=True, slots=True)
class Reply:
    """One DHCP message to the client, as received."""

    frame: bytes
    packet: Packet
    """The whole frame, dissected by scapy, with scapy's decoding of the options."""
    payload: bytes
    """The UDP payload."""
    options: tuple[tuple[int, bytes], ...]
    """In the order of appearance up to END, PAD left out, nothing joined; file and sname if overloaded."""

    @property
    def message_type(self) -> int:
        return self.joined(53)[0]

    @property
    def bootp(self) -> BOOTP:
        """The BOOTP header, decoded from the payload."""
        return BOOTP(self.payload[:240])

    @property
    def yiaddr(self) -> str:
        return str(ipaddress.IPv4Address(self.payload[16:20]))

    @property
    def codes(self) -> tuple[int, ...]:
        return tuple(code for code, _ in self.options)

    def option(self, code: int) -> bytes | None:
        """The value of an option, with split parts joined (RFC 3396); None when absent."""
        return self.joined(code) if code in self.codes else None

    def joined(self, code: int) -> bytes:
        return b"".join(value for this, value in self.options if this == code)

    def address(self, code: int) -> str | None:
        """The value of an option that is one address."""
        value = self.option(code)
        return None if value is None else str(ipaddress.IPv4Address(value))

    def addresses(self, code: int) -> list[str]:
        value = self.joined(code)
        return [str(ipaddress.IPv4Address(value[at : at + 4])) for at in range(0, len(value), 4)]

    def number(self, code: int) -> int | None:
        value = self.option(code)
        return None if value is None else int.from_bytes(value)

    def routes(self, code: int = 121) -> list[tuple[str, str]]:
        """Option 121 or 249 as (destination, gateway), RFC 3442."""
        routes, value, at = [], self.joined(code), 0
        while at < len(value):
            length = value[at]
            octets = (length + 7) // 8
            network = value[at + 1 : at + 1 + octets].ljust(4, b"\0")
            gateway = value[at + 1 + octets : at + 5 + octets]
            destination = ipaddress.IPv4Network((network, length))
            routes.append((str(destination), str(ipaddress.IPv4Address(gateway))))
            at += 5 + octets
        return routes

    def search(self) -> list[str]:
        """Option 119 as domain names; pointers count from the start of the joined option (RFC 3397)."""
        return list(_domain_names(self.joined(119)))

    def checksums_are_valid(self) -> bool:
        """Whether IP and UDP checksums equal those that scapy computes; a UDP checksum of 0 counts as none."""
        fresh = self.packet.copy()
        del fresh[IP].chksum
        del fresh[UDP].chksum
        fresh = Ether(bytes(fresh))
        return bool(fresh[IP].chksum == self.packet[IP].chksum and self.packet[UDP].chksum in (0, fresh[UDP].chksum))


class RawClient:
    """Sends and receives whole frames on an interface of a namespace; a context manager.

    The interface must be up. The kernel of the namespace receives the same frames and may answer some itself.
    """

    def __init__(self, namespace: Namespace, interface: str = "eth0", mac: str | None = None) -> None:
        self.mac = mac or str(namespace.link(interface)["address"])
        self.xid = secrets.randbits(32)
        with namespace.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        # do not receive the frames that we send
        self._socket.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
        self._socket.bind((interface, ETH_P_ALL))
        self._namespace, self._interface, self._is_operational = namespace, interface, False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    # Messages

    def message(self, message_type: int, options: Options = (), **header: Unpack[Header]) -> bytes:
        """A complete frame with option 53 first, then `options`, then 55."""
        parameters = header.get("parameters", PARAMETERS)
        fields = [(53, bytes([message_type])), *options]
        if parameters:
            fields.append((55, bytes(parameters)))
        body = b"".join(bytes([code, len(value)]) + value for code, value in fields) + b"\xff"
        chaddr = header.get("chaddr", self.mac)
        bootp = BOOTP(
            op=1,
            chaddr=bytes.fromhex(chaddr.replace(":", "")),
            ciaddr=header.get("ciaddr", "0.0.0.0"),
            xid=header.get("xid", self.xid),
            flags="B" if header.get("broadcast") else 0,
            options=MAGIC_COOKIE,
        )
        ether = Ether(src=self.mac, dst=header.get("destination_mac", BROADCAST_MAC))
        if "vlan" in header:
            ether = ether / Dot1Q(vlan=header["vlan"])
        ip = IP(src=header.get("source", "0.0.0.0"), dst=header.get("destination", "255.255.255.255"))
        return bytes(ether / ip / UDP(sport=68, dport=67) / bootp / Raw(body))

    def discover(self, options: Options = (), **header: Unpack[Header]) -> Reply | None:
        """Send a DISCOVER; returns the OFFER, or None."""
        return self._ask(self.message(DISCOVER, options, **header))

    def request(self, offer: Reply, options: Options = (), **header: Unpack[Header]) -> Reply | None:
        """REQUEST in SELECTING: the offered address, from the server that offered it (RFC 2131 §4.3.2)."""
        chosen = [(54, offer.joined(54)), (50, offer.payload[16:20]), *options]
        return self._ask(self.message(REQUEST, chosen, **header))

    def reboot(self, address: str, options: Options = (), **header: Unpack[Header]) -> Reply | None:
        """REQUEST in INIT-REBOOT for the address of an earlier lease."""
        wanted = [(50, ipaddress.IPv4Address(address).packed), *options]
        return self._ask(self.message(REQUEST, wanted, **header))

    def renew(self, address: str, options: Options = (), **header: Unpack[Header]) -> Reply | None:
        """REQUEST in RENEWING when `destination` and `destination_mac` (the server's, or those of the router
        on the way to it) are given; without them it is broadcast, hence in REBINDING."""
        header = {"ciaddr": address, "source": address, **header}
        return self._ask(self.message(REQUEST, options, **header))

    def inform(self, address: str, options: Options = (), **header: Unpack[Header]) -> Reply | None:
        """INFORM of a client that has the address already."""
        header = {"ciaddr": address, "source": address, **header}
        return self._ask(self.message(INFORM, options, **header))

    # Frames

    def send(self, frame: bytes) -> None:
        """Send a frame, the first one as soon as the interface is operational."""
        if not self._is_operational:
            self._namespace.await_up(self._interface)
            self._is_operational = True
        self._socket.send(frame)

    def receive(self, timeout: float) -> Iterator[bytes]:
        """Frames in the order of arrival, until `timeout` seconds from now."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0]:
                with contextlib.suppress(OSError):
                    yield self._socket.recv(65536)

    def replies(self, frame: bytes, *, expected: int = 0, timeout: float = 0.3) -> list[Reply]:
        """Send a frame and collect the DHCP replies: as many as are expected, and those that come soon after."""
        self.send(frame)
        replies: list[Reply] = []
        for limit in (*[PATIENCE] * expected, timeout):
            for received in self.receive(limit):
                if reply := decode_reply(received):
                    replies.append(reply)
                    if len(replies) <= expected:
                        break
        return replies

    def who_has(self, address: str, source: str = "0.0.0.0", timeout: float = PATIENCE) -> str | None:
        """The MAC that answers an ARP request (with source 0.0.0.0 an RFC 5227 probe), or None."""
        request = Ether(src=self.mac, dst=BROADCAST_MAC) / ARP(op="who-has", hwsrc=self.mac, psrc=source, pdst=address)
        self.send(bytes(request))
        for frame in self.receive(timeout):
            packet = Ether(frame)
            if ARP in packet and packet[ARP].op == 2 and packet[ARP].psrc == address:
                return str(packet[ARP].hwsrc)
        return None

    def who_has6(self, address: str, timeout: float = PATIENCE) -> str | None:
        """The MAC that answers a duplicate address detection's neighbour solicitation (RFC 4862 §5.4.2), or None."""
        group = ipaddress.IPv6Address("ff02::1:ff00:0") + int(ipaddress.IPv6Address(address)) % (1 << 24)
        mac = f"33:33:{group.packed[-4:].hex(':')}"
        solicitation = Ether(src=self.mac, dst=mac) / IPv6(src="::", dst=str(group)) / ICMPv6ND_NS(tgt=address)
        self.send(bytes(solicitation))
        for frame in self.receive(timeout):
            packet = Ether(frame)
            if ICMPv6ND_NA in packet and ipaddress.ip_address(packet[ICMPv6ND_NA].tgt) == ipaddress.ip_address(address):
                return str(packet.src)
        return None

    def _ask(self, frame: bytes, timeout: float = PATIENCE) -> Reply | None:
        sent = struct.unpack_from("!I", frame, frame.index(MAGIC_COOKIE) - 232)
        self.send(frame)
        for received in self.receive(timeout):
            reply = decode_reply(received)
            if reply and struct.unpack_from("!I", reply.payload, 4) == sent:
                return reply
        return None


def decode_reply(frame: bytes) -> Reply | None:
    """A frame as a DHCP message of a server (op 2, to port 68), or None if it is something else."""
    packet = Ether(frame)
    if UDP not in packet or packet[UDP].dport != 68 or packet[UDP].sport != 67:
        return None
    offset = 14 + 4 * packet[IP].ihl + 8
    payload = frame[offset : offset + packet[UDP].len - 8]
    if len(payload) < 240 or payload[0] != 2 or payload[236:240] != MAGIC_COOKIE:
        return None
    options = list(_decode(payload[240:]))
    overload = next((value[0] for code, value in options if code == 52), 0)
    if overload & 1:
        options += _decode(payload[108:236])
    if overload & 2:
        options += _decode(payload[44:108])
    return Reply(frame, packet, payload, tuple(options))


def _decode(area: bytes) -> Iterator[tuple[int, bytes]]:
    """Options of one field up to END; an option that runs past the end of the field is an error."""
    at = 0
    while at < len(area):
        code = area[at]
        if code == 255:
            return
        if code == 0:
            at += 1
            continue
        length = area[at + 1]
        value = area[at + 2 : at + 2 + length]
        if len(value) != length:
            raise ValueError(f"option {code} runs past the end of its field")
        yield code, value
        at += 2 + length
    raise ValueError("no END option")


def _domain_names(value: bytes) -> Iterator[str]:
    at = 0
    while at < len(value):
        labels, position, end = [], at, -1
        while value[position] != 0:
            length = value[position]
            if length >= 0xC0:
                if end < 0:
                    end = position + 2
                position = (length & 0x3F) << 8 | value[position + 1]
                continue
            labels.append(value[position + 1 : position + 1 + length].decode("ascii"))
            position += 1 + length
        yield ".".join(labels)
        at = end if end >= 0 else position + 1
