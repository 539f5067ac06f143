"""rtnetlink's messages, as pyroute2 decodes and encodes them, from and to our dataclasses."""

import socket
import struct
import time
from collections.abc import Callable
from typing import Any, Final

from netsetup.kernel.lazy_import import make_lazy
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    FOREVER,
    IFA_F_MANAGETEMPADDR,
    IFAPROT_KERNEL_RA,
    RTNH_F_ONLINK,
    USER_ADDRESS_FLAGS,
    Address,
    Link,
    Neighbour,
    NextHop,
    Route,
    Rule,
)

make_lazy("pyroute2")  # of which the message classes alone are wanted: 23 ms instead of 100
# These names are all that the message classes use of it; it imports multiprocessing and platform, 5 ms.
make_lazy("pyroute2.config", AF_BRIDGE=socket.AF_BRIDGE, data_plugins_pkgs=[], data_plugins_path=[])

from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

Attributes = list[tuple[str, Any]]

USER_HZ: Final = 100
"""The unit of rta_expires, fixed towards user space."""

# linux/fib_rules.h: what else a rule may hold without choosing among a VM's packets
FR_ACT_TO_TBL = 1
PLAIN_RULE = {"FRA_TABLE", "FRA_PRIORITY", "FRA_SRC", "FRA_DST", "FRA_PROTOCOL", "FRA_SUPPRESS_PREFIXLEN"}


def reader(message: Any) -> Callable[..., Any]:
    """What gives a message's attributes by name, or a default; pyroute2 goes through all of them each time."""
    slots = {slot[0]: slot for slot in message["attrs"]}

    def get(attribute: str, default: Any = None) -> Any:
        value = slots[attribute][1] if attribute in slots else None  # decoded now, if it has not been before
        return default if value is None else value

    return get


def _nested(message: Any, *path: str) -> Any:
    for attribute in path:
        if message is None:
            return None
        message = message.get_attr(attribute)
    return message


def link_of(m: Any) -> Link:
    get = reader(m)
    info = get("IFLA_LINKINFO")
    learning = _nested(info, "IFLA_INFO_SLAVE_DATA", "IFLA_BRPORT_LEARNING")
    return Link(
        index=m["index"],
        name=get("IFLA_IFNAME", ""),
        kind=_nested(info, "IFLA_INFO_KIND") or "",
        mac=get("IFLA_ADDRESS", ""),
        mtu=get("IFLA_MTU", 0),
        flags=m["flags"],
        master=get("IFLA_MASTER", 0),
        alias=get("IFLA_IFALIAS", ""),
        addr_gen_mode=_nested(get("IFLA_AF_SPEC"), "AF_INET6", "IFLA_INET6_ADDR_GEN_MODE"),
        learning=None if learning is None else bool(learning),
        parent=get("IFLA_LINK", 0) or _nested(info, "IFLA_INFO_DATA", "IFLA_VXLAN_LINK") or 0,
        parent_elsewhere=get("IFLA_LINK_NETNSID") is not None,
    )


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
        label=get("IFA_LABEL", ""),
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


def route_of(m: Any) -> Route:
    get = reader(m)
    family = m["family"]
    anything = "0.0.0.0" if family == AF_INET else "::"
    metrics = get("RTA_METRICS")
    via = get("RTA_VIA")
    return Route(
        family=family,
        destination=f"{get('RTA_DST', anything)}/{m['dst_len']}",
        table=get("RTA_TABLE", m["table"]),
        interface=get("RTA_OIF", 0),
        gateway=get("RTA_GATEWAY", ""),
        type=m["type"],
        scope=m["scope"],
        proto=m["proto"],
        metric=get("RTA_PRIORITY", 0),
        tos=m["tos"],
        flags=m["flags"] & RTNH_F_ONLINK,
        preferred_source=get("RTA_PREFSRC", ""),
        source=f"{get('RTA_SRC')}/{m['src_len']}" if m["src_len"] else "",
        via=via["addr"] if via else "",
        preference=get("RTA_PREF", 0),
        metrics=tuple((n[5:].lower(), v) for n, v in metrics["attrs"] if isinstance(v, int)) if metrics else (),
        nexthops=tuple(
            NextHop(hop["oif"], hop["hops"] + 1, hop["flags"] & RTNH_F_ONLINK, reader(hop)("RTA_GATEWAY", ""))
            for hop in get("RTA_MULTIPATH", ())
        ),
        expires_seconds=max(get("RTA_CACHEINFO", {}).get("rta_expires", 0), 0) // USER_HZ if family == AF_INET6 else 0,
    )


def route_message(route: Route) -> Any:
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


def neighbour_of(m: Any) -> Neighbour:
    get = reader(m)
    return Neighbour(m["family"], get("NDA_DST", ""), get("NDA_LLADDR", ""), m["state"], m["flags"])


def neighbour_message(index: int, neighbour: Neighbour) -> Any:
    message = ndmsg()
    message["family"], message["ifindex"] = neighbour.family, index
    message["state"], message["flags"] = neighbour.state, neighbour.flags
    message["attrs"] = [("NDA_DST", neighbour.address), ("NDA_LLADDR", neighbour.mac)]
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
    )
