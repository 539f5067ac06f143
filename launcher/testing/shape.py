"""Shapes: what one CNI sets up in a pod and on its node, as `ip` commands, and what a VM in that pod must get.

The files are `shapes/NAME.toml`, beside this one. Their commands are lines for `ip -batch`, run in the namespace of
their section, where these devices exist already:

- pod: `eth0` (or the name in `interface`) with the given MAC and MTU, and the `[[pod.others]]`; all are up
- node: `vethpod` and `vethnbr`, the other ends of the pod's and the neighbour's interface (`veth-NAME` for
  others); `up0`, an uplink with the node's default routes; forwarding is on; 192.0.2.1 and 2001:db8::1 are
  on `lo` and stand for the outside world
- neighbour: `eth0`, up: another pod of the same node
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

SHAPES_DIRECTORY = Path(__file__).parent / "shapes"
OUTSIDE = "192.0.2.1"
OUTSIDE6 = "2001:db8::1"


@dataclass(frozen=True, slots=True)
class Nic:
    """A veth pair between node and pod."""

    name: str
    """Its name in the pod."""
    mac: str
    mtu: int
    node_port: str
    """The name of its other end on the node."""


@dataclass(frozen=True, slots=True)
class Side:
    """The configuration of one namespace: sysctls (paths below /proc/sys/net) first, then commands."""

    sysctls: Mapping[str, int] = field(default_factory=dict)
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A route as in DHCP option 121; the gateway 0.0.0.0 means on-link (RFC 3442)."""

    destination: str
    gateway: str


@dataclass(frozen=True, slots=True)
class GuestNetwork:
    """The IPv4 configuration that a VM in such a pod must get."""

    address: str
    """With the prefix length that the routing table supports, which need not be the pod address's."""
    mtu: int
    router: str | None = None
    routes: tuple[Route, ...] = ()
    """All but the default route and the connected one."""
    reaches: Mapping[str, str] = field(default_factory=dict)
    """Addresses that must answer the guest, by the name of what they stand for."""
    silent: tuple[str, ...] = ()
    """Those of `reaches` that route but hold no address: they cannot be pinged themselves."""
    by_classless_route: tuple[str, ...] = ()
    """Those of `reaches` that a client without option 121 cannot reach."""
    neighbours: Mapping[str, str] = field(default_factory=dict)
    """Permanent neighbours of the pod, address to MAC."""


@dataclass(frozen=True, slots=True)
class GuestNetwork6:
    """The IPv6 configuration that a VM in such a pod must get."""

    address: str
    """Always a /128: a prefix is on-link only by the advertisement."""
    router: str
    """The link-local address that the VM's default route leads through."""
    mtu: int
    on_link: str | None = None
    """The prefix whose addresses are reached without the router."""
    reaches: Mapping[str, str] = field(default_factory=dict)
    """Addresses that must answer to the guest, by what they stand for."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One CNI's pod. `guest` is None where the pod has no IPv4 address to serve, `guest6` where IPv6 is not tested."""

    name: str
    source: str
    interface: str
    nics: tuple[Nic, ...]
    """The VM's own first."""
    pod: Side
    node: Side
    node_before: tuple[str, ...]
    """Node commands that make pod devices: run before the pod's commands."""
    neighbour: Side
    guest: GuestNetwork | None
    guest6: GuestNetwork6 | None

    @property
    def nic(self) -> Nic:
        """The interface that becomes the VM's."""
        return self.nics[0]


@cache
def load_shape(name: str) -> Shape:
    """Read `shapes/NAME.toml`.

    Raises:
        ValueError: an unknown key.
    """
    path = SHAPES_DIRECTORY / f"{name}.toml"
    table = _Table(tomllib.loads(path.read_text()), path.name)
    interface = table.take("interface", "eth0")
    pod = table.section("pod")
    first = Nic(interface, pod.take("mac"), pod.take("mtu"), "vethpod")
    others = tuple(
        Nic(other["name"], other["mac"], other["mtu"], f"veth-{other['name']}") for other in pod.take("others", [])
    )
    node = table.section("node")
    before = _lines(node.take("before", ""))
    shape = Shape(
        name=name,
        source=table.take("source"),
        interface=interface,
        nics=(first, *others),
        pod=_side(pod),
        node=_side(node),
        node_before=before,
        neighbour=_side(table.section("neighbour")),
        guest=_guest(table.section("guest")) if "guest" in table else None,
        guest6=_guest6(table.section("guest6")) if "guest6" in table else None,
    )
    table.done()
    return shape


def shape_names() -> list[str]:
    """Names of all shapes, sorted."""
    return sorted(path.stem for path in SHAPES_DIRECTORY.glob("*.toml"))


class _Table:
    """A TOML table whose keys must all be read."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self._values = dict(values)
        self._where = where

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def take(self, key: str, default: Any = None) -> Any:
        if key not in self._values and default is None:
            raise ValueError(f"{self._where}: {key} is missing")
        return self._values.pop(key, default)

    def section(self, key: str) -> _Table:
        return _Table(self._values.pop(key, {}), f"{self._where}: [{key}]")

    def done(self) -> None:
        if self._values:
            raise ValueError(f"{self._where}: unknown keys: {', '.join(self._values)}")


def _side(table: _Table) -> Side:
    side = Side(sysctls=table.take("sysctls", {}), commands=_lines(table.take("commands", "")))
    table.done()
    return side


def _guest(table: _Table) -> GuestNetwork:
    guest = GuestNetwork(
        address=table.take("address"),
        mtu=table.take("mtu"),
        router=table.take("router", "") or None,
        routes=tuple(Route(**route) for route in table.take("routes", [])),
        reaches=table.take("reaches", {}),
        silent=tuple(table.take("silent", [])),
        by_classless_route=tuple(table.take("by_classless_route", [])),
        neighbours=table.take("neighbours", {}),
    )
    table.done()
    return guest


def _guest6(table: _Table) -> GuestNetwork6:
    guest = GuestNetwork6(
        address=table.take("address"),
        router=table.take("router"),
        mtu=table.take("mtu"),
        on_link=table.take("on_link", "") or None,
        reaches=table.take("reaches", {}),
    )
    table.done()
    return guest


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())
