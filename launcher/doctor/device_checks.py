"""The findings at each hop between the VM and its node, from the evidence. Pure.

A fault that prevents further checks is reported once; the hops behind it are reported as not looked at. Devices and
server here; peers that must answer in `peer_checks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from launcher.doctor import peer_checks
from launcher.doctor.drift import has_no_bridge, hop_of, pending_findings
from launcher.doctor.findings import RUN_PRESTART, Check, Evidence, Hop, ok, trouble_of, unseen, wrong
from launcher.doctor.targets import Family, Side, gateways_of
from netsetup.model.kernel import Link
from netsetup.plan import as_prestart_would


def judge(evidence: Evidence) -> Iterator[Check]:
    """The findings on one network, hop by hop; at hops that answer, one for each IP family."""
    for hop in (_pod_nic, _bridge_port, _bridge, _table, _guest_port, _server):
        yield from hop(evidence)
    for answered in (peer_checks.guest, peer_checks.pod_network, peer_checks.gateway, peer_checks.node):
        for family in evidence.families:
            yield from answered(evidence, family)


# --- what the kernel reports ------------------------------------------------------------------------------------------


def _pod_nic(evidence: Evidence) -> Iterator[Check]:
    name, nic = evidence.network.pod.name, evidence.nic
    if nic is None:
        advice = "the CNI has taken the interface away: run `virt-launcher teardown`, or recreate the pod"
        yield wrong(Hop.POD_NIC, f"{name} has left this network namespace", advice)
        return
    found = list(pending_findings(evidence, Hop.POD_NIC))
    if nic.up and not nic.carrier:
        advice = "look at its other end on the node: the CNI's host-side interface is down or gone"
        found.append(wrong(Hop.POD_NIC, f"{name} has no carrier", advice))
    mtu = evidence.network.mtu
    if as_prestart_would(evidence.observed, evidence.network).mtu != mtu:
        compared = "less" if nic.mtu < mtu else "more"
        finding = f"{name} has MTU {nic.mtu}, {compared} than the {mtu} configured for the VM"
        found.append(wrong(Hop.POD_NIC, finding, RUN_PRESTART))
    found += _lost(evidence, nic)
    well = f"{name} is up with a carrier, MTU {nic.mtu}, and {evidence.hops.pod_nic}"
    yield from found or [ok(Hop.POD_NIC, well)]


def _lost(evidence: Evidence, nic: Link) -> Iterator[Check]:
    """Where the pod is the router, the VM needs the pod's own route to the gateway."""
    if not evidence.network.guest.is_routed:
        return
    routes, neighbours = evidence.observed.routes_of(nic.index), evidence.observed.neighbours_of(nic.index)
    permanent = {(neighbour.address, neighbour.mac) for neighbour in neighbours}
    for family in evidence.families:
        gateway, mac = family.gateway, family.permanent_mac
        kept = [route for route in routes if route.is_default or not family.is_default]
        if gateway and gateway not in gateways_of(kept):
            what = "default route" if family.is_default else "route"
            advice = "give it back, in the pod (`ip route add`), as the CNI made it; or recreate the pod"
            yield wrong(Hop.POD_NIC, f"{nic.name} has lost the {what} through {gateway}", advice)
        if mac and (gateway, mac) not in permanent:
            advice = f"give it back, in the pod: `ip neigh replace {gateway} lladdr {mac} nud permanent dev {nic.name}`"
            yield wrong(Hop.POD_NIC, f"{nic.name} has lost the permanent neighbour {gateway}, at {mac}", advice)


def _bridge_port(evidence: Evidence) -> Iterator[Check]:
    name, bridge = evidence.network.pod.name, evidence.network.bridge
    if not evidence.hops.bridge_port:
        return
    if evidence.nic is None or evidence.bridge is None:
        yield unseen(Hop.BRIDGE_PORT, f"{name if evidence.nic is None else bridge} is gone")
        return
    found = list(pending_findings(evidence, Hop.BRIDGE_PORT))
    yield from found or [ok(Hop.BRIDGE_PORT, evidence.hops.bridge_port)]


def _bridge(evidence: Evidence) -> Iterator[Check]:
    network, bridge = evidence.network, evidence.bridge
    if not evidence.hops.bridge:
        return
    if evidence.nic is None:
        yield unseen(Hop.BRIDGE, f"{network.pod.name} is gone")
        return
    found = list(pending_findings(evidence, Hop.BRIDGE))
    if bridge and not found:
        found += _bridge_mtu(evidence, bridge)
        found += [] if evidence.hops.table else _crossing(evidence, Hop.BRIDGE, _BRIDGED)
    crossing = "" if evidence.hops.table else _crosses(evidence, "; frames cross it both ways")
    yield from found or [ok(Hop.BRIDGE, f"{network.bridge} is up and {evidence.hops.bridge}{crossing}")]


def _bridge_mtu(evidence: Evidence, bridge: Link) -> Iterator[Check]:
    """A bridge takes the least MTU of its ports by itself: that is reported at the port."""
    ports = [link.mtu for link in (evidence.nic, evidence.port) if link and link.master == bridge.index]
    if bridge.mtu < min([evidence.network.mtu, *ports]):
        finding = f"{bridge.name} has MTU {bridge.mtu}, not {evidence.network.mtu}"
        yield wrong(Hop.BRIDGE, finding, f"in the pod: `ip link set {bridge.name} mtu {evidence.network.mtu}`")


_BRIDGED = (
    "something else filters bridged frames in this namespace: look at `nft list ruleset`, at"
    " `bridge -d link` for the state of {}, and, with br_netfilter, at the iptables chain FORWARD"
)
_FORWARDED = (
    "something else drops or redirects frames in this namespace: look at `nft list ruleset`, and at"
    " `tc filter show dev {} ingress`"
)


def _crosses(evidence: Evidence, text: str) -> str:
    """The text, where frames were seen to cross both ways."""
    return text if any(all(f.answers.crosses.get(side) for side in Side) for f in evidence.families) else ""


def _crossing(evidence: Evidence, hop: Hop, advice: str) -> Iterator[Check]:
    """Frames that were seen to come in on one side and not to leave by the other, with all in between in order."""
    if any(hop_of(step, evidence) in (Hop.BRIDGE_PORT, Hop.GUEST_PORT) for step in evidence.steps) or evidence.table:
        return
    nic, port = evidence.network.pod.name, evidence.network.guest_port
    for side, came, left in ((Side.NODE, nic, port), (Side.GUEST, port, nic)):
        lost = [family for family in evidence.families if family.answers.crosses.get(side) is False]
        if lost and not trouble_of(evidence.observed.link(left), left):
            what = "what" if len(lost) == len(evidence.families) else _listed(map(_protocol, lost)) + " that"
            yield wrong(hop, f"{what} comes in on {came} does not leave by {left}", advice.format(left))


def _table(evidence: Evidence) -> Iterator[Check]:
    if evidence.table and evidence.nic is None:  # its rules name the device, and `prestart` needs one
        yield unseen(Hop.TABLE, f"{evidence.network.pod.name} is gone")
        return
    if evidence.table:
        yield wrong(Hop.TABLE, evidence.table, RUN_PRESTART)
        return
    forwards = evidence.hops.table
    found = list(_crossing(evidence, Hop.TABLE, _FORWARDED)) if forwards else []
    also = f", and {forwards}{_crosses(evidence, ', both ways')}" if forwards else ""
    yield from found or [ok(Hop.TABLE, f"the table is the one that belongs here{also}")]


def _guest_port(evidence: Evidence) -> Iterator[Check]:
    network, port = evidence.network, evidence.port
    if evidence.nic is None:
        yield unseen(Hop.GUEST_PORT, f"{network.pod.name} is gone")
    elif found := list(pending_findings(evidence, Hop.GUEST_PORT)):
        yield from found
    elif has_no_bridge(evidence, Hop.GUEST_PORT):
        yield unseen(Hop.GUEST_PORT, f"{network.bridge} is gone")
    elif port:
        yield ok(Hop.GUEST_PORT, f"{port.name} is up, MTU {port.mtu}, {evidence.hops.guest_port}")


# --- the server -------------------------------------------------------------------------------------------------------


def _server(evidence: Evidence) -> Iterator[Check]:
    network, server = evidence.network, evidence.server
    if not evidence.is_served and network.guest_port not in server.ports:
        yield ok(Hop.SERVER, f"none is needed: {network.pod.name} has no address to hand out")
        return
    if server.problem:
        advice = "run `virt-launcher prestart` again: it starts another server, and the guest keeps its lease"
        yield wrong(Hop.SERVER, server.problem, advice)
        return
    report = server.ports.get(network.guest_port)
    if report is None or (evidence.port and not evidence.has_listener):
        finding = f"{server.name} runs, but does not serve {network.guest_port} as it is now"
        yield wrong(Hop.SERVER, finding, "run `virt-launcher prestart` again: it gives the server the new port")
        return
    answered = ", ".join(f"{count} {name}" for name, count in report.answered.items())
    yield ok(Hop.SERVER, f"{server.name} serves {network.guest_port}; it has sent {answered or 'nothing yet'}")
    for family in evidence.families:
        if family.is_ipv6:
            yield _offer6(evidence, family)


def _offer6(evidence: Evidence, family: Family) -> Check:
    """Whether the server would answer the VM as recorded."""
    offer = evidence.server.offers6[evidence.network.guest_port]
    offered = f"it offers {offer.address or 'no address'} by DHCPv6"
    if offer.address != family.address:
        return wrong(Hop.SERVER, f"{offered}, not {family.address}", RUN_PRESTART)
    if offer.router:
        return ok(Hop.SERVER, f"{offered} and advertises the router {offer.router}")
    if not evidence.network.guest.is_routed and not family.is_default:
        return ok(Hop.SERVER, f"{offered} and advertises no default router, for the pod has none")
    if family.gateway and not family.answers.gateway_mac:
        return unseen(Hop.SERVER, f"{family.gateway} does not answer, and so cannot be advertised as the router")
    return wrong(Hop.SERVER, f"{offered}, but advertises no router, though {family.gateway} is there", RUN_PRESTART)


def _protocol(family: Family) -> str:
    return "IPv6" if family.is_ipv6 else "IPv4"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(filter(None, names))
