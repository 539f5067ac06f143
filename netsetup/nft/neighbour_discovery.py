"""Which neighbour discovery of an isolated guest passes, and which IPv6 addresses are its own: rules of nft(8). Pure.

A guest's own are the addresses that it is given, the link-local one that is made from its MAC (RFC 4291 appendix A),
and the first few other link-local ones that it uses (RFC 7217 and Windows make others) and that nobody else is known to
have: neither the routers of the record nor anyone whom the network has shown since. The kernel keeps both in sets that
the rules fill; keys are raw payload, because nft 1.0.6 has no name for the target of neighbour discovery.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address
from typing import Final

from netsetup.nft.allow_list import AllowList
from netsetup.nft.ruleset import chain, raw_address6
from netsetup.nft.sources import further_rules6, remember

LEARNT: Final = 8
"""How many link-local addresses a guest may take besides the one of its MAC."""
OTHERS: Final = 512
"""How many addresses of others are remembered, each for OTHERS_TIMEOUT after it was seen."""
OTHERS_TIMEOUT: Final = "1h"

SUBSTITUTE_ROUTER: Final = "fe80::fc:1"
"""The gateway's link-local address where it has none: the DHCP server advertises by it (`dhcp.v6.lease`)."""

_SOURCE, _TARGET = "@nh,64,128", "@th,64,128"  # RFC 8200 §3, RFC 4861 §4.3 and §4.4
_TARGET_IS_LINK_LOCAL: Final = f"{_TARGET} & {hex(0xFFC0 << 112)} == {hex(0xFE80 << 112)}"
# Type and length: the sender's and the target's link-layer address (RFC 4861 §4.6.1), a nonce (RFC 7527 §4.1).
_SOURCE_OPTION, _TARGET_OPTION, _NONCE = "0x0101", "0x0201", "0x0e01"


def link_local_of(mac: str) -> str:
    """The link-local address that is made from a MAC (RFC 4291 appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]))


def address_sets(allowed: AllowList) -> list[str]:
    """The guest's own addresses, and those that are others'."""
    port, own = allowed.guest_port, [*allowed.addresses6, link_local_of(allowed.mac)]
    others = [address for address in allowed.others6 if address not in own]
    return [
        _set(f"{port}-own6", "dynamic", len(own) + LEARNT, own),
        _set(f"{port}-others6", "dynamic,timeout", len(others) + OTHERS, others),
    ]


def source_chain(allowed: AllowList) -> list[str]:
    """Drops a packet whose source is not the guest's own."""
    port = allowed.guest_port
    learn = f"ip6 saddr fe80::/10 {_SOURCE} != @{port}-others6 add @{port}-own6 {{ {_SOURCE} }} return"
    further = further_rules6(allowed, _SOURCE)
    return chain(
        f"{port}-source6", [f"{_SOURCE} @{port}-own6 return", *further, learn, allowed.drop_source("", "ipv6")]
    )


def neighbour_chains(allowed: AllowList) -> list[str]:
    """Drops solicitations and advertisements that are not the guest's: with another's source, target or link-layer
    address, with further options, or behind a header that could hide them (RFC 6980)."""
    port, macs = allowed.guest_port, [mac.replace(":", "") for mac in allowed.macs]
    routers, solicit, advert = (
        f"icmpv6 type {kind} ip6 length" for kind in ("nd-router-solicit", "nd-neighbor-solicit", "nd-neighbor-advert")
    )
    drop, lines = allowed.drop("", "ipv6"), []
    of_own_target, from_own = "return", []
    if allowed.addressed:
        free = f"ip6 saddr :: {_TARGET_IS_LINK_LOCAL} {_TARGET} != @{port}-others6 return"
        further = further_rules6(allowed, _TARGET)
        another = [remember(allowed, "ipv6", _TARGET), drop]
        lines = chain(f"{port}-target6", [f"{_TARGET} @{port}-own6 return", *further, free, *another])
        of_own_target, from_own = f"goto {port}-target6", [f"jump {port}-source6"]
    rules = [
        allowed.drop("ip6 nexthdr != icmpv6", "ipv6"),
        # From no address, a host asks for routers, and whether an address is free (RFC 4862 §5.4.2).
        f"ip6 saddr :: {routers} 8 return",
        f"ip6 saddr :: {solicit} 24 {of_own_target}",
        f"ip6 saddr :: {solicit} 32 @th,192,16 {_NONCE} {of_own_target}",
        allowed.drop("ip6 saddr ::", "ipv6"),
        *from_own,
        f"{routers} 8 return",
        *(f"{routers} 16 @th,64,64 {_SOURCE_OPTION}{mac} return" for mac in macs),
        f"{solicit} 24 return",
        *(f"{solicit} 32 @th,192,64 {_SOURCE_OPTION}{mac} return" for mac in macs),
        f"{advert} 24 {of_own_target}",
        *(f"{advert} 32 @th,192,64 {_TARGET_OPTION}{mac} {of_own_target}" for mac in macs),
        drop,
    ]
    return lines + chain(f"{port}-nd", rules)


def learn_others(allowed: AllowList) -> Iterator[str]:
    """Remembers the link-local addresses that come from the network."""
    update = f"update @{allowed.guest_port}-others6"
    yield f"ip6 saddr fe80::/10 {update} {{ {_SOURCE} timeout {OTHERS_TIMEOUT} }}"
    for kind in ("nd-neighbor-solicit ip6 saddr ::", "nd-neighbor-advert"):
        yield f"icmpv6 type {kind} {_TARGET_IS_LINK_LOCAL} {update} {{ {_TARGET} timeout {OTHERS_TIMEOUT} }}"


def _set(name: str, flags: str, size: int, addresses: Iterable[str]) -> str:
    numbers = ", ".join(map(raw_address6, addresses))
    elements = f" elements = {{ {numbers} }};" if numbers else ""
    return f"  set {name} {{ typeof {_SOURCE}; flags {flags}; size {size};{elements} }}"
