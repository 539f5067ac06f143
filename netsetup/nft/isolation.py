"""Which frames may pass between guest and network: the rules of one network, for a table of layer 2. Pure.

What is served to the guest does not cross between guest and network; a family that is not served passes, because some
networks serve it. An isolated guest sends with its own addresses alone, and it and its network exchange untagged IP and
ARP: allow-lists that drop and count the rest.
"""

from collections.abc import Iterator
from typing import Final

from netsetup.nft.allow_list import AllowList
from netsetup.nft.neighbour_discovery import address_sets, learn_others, neighbour_chains, source_chain
from netsetup.nft.ruleset import (
    BRIDGE,
    FRAMES,
    FRAMES_IN,
    Counter,
    NetworkRules,
    chain,
    counter_lines,
    element_set,
)
from netsetup.nft.sources import own_sources4, source_lines, source_sets

CAUSES: Final = {
    "mac": "another source MAC",
    "ethertype": "a VLAN tag, or no IP and no ARP",
    "arp": "an ARP sender of another MAC or address",
    "ipv4": "another IPv4 source",
    "ipv6": "another IPv6 source, or neighbour discovery that is not its own",
    "server": "a DHCP server's message, router advertisement or redirect, or what could hide one",
}
"""Why a frame of an isolated guest is dropped, by the counter's label."""

INWARD: Final = "inward"
"""Label of the counter of what an isolated guest does not receive."""

ETHERTYPES: Final = {"0x0806": "arp", "0x0800": "ipv4", "0x86dd": "ipv6"}
"""What an isolated guest may send and receive, as nft(8) writes it, with the name of its chain."""

_EXTENSION_HEADERS: Final = (0, 43, 44, 51, 60, 135, 139, 140)
"""Options for each hop, routing, fragment, authentication, options, mobility, HIP, shim6 (RFC 7045)."""

_DISGUISED: Final = (
    "@ll,96,16 { 0x8100, 0x88a8 } @ll,116,12 0",  # a priority tag (IEEE 802.1Q §9.6), which most hosts take off
    "@ll,112,48 0xaaaa03000000",  # SNAP (RFC 1042)
)
"""Frames that a host may read as if they were plain IP, but whose content no rule sees (CVE-2021-27853)."""


def bridged_rules(allowed: AllowList, pod_interface: str) -> NetworkRules:
    """For a bridge between guest port and pod interface, which itself neither receives nor sends a frame."""
    guest = allowed.guest_port
    # What comes in first: the guest's neighbours are learnt from what is not for the guest, too.
    forward = [f'iifname "{pod_interface}" oifname "{guest}" jump {guest}-{INWARD}'] if allowed.isolated else []
    forward += _served(allowed, pod_interface)
    ports = element_set((f'"{pod_interface}"', f'"{guest}"'))
    if allowed.isolated:
        forward.append(f'iifname "{guest}" jump {guest}')
    return NetworkRules(
        bridge=tuple(isolation_chains(allowed)),
        forward=tuple(forward),
        input=(f"iifname {ports} drop",),
        output=(f"oifname {ports} drop",),
        counters=isolation_counters(allowed),
        sources=source_sets(allowed, BRIDGE),
    )


def routed_rules(allowed: AllowList, router4: str) -> NetworkRules:
    """For a bridge that is the guest's router, with the guest port as its only port."""
    guest = allowed.guest_port
    # The server receives from the guest's port itself; no other server of the pod is to receive the same.
    rules = [
        f'iifname "{guest}" meta protocol ip udp dport {{ 67, 68 }} drop',
        f'iifname "{guest}" meta protocol ip6 udp dport {{ 546, 547 }} drop',
    ]
    if router4:
        # The kernel answers for every address of the pod, those on other interfaces among them.
        rules.append(f'iifname "{guest}" arp operation request arp daddr ip != {router4} drop')
    if allowed.isolated:
        rules.append(f'iifname "{guest}" jump {guest}')
    return NetworkRules(
        bridge=tuple(isolation_chains(allowed)),
        input=tuple(rules),
        counters=isolation_counters(allowed),
        sources=source_sets(allowed, BRIDGE),
    )


def _served(allowed: AllowList, pod_interface: str) -> Iterator[str]:
    """What is served does not cross, in either direction."""
    guest = allowed.guest_port
    for source, target in ((guest, pod_interface), (pod_interface, guest)):
        way = f'iifname "{source}" oifname "{target}"'
        for match in served_matches(allowed, from_guest=source == guest):
            yield f"{way} {match} drop"


def served_matches(allowed: AllowList, *, from_guest: bool) -> Iterator[str]:
    """What matches the protocols that are served instead of crossing.

    What only a server or a router sends is left to an isolated guest's own chain, which drops and counts it.
    """
    client = allowed.isolated and from_guest
    if allowed.serves4:
        yield f"meta protocol ip udp dport {'67' if client else '{ 67, 68 }'}"
    if allowed.serves6 and client:
        yield "meta protocol ip6 udp dport 547"
        yield "icmpv6 type nd-router-solicit"
    elif allowed.serves6:
        yield "meta protocol ip6 udp dport { 546, 547 }"
        yield "icmpv6 type { nd-router-solicit, nd-router-advert }"
    if (allowed.serves4 or allowed.serves6) and not allowed.isolated:
        yield from _DISGUISED


def isolation_counters(allowed: AllowList, family: str = BRIDGE) -> tuple[Counter, ...]:
    """The counters of what an isolated guest's chains drop."""
    if not allowed.isolated:
        return ()
    port = allowed.guest_port
    inward = Counter(family, f"{port}-{INWARD}", INWARD, FRAMES_IN, "no untagged IP or ARP, or what could hide it")
    return (*(Counter(family, f"{port}-{label}", label, FRAMES, cause) for label, cause in CAUSES.items()), inward)


def isolation_chains(allowed: AllowList) -> list[str]:
    """Counters, sets and chains of an isolated guest: the one named after the guest port drops what it may not send,
    the one named `-inward` what it is not to receive.

    What may pass returns to the chain that jumps there: in the netdev family an `accept` would hand it to the pod's own
    stack. The Ethernet type is read from the frame as it was on the wire, where the kernel's own view skips a VLAN tag.
    """
    if not allowed.isolated:
        return []
    port = allowed.guest_port
    lines = counter_lines(isolation_counters(allowed)) + address_sets(allowed) + source_lines(allowed)
    if allowed.addressed:
        lines += source_chain(allowed)
    lines += neighbour_chains(allowed)
    for name, rules in (("arp", _arp_rules), ("ipv4", _ipv4_rules), ("ipv6", _ipv6_rules)):
        lines += chain(f"{port}-{name}", rules(allowed))
    # Not by a verdict map: nft 1.0.6 crashes when it lists one over raw payload that nft 1.1.3 has loaded.
    types = [f"@ll,96,16 {number} goto {port}-{name}" for number, name in ETHERTYPES.items()]
    another_mac = allowed.drop_source(f"ether saddr != {allowed.any_mac}", "mac")
    lines += chain(port, [another_mac, *types, allowed.drop("", "ethertype")])
    lines += chain(f"{port}-{INWARD}6", [*learn_others(allowed), *_visible(allowed, INWARD)])
    return lines + chain(
        f"{port}-{INWARD}",
        [
            allowed.drop(f"@ll,96,16 != {element_set(ETHERTYPES)}", INWARD),
            f"meta protocol ip6 goto {port}-{INWARD}6",
        ],
    )


def _arp_rules(allowed: AllowList) -> Iterator[str]:
    yield allowed.drop_source(f"arp saddr ether != {allowed.any_mac}", "arp")
    if allowed.addressed:
        # 0.0.0.0 probes for an address that no host may have yet (RFC 5227 §2.1.1), or for a lease.
        yield allowed.drop_source(f"arp saddr ip != {element_set((*own_sources4(allowed), '0.0.0.0'))}", "arp")


def _ipv4_rules(allowed: AllowList) -> Iterator[str]:
    yield allowed.drop("udp sport 67", "server")
    yield allowed.drop("udp dport 68", "server")
    yield allowed.drop("icmp type { redirect, router-advertisement }", "server")
    if allowed.addressed:
        yield "ip saddr 0.0.0.0 udp sport 68 udp dport 67 return"  # a client without a lease (RFC 2131 §4.1)
        own = own_sources4(allowed)
        yield allowed.drop_source(f"ip saddr != {element_set(own)}" if own else "", "ipv4")


def _ipv6_rules(allowed: AllowList) -> Iterator[str]:
    port = allowed.guest_port
    yield allowed.drop("icmpv6 type { nd-router-advert, nd-redirect }", "server")
    yield allowed.drop("udp sport 547", "server")
    yield allowed.drop("udp dport 546", "server")
    yield f"icmpv6 type {{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }} goto {port}-nd"
    if allowed.addressed:
        # RFC 3590: reports of a host that has no address yet.
        yield "ip6 saddr :: icmpv6 type { mld-listener-report, mld2-listener-report } return"
        yield f"jump {port}-source6"
    yield from _visible(allowed, "server")


def _visible(allowed: AllowList, label: str) -> Iterator[str]:
    """Drops an IPv6 packet that does not show what it carries (RFC 7112): a first fragment with more headers, of which
    the end may be in the next, or one of which the headers have no end. The other fragments are worth nothing alone."""
    yield "frag frag-off != 0 return"
    yield allowed.drop(f"frag nexthdr {element_set(map(str, _EXTENSION_HEADERS))}", label)
    yield "@th,0,8 >= 0 return"  # whatever it is, it is there
    yield allowed.drop("", label)
