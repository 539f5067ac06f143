"""rtnetlink's messages from and to our dataclasses, most of them as pyroute2 decodes and encodes them."""

import socket
import struct
import sys
import time
from collections.abc import Callable
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

from dhcp.lean.frozen import replace
from netsetup.kernel.lazy_import import make_lazy
from netsetup.kernel.route_messages import attributes_of
from netsetup.model.kernel import (
    FOREVER,
    IFA_F_MANAGETEMPADDR,
    IFAPROT_KERNEL_RA,
    NTF_EXT_LEARNED,
    NTF_EXT_MANAGED,
    NUD_NOARP,
    NUD_PERMANENT,
    USER_ADDRESS_FLAGS,
    Address,
    Link,
    Neighbour,
    Rule,
)

make_lazy("pyroute2")  # of which the message classes alone are wanted: 23 ms instead of 100
# These names are all that the message classes use of it; it imports multiprocessing and platform, 5 ms.
make_lazy("pyroute2.config", AF_BRIDGE=socket.AF_BRIDGE, data_plugins_pkgs=[], data_plugins_path=[])

from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg

Attributes = list[tuple[str, Any]]

# linux/if_link.h, linux/if_tun.h
IFINFO = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, type, index, flags, change."""
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO, IFLA_IFALIAS = 1, 3, 4, 5, 10, 18, 20
IFLA_AF_SPEC, IFLA_LINK_NETNSID = 26, 37
NLA_TYPE_MASK = 0x3FFF
"""Without the flags that some kernels set for attributes with others inside (linux/netlink.h)."""
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_BRPORT_LEARNING, IFLA_INET6_ADDR_GEN_MODE, IFLA_VXLAN_LINK = 8, 8, 3
IFLA_TUN_OWNER, IFLA_TUN_TYPE, IFLA_TUN_MULTI_QUEUE = 1, 3, 7

NUD_NONE, NUD_STALE = 0x00, 0x04
IFF_TAP = 2  # linux/if_tun.h
BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"

# linux/fib_rules.h: what else a rule may hold without choosing among a VM's packets
FR_ACT_TO_TBL = 1
WHOLE_MARK = 0xFFFFFFFF
PLAIN_RULE = {"FRA_TABLE", "FRA_PRIORITY", "FRA_SRC", "FRA_DST", "FRA_PROTOCOL", "FRA_SUPPRESS_PREFIXLEN"}


def reader(message: Any) -> Callable[..., Any]:
    """What gives a message's attributes by name, or a default; pyroute2 goes through all of them each time."""
    slots = {slot[0]: slot for slot in message["attrs"]}

    def get(attribute: str, default: Any = None) -> Any:
        value = slots[attribute][1] if attribute in slots else None  # decoded now, if it has not been before
        return default if value is None else value

    return get


def text_of(value: str | bytes) -> str:
    """A name or another text of the kernel's, which are octets; pyroute2 leaves what is no UTF-8 as it is."""
    return value if isinstance(value, str) else value.decode(errors="surrogateescape")


def link_of(message: bytes) -> Link:
    """A device out of a RTM_NEWLINK message without its netlink header.

    By hand: a message has five dozen attributes, of which pyroute2 makes objects before one is asked for, and which is
    most of what it takes to look at a pod with many interfaces.
    """
    _, _, index, flags, _ = IFINFO.unpack_from(message)
    values = _values(message, IFINFO.size)
    info = _inside(values, IFLA_LINKINFO)
    kind = _text(info, IFLA_INFO_KIND)
    data = _inside(info, IFLA_INFO_DATA)
    port = _inside(info, IFLA_INFO_SLAVE_DATA) if _text(info, IFLA_INFO_SLAVE_KIND) == "bridge" else {}
    six = _inside(_inside(values, IFLA_AF_SPEC), AF_INET6)
    is_tap = kind == "tun" and _number(data, IFLA_TUN_TYPE) == IFF_TAP
    learning = _number(port, IFLA_BRPORT_LEARNING)
    lower = _number(data, IFLA_VXLAN_LINK) if kind == "vxlan" else 0
    return Link(
        index=index,
        name=_text(values, IFLA_IFNAME),
        kind=kind,
        mac=values.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=_number(values, IFLA_MTU) or 0,
        flags=flags,
        master=_number(values, IFLA_MASTER) or 0,
        alias=_text(values, IFLA_IFALIAS),
        addr_gen_mode=_number(six, IFLA_INET6_ADDR_GEN_MODE),
        learning=None if learning is None else bool(learning),
        parent=_number(values, IFLA_LINK) or lower or 0,
        parent_elsewhere=IFLA_LINK_NETNSID in values,
        multi_queue=bool(_number(data, IFLA_TUN_MULTI_QUEUE)) if is_tap else None,
        tap_owner=_number(data, IFLA_TUN_OWNER) if is_tap else None,
    )


def _values(data: bytes, offset: int = 0) -> dict[int, bytes]:
    return {number & NLA_TYPE_MASK: value for number, value in attributes_of(data, offset)}


def _inside(values: dict[int, bytes], attribute: int) -> dict[int, bytes]:
    return _values(values[attribute]) if attribute in values else {}


def _text(values: dict[int, bytes], attribute: int) -> str:
    return text_of(values.get(attribute, b"").partition(b"\0")[0])


def _number(values: dict[int, bytes], attribute: int) -> int | None:
    """Of one to eight octets; None for an attribute that is not there."""
    return int.from_bytes(values[attribute], sys.byteorder) if attribute in values else None


def boot_seconds() -> int:
    """The present time by the clock of lifetimes: the same in all processes, and it runs while the machine sleeps."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME))


def address_of(m: Any) -> Address:
    get = reader(m)
    peer = get("IFA_ADDRESS", "")
    local = get("IFA_LOCAL", peer)
    cache = get("IFA_CACHEINFO", {})
    valid, preferred = cache.get("ifa_valid", FOREVER), cache.get("ifa_preferred", FOREVER)
    flags, proto = get("IFA_FLAGS", m["flags"]), get("IFA_PROTO", 0)
    # A router renews what it advertises, which nobody in the pod sees while the VM has the address.
    ages = (valid, preferred) != (FOREVER, FOREVER) and proto != IFAPROT_KERNEL_RA and not flags & IFA_F_MANAGETEMPADDR
    return Address(
        family=m["family"],
        address=local,
        prefixlen=m["prefixlen"],
        scope=m["scope"],
        flags=flags,
        label=text_of(get("IFA_LABEL", "")),
        broadcast=get("IFA_BROADCAST", ""),
        peer=peer if peer != local else "",
        metric=get("IFA_RT_PRIORITY", 0),
        proto=proto,
        valid_seconds=valid,
        preferred_seconds=preferred,
        read_at=boot_seconds() if ages else 0,
    )


def address_message(index: int, address: Address) -> Any:
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
        attributes.append(("IFA_LABEL", address.label.encode(errors="surrogateescape")))
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


def neighbour_of(m: Any) -> Neighbour:
    get = reader(m)
    extended, state, mac = get("NDA_FLAGS_EXT", 0), m["state"], get("NDA_LLADDR", "")
    return Neighbour(m["family"], get("NDA_DST", ""), mac, state, m["flags"], extended, get("NDA_PROTOCOL", 0))


def lasting(neighbour: Neighbour) -> Neighbour | None:
    """A neighbour as somebody has configured it, without what the kernel finds out by itself; None for one that is the
    kernel's alone: resolved for traffic, or computed from a multicast or broadcast address."""
    if neighbour.extended_flags & NTF_EXT_MANAGED:
        return replace(neighbour, state=NUD_NONE, mac="")
    if not neighbour.mac:
        return None
    if neighbour.state & NUD_PERMANENT:
        return neighbour
    if neighbour.state & NUD_NOARP:
        return None if neighbour.mac in (BROADCAST_MAC, multicast_mac(neighbour.address)) else neighbour
    return replace(neighbour, state=NUD_STALE) if neighbour.flags & NTF_EXT_LEARNED else None


def multicast_mac(address: str) -> str:
    """The group MAC of an address (RFC 1112 §6.4, RFC 2464 §7), as the kernel computes it."""
    octets = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    group = b"\x33\x33" + octets[-4:] if ":" in address else bytes([1, 0, 0x5E, octets[1] & 0x7F, *octets[2:]])
    return group.hex(":")


def neighbour_message(index: int, neighbour: Neighbour) -> Any:
    message = ndmsg()
    message["family"], message["ifindex"] = neighbour.family, index
    message["state"], message["flags"] = neighbour.state, neighbour.flags
    attributes: Attributes = [("NDA_DST", neighbour.address)]
    if neighbour.mac:
        attributes.append(("NDA_LLADDR", neighbour.mac))
    if neighbour.extended_flags:
        attributes.append(("NDA_FLAGS_EXT", neighbour.extended_flags))
    if neighbour.proto:
        attributes.append(("NDA_PROTOCOL", neighbour.proto))
    message["attrs"] = attributes
    return message


def rule_message(rule: Rule) -> Any:
    message = fibmsg()
    message["family"], message["action"] = rule.family, FR_ACT_TO_TBL
    attributes: Attributes = [("FRA_PRIORITY", rule.priority), ("FRA_TABLE", rule.table)]
    for end, attribute, length in ((rule.source, "FRA_SRC", "src_len"), (rule.destination, "FRA_DST", "dst_len")):
        if end:
            address, _, prefix = end.partition("/")
            message[length] = int(prefix)
            attributes.append((attribute, address))
    if rule.mark:
        attributes += [("FRA_FWMARK", rule.mark), ("FRA_FWMASK", WHOLE_MARK)]
    if rule.protocol:
        attributes.append(("FRA_PROTOCOL", rule.protocol))
    message["attrs"] = attributes
    return message


def rule_of(m: Any) -> Rule:
    get = reader(m)

    def prefix(attribute: str, length: str) -> str:
        address = get(attribute)
        return f"{address}/{m[length]}" if address else ""

    return Rule(
        family=m["family"],
        priority=get("FRA_PRIORITY", 0),
        table=get("FRA_TABLE", m["table"]),
        source=prefix("FRA_SRC", "src_len"),
        destination=prefix("FRA_DST", "dst_len"),
        selective=bool(m["tos"]) or m["action"] != FR_ACT_TO_TBL or any(n not in PLAIN_RULE for n, _ in m["attrs"]),
        mark=get("FRA_FWMARK", 0) if get("FRA_FWMASK", 0) == WHOLE_MARK else 0,
        protocol=get("FRA_PROTOCOL", 0),
    )
