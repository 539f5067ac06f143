"""What a guest has next to what it was served: addresses and default routes, by MAC. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dhcp.lean.frozen import Frozen

if TYPE_CHECKING:
    from launcher.guest.answers import GuestRoute, GuestWord

    _Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface


class Served(Frozen):
    """What the VM is served on one network."""

    network: str
    mac: str
    isolated: bool
    addresses: tuple[str, ...] = ()
    """In CIDR form, at most one of each family."""
    router4: str = ""
    """The default router by DHCP; empty where the VM gets none here."""
    has_router6: bool = False
    """Whether a default router is advertised."""


class Difference(Frozen):
    """Something that the guest has otherwise."""

    network: str
    what: str
    advice: str


def served_of(network: str, mac: str, isolated: bool, config: Mapping[str, Any] | None) -> Served:
    """Of the configuration that the DHCP server has for a network; None where nothing is served."""
    config = config or {}
    addresses = tuple(config[key] for key in ("client_address", "client_address6") if key in config)
    return Served(network, mac, isolated, addresses, config.get("router", ""), bool(config.get("router6")))


def differences(word: GuestWord, served: Iterable[Served]) -> tuple[Difference, ...]:
    """Every difference; none of a guest that has not reported its interfaces."""
    if not word.interfaces:
        return ()
    return tuple(found for one in served for found in _of_network(word, one))


ASK_THE_GUEST = "look at the guest's own configuration of that interface: does its DHCP client manage it, and alone?"


def _of_network(word: GuestWord, served: Served) -> Iterator[Difference]:
    nic = next((nic for nic in word.interfaces if nic.mac == served.mac), None)
    if nic is None:
        what = f"the guest has no interface with the VM's MAC {served.mac}"
        advice = "has the guest changed its MAC, or no driver for this NIC's model?"
        if served.isolated:
            advice = f"frames with another MAC do not pass; {advice}"
        yield Difference(served.network, what, advice)
        return
    has = [ipaddress.ip_interface(text) for text in nic.addresses]
    wanted = [ipaddress.ip_interface(text) for text in served.addresses]
    # A guest may have its IPv4 address, and use IPv4 alone.
    has_ipv4 = any(one.version == 4 and one.ip in (other.ip for other in has) for one in wanted)
    ipv4_alone = has_ipv4 and not any(one.version == 6 and not one.is_link_local for one in has)
    for one in wanted:
        if one.version == 4 or not ipv4_alone:
            yield from _of_address(nic.name, has, served, one)
    if word.routes is not None:
        yield from _of_routes(word.routes, nic.name, served, ipv4_alone=ipv4_alone)


def _of_address(nic: str, has: list[_Address], served: Served, address: _Address) -> Iterator[Difference]:
    mine = [other for other in has if other.version == address.version and not other.is_link_local]
    same = [other for other in mine if other.ip == address.ip]
    others = ", ".join(str(other) for other in mine if other.ip != address.ip)
    if not same:
        instead = f" but {others}" if others else ""
        what = f"{nic} of the guest has not the address {address}{instead}"
        yield Difference(served.network, what, ASK_THE_GUEST)
    elif address.version == 4 and address not in same:
        # Of an IPv6 address DHCP gives no prefix length.
        what = f"{nic} of the guest has {same[0]}, served is {address}"
        yield Difference(served.network, what, ASK_THE_GUEST)
    if same and others and served.isolated:
        what = f"{nic} of the guest has also {others}, which isolation lets nothing pass from"
        yield Difference(served.network, what, f"{ASK_THE_GUEST} Or turn isolation off")


def _of_routes(routes: tuple[GuestRoute, ...], nic: str, served: Served, *, ipv4_alone: bool) -> Iterator[Difference]:
    through = [route for route in routes if route.interface == nic and route.destination in ("0.0.0.0/0", "::/0")]
    gateways = [route.gateway or "no gateway" for route in through if route.destination == "0.0.0.0/0"]
    if served.router4 and served.router4 not in gateways:
        instead = f", but by {', '.join(gateways)}" if gateways else ""
        what = f"the guest has no default route by {served.router4} on {nic}{instead}"
        yield Difference(served.network, what, ASK_THE_GUEST)
    if served.has_router6 and not ipv4_alone and not any(route.destination == "::/0" for route in through):
        what = f"the guest has no IPv6 default route on {nic}"
        yield Difference(
            served.network, what, "does the guest accept router advertisements (net.ipv6.conf.*.accept_ra)?"
        )
