"""rtnetlink, thin: pyroute2's message classes over one socket of our own, and errno turned into typed errors.

pyroute2 knows every message and attribute. Its own socket stack brings asyncio along and takes 100 ms to import, most
of what the hook would take then. A request here costs 0.05 ms. See rtnetlink(7).
"""

import errno
import importlib
import importlib.util
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any, Final

from netsetup.model import (
    AF_INET,
    AF_INET6,
    FOREVER,
    IFF_UP,
    RTNH_F_ONLINK,
    Address,
    KernelRefused,
    Link,
    Neighbour,
    NextHop,
    NotPermitted,
    Route,
    Rule,
)


def _make_pyroute2_lazy() -> None:
    """Let submodules of pyroute2 load without its ``__init__``, which imports all of it.

    The first use of a name of the package itself (``pyroute2.IPRoute``) loads the whole, so other users in this
    process notice nothing.
    """
    if "pyroute2" in sys.modules:
        return
    spec = importlib.util.find_spec("pyroute2")
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("pyroute2 is not installed")
    package = importlib.util.module_from_spec(spec)

    def load_whole(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if importlib.util.find_spec(f"pyroute2.{name}"):
            return importlib.import_module(f"pyroute2.{name}")
        package.__dict__.pop("__getattr__", None)
        assert spec.loader is not None
        spec.loader.exec_module(package)
        return getattr(package, name)

    package.__dict__["__getattr__"] = load_whole
    sys.modules["pyroute2"] = package


_make_pyroute2_lazy()

from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

Attributes = list[tuple[str, Any]]

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
RTM_GETRULE = 34
RTM_F_CLONED = 0x200
# linux/fib_rules.h: what a rule may say besides without choosing among a VM's packets
FR_ACT_TO_TBL = 1
PLAIN_RULE = {"FRA_TABLE", "FRA_PRIORITY", "FRA_SRC", "FRA_DST", "FRA_PROTOCOL", "FRA_SUPPRESS_PREFIXLEN"}
# linux/neighbour.h
NTF_MASTER, NTF_STICKY, NTF_PROXY = 0x04, 0x40, 0x08
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80
AF_BRIDGE = 7

SO_NETNS_COOKIE: Final = 71

DUMP_ATTEMPTS: Final = 5
USER_HZ: Final = 100  # the unit of rta_expires, fixed towards user space

# The address flags that a user sets (linux/if_addr.h): no DAD, optimistic, home address, manage temporary addresses, no
# prefix route, multicast auto-join. The others are states: tentative, deprecated, secondary …
USER_ADDRESS_FLAGS: Final = 0x02 | 0x04 | 0x10 | 0x100 | 0x200 | 0x400


class Netlink:
    """One rtnetlink socket in the caller's network namespace; a context manager."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    @property
    def namespace_cookie(self) -> int:
        """The number of this network namespace, never given twice since boot (SO_NETNS_COOKIE, Linux 5.14)."""
        return int.from_bytes(self._socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)

    # --- reading ------------------------------------------------------------------------------------------------------

    def links(self) -> tuple[Link, ...]:
        return tuple(_link(message) for message in self._dump(ifinfmsg, RTM_GETLINK))

    def addresses(self) -> tuple[tuple[int, Address], ...]:
        return tuple((m["index"], _address(m)) for m in self._dump(ifaddrmsg, RTM_GETADDR))

    def routes(self) -> tuple[Route, ...]:
        """Every route of every table and both families; cached clones are not routes."""
        return tuple(
            _route(m)
            for family in (AF_INET, AF_INET6)
            for m in self._dump(rtmsg, RTM_GETROUTE, family=family)
            if not m["flags"] & RTM_F_CLONED
        )

    def neighbours(self) -> tuple[tuple[int, Neighbour], ...]:
        """The permanent entries of both families."""
        return tuple(
            (m["ifindex"], _neighbour(m))
            for m in self._dump(ndmsg, RTM_GETNEIGH)
            if m["state"] & NUD_PERMANENT and m["family"] in (AF_INET, AF_INET6) and _get(m, "NDA_LLADDR")
        )

    def rules(self) -> tuple[Rule, ...]:
        return tuple(_rule(m) for m in self._dump(fibmsg, RTM_GETRULE))

    def forwarding_entries(self) -> tuple[tuple[int, str], ...]:
        """The static entries of every bridge: (index of the port, MAC)."""
        return tuple(
            (m["ifindex"], _get(m, "NDA_LLADDR", ""))
            for m in self._dump(ndmsg, RTM_GETNEIGH, family=AF_BRIDGE)
            if m["state"] & NUD_NOARP and _get(m, "NDA_MASTER")
        )

    def link_index(self, name: str) -> int:
        """Raises KernelRefused (ENODEV) when there is no such device."""
        try:
            return socket.if_nametoindex(name)
        except OSError as error:
            raise KernelRefused(f"find {name}", error.errno or errno.ENODEV) from None

    # --- links --------------------------------------------------------------------------------------------------------

    def create_bridge(self, name: str, mac: str, mtu: int) -> None:
        """A bridge that forwards at once and speaks to nobody: no STP, no forward delay, no multicast snooping."""
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
        message = ifinfmsg()
        message["index"], message["flags"], message["change"] = index, IFF_UP if up else 0, IFF_UP
        self._request(f"{name}: set {'up' if up else 'down'}", message, RTM_NEWLINK)

    def set_addr_gen_mode(self, index: int, name: str, mode: int) -> None:
        family = {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", mode)]})]}
        self._link_request(f"{name}: set addr_gen_mode {mode}", index, [("IFLA_AF_SPEC", family)])

    def set_learning(self, index: int, name: str, on: bool) -> None:
        port = {"attrs": [("IFLA_BRPORT_LEARNING", int(on))]}
        info = {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", port)]}
        self._link_request(f"{name}: set learning {int(on)}", index, [("IFLA_LINKINFO", info)])

    # --- addresses, routes, neighbours --------------------------------------------------------------------------------

    def add_address(self, index: int, name: str, address: Address) -> None:
        self._request(
            f"{name}: add address {address.cidr}",
            _address_message(index, address),
            RTM_NEWADDR,
            NLM_F_CREATE | NLM_F_EXCL,
        )

    def delete_address(self, index: int, name: str, address: Address) -> None:
        self._request(f"{name}: delete address {address.cidr}", _address_message(index, address), RTM_DELADDR)

    def add_route(self, route: Route) -> None:
        self._request(
            f"add route {describe_route(route)}",
            _route_message(route),
            RTM_NEWROUTE,
            NLM_F_CREATE | NLM_F_EXCL,
        )

    def delete_route(self, route: Route) -> None:
        self._request(f"delete route {describe_route(route)}", _route_message(route), RTM_DELROUTE)

    def add_neighbour(self, index: int, name: str, neighbour: Neighbour) -> None:
        message = _neighbour_message(index, neighbour)
        self._request(f"{name}: add neighbour {neighbour.address}", message, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE)

    def delete_neighbour(self, index: int, name: str, neighbour: Neighbour) -> None:
        message = _neighbour_message(index, neighbour)
        self._request(f"{name}: delete neighbour {neighbour.address}", message, RTM_DELNEIGH)

    def add_forwarding_entry(self, index: int, name: str, mac: str) -> None:
        """Pin a MAC to a bridge port: static, and sticky so that no frame seen elsewhere moves it."""
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

    def _request(self, what: str, message: Any, kind: int, flags: int = 0) -> None:
        self._send(message, kind, flags | NLM_F_REQUEST | NLM_F_ACK)
        for header, data in self._receive():
            if header == NLMSG_ERROR:
                _raise_for(what, data)
                return

    def _dump(self, message_class: Any, kind: int, family: int = 0) -> list[Any]:
        """All messages of one table. A dump that changed under way (NLM_F_DUMP_INTR) is read again."""
        for _ in range(DUMP_ATTEMPTS):
            message = message_class()
            message["family"] = family
            self._send(message, kind, NLM_F_REQUEST | NLM_F_DUMP)
            messages: list[Any] = []
            interrupted = False
            done = False
            while not done:
                for header, data in self._receive():
                    interrupted |= bool(struct.unpack_from("H", data, 6)[0] & NLM_F_DUMP_INTR)
                    if header == NLMSG_DONE:
                        done = True
                    elif header == NLMSG_ERROR:
                        _raise_for("read the kernel's network state", data)
                    else:
                        decoded = message_class(data)
                        decoded.decode()
                        messages.append(decoded)
            if not interrupted:
                return messages
        raise KernelRefused("read the kernel's network state", errno.EINTR, "it kept changing meanwhile")

    def _send(self, message: Any, kind: int, flags: int) -> None:
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
    """The kernel's own words about an error (NETLINK_EXT_ACK), empty when it gave none."""
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


# --- messages to dataclasses ------------------------------------------------------------------------------------------


def _get(message: Any, attribute: str, default: Any = None) -> Any:
    value = message.get_attr(attribute)
    return default if value is None else value


def _nested(message: Any, *path: str) -> Any:
    for attribute in path:
        message = message.get_attr(attribute)
        if message is None:
            return None
    return message


def _link(m: Any) -> Link:
    learning = _nested(m, "IFLA_LINKINFO", "IFLA_INFO_SLAVE_DATA", "IFLA_BRPORT_LEARNING")
    return Link(
        index=m["index"],
        name=_get(m, "IFLA_IFNAME", ""),
        kind=_nested(m, "IFLA_LINKINFO", "IFLA_INFO_KIND") or "",
        mac=_get(m, "IFLA_ADDRESS", ""),
        mtu=_get(m, "IFLA_MTU", 0),
        flags=m["flags"],
        master=_get(m, "IFLA_MASTER", 0),
        alias=_get(m, "IFLA_IFALIAS", ""),
        addr_gen_mode=_nested(m, "IFLA_AF_SPEC", "AF_INET6", "IFLA_INET6_ADDR_GEN_MODE"),
        learning=None if learning is None else bool(learning),
        parent=_get(m, "IFLA_LINK", 0),
    )


def _address(m: Any) -> Address:
    peer = _get(m, "IFA_ADDRESS", "")
    local = _get(m, "IFA_LOCAL", peer)
    cache = _get(m, "IFA_CACHEINFO", {})
    return Address(
        family=m["family"],
        address=local,
        prefixlen=m["prefixlen"],
        scope=m["scope"],
        flags=_get(m, "IFA_FLAGS", m["flags"]),
        label=_get(m, "IFA_LABEL", ""),
        broadcast=_get(m, "IFA_BROADCAST", ""),
        peer=peer if peer != local else "",
        metric=_get(m, "IFA_RT_PRIORITY", 0),
        proto=_get(m, "IFA_PROTO", 0),
        valid_seconds=cache.get("ifa_valid", FOREVER),
        preferred_seconds=cache.get("ifa_preferred", FOREVER),
    )


def _address_message(index: int, address: Address) -> Any:
    message = ifaddrmsg()
    message["family"], message["prefixlen"] = address.family, address.prefixlen
    message["index"], message["scope"] = index, address.scope
    attributes: Attributes = [
        ("IFA_ADDRESS", address.peer or address.address),
        ("IFA_LOCAL", address.address),
    ]
    flags = address.flags & USER_ADDRESS_FLAGS
    if flags:
        attributes.append(("IFA_FLAGS", flags))
    if address.label:
        attributes.append(("IFA_LABEL", address.label))
    if address.broadcast:
        attributes.append(("IFA_BROADCAST", address.broadcast))
    if address.metric:
        attributes.append(("IFA_RT_PRIORITY", address.metric))
    if address.proto:
        attributes.append(("IFA_PROTO", address.proto))
    if address.valid_seconds != FOREVER or address.preferred_seconds != FOREVER:
        lifetimes = {"ifa_valid": address.valid_seconds, "ifa_preferred": address.preferred_seconds}
        attributes.append(("IFA_CACHEINFO", {**lifetimes, "cstamp": 0, "tstamp": 0}))
    message["attrs"] = attributes
    return message


def _route(m: Any) -> Route:
    family = m["family"]
    anything = "0.0.0.0" if family == AF_INET else "::"
    metrics = _nested(m, "RTA_METRICS")
    via = _get(m, "RTA_VIA")
    return Route(
        family=family,
        destination=f"{_get(m, 'RTA_DST', anything)}/{m['dst_len']}",
        table=_get(m, "RTA_TABLE", m["table"]),
        interface=_get(m, "RTA_OIF", 0),
        gateway=_get(m, "RTA_GATEWAY", ""),
        type=m["type"],
        scope=m["scope"],
        proto=m["proto"],
        metric=_get(m, "RTA_PRIORITY", 0),
        tos=m["tos"],
        flags=m["flags"] & RTNH_F_ONLINK,
        preferred_source=_get(m, "RTA_PREFSRC", ""),
        source=f"{_get(m, 'RTA_SRC')}/{m['src_len']}" if m["src_len"] else "",
        via=via["addr"] if via else "",
        preference=_get(m, "RTA_PREF", 0),
        metrics=tuple((n[5:].lower(), v) for n, v in metrics["attrs"] if isinstance(v, int)) if metrics else (),
        nexthops=tuple(
            NextHop(hop["oif"], hop["hops"] + 1, hop["flags"] & RTNH_F_ONLINK, _get(hop, "RTA_GATEWAY", ""))
            for hop in _get(m, "RTA_MULTIPATH", ())
        ),
        expires_seconds=max(_get(m, "RTA_CACHEINFO", {}).get("rta_expires", 0), 0) // USER_HZ
        if family == AF_INET6
        else 0,
    )


def _route_message(route: Route) -> Any:
    message = rtmsg()
    destination, length = route.destination.split("/")
    message["family"], message["dst_len"], message["table"] = route.family, int(length), min(route.table, 255)
    message["type"], message["scope"], message["proto"] = route.type, route.scope, route.proto
    message["tos"], message["flags"] = route.tos, route.flags
    attributes: Attributes = [("RTA_TABLE", route.table)]
    if not route.is_default:
        attributes.append(("RTA_DST", destination))
    if route.interface:
        attributes.append(("RTA_OIF", route.interface))
    if route.gateway:
        attributes.append(("RTA_GATEWAY", route.gateway))
    if route.via:
        attributes.append(("RTA_VIA", {"family": AF_INET6 if ":" in route.via else AF_INET, "addr": route.via}))
    if route.metric:
        attributes.append(("RTA_PRIORITY", route.metric))
    if route.preferred_source:
        attributes.append(("RTA_PREFSRC", route.preferred_source))
    if route.source:
        source, length = route.source.split("/")
        message["src_len"] = int(length)
        attributes.append(("RTA_SRC", source))
    if route.preference:
        attributes.append(("RTA_PREF", route.preference))
    if route.expires_seconds:
        attributes.append(("RTA_EXPIRES", struct.pack("=I", route.expires_seconds)))
    if route.metrics:
        metrics = {"attrs": [(f"RTAX_{name.upper()}", value) for name, value in route.metrics]}
        attributes.append(("RTA_METRICS", metrics))
    if route.nexthops:
        hops = []
        for hop in route.nexthops:
            gateway = [("RTA_GATEWAY", hop.gateway)] if hop.gateway else []
            hops.append({"oif": hop.interface, "hops": hop.weight - 1, "flags": hop.flags, "attrs": gateway})
        attributes.append(("RTA_MULTIPATH", hops))
    message["attrs"] = attributes
    return message


def describe_route(route: Route) -> str:
    """A route as ip-route(8) writes it, short: ``10.96.0.0/12 via 10.244.1.1 table 100``."""
    words = ["default" if route.is_default else route.destination]
    if route.gateway:
        words.append(f"via {route.gateway}")
    if route.table != 254:
        words.append(f"table {route.table}")
    if route.metric:
        words.append(f"metric {route.metric}")
    return " ".join(words)


def _neighbour(m: Any) -> Neighbour:
    return Neighbour(m["family"], _get(m, "NDA_DST", ""), _get(m, "NDA_LLADDR", ""), m["state"], m["flags"])


def _neighbour_message(index: int, neighbour: Neighbour) -> Any:
    message = ndmsg()
    message["family"], message["ifindex"] = neighbour.family, index
    message["state"], message["flags"] = neighbour.state, neighbour.flags
    message["attrs"] = [("NDA_DST", neighbour.address), ("NDA_LLADDR", neighbour.mac)]
    return message


def _rule(m: Any) -> Rule:
    def prefix(attribute: str, length: str) -> str:
        address = _get(m, attribute)
        return f"{address}/{m[length]}" if address else ""

    return Rule(
        family=m["family"],
        priority=_get(m, "FRA_PRIORITY", 0),
        table=_get(m, "FRA_TABLE", m["table"]),
        source=prefix("FRA_SRC", "src_len"),
        destination=prefix("FRA_DST", "dst_len"),
        selective=bool(m["tos"]) or m["action"] != FR_ACT_TO_TBL or any(n not in PLAIN_RULE for n, _ in m["attrs"]),
    )
