"""DNS of the VM to a name server that only the pod itself can reach: the rules of one network. Pure.

    VM ── port 53 of the substitute ─▶ (its source rewritten) ═ DNAT ═▶ 127.0.0.11
    VM ◀─ from the substitute ◀─ (its destination rewritten) ═══════════ 127.0.0.11

Where the VM has the pod's address, a packet of it would be one of the pod's own to the pod, and be dropped: at layer 2
it gets another source, and the answer its own address back. Nothing else is led to the pod, and nothing for the
substitute, which nobody has, to the network.
"""

from collections.abc import Iterator

from dhcp.lean.frozen import Frozen, replace
from netsetup.model.kernel import AF_INET6
from netsetup.model.local_resolver import DNS_PORT, LocalResolver, Substitute
from netsetup.nft.ruleset import NetworkRules, chain, raw_address6

TO_DNS = f"meta l4proto {{ tcp, udp }} th dport {DNS_PORT}"


class Client(Frozen):
    """A VM on a guest port, with addresses of the pod's."""

    guest_port: str
    mac: str
    address4: str
    address6: str


def dnat_rules(resolvers: tuple[LocalResolver, ...], match: str) -> list[str]:
    """What translates packets that match, and are for a substitute's DNS port, to the resolver itself."""
    rules = []
    for resolver, substitute in _carried(resolvers):
        word, target = _word(resolver), f"[{resolver.target}]" if _is6(resolver) else resolver.target
        source = f"{word} saddr {substitute.source} " if substitute.source else ""
        rules += [
            f"{match} {source}{word} daddr {substitute.address} {protocol} dport {DNS_PORT}"
            f" dnat {word} to {target}:{port}"
            for protocol, port in resolver.ports
        ]
    return rules


def bridged_dns(
    client: Client, resolvers: tuple[LocalResolver, ...], bridge: str, bridge_mac: str, rules: NetworkRules
) -> NetworkRules:
    """The `rules` of a guest port on a bridge, and with them what carries DNS through that bridge's own device."""
    if not any(_carried(resolvers)):
        return rules
    way_in = f'iifname "{client.guest_port}"'
    to_bridge = f"ether daddr set {bridge_mac} meta pkttype set host accept"
    before = [f"{way_in} {rule}" for rule in _inward(client, resolvers, to_bridge)]
    received = [
        f"{way_in} {_word(r)} saddr {s.source} {_word(r)} daddr {s.address} {TO_DNS} accept"
        for r, s in _carried(resolvers)
    ]
    sent = [f'oifname "{client.guest_port}" {rule}' for rule in _outward(client, resolvers)]
    return replace(
        rules,
        bridge=(*rules.bridge, *chain(_name(client), before, "filter hook prerouting priority dstnat")),
        input=(*received, *rules.input),
        output=(*sent, *rules.output),
        inet=(*rules.inet, *_translation(client, resolvers, f'iifname "{bridge}"')),
    )


def forwarded_dns(client: Client, resolvers: tuple[LocalResolver, ...]) -> tuple[list[str], list[str], list[str]]:
    """What carries DNS by the guest port itself, where nothing else is handed to the pod: rules for its ingress, which
    come before all others, for its egress, and the content of the inet family's table."""
    if not any(_carried(resolvers)):
        return [], [], []
    inward = list(_inward(client, resolvers, "meta pkttype set host accept"))
    way_in = f'iifname "{client.guest_port}"'
    return inward, list(_outward(client, resolvers)), _translation(client, resolvers, way_in)


def _translation(client: Client, resolvers: tuple[LocalResolver, ...], match: str) -> list[str]:
    return chain(_name(client), dnat_rules(resolvers, match), "nat hook prerouting priority dstnat")


def _inward(client: Client, resolvers: tuple[LocalResolver, ...], deliver: str) -> Iterator[str]:
    for resolver, substitute in _carried(resolvers):
        word, own = _word(resolver), client.address6 if _is6(resolver) else client.address4
        ethertype = "0x86dd" if _is6(resolver) else "0x0800"
        yield f"{word} saddr {substitute.source} drop"
        # The DHCP server answers the question who has the substitute; the network is not to hear it.
        if _is6(resolver):
            yield f"icmpv6 type nd-neighbor-solicit @th,64,128 {raw_address6(substitute.address)} drop"
        else:
            yield f"arp daddr ip {substitute.address} drop"
        query = f"@ll,96,16 {ethertype} ether saddr {client.mac} {word} saddr {own} {word} daddr {substitute.address}"
        yield f"{query} {TO_DNS} {word} saddr set {substitute.source} {deliver}"
        yield f"{word} daddr {substitute.address} drop"


def _outward(client: Client, resolvers: tuple[LocalResolver, ...]) -> Iterator[str]:
    for resolver, substitute in _carried(resolvers):
        word, own = _word(resolver), client.address6 if _is6(resolver) else client.address4
        answer = f"{word} saddr {substitute.address} {word} daddr {substitute.source}"
        yield f"{answer} {word} daddr set {own} accept"


def _carried(resolvers: tuple[LocalResolver, ...]) -> Iterator[tuple[LocalResolver, Substitute]]:
    return ((resolver, resolver.substitute) for resolver in resolvers if resolver.substitute)


def _name(client: Client) -> str:
    return f"{client.guest_port}-dns"


def _is6(resolver: LocalResolver) -> bool:
    return resolver.family == AF_INET6


def _word(resolver: LocalResolver) -> str:
    return "ip6" if _is6(resolver) else "ip"
