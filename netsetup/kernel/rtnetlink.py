"""rtnetlink, thin: pyroute2's message classes over one socket of our own, and errno turned into typed errors.

pyroute2 has every message and attribute. Its own socket stack imports asyncio and takes 100 ms to import, more than
all else that the hook does. A request here costs 0.05 ms. See rtnetlink(7).
"""

import errno
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from netsetup.errors import KernelRefused
from netsetup.kernel.netlink_socket import (
    NLMSG,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    RTM_GETRULE,
    NetlinkSocket,
)
from netsetup.kernel.netns import SO_NETNS_COOKIE
from netsetup.kernel.route_messages import HEADER, decode_route, encode_route
from netsetup.kernel.rtnl_messages import (
    IFINFO,
    NUD_NONE,
    Attributes,
    address_message,
    address_of,
    fibmsg,
    ifaddrmsg,
    ifinfmsg,
    lasting,
    link_of,
    ndmsg,
    neighbour_message,
    neighbour_of,
    rule_message,
    rule_of,
)
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    IFF_ALLMULTI,
    IFF_UP,
    NTF_PROXY,
    NUD_KNOWN,
    NUD_NOARP,
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
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK = 16, 17
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
RTM_NEWNEIGH, RTM_DELNEIGH = 28, 29
RTM_NEWRULE, RTM_DELRULE = 32, 33
# linux/if_link.h, linux/netlink.h
IFLA_AF_SPEC, IFLA_INET_CONF, NLA_F_NESTED = 26, 1, 0x8000
# linux/neighbour.h
NTF_USE, NTF_MASTER, NTF_STICKY = 0x01, 0x04, 0x40
AF_BRIDGE = 7
MACVLAN_MODE_BRIDGE = 4


class Netlink(NetlinkSocket):
    """One rtnetlink socket in the caller's network namespace; a context manager."""

    @property
    def namespace_cookie(self) -> int:
        """The number of this network namespace, never given twice since boot (SO_NETNS_COOKIE, Linux 5.14)."""
        try:
            return int.from_bytes(self._socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)
        except OSError as error:
            raise KernelRefused.of("read the number of the network namespace", error) from None

    # --- reading ------------------------------------------------------------------------------------------------------

    def links(self) -> tuple[Link, ...]:
        return tuple(link_of(message[NLMSG.size :]) for message in self.dump(bytes(IFINFO.size), RTM_GETLINK))

    def addresses(self) -> tuple[tuple[int, Address], ...]:
        return tuple((m["index"], address_of(m)) for m in self._dump(ifaddrmsg, RTM_GETADDR))

    def routes(self) -> tuple[Route, ...]:
        """Every route of every table and both families; cached clones are not routes.

        Dumped for all families at once: a kernel without IPv6 answers a dump of its IPv6 routes with those of IPv4.
        """
        found = (decode_route(message[NLMSG.size :]) for message in self.dump(bytes(HEADER.size), RTM_GETROUTE))
        return tuple(route for route in found if route)

    def neighbours(self) -> tuple[tuple[int, Neighbour], ...]:
        """The entries of both families that somebody has configured, those of proxies among them."""
        found = [(index, lasting(neighbour)) for index, neighbour in self._neighbours()]
        entries = [(index, neighbour) for index, neighbour in found if neighbour]
        return (*entries, *self._neighbours(NTF_PROXY))

    def known_neighbours(self) -> tuple[tuple[int, Neighbour], ...]:
        """The entries of both families whose MAC is known now."""
        return tuple((i, n) for i, n in self._neighbours() if n.state & NUD_KNOWN and n.mac)

    def _neighbours(self, flags: int = 0) -> list[tuple[int, Neighbour]]:
        return [
            (m["ifindex"], neighbour_of(m))
            for m in self._dump(ndmsg, RTM_GETNEIGH, flags=flags)
            if m["family"] in (AF_INET, AF_INET6)
        ]

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
        self._create(name, "bridge", [("IFLA_ADDRESS", mac), ("IFLA_MTU", mtu)], settings)

    def create_macvtap(self, name: str, lower: int, mac: str, mtu: int) -> None:
        """A macvtap that reaches the others on its lower device; on a macvlan, it is on that one's lower device."""
        attributes: Attributes = [("IFLA_LINK", lower), ("IFLA_ADDRESS", mac), ("IFLA_MTU", mtu)]
        self._create(name, "macvtap", attributes, [("IFLA_MACVLAN_MODE", MACVLAN_MODE_BRIDGE)])

    def _create(self, name: str, kind: str, attributes: Attributes, settings: Attributes) -> None:
        info = {"attrs": [("IFLA_INFO_KIND", kind), ("IFLA_INFO_DATA", {"attrs": settings})]}
        self._link_request(
            f"create {kind} {name}",
            0,
            [("IFLA_IFNAME", name), *attributes, ("IFLA_LINKINFO", info)],
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
        message = struct.pack("=BxHiII", 0, 0, index, 0, 0) + attribute
        self.request(f"{name}: set IPv4 setting {setting} to {value}", message, RTM_NEWLINK)

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

    def add_route(self, route: Route, *, first: bool = False) -> None:
        """Behind the routes that are equal to it but for the next hop, or `first`, before them (IPv4 alone)."""
        self._route_request(
            f"add route {route.text}", route, RTM_NEWROUTE, NLM_F_CREATE | (0 if first else NLM_F_APPEND)
        )

    def add_host_route(self, index: int, address: str) -> None:
        """A route of the main table to one address on the link of an interface."""
        if ":" in address:
            self.add_route(Route(AF_INET6, f"{address}/128", interface=index))
        else:
            self.add_route(Route(AF_INET, f"{address}/32", interface=index, scope=SCOPE_LINK))

    def offer_routes(self, routes: Sequence[Route]) -> Iterator[tuple[Route, int]]:
        """Offer the kernel routes that it has; each with the errno, EEXIST for what it would take again."""
        payloads = [encode_route(route) for route in routes]
        outcomes = self.outcomes("offer the kernel its routes", payloads, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL)
        return zip(routes, outcomes, strict=True)

    def add_local_route(self, index: int, address: str) -> None:
        """A route of the local table by which packets for an IPv6 address are accepted on an interface."""
        self.add_route(Route(AF_INET6, f"{address}/128", table=TABLE_LOCAL, interface=index, type=RTN_LOCAL))

    def delete_route(self, route: Route) -> None:
        self._route_request(f"delete route {route.text}", route, RTM_DELROUTE)

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

    def _route_request(self, what: str, route: Route, kind: int, flags: int = 0) -> None:
        self.request(what, encode_route(route), kind, flags)

    def _request(self, what: str, message: Any, kind: int, flags: int = 0) -> None:
        message.encode()
        self.request(what, bytes(message.data)[NLMSG.size :], kind, flags)

    def _dump(self, message_class: Any, kind: int, **fields: int) -> list[Any]:
        """All messages of one table."""
        request = message_class()
        for name, value in fields.items():
            request[name] = value
        request.encode()
        messages = [message_class(data) for data in self.dump(bytes(request.data)[NLMSG.size :], kind)]
        for message in messages:
            message.decode()
        return messages
