"""Settings of interfaces, as paths below /proc/sys (Documentation/networking/ip-sysctl.rst). Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from netsetup.model.kernel import Link

ACCEPT_RA: Final = "net/ipv6/conf/{}/accept_ra"
ARP_IGNORE: Final = "net/ipv4/conf/{}/arp_ignore"
FORWARDING4: Final = "net/ipv4/conf/{}/forwarding"
FORWARDING6: Final = "net/ipv6/conf/{}/forwarding"
FORCE_FORWARDING: Final = "net/ipv6/conf/{}/force_forwarding"
"""Linux 6.17: an interface forwards IPv6 without the whole namespace becoming a router."""
MTU6: Final = "net/ipv6/conf/{}/mtu"
"""The link's MTU, or what a router has advertised (RFC 4861 §4.6.4)."""
BRIDGE_NETFILTER: Final = ("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables")
"""Whether frames on bridges pass the netfilter hooks of IP before the bridge decides if they are for itself."""


def interface_of(key: str) -> str:
    """The interface whose setting it is; empty for one of the whole namespace."""
    parts = key.split("/")
    return parts[3] if len(parts) == 5 else ""


def of_interface(key: str, name: str) -> str:
    """The same setting of another interface."""
    *folders, _, setting = key.split("/")
    return "/".join((*folders, name, setting))


def renamed_settings(settings: Sequence[tuple[str, str]], names: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The settings under the present `names` of their interfaces, by the recorded ones."""
    return tuple(
        (of_interface(key, names[name]) if (name := interface_of(key)) in names else key, value)
        for key, value in settings
    )


def settings_now(
    links: Sequence[Link], settings: Sequence[tuple[str, str]], indexes: Sequence[tuple[str, int]]
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, int], ...]]:
    """Recorded settings of interfaces, and the interfaces' indexes by name, under the present names.

    Those of an interface that has gone are left out: another one of its name has settings of its own.
    """
    present = {link.index: link.name for link in links}
    names = {name: present[index] for name, index in indexes if index in present}
    gone = {name for name, _ in indexes if name not in names}
    left = [(key, value) for key, value in settings if interface_of(key) not in gone]
    return renamed_settings(left, names), tuple((names[name], index) for name, index in indexes if name in names)
