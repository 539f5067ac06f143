"""Which sources a guest may have besides its own addresses, and which it was dropped for: rules of nft(8). Pure.

What is dropped for its source is counted by that in sets that the rules fill: with a bound and a timeout, so that a
guest which sends from a million sources costs no more than one that sends from 64.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_network
from typing import Final

from netsetup.nft.allow_list import AllowList
from netsetup.nft.ruleset import SourceSet, chain

MOST: Final = 64
"""How many sources are remembered for each cause, each for an hour after it was last seen."""
MOST_FURTHER: Final = 64
"""How many further addresses and networks a guest may have."""
WIDEST: Final = {4: 8, 6: 32}
"""The shortest prefix of one, by IP version."""

# What the keys of a cause's set are, and where they are in a frame.
SOURCES: Final = {
    "mac": ("type ether_addr", "ether saddr"),
    "arp": ("type ipv4_addr", "arp saddr ip"),
    "ipv4": ("type ipv4_addr", "ip saddr"),
    "ipv6": ("typeof @nh,64,128", "@nh,64,128"),
}

NOBODYS: Final = tuple(
    (ip_network(text), what)
    for text, what in (
        ("0.0.0.0/8", "this network"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/3", "multicast, or reserved"),
        ("::/64", "unspecified, loopback or mapped"),
        ("fe80::/10", "link-local, of which the guest has its own"),
        ("ff00::/8", "multicast"),
        ("fd76:6c64:6e73::/64", "ours, for name servers in the pod"),
    )
)
"""What no guest may send from (RFC 6890), or has anyhow."""
_ROUTER_MAC: Final = "00:00:5e:00:0[12]:[0-9a-f]{2}"
"""Of virtual routers (RFC 9568 §7.3)."""


def parse_further(texts: Iterable[str]) -> tuple[str, ...]:
    """Further addresses, networks and MACs of virtual routers in canonical form, none twice.

    Raises ValueError for what no guest may send from, and for too many.
    """
    found = tuple(dict.fromkeys(map(_parsed, texts)))
    if len(found) > MOST_FURTHER:
        raise ValueError(f"must be at most {MOST_FURTHER}, are {len(found)}")
    return found


def _parsed(text: str) -> str:
    if re.fullmatch(_ROUTER_MAC, text.lower()):
        return text.lower()
    try:
        network = ip_network(text.replace("%", "no zone"))
    except ValueError:
        raise ValueError(f"`{text}` is no IP address, no network and no MAC of a virtual router") from None
    if network.prefixlen < WIDEST[network.version]:
        raise ValueError(f"{text} is too wide, must be /{WIDEST[network.version]} or longer")
    for other, what in NOBODYS:
        if other.version == network.version and network.overlaps(other):
            raise ValueError(f"{text} is {what}, which no guest may send from")
    return str(network)


def own_sources4(allowed: AllowList) -> tuple[str, ...]:
    """The IPv4 sources of a guest as elements of one set, in which no two may overlap."""
    if not allowed.further4:
        return allowed.addresses4
    return tuple(map(str, collapse_addresses(map(IPv4Network, (*allowed.addresses4, *allowed.further4)))))


def further_rules6(allowed: AllowList, field: str) -> list[str]:
    """Rules that return where a raw field (``@nh,64,128``) is one of the guest's further IPv6 addresses."""
    networks = collapse_addresses(map(IPv6Network, allowed.further6))
    return [f"{field} & {int(n.netmask):#x} == {int(n.network_address):#x} return" for n in networks]


def source_sets(allowed: AllowList, family: str) -> tuple[SourceSet, ...]:
    """The sets of what an isolated guest's frames were dropped for."""
    return tuple(SourceSet(family, _name(allowed, label), label) for label in SOURCES) if allowed.isolated else ()


def source_lines(allowed: AllowList) -> list[str]:
    """What makes these sets, and the chain of each that remembers a frame's source and drops it."""
    lines = []
    for label, (kind, field) in SOURCES.items():
        lines.append(f"  set {_name(allowed, label)} {{ {kind}; flags dynamic,timeout; size {MOST}; }}")
        lines += chain(allowed.dropping(label), [remember(allowed, label, field), allowed.drop("", label)])
    return lines


def remember(allowed: AllowList, label: str, field: str = "") -> str:
    """The rule that counts what is dropped by its source. In a rule of its own: it ends where the set is full."""
    return f"update @{_name(allowed, label)} {{ {field or SOURCES[label][1]} timeout 1h counter }}"


def source_text(key: str) -> str:
    """A key of a set as text: an address, or a MAC."""
    return str(IPv6Address(int(key, 16))) if key.startswith("0x") else key


def _name(allowed: AllowList, label: str) -> str:
    return f"{allowed.guest_port}-from-{label}"
