"""From what was read and what was answered to a verdict for each hop between the VM and its node. Pure.

A fault that leaves nothing to be seen behind it is named once: what it hides is said not to have been looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

from launcher.evidence import RUN_PRESTART, Check, Evidence, Hop, PortReport, ok, trouble_of, unseen, wrong
from launcher.misplaced import hop_of, out_of_place
from launcher.questions import Side, gateway_of, permanent_mac
from netsetup.model import Link


def judge(evidence: Evidence) -> Iterator[Check]:
    """The verdicts on one network, hop by hop."""
    for hop in (_pod_nic, _bridge_port, _bridge, _table, _guest_port, _server, _guest, _pod_network, _gateway, _node):
        yield from hop(evidence)


# --- what the kernel shows --------------------------------------------------------------------------------------------


def _pod_nic(evidence: Evidence) -> Iterator[Check]:
    name, nic = evidence.network.pod.name, evidence.nic
    if nic is None:
        advice = "the CNI has taken the interface away: run `virt-launcher teardown`, or recreate the pod"
        yield wrong(Hop.POD_NIC, f"{name} has left this network namespace", advice)
        return
    found = list(out_of_place(evidence, Hop.POD_NIC))
    if nic.up and not nic.carrier:
        advice = "look at its other end on the node: the CNI's host-side interface is down or gone"
        found.append(wrong(Hop.POD_NIC, f"{name} has no carrier", advice))
    if nic.mtu < evidence.network.mtu:
        finding = f"{name} has MTU {nic.mtu}, less than the {evidence.network.mtu} that the VM was told"
        found.append(wrong(Hop.POD_NIC, finding, f"in the pod: `ip link set {name} mtu {evidence.network.mtu}`"))
    has = f"keeps {evidence.outer_address}" if evidence.network.masquerade else "has no address left"
    yield from found or [ok(Hop.POD_NIC, f"{name} is up with a carrier, MTU {nic.mtu}, and {has}")]


def _bridge_port(evidence: Evidence) -> Iterator[Check]:
    name, bridge = evidence.network.pod.name, evidence.network.bridge
    if evidence.nic is None or evidence.bridge is None:
        yield unseen(Hop.BRIDGE_PORT, f"{name if evidence.nic is None else bridge} is gone")
        return
    if evidence.network.masquerade:
        yield ok(Hop.BRIDGE_PORT, f"{name} is none: the pod routes between it and {bridge}")
        return
    found = list(out_of_place(evidence, Hop.BRIDGE_PORT))
    yield from found or [ok(Hop.BRIDGE_PORT, f"{name} is a port of {bridge} and learns no MAC")]


def _bridge(evidence: Evidence) -> Iterator[Check]:
    network, bridge = evidence.network, evidence.bridge
    if evidence.nic is None:
        yield unseen(Hop.BRIDGE, f"{network.pod.name} is gone")
        return
    found = list(out_of_place(evidence, Hop.BRIDGE))
    if bridge and not found:
        found += _bridge_mtu(evidence, bridge)
        found += _crossing(evidence)
    if found:
        yield from found
        return
    both = all(evidence.answers.crosses.get(side) for side in Side)
    address = network.gateway4.address if network.gateway4 else evidence.address
    kept = f"has {address}" if address else "needs no IPv4 address"
    yield ok(Hop.BRIDGE, f"{network.bridge} is up and {kept}{'; frames cross it both ways' if both else ''}")


def _bridge_mtu(evidence: Evidence, bridge: Link) -> Iterator[Check]:
    """A bridge takes the least MTU of its ports by itself: that is their fault and not its own."""
    ports = [link.mtu for link in (evidence.nic, evidence.port) if link and link.master == bridge.index]
    if bridge.mtu < min([evidence.network.mtu, *ports]):
        finding = f"{bridge.name} has MTU {bridge.mtu}, not {evidence.network.mtu}"
        yield wrong(Hop.BRIDGE, finding, f"in the pod: `ip link set {bridge.name} mtu {evidence.network.mtu}`")


def _crossing(evidence: Evidence) -> Iterator[Check]:
    """Frames that were seen to come in on one port and not to leave by the other, with the bridge itself in order."""
    if any(hop_of(step, evidence) in (Hop.BRIDGE_PORT, Hop.GUEST_PORT) for step in evidence.steps) or evidence.table:
        return
    nic, port = evidence.network.pod.name, evidence.network.guest_port
    for side, came, left in ((Side.NODE, nic, port), (Side.GUEST, port, nic)):
        if evidence.answers.crosses.get(side) is False and not trouble_of(evidence.observed.link(left), left):
            advice = (
                "something else filters bridged frames in this namespace: look at `nft list ruleset`, at"
                f" `bridge -d link` for the state of {left}, and, with br_netfilter, at the iptables chain FORWARD"
            )
            yield wrong(Hop.BRIDGE, f"what comes in on {came} does not leave by {left}", advice)


def _table(evidence: Evidence) -> Iterator[Check]:
    if evidence.table:
        yield wrong(Hop.TABLE, evidence.table, RUN_PRESTART)
    else:
        yield ok(Hop.TABLE, "the table is the one that belongs here")


def _guest_port(evidence: Evidence) -> Iterator[Check]:
    network, port = evidence.network, evidence.port
    if evidence.nic is None:
        yield unseen(Hop.GUEST_PORT, f"{network.pod.name} is gone")
    elif found := list(out_of_place(evidence, Hop.GUEST_PORT)):
        yield from found
    elif evidence.bridge is None:
        yield unseen(Hop.GUEST_PORT, f"{network.bridge} is gone")
    elif port:
        settled = f"is up, MTU {port.mtu}, a port of {network.bridge} with the VM's MAC pinned"
        yield ok(Hop.GUEST_PORT, f"{port.name} {settled}")


# --- who answers ------------------------------------------------------------------------------------------------------


def _server(evidence: Evidence) -> Iterator[Check]:
    network, server = evidence.network, evidence.server
    if not evidence.address and network.guest_port not in server.ports:
        yield ok(Hop.SERVER, f"none is needed: {network.pod.name} has no IPv4 address to hand out")
        return
    if server.problem:
        kill = f"kill process {server.pid} and " if server.pid else ""
        advice = f"{kill}run `virt-launcher prestart` again: it starts another, and the guest keeps its lease"
        yield wrong(Hop.SERVER, server.problem, advice)
        return
    report = server.ports.get(network.guest_port)
    if report is None or (evidence.port and not evidence.is_heard):
        finding = f"process {server.pid} lives, but does not serve {network.guest_port} as it is now"
        yield wrong(Hop.SERVER, finding, "run `virt-launcher prestart` again: it gives the server the new port")
        return
    answered = ", ".join(f"{count} {name}" for name, count in report.answered.items())
    yield ok(Hop.SERVER, f"process {server.pid} serves {network.guest_port}; it has sent {answered or 'nothing yet'}")


def _guest(evidence: Evidence) -> Iterator[Check]:
    network, answers, address = evidence.network, evidence.answers, evidence.address
    trouble = trouble_of(evidence.port, network.guest_port)
    if evidence.port and evidence.port.up and trouble:
        advice = "no VM is behind it: start the VM, or set its interface's link up (`virsh domif-setlink`)"
        yield wrong(Hop.GUEST, trouble, advice)
    elif trouble:
        yield unseen(Hop.GUEST, trouble)
    elif evidence.is_guest_there:
        # A guest with several interfaces on one link may answer with each (ip-sysctl.rst, arp_ignore).
        others = answers.guests - {network.mac}
        also = f"; it answers with MAC {_listed(others)} too" if others else ""
        yield ok(Hop.GUEST, f"it has {address} with MAC {network.mac}{also}")
    elif answers.guests:
        finding = f"the guest answers for {address} with MAC {_listed(answers.guests)}, not {network.mac}"
        yield wrong(Hop.GUEST, finding, _GIVE_MAC.format(network.mac))
    elif _has_another_mac(evidence):
        seen = _listed(answers.strangers) if answers.strangers else "another one"
        finding = f"the guest sends with MAC {seen}, not {network.mac}, and so gets no lease"
        yield wrong(Hop.GUEST, finding, _GIVE_MAC.format(network.mac))
    elif not address:
        heard = f"MAC {network.mac} sends" if answers.vm_heard else "nothing was heard from it meanwhile"
        yield ok(Hop.GUEST, f"it has a carrier; {heard}")
    elif evidence.server.problem:
        yield unseen(Hop.GUEST, f"it does not answer for {address}, and no DHCP server could have given it that")
    elif answers.holders and not network.masquerade:
        yield unseen(Hop.GUEST, f"it does not answer for {address}, which another host has")
    else:
        yield _silent(evidence)


_GIVE_MAC = "give the VM's interface the MAC {} in the domain and in the guest, or teardown and set up with its own"


def _has_another_mac(evidence: Evidence) -> bool:
    """Whether the guest is there and is not whom we expect. Nested guests behind the VM's own MAC do no harm."""
    report = evidence.server.ports.get(evidence.network.guest_port, PortReport())
    asked_as_another = bool(report.ignored.get("foreign-mac")) and not report.answered.get("OFFER")
    return not evidence.answers.vm_heard and (bool(evidence.answers.strangers) or asked_as_another)


def _silent(evidence: Evidence) -> Check:
    """How far a guest got that does not answer for its address, by what the server counted."""
    report = evidence.server.ports.get(evidence.network.guest_port, PortReport())
    address = evidence.address
    if report.ignored.get("decline"):
        finding, advice = f"the guest has declined {address} as another host's", "restart DHCP in the guest"
    elif report.answered.get("ACK"):
        finding = f"the guest was given {address}, but does not answer ARP for it now"
        advice = "look at the guest's console: does it still run, and has its interface still that address?"
    elif report.answered.get("OFFER"):
        finding = f"the guest was offered {address}, and did not take it"
        advice = "look at the guest's console and at its DHCP client's log"
    else:
        finding = f"the guest does not answer ARP for {address}, and this server has had no DHCP message from it"
        advice = "wait until it has booted; then see on its console that a DHCP client runs on this interface"
    return wrong(Hop.GUEST, finding, advice)


# --- beyond the pod ---------------------------------------------------------------------------------------------------


def _pod_network(evidence: Evidence) -> Iterator[Check]:
    answers, address = evidence.answers, evidence.outer_address
    if not address:
        yield ok(Hop.POD_NETWORK, "no IPv4 address is ours to watch over, and DHCP is the network's own")
        return
    if trouble := trouble_of(evidence.nic, evidence.network.pod.name):
        yield unseen(Hop.POD_NETWORK, trouble)
        return
    if answers.holders:
        finding = f"another host, MAC {_listed(answers.holders)}, has {address} too"
        yield wrong(Hop.POD_NETWORK, finding, f"find it and take {address} from it: the CNI gave it to this pod")
    for server, mac in sorted(answers.servers):
        finding = f"another DHCP server, {server} at MAC {mac}, answers to the VM's MAC"
        advice = "turn it off, or keep it from this network; our nftables table keeps it from the guest meanwhile"
        yield wrong(Hop.POD_NETWORK, finding, advice)
    if not answers.holders and not answers.servers:
        servers = "" if evidence.network.masquerade else ", and no other DHCP server answers"
        yield ok(Hop.POD_NETWORK, f"nobody else has {address}{servers}")


def _gateway(evidence: Evidence) -> Iterator[Check]:
    pod = evidence.network.pod
    gateway = gateway_of(pod)[0] if evidence.address else ""
    if not gateway:
        yield ok(Hop.GATEWAY, "there is none")
    elif mac := permanent_mac(pod, gateway):
        yield ok(Hop.GATEWAY, f"{gateway} is at {mac} by a permanent entry, for which nobody need answer")
    elif trouble := trouble_of(evidence.nic, pod.name):
        yield unseen(Hop.GATEWAY, trouble)
    elif evidence.answers.gateway_mac:
        yield ok(Hop.GATEWAY, f"{gateway} is at {evidence.answers.gateway_mac}")
    else:
        advice = f"look on the node for who should hold or proxy {gateway}, and at the CNI's agent there"
        yield wrong(Hop.GATEWAY, f"{gateway} does not answer ARP", advice)


def _node(evidence: Evidence) -> Iterator[Check]:
    network, answers = evidence.network, evidence.answers
    gateway = gateway_of(network.pod)[0] if evidence.address else ""
    if not gateway:
        yield ok(Hop.NODE, "no gateway, hence nothing that would have to answer")
    elif trouble := trouble_of(evidence.nic, network.pod.name):
        yield unseen(Hop.NODE, trouble)
    elif not answers.gateway_mac:
        yield unseen(Hop.NODE, f"{gateway} does not answer ARP")
    elif not answers.returned:
        yield _unreached(evidence, gateway)
    elif answers.small and not answers.large and evidence.nic and evidence.nic.mtu >= network.mtu:
        finding = f"packets of {network.mtu} bytes do not come back from {gateway}, small ones do"
        advice = f"give the node's end of {network.pod.name}, and what is behind it, an MTU of {network.mtu}"
        yield wrong(Hop.NODE, finding, advice)
    else:
        size = f", also to packets of {network.mtu} bytes" if answers.large else ""
        if answers.echoed:
            yield ok(Hop.NODE, f"{gateway} answers ping{size}")
        else:
            silent = f"{gateway} answers no ping, as is usual where no host has it as its own address"
            yield ok(Hop.NODE, f"{silent}; it routes, and replies{size}")


def _unreached(evidence: Evidence, gateway: str) -> Check:
    """No IP packet came back: the node's fault only if the node could know where the VM is."""
    if evidence.answers.holders:
        return unseen(Hop.NODE, f"another host has {evidence.outer_address}, and answers may go there")
    if not evidence.is_guest_there and not evidence.network.masquerade:
        return unseen(Hop.NODE, f"the guest does not answer for {evidence.address}, so the node may not find it")
    finding = f"{gateway} is there, but no IP packet comes back from it or from behind it"
    advice = (
        f"on the node: does `ip route get {evidence.outer_address}` lead to the pod's interface? If so, look for a"
        " filter (network policy, reverse path) that drops the VM's packets or every ICMP message"
    )
    return wrong(Hop.NODE, finding, advice)


def _listed(macs: set[str]) -> str:
    return ", ".join(sorted(macs))
