"""Forwards frames between two devices by nftables' netdev family: the rules of one network. Pure.

    network ── eth0 ═ to-tap0 ═▶ tap0 ── VM
    network ── eth0 ◀═ from-tap0 ═ tap0 ── VM

Every frame that comes in by one device is dropped or leaves by the other; none gets to the pod's own stack. The kernel
takes the devices by number: they have to be there when the table is loaded, and the table is loaded anew when one of
them was made anew. Works with nft 1.0.6 and 1.1.3, and needs the egress hook of Linux 5.16.
"""

from collections.abc import Iterable
from typing import Final

from netsetup.nft.allow_list import AllowList
from netsetup.nft.isolation import INWARD, isolation_chains, isolation_counters, served_matches
from netsetup.nft.ruleset import FRAMES_OWN, NETDEV, OUR_MARK, Counter, NetworkRules, chain, counter_lines
from netsetup.nft.sources import source_sets

MARKED: Final = f"meta mark {OUR_MARK:#x}"
MARK: Final = f"meta mark set {OUR_MARK:#x}"


def forwarded_rules(
    allowed: AllowList, pod_interface: str, carried: tuple[list[str], list[str], list[str]] = ([], [], [])
) -> NetworkRules:
    """For a guest port and a pod interface that are joined by nothing else; `carried` is `dns.forwarded_dns`."""
    to_pod, to_guest, inet = carried
    port, nic = allowed.guest_port, pod_interface
    own = Counter(NETDEV, f"{port}-own", "own", FRAMES_OWN, "none is to leave with the VM's MAC")
    outward = [*to_pod, *(f"{match} drop" for match in served_matches(allowed, from_guest=True))]
    inward = [f"{match} drop" for match in served_matches(allowed, from_guest=False)]
    if allowed.isolated:
        outward.append(f"jump {port}")
        inward.insert(0, f"jump {port}-{INWARD}")  # first: the guest's neighbours are learnt from all that comes
    lines = [*isolation_chains(allowed), *counter_lines((own,))]
    lines += _base_chain(f"from-{port}", "ingress", port, [*outward, MARK, _to(nic)])
    lines += _base_chain(f"to-{port}", "ingress", nic, [*inward, _to(port)])
    # The pod's own frames would have the VM's MAC; only the VM's, and those of our packet sockets, are marked.
    lines += _base_chain(f"own-{port}", "egress", nic, [f"{MARKED} accept", f"counter name {port}-own drop"])
    # In a chain of its own that comes later: while one table takes the place of another, a frame may traverse the
    # first chain of both, and the second of them must still see the mark.
    lines += _base_chain(f"clean-{port}", "egress", nic, [f"{MARKED} meta mark set 0"], priority=1)
    if to_guest:
        lines += _base_chain(f"dns-{port}", "egress", port, to_guest)
    counters = (*isolation_counters(allowed, NETDEV), own)
    sources = source_sets(allowed, NETDEV)
    return NetworkRules(netdev=tuple(lines), inet=tuple(inet), counters=counters, sources=sources)


def _to(device: str) -> str:
    return f'fwd to "{device}"'


def _base_chain(name: str, hook: str, device: str, rules: Iterable[str], priority: int = 0) -> list[str]:
    """A chain whose last rule decides, never the policy: while one table takes the place of another, both are hooked
    for a moment, one of them without rules in force, and a policy of drop would lose frames then."""
    return chain(name, rules, f'filter hook {hook} device "{device}" priority {priority}')
