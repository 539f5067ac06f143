"""Which frames may pass between guest and network: the rules of one network, for a table of layer 2. Pure.

What is served to the guest does not cross between guest and network; a family that is not served passes, because some
networks serve it. An isolated guest sends with its own addresses alone: an allow-list that drops and counts the rest.
"""

from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Final

from dhcp.lean.frozen import Frozen
from netsetup.nft.ruleset import BRIDGE, FRAMES, Counter, NetworkRules, chain, counter_lines, element_set

CAUSES: Final = {
    "mac": "another source MAC",
    "ethertype": "a VLAN tag, or no IP and no ARP",
    "arp": "an ARP sender of another MAC or address",
    "ipv4": "another IPv4 source",
    "ipv6": "another IPv6 source or neighbour-discovery target",
    "server": "a DHCP server's message, router advertisement or redirect",
}
"""Why a frame of an isolated guest is dropped, by the counter's label."""

ETHERTYPES: Final = {"0x0806": "arp", "0x0800": "ipv4", "0x86dd": "ipv6"}
"""What an isolated guest may send and receive, as nft(8) writes it, with the name of its chain."""


class AllowList(Frozen):
    """Which frames may pass between one guest port and its network."""

    guest_port: str
    mac: str
    isolated: bool
    """Whether the guest may send with its own addresses alone."""
    serves4: bool
    """Whether we serve DHCPv4 on the guest port: then none of it crosses."""
    serves6: bool
    """Whether we serve DHCPv6 there: then neither it nor router solicitations and advertisements cross."""
    addresses4: tuple[str, ...] = ()
    addresses6: tuple[str, ...] = ()


def bridged_rules(allowed: AllowList, pod_interface: str) -> NetworkRules:
    """For a bridge between guest port and pod interface, which itself neither receives nor sends a frame."""
    guest = allowed.guest_port
    forward = list(_served(allowed, pod_interface))
    ports = element_set((f'"{pod_interface}"', f'"{guest}"'))
    if allowed.isolated:
        forward.append(f'iifname "{guest}" jump {guest}')
    return NetworkRules(
        bridge=tuple(isolation_chains(allowed)),
        forward=tuple(forward),
        input=(f"iifname {ports} drop",),
        output=(f"oifname {ports} drop",),
        counters=isolation_counters(allowed),
    )


def routed_rules(allowed: AllowList) -> NetworkRules:
    """For a bridge that is the guest's router, with the guest port as its only port."""
    guest = allowed.guest_port
    # The server receives from the guest's port itself; no other server of the pod is to receive the same.
    rules = [
        f'iifname "{guest}" meta protocol ip udp dport {{ 67, 68 }} drop',
        f'iifname "{guest}" meta protocol ip6 udp dport {{ 546, 547 }} drop',
    ]
    if allowed.isolated:
        rules.append(f'iifname "{guest}" jump {guest}')
    return NetworkRules(
        bridge=tuple(isolation_chains(allowed)), input=tuple(rules), counters=isolation_counters(allowed)
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
    if allowed.serves4:
        yield "meta protocol ip udp dport { 67, 68 }"
    if allowed.serves6 and allowed.isolated and from_guest:
        yield "meta protocol ip6 udp dport 547"
        yield "icmpv6 type nd-router-solicit"
    elif allowed.serves6:
        yield "meta protocol ip6 udp dport { 546, 547 }"
        yield "icmpv6 type { nd-router-solicit, nd-router-advert }"


def isolation_counters(allowed: AllowList, family: str = BRIDGE) -> tuple[Counter, ...]:
    """The counters of what an isolated guest's chains drop."""
    if not allowed.isolated:
        return ()
    port = allowed.guest_port
    return tuple(Counter(family, f"{port}-{label}", label, FRAMES, cause) for label, cause in CAUSES.items())


def isolation_chains(allowed: AllowList) -> list[str]:
    """Counters and chains that drop what the guest may not send; the one named after the guest port comes first.

    What may pass returns to the chain that jumps there: in the netdev family an `accept` would hand it to the pod's own
    stack. The Ethernet type is read from the frame as it was on the wire, where the kernel's own view skips a VLAN tag.
    """
    if not allowed.isolated:
        return []
    port = allowed.guest_port
    lines = counter_lines(isolation_counters(allowed))
    for name, rules in (("arp", _arp_rules), ("ipv4", _ipv4_rules), ("ipv6", _ipv6_rules)):
        lines += chain(f"{port}-{name}", rules(allowed))
    # Not by a verdict map: nft 1.0.6 crashes when it lists one over raw payload that nft 1.1.3 has loaded.
    types = [f"@ll,96,16 {number} goto {port}-{name}" for number, name in ETHERTYPES.items()]
    another_mac, another_type = _drop(allowed, f"ether saddr != {allowed.mac}", "mac"), _drop(allowed, "", "ethertype")
    return lines + chain(port, [another_mac, *types, another_type])


def _arp_rules(allowed: AllowList) -> Iterator[str]:
    yield _drop(allowed, f"arp saddr ether != {allowed.mac}", "arp")
    if allowed.addresses4:
        # 0.0.0.0 probes for an address that no host may have yet (RFC 5227 §2.1.1), or for a lease.
        yield _drop(allowed, f"arp saddr ip != {element_set((*allowed.addresses4, '0.0.0.0'))}", "arp")


def _ipv4_rules(allowed: AllowList) -> Iterator[str]:
    if allowed.addresses4:
        yield _drop(allowed, f"ip saddr != {element_set(allowed.addresses4)}", "ipv4")
    yield _drop(allowed, "udp sport 67", "server")


def _ipv6_rules(allowed: AllowList) -> Iterator[str]:
    # RFC 6980: no neighbour discovery in fragments, where its type could hide.
    yield _drop(allowed, "frag nexthdr icmpv6", "server")
    yield _drop(allowed, "icmpv6 type { nd-router-advert, nd-redirect }", "server")
    yield _drop(allowed, "udp sport 547", "server")
    if allowed.addresses4 or allowed.addresses6:
        unspecified = (
            "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, mld-listener-report, mld2-listener-report }"
        )
        yield f"ip6 saddr :: {unspecified} return"  # RFC 4862 §5.4.2, RFC 3590
        yield _drop(allowed, f"ip6 saddr != {element_set((*allowed.addresses6, 'fe80::/10'))}", "ipv6")
        # The target address of a neighbour advertisement (RFC 4861 §4.4).
        own = "".join(f" @th,64,128 != {raw_address6(address)}" for address in allowed.addresses6)
        target = f"icmpv6 type nd-neighbor-advert @th,64,128 & {_LINK_LOCAL_MASK} != {_LINK_LOCAL}{own}"
        yield _drop(allowed, target, "ipv6")


def _drop(allowed: AllowList, match: str, label: str) -> str:
    return f"{match} counter name {allowed.guest_port}-{label} drop".strip()


_LINK_LOCAL = hex(0xFE80 << 112)
_LINK_LOCAL_MASK = hex(0xFFC0 << 112)


def raw_address6(address: str) -> str:
    """An IPv6 address as nft compares raw payload."""
    return f"0x{IPv6Address(address).packed.hex()}"
