"""rtnetlink, thin: pyroute2's message classes over one socket of our own, and errno turned into typed errors.

pyroute2 has every message and attribute. Its own socket stack imports asyncio and takes 100 ms to import, more than
all else that the hook does. A request here costs 0.05 ms. See rtnetlink(7).
"""

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any, Final

from netsetup.errors import KernelRefused, NotPermitted
from netsetup.kernel.netns import SO_NETNS_COOKIE
from netsetup.kernel.rtnl_messages import (
    Attributes,
    address_message,
    address_of,
    fibmsg,
    ifaddrmsg,
    ifinfmsg,
    link_of,
    ndmsg,
    neighbour_message,
    neighbour_of,
    route_message,
    route_of,
    rtmsg,
    rule_message,
    rule_of,
)
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    IFF_ALLMULTI,
    IFF_UP,
    NUD_PERMANENT,
    RTN_LOCAL,
    SCOPE_LINK,
    TABLE_LOCAL,
    Address,
    Link,
    Neighbour,
    Route,
    Rule,
)

# linux/netlink.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLM_F_DUMP_INTR = 0x10
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
NETLINK_EXT_ACK, NLMSGERR_ATTR_MSG, NLM_F_ACK_TLVS = 11, 1, 0x200
SOL_NETLINK = 270
# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_F_CLONED = 0x200
# linux/if_link.h, linux/netlink.h
IFLA_AF_SPEC, IFLA_INET_CONF, NLA_F_NESTED = 26, 1, 0x8000
# linux/neighbour.h
NTF_USE, NTF_MASTER, NTF_STICKY, NTF_PROXY = 0x01, 0x04, 0x40, 0x08
NUD_NONE, NUD_NOARP = 0x00, 0x40
AF_BRIDGE = 7

DUMPED: Final = {
    RTM_GETLINK: "interfaces",
    RTM_GETADDR: "addresses",
    RTM_GETROUTE: "routes",
    RTM_GETNEIGH: "neighbours",
    RTM_GETRULE: "rules",
}
DUMP_ATTEMPTS: Final = 5
MEMORY_SHORTAGE: Final = (errno.ENOBUFS, errno.ENOMEM)


class _Encoded:
    """A message that is encoded already but for its header, with what `_send` needs of a message."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._header: dict[str, int] = {}
        self.data = b""

    def __getitem__(self, _: str) -> dict[str, int]:
        return self._header

    def encode(self) -> None:
        header = self._header
        start = struct.pack(
            "=IHHII", 16 + len(self._body), header["type"], header["flags"], header["sequence_number"], 0
        )
        self.data = start + self._body


class Netlink:
    """One rtnetlink socket in the caller's network namespace; a context manager."""

    def __init__(self) -> None:
        """Raises KernelRefused."""
        self._sequence = 0
        self._open()

    def _open(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
            self._socket.bind((0, 0))
        except OSError as error:
            raise KernelRefused.of("open a netlink socket", error) from None

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    @property
    def namespace_cookie(self) -> int:
        """The number of this network namespace, never given twice since boot (SO_NETNS_COOKIE, Linux 5.14)."""
        try:
            return int.from_bytes(self._socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)
        except OSError as error:
            raise KernelRefused.of("read the number of the network namespace", error) from None

    # --- reading ------------------------------------------------------------------------------------------------------

    def links(self) -> tuple[Link, ...]:
        return tuple(link_of(message) for message in self._dump(ifinfmsg, RTM_GETLINK))

    def addresses(self) -> tuple[tuple[int, Address], ...]:
        return tuple((m["index"], address_of(m)) for m in self._dump(ifaddrmsg, RTM_GETADDR))

    def routes(self) -> tuple[Route, ...]:
        """Every route of every table and both families; cached clones are not routes.

        Dumped for all families at once: a kernel without IPv6 answers a dump of its IPv6 routes with those of IPv4.
        """
        return tuple(
            route_of(m)
            for m in self._dump(rtmsg, RTM_GETROUTE)
            if m["family"] in (AF_INET, AF_INET6) and not m["flags"] & RTM_F_CLONED
        )

    def neighbours(self, states: int = NUD_PERMANENT) -> tuple[tuple[int, Neighbour], ...]:
        """The entries of both families in one of these states, by default the permanent ones."""
        return tuple(
            (m["ifindex"], neighbour_of(m))
            for m in self._dump(ndmsg, RTM_GETNEIGH)
            if m["state"] & states and m["family"] in (AF_INET, AF_INET6) and m.get_attr("NDA_LLADDR")
        )

    def rules(self) -> tuple[Rule, ...]:
        return tuple(rule_of(m) for m in self._dump(fibmsg, RTM_GETRULE))

    def forwarding_entries(self) -> tuple[tuple[int, str], ...]:
        """The static entries of every bridge: (index of the port, MAC)."""
        return tuple(
            (m["ifindex"], m.get_attr("NDA_LLADDR") or "")
            for m in self._dump(ndmsg, RTM_GETNEIGH, family=AF_BRIDGE)
            if m["state"] & NUD_NOARP and m.get_attr("NDA_MASTER")
        )

    def link_index(self, name: str) -> int:
        """Raises KernelRefused (ENODEV) when there is no such device."""
        try:
            return socket.if_nametoindex(name)
        except OSError as error:
            raise KernelRefused(f"find {name}", error.errno or errno.ENODEV) from None

    # --- links --------------------------------------------------------------------------------------------------------

    def create_bridge(self, name: str, mac: str, mtu: int) -> None:
        """A bridge that forwards at once and sends no frame of its own: no STP, forward delay or multicast snooping."""
        settings: Attributes = [
            ("IFLA_BR_FORWARD_DELAY", 0),
            ("IFLA_BR_STP_STATE", 0),
            ("IFLA_BR_MCAST_SNOOPING", 0),
        ]
        self._link_request(
            f"create bridge {name}",
            0,
            [
                ("IFLA_IFNAME", name),
                ("IFLA_ADDRESS", mac),
                ("IFLA_MTU", mtu),
                (
                    "IFLA_LINKINFO",
                    {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", {"attrs": settings})]},
                ),
            ],
            flags=NLM_F_CREATE | NLM_F_EXCL,
        )

    def delete_link(self, index: int, name: str) -> None:
        message = ifinfmsg()
        message["index"] = index
        self._request(f"delete {name}", message, RTM_DELLINK)

    def set_mac(self, index: int, name: str, mac: str) -> None:
        self._link_request(f"{name}: set MAC {mac}", index, [("IFLA_ADDRESS", mac)])

    def set_mtu(self, index: int, name: str, mtu: int) -> None:
        self._link_request(f"{name}: set MTU {mtu}", index, [("IFLA_MTU", mtu)])

    def set_alias(self, index: int, name: str, alias: str) -> None:
        self._link_request(f"{name}: set alias", index, [("IFLA_IFALIAS", alias)])

    def set_master(self, index: int, name: str, master: int) -> None:
        """Make a device a port of the bridge with index `master`; 0 releases it."""
        self._link_request(f"{name}: set master {master}", index, [("IFLA_MASTER", master)])

    def set_up(self, index: int, name: str, up: bool) -> None:
        self._set_flag(f"{name}: set {'up' if up else 'down'}", index, IFF_UP, up)

    def set_all_multicast(self, index: int, name: str, on: bool) -> None:
        self._set_flag(f"{name}: set allmulticast {'on' if on else 'off'}", index, IFF_ALLMULTI, on)

    def set_addr_gen_mode(self, index: int, name: str, mode: int) -> None:
        family = {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", mode)]})]}
        self._link_request(f"{name}: set addr_gen_mode {mode}", index, [("IFLA_AF_SPEC", family)])

    def set_devconf4(self, index: int, name: str, setting: int, value: int) -> None:
        """Change an IPv4 setting of an interface by its IPV4_DEVCONF_* number (linux/ip.h).

        By hand, because pyroute2 writes all settings at once, as the kernel reports them.
        """
        attribute = struct.pack("=HHI", 8, setting, value)
        for kind in (IFLA_INET_CONF, AF_INET, IFLA_AF_SPEC):
            attribute = struct.pack("=HH", 4 + len(attribute), NLA_F_NESTED | kind) + attribute
        message = _Encoded(struct.pack("=BxHiII", 0, 0, index, 0, 0) + attribute)
        self._request(f"{name}: set IPv4 setting {setting} to {value}", message, RTM_NEWLINK)

    def set_learning(self, index: int, name: str, on: bool) -> None:
        port = {"attrs": [("IFLA_BRPORT_LEARNING", int(on))]}
        info = {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", port)]}
        self._link_request(f"{name}: set learning {int(on)}", index, [("IFLA_LINKINFO", info)])

    # --- addresses, routes, neighbours --------------------------------------------------------------------------------

    def add_address(self, index: int, name: str, address: Address) -> None:
        self._request(
            f"{name}: add address {address.cidr}",
            address_message(index, address),
            RTM_NEWADDR,
            NLM_F_CREATE | NLM_F_EXCL,
        )

    def delete_address(self, index: int, name: str, address: Address) -> None:
        self._request(f"{name}: delete address {address.cidr}", address_message(index, address), RTM_DELADDR)

    def add_route(self, route: Route) -> None:
        self._request(
            f"add route {route.text}",
            route_message(route),
            RTM_NEWROUTE,
            NLM_F_CREATE | NLM_F_EXCL,
        )

    def add_host_route(self, index: int, address: str) -> None:
        """A route of the main table to one address on the link of an interface."""
        if ":" in address:
            self.add_route(Route(AF_INET6, f"{address}/128", interface=index))
        else:
            self.add_route(Route(AF_INET, f"{address}/32", interface=index, scope=SCOPE_LINK))

    def add_local_route(self, index: int, address: str) -> None:
        """A route of the local table by which packets for an IPv6 address are accepted on an interface."""
        self.add_route(Route(AF_INET6, f"{address}/128", table=TABLE_LOCAL, interface=index, type=RTN_LOCAL))

    def delete_route(self, route: Route) -> None:
        self._request(f"delete route {route.text}", route_message(route), RTM_DELROUTE)

    def add_rule(self, rule: Rule) -> None:
        self._request(f"add rule {rule.text}", rule_message(rule), RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL)

    def delete_rule(self, rule: Rule) -> None:
        self._request(f"delete rule {rule.text}", rule_message(rule), RTM_DELRULE)

    def add_neighbour(self, index: int, name: str, neighbour: Neighbour) -> None:
        message = neighbour_message(index, neighbour)
        self._request(f"{name}: add neighbour {neighbour.address}", message, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE)

    def use_neighbour(self, index: int, name: str, address: str) -> None:
        """Have the kernel resolve an IPv6 address as if it had a packet for it."""
        message = ndmsg()
        message["family"], message["ifindex"], message["state"] = AF_INET6, index, NUD_NONE
        message["flags"] = NTF_USE
        message["attrs"] = [("NDA_DST", address)]
        self._request(f"{name}: resolve {address}", message, RTM_NEWNEIGH, NLM_F_CREATE)

    def delete_neighbour(self, index: int, name: str, neighbour: Neighbour) -> None:
        message = neighbour_message(index, neighbour)
        self._request(f"{name}: delete neighbour {neighbour.address}", message, RTM_DELNEIGH)

    def add_forwarding_entry(self, index: int, name: str, mac: str) -> None:
        """Add a static, sticky forwarding entry: no frame from that MAC on another port moves it."""
        message = ndmsg()
        message["family"], message["ifindex"], message["state"] = AF_BRIDGE, index, NUD_NOARP
        message["flags"] = NTF_MASTER | NTF_STICKY
        message["attrs"] = [("NDA_LLADDR", mac)]
        self._request(f"{name}: pin {mac} to the port", message, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE)

    # --- the wire -----------------------------------------------------------------------------------------------------

    def _link_request(self, what: str, index: int, attributes: Attributes, flags: int = 0) -> None:
        message = ifinfmsg()
        message["index"] = index
        message["attrs"] = attributes
        self._request(what, message, RTM_NEWLINK, flags)

    def _set_flag(self, what: str, index: int, flag: int, on: bool) -> None:
        message = ifinfmsg()
        message["index"], message["flags"], message["change"] = index, flag if on else 0, flag
        self._request(what, message, RTM_NEWLINK)

    def _request(self, what: str, message: Any, kind: int, flags: int = 0) -> None:
        try:
            self._send(message, kind, flags | NLM_F_REQUEST | NLM_F_ACK)
            for header, data in self._receive():
                if header == NLMSG_ERROR:
                    _raise_for(what, data)
                    return
        except OSError as error:
            raise KernelRefused.of(what, error) from None

    def _dump(self, message_class: Any, kind: int, family: int = 0) -> list[Any]:
        """All messages of one table; read again when it changed under way, or when the kernel was short of memory."""
        what = f"read the kernel's {DUMPED[kind]}"
        failure = KernelRefused(what, errno.EINTR, "they kept changing meanwhile")
        for _ in range(DUMP_ATTEMPTS):
            try:
                messages = self._dump_once(what, message_class, kind, family)
            except OSError as error:
                failure = KernelRefused.of(what, error)
                if failure.errno not in MEMORY_SHORTAGE:
                    break
                self.close()  # and with it what is left of this dump
                self._open()
                continue
            if messages is not None:
                return messages
        raise failure

    def _dump_once(self, what: str, message_class: Any, kind: int, family: int) -> list[Any] | None:
        """None when the table has changed under way (NLM_F_DUMP_INTR)."""
        message = message_class()
        message["family"] = family
        self._send(message, kind, NLM_F_REQUEST | NLM_F_DUMP)
        messages: list[Any] = []
        interrupted = False
        while True:
            for header, data in self._receive():
                interrupted |= bool(struct.unpack_from("H", data, 6)[0] & NLM_F_DUMP_INTR)
                if header == NLMSG_DONE:
                    return None if interrupted else messages
                if header == NLMSG_ERROR:
                    _raise_for(what, data)
                else:
                    decoded = message_class(data)
                    decoded.decode()
                    messages.append(decoded)

    def _send(self, message: Any, kind: int, flags: int) -> None:
        """Raises OSError, as `_receive` does."""
        self._sequence += 1
        header = message["header"]
        header["type"], header["flags"], header["sequence_number"] = kind, flags, self._sequence
        message.encode()
        self._socket.send(bytes(message.data))

    def _receive(self) -> Iterator[tuple[int, bytes]]:
        """(message type, message with its header) for each message of one datagram that answers our last request."""
        buffer = self._socket.recv(1 << 16)
        offset = 0
        while offset + 16 <= len(buffer):
            length, kind, _, sequence, _ = struct.unpack_from("IHHII", buffer, offset)
            if sequence == self._sequence:
                yield kind, buffer[offset : offset + length]
            offset += (length + 3) & ~3


def _raise_for(what: str, data: bytes) -> None:
    """Raise for a NLMSG_ERROR message unless it is a plain acknowledgement (error 0)."""
    code = -struct.unpack_from("i", data, 16)[0]
    if code == 0:
        return
    if code in (errno.EPERM, errno.EACCES):
        raise NotPermitted(what)
    raise KernelRefused(what, code, _extended_ack(data))


def _extended_ack(data: bytes) -> str:
    """The kernel's message about an error (NETLINK_EXT_ACK), empty when there is none."""
    _, _, flags = struct.unpack_from("IHH", data)
    if not flags & NLM_F_ACK_TLVS:
        return ""
    offset = 36  # our header, the error, and the header of the request (NLM_F_CAPPED or not, see below)
    request_length = struct.unpack_from("I", data, 20)[0]
    if not flags & 0x100:  # not NLM_F_CAPPED: the whole request is quoted
        offset = 20 + ((request_length + 3) & ~3)
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("HH", data, offset)
        if length < 4:
            break
        if kind == NLMSGERR_ATTR_MSG:
            return data[offset + 4 : offset + length].rstrip(b"\0").decode(errors="replace")
        offset += (length + 3) & ~3
    return ""
