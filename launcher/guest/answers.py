"""What a guest's agent answers, decoded: the guest writes it, so nothing of it is believed but its form. Pure.

The commands' answers are those of QEMU's qga/qapi-schema.json.
"""

import ipaddress
from collections.abc import Iterator
from typing import Any, Final

from dhcp.lean.frozen import Frozen
from dhcp.lean.json import loads
from dhcp.lean.text import printable, shortened

LARGEST: Final = 256 * 1024
"""Characters of an answer that is looked at; libvirt itself takes 10 MB."""
MOST_INTERFACES: Final = 64
MOST_ADDRESSES: Final = 64
"""Of one interface."""
MOST_ROUTES: Final = 256
LONGEST: Final = 120
"""Characters of a name."""


class BadAnswer(ValueError):
    """Something that no agent answers."""


class GuestInterface(Frozen):
    """A network interface as the guest has it."""

    name: str
    mac: str
    """Lower case, colons; empty where it has none."""
    addresses: tuple[str, ...]
    """In CIDR form."""


class GuestRoute(Frozen):
    """A route of the guest's main table."""

    destination: str
    """In CIDR form; `default` is 0.0.0.0/0 or ::/0."""
    gateway: str
    """Empty for none."""
    interface: str
    metric: int


class GuestWord(Frozen):
    """What a guest says of itself."""

    hostname: str = ""
    system: str = ""
    """Its name and version, as the guest's os-release has it."""
    kernel: str = ""
    interfaces: tuple[GuestInterface, ...] = ()
    routes: tuple[GuestRoute, ...] | None = None
    """None where the agent does not report them: before QEMU 9.1 none does."""
    problem: str = ""
    """Why something is missing; empty where nothing is."""


def answer_of(text: str) -> Any:
    """The value of one answer's JSON text. Raises BadAnswer."""
    if len(text) > LARGEST:
        raise BadAnswer(f"an answer of {len(text)} characters")
    try:
        return loads(text)["return"]
    except (ValueError, TypeError, KeyError):
        raise BadAnswer("what is no answer") from None


def hostname_in(answer: Any) -> str:
    """Of `guest-get-host-name`."""
    return _text(_field(answer, "host-name"))


def system_in(answer: Any) -> tuple[str, str]:
    """System and kernel, of `guest-get-osinfo`."""
    name = _text(_field(answer, "pretty-name")) or " ".join(
        filter(None, (_text(_field(answer, key)) for key in ("name", "version")))
    )
    return name, _text(_field(answer, "kernel-release"))


def interfaces_in(answer: Any) -> tuple[GuestInterface, ...]:
    """Of `guest-network-get-interfaces`."""
    return tuple(
        GuestInterface(
            _text(_field(item, "name")),
            _text(_field(item, "hardware-address")).lower(),
            tuple(_addresses(_field(item, "ip-addresses"))),
        )
        for item in _list(answer, MOST_INTERFACES)
    )


def _addresses(answer: Any) -> Iterator[str]:
    for item in _list(answer, MOST_ADDRESSES):
        prefix = _field(item, "prefix")
        try:
            # Windows names the link of a link-local address behind it.
            address = ipaddress.ip_address(str(_field(item, "ip-address")).partition("%")[0])
            yield str(ipaddress.ip_interface((address, prefix if isinstance(prefix, int) else address.max_prefixlen)))
        except ValueError:
            continue


def routes_in(answer: Any) -> tuple[GuestRoute, ...]:
    """Of `guest-network-get-route`; those that reject, or are the host's own, are left out."""
    return tuple(route for item in _list(answer, MOST_ROUTES) if (route := _route(item)))


def _route(item: Any) -> GuestRoute | None:
    is_ipv6 = _field(item, "version") == 6
    length = _field(item, "desprefixlen" if is_ipv6 else "mask")
    gateway, metric = _field(item, "nexthop" if is_ipv6 else "gateway"), _field(item, "metric")
    try:
        destination = ipaddress.ip_network(f"{_field(item, 'destination')}/{length}", strict=False)
        via = ipaddress.ip_address(str(gateway)) if gateway else None
    except ValueError:
        return None
    name = _text(_field(item, "iface"))
    if name == "lo" or destination.is_multicast:
        return None
    hop = "" if via is None or via.is_unspecified else str(via)
    return GuestRoute(str(destination), hop, name, metric if isinstance(metric, int) else 0)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _list(value: Any, most: int) -> list[Any]:
    return value[:most] if isinstance(value, list) else []


def _text(value: Any) -> str:
    """One line that does nothing to a terminal."""
    return shortened(printable(value), LONGEST) if isinstance(value, str) else ""
