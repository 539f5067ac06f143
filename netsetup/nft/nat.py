"""Address translation of the masquerade binding: the text of our table in the inet family. Pure.

    client ── eth0 (the pod's address) ═ DNAT ═▶ k6t-eth0 ── tap0 ── VM
    world  ◀═ masquerade ═ eth0, tun0 … ◀────── k6t-eth0 ── tap0 ── VM

What the VM sends leaves by whatever interface it is routed to, with an address of that. A client's address reaches the
guest as it is. Only sources that the guest could not answer are translated: the pod's own loopback address, and the
guest's own when it sends to the pod's address.
"""

from collections.abc import Iterator
from typing import Final

from dhcp.lean.frozen import Frozen
from netsetup.model.kernel import AF_INET
from netsetup.model.local_resolver import LocalResolver
from netsetup.model.private_network import ForwardedPorts, Sidecar
from netsetup.nft.dns import dnat_rules
from netsetup.nft.ruleset import CONNECTIONS, INET, PACKETS, Counter, chain, counter_lines, element_set

REPLY_MARK: Final = 0x766C7270
"""The mark of the guest's answers to who has reached it at the pod's address, by which they are routed."""

LOOPBACK: Final = {True: "127.0.0.1", False: "::1"}
LOOPBACK_NETWORK: Final = {True: "127.0.0.0/8", False: "::1"}


class Side(Frozen):
    """One family of a translation."""

    family: int
    network: str
    gateway: str
    guest: str
    pod_addresses: tuple[str, ...]
    """Those of the pod interface, at which the guest is reached."""
    forwarded_before: bool
    """Whether the pod interface forwarded already: then what it forwards elsewhere is left alone."""

    @property
    def is_ipv4(self) -> bool:
        return self.family == AF_INET

    @property
    def word(self) -> str:
        """The family as nft(8) names it in rules."""
        return "ip" if self.is_ipv4 else "ip6"


class Translation(Frozen):
    """All that is translated for one VM."""

    pod_interface: str
    bridge: str
    sides: tuple[Side, ...]
    ports: tuple[ForwardedPorts, ...] = ()
    kept_ports: tuple[int, ...] = ()
    sidecar: Sidecar | None = None
    reaches_pod: bool = False
    """Whether the guest may open connections to processes of the pod itself."""
    resolvers: tuple[LocalResolver, ...] = ()
    """Those that only the pod itself can reach."""
    hides_clients: bool = False
    """Whether a client's address is translated, too, to the gateway's."""
    egress: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """The pod's other interfaces by which the guest's packets leave, with the families that each forwarded before."""

    def closed(self, side: Side) -> tuple[str, ...]:
        """The interfaces of which the pod forwards nothing for other hosts."""
        others = [name for name, forwarded in self.egress if side.family not in forwarded]
        return (*([] if side.forwarded_before else [self.pod_interface]), *others)


ALL: Final = "every-port"
"""The counter of a guest to which everything is forwarded."""

POD: Final = "pod"
"""The counter of what is closed to the guest unless it reaches the pod."""

DROPPED: Final = {
    "outside": "from or to the VM's network, but through another interface",
    "loopback": "of the guest, to the pod's loopback address",
    "elsewhere": "that the pod would have had to forward for other hosts",
    POD: "of the guest, to processes of the pod itself",
}
"""Why a packet is dropped; a counter of each is kept under its name."""


def nat_counters(translation: Translation) -> tuple[Counter, ...]:
    """The table's counters: of connections by port, and of what is dropped."""
    forwarded: dict[str, None] = {}
    for ports in (_reached_from_outside(translation), _reached_from_inside(translation)):
        forwarded |= dict.fromkeys([ALL] if ports is None else [port.counter for port in ports])
    return (
        *(Counter(INET, name, name, CONNECTIONS) for name in forwarded),
        *(
            Counter(INET, name, name, PACKETS, cause)
            for name, cause in DROPPED.items()
            if name != POD or not translation.reaches_pod
        ),
    )


def nat_rules(translation: Translation) -> tuple[str, ...]:
    """The table's content: counters and chains, a line each."""
    nic, bridge = f'"{translation.pod_interface}"', f'"{translation.bridge}"'
    sides = translation.sides
    lines = counter_lines(nat_counters(translation))

    # Before anything is translated back: an answer's destination is still an address of ours on the right interface.
    raw = [
        f'iifname != {{ {bridge}, "lo" }} {side.word} {end} {side.network} counter name outside drop'
        for side in sides
        for end in ("saddr", "daddr")
    ]
    # route_localnet opens 127.0.0.0/8 to the guest; only answers, which are not translated back yet, may get there.
    raw += [
        f"iifname {bridge} {side.word} daddr {LOOPBACK_NETWORK[side.is_ipv4]} counter name loopback drop"
        for side in sides
    ]
    lines += chain("raw", raw, "filter hook prerouting priority raw")
    # After other programs' own marks, which come first.
    answers = [
        f"iifname {bridge} ct direction reply ct original {side.word} daddr {element_set(side.pod_addresses)}"
        f" meta mark 0 meta mark set {REPLY_MARK:#x}"
        for side in sides
        if side.pod_addresses
    ]
    lines += chain("answers", answers, "filter hook prerouting priority -140")

    inbound = dnat_rules(translation.resolvers, f"iifname {bridge}")
    inbound += [f"iifname {nic} fib daddr type local jump inbound"]
    inbound += [
        f"iifname {bridge} {side.word} daddr {element_set(side.pod_addresses)} jump inbound"
        for side in sides
        if side.pod_addresses
    ]
    lines += chain("guest", [f"dnat {side.word} to {side.guest}" for side in sides])
    outside, own = _reached_from_outside(translation), translation.pod_interface
    at_nic = outside and tuple(port for port in outside if not port.interfaces or own in port.interfaces)
    lines += chain("inbound", ["ip6 daddr fe80::/10 return", *_forward(at_nic)])
    others = sorted({name for port in outside or () for name in port.interfaces} - {own})
    for number, name in enumerate(others):
        at_other = tuple(port for port in outside or () if name in port.interfaces)
        lines += chain(f"inbound{number}", ["ip6 daddr fe80::/10 return", *_forward(at_other)])
        inbound.append(f'iifname "{name}" fib daddr type local jump inbound{number}')
    lines += chain("loopback", [*_kept(translation), *_forward(_reached_from_inside(translation))])
    lines += chain("prerouting", inbound, "nat hook prerouting priority dstnat")
    lines += chain(
        "output",
        [f"{side.word} daddr {element_set(_seen_from_inside(translation, side))} jump loopback" for side in sides],
        "nat hook output priority -100",
    )
    lines += chain(
        "postrouting",
        [
            rule
            for side in sides
            for rule in (
                f'oifname != {{ {bridge}, "lo" }} {side.word} saddr {side.network} masquerade',
                f"oifname {bridge} {side.word} saddr {{ {LOOPBACK_NETWORK[side.is_ipv4]}, {side.guest} }}"
                f" snat {side.word} to {side.gateway}",
                *_hidden(translation, side),
            )
        ],
        "nat hook postrouting priority srcnat",
    )

    if not translation.reaches_pod:
        lines += chain("input", _to_the_pod(bridge), "filter hook input priority filter")

    # The pod forwards for the VM alone, unless it was a router before.
    forward = [
        *(f"iifname {bridge} oifname != {bridge} {side.word} saddr {side.network} accept" for side in sides),
        f"oifname {bridge} ct state established,related accept",
        f"oifname {bridge} ct status dnat accept",
        f"oifname {bridge} counter name elsewhere drop",
        f"iifname {bridge} counter name elsewhere drop",
    ]
    forward += [
        f"iifname {_names(translation.closed(side))} meta nfproto {'ipv4' if side.is_ipv4 else 'ipv6'}"
        " counter name elsewhere drop"
        for side in sides
        if translation.closed(side)
    ]
    lines += chain("forward", forward, "filter hook forward priority filter")
    # What the guest sends to itself at the pod's address leaves by the interface it came from: no redirect for that.
    lines += chain(
        "redirects",
        [f"oifname {bridge} icmp type redirect drop", f"oifname {bridge} icmpv6 type nd-redirect drop"],
        "filter hook output priority filter",
    )
    return tuple(lines)


def _names(interfaces: tuple[str, ...]) -> str:
    names = [f'"{name}"' for name in interfaces]
    return names[0] if len(names) == 1 else element_set(names)


def _to_the_pod(bridge: str) -> Iterator[str]:
    """What the guest may send to the pod itself, at whatever address; the DHCP server receives on the guest port."""
    yield f"iifname != {bridge} accept"
    # Answers, and not `ct state established`: what the guest opened while that was allowed would stay open.
    yield "ct direction reply accept"
    yield "meta l4proto { icmp, ipv6-icmp } accept"  # neighbour discovery among it
    # DNS that we carry, and what another program redirects to its own process (a mesh's proxy).
    yield "ct status dnat accept"
    # What another program hands to a process without NAT (TPROXY): for an address that is not the pod's, by a mark.
    yield "meta mark != 0 fib daddr type unicast accept"
    yield f"counter name {POD} drop"


def _hidden(translation: Translation, side: Side) -> Iterator[str]:
    if translation.hides_clients:
        way = f'oifname "{translation.bridge}" ct status dnat {side.word} saddr != {side.gateway}'
        yield f"{way} snat {side.word} to {side.gateway}"


def _reached_from_outside(translation: Translation) -> tuple[ForwardedPorts, ...] | None:
    """The ports that clients reach at the pod's address; None means all."""
    if translation.sidecar is None:
        return translation.ports or None
    # What is not for the proxy bypasses it; all else the proxy accepts, and forwards itself.
    direct = [ForwardedPorts("tcp", port, port) for port in translation.sidecar.direct_ports]
    if not translation.ports:
        return tuple(direct)
    return tuple(
        port
        for port in direct
        if any(p.protocol == "tcp" and p.first <= port.first <= p.last for p in translation.ports)
    )


def _reached_from_inside(translation: Translation) -> tuple[ForwardedPorts, ...] | None:
    return translation.ports or None


def _seen_from_inside(translation: Translation, side: Side) -> tuple[str, ...]:
    """The addresses at which processes of the pod reach the guest. Istio's proxy uses the pod's, of IPv4 alone."""
    more = side.pod_addresses if translation.sidecar and side.is_ipv4 else ()
    return (LOOPBACK[side.is_ipv4], *more)


def _kept(translation: Translation) -> Iterator[str]:
    """What stays with the pod itself."""
    for resolver in translation.resolvers:
        word = "ip" if resolver.family == AF_INET else "ip6"
        yield from (f"{word} daddr {resolver.target} {name} dport {port} return" for name, port in resolver.ports)
    if translation.kept_ports:
        ports = element_set(map(str, translation.kept_ports))
        yield from (f"{s.word} saddr {LOOPBACK[s.is_ipv4]} tcp dport {ports} return" for s in translation.sides)
    if translation.sidecar is None or translation.ports:
        return
    for side in translation.sides:
        # Not from the proxy's own sources (127.0.0.6): what it passes on is for the guest, whatever the port.
        own = element_set((LOOPBACK[side.is_ipv4], *side.pod_addresses))
        for protocol, numbers in (("tcp", translation.sidecar.own_ports), ("udp", translation.sidecar.own_udp_ports)):
            if numbers:
                yield f"{side.word} saddr {own} {protocol} dport {element_set(map(str, numbers))} return"


def _forward(ports: tuple[ForwardedPorts, ...] | None) -> Iterator[str]:
    if ports is None:
        yield f"counter name {ALL} jump guest"
        return
    yield from (f"{port.match} counter name {port.counter} jump guest" for port in ports)
