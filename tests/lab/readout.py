"""What the program reads of a pod and serves to its VM, as text for comparison with the CNI's manual."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import fields

from netsetup.model.kernel import AF_INET, FOREVER, TABLE_LOCAL, TABLE_MAIN, Address, Route
from netsetup.model.pod_interface import PodInterface

_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host"}
_PROTOCOLS = {2: "kernel", 3: "boot", 4: "static", 9: "ra", 12: "bird"}
_ADDRESS_FLAGS = {
    0x01: "secondary",
    0x02: "nodad",
    0x08: "dadfailed",
    0x10: "home",
    0x20: "deprecated",
    0x40: "tentative",
    0x200: "noprefixroute",
}


def readout(pod: PodInterface, network: Mapping[str, object], config: Mapping[str, object] | None) -> str:
    """One discovered interface, the network planned from it, and the DHCP server's configuration if there is one."""
    lines = ["What discovery reads", *map("  {}".format, _discovered(pod)), "", "What the VM gets"]
    lines += [f"  {key:<16}{network[key]}" for key in ("guest_port", "bridge", "mac", "mtu")]
    lines += ["", "What our server serves it", *(map("  {}".format, _served(config)) if config else ["  nothing"])]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _discovered(pod: PodInterface) -> Iterator[str]:
    link = pod.link
    state = "up" if link.up else "down"
    yield f"{link.name}: {link.kind} {link.mac} mtu {link.mtu} {state}{'' if link.carrier else ', no carrier'}"
    yield from (f"address {_address(address)}" for address in pod.addresses)
    # the kernel derives routes of table local from the addresses; they are read to be restored, and not shown
    yield from (f"route {_route(route)}" for route in pod.routes if route.table != TABLE_LOCAL)
    yield from (f"neighbour {neighbour.address} lladdr {neighbour.mac} permanent" for neighbour in pod.neighbours)
    yield from (f"sysctl {key.replace('/', '.')}={value}" for key, value in pod.sysctls if key.endswith("disable_ipv6"))
    yield f"the VM's packets are routed by table {' and then '.join(map(_table, pod.tables))}"
    yield from (f"nameserver {server}" for server in pod.resolver.nameservers)
    yield from [f"search {' '.join(pod.resolver.search)}"] if pod.resolver.search else []


def _address(address: Address) -> str:
    words = [address.cidr]
    words += [f"peer {address.peer}"] if address.peer else []
    words += [f"brd {address.broadcast}"] if address.broadcast else []
    words += [f"scope {_SCOPES[address.scope]}"] if address.scope else []
    words += [f"label {address.label}"] if ":" in address.label else []
    words += [name for bit, name in _ADDRESS_FLAGS.items() if address.flags & bit]
    words += ["ages"] if address.valid_seconds != FOREVER else []
    return " ".join(words)


def _route(route: Route) -> str:
    """The route as `ip route` prints it, and further unusual fields by their names in `netsetup.model.kernel.Route`."""
    words = [route.text]
    words += [f"scope {_SCOPES[route.scope]}"] if route.scope and route.family == AF_INET else []
    words += [f"proto {_PROTOCOLS.get(route.proto, route.proto)}"] if route.proto != 3 else []
    words += [f"src {route.preferred_source}"] if route.preferred_source else []
    words += [f"{name} {value}" for name, value in route.metrics]
    words += [f"nexthop via {hop.gateway} weight {hop.weight}" for hop in route.nexthops]
    shown = ("family", "destination", "table", "interface", "gateway", "scope", "proto", "metric", "preferred_source")
    for field in fields(route):
        value = getattr(route, field.name)
        if field.name not in (*shown, "metrics", "nexthops", "expires_seconds") and value != field.default:
            words.append(f"{field.name} {value}")
    words += ["ages"] if route.expires_seconds else []
    return " ".join(words)


def _table(number: int) -> str:
    return "main" if number == TABLE_MAIN else str(number)


def _served(config: Mapping[str, object]) -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from (f"{key:<16}{name} {part}" for name, part in value.items())
        elif isinstance(value, list):
            for item in value:
                text = f"{item['destination']} via {item['gateway']}" if isinstance(item, Mapping) else item
                yield f"{key:<16}{text}"
        elif value == socket.gethostname():
            yield f"{key:<16}(that of the pod)"
        else:
            yield f"{key:<16}{value}"
