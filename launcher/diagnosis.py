"""From what was read and what was answered to a verdict for each hop between the VM and its node. Pure.

A fault that leaves nothing to be seen behind it is named once: what it hides is said not to have been looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from launcher.questions import Answers, Side, gateway_of, permanent_mac
from netsetup.model import Link, Namespace
from netsetup.network import VMNetwork
from netsetup.steps import (
    AddAddress,
    AddRoute,
    CreateBridge,
    CreateTap,
    DeleteAddress,
    DeleteRoute,
    DeleteTable,
    LoadTable,
    PinMac,
    SetLearning,
    SetMac,
    SetMaster,
    SetMtu,
    SetSysctl,
    SetUp,
    Step,
    describe,
)

RUN_PRESTART = "run `virt-launcher prestart` again, with the arguments it had: it puts this right and nothing else"


class Hop(StrEnum):
    """The places where something can be wrong, in the order in which they are told."""

    RECORD = "record"
    POD_NIC = "pod NIC"
    BRIDGE_PORT = "bridge port"
    BRIDGE = "bridge"
    TABLE = "nftables table"
    GUEST_PORT = "guest port"
    SERVER = "DHCP server"
    GUEST = "guest"
    POD_NETWORK = "pod network"
    GATEWAY = "gateway"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the result, and one object of its JSON form."""

    hop: str
    ok: bool | None
    """None when it could not be looked at, because of a fault that is named elsewhere."""
    finding: str
    advice: str = ""
    """What to do; empty when there is nothing."""


@dataclass(frozen=True, slots=True)
class PortReport:
    """What the DHCP server counted on one guest port."""

    answered: Mapping[str, int] = field(default_factory=dict)
    """By the name of the answer."""
    ignored: Mapping[str, int] = field(default_factory=dict)
    """By cause, as `dhcp.decision.Decision` has it."""


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What the DHCP server says of itself."""

    pid: int = 0
    problem: str = ""
    """Why there is no report, when there is none."""
    ports: Mapping[str, PortReport] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one network."""

    network: VMNetwork
    observed: Namespace
    steps: tuple[Step, ...]
    """What `prestart` would do to this network's devices."""
    conflict: str
    """Why `prestart` could do nothing, when it could not."""
    table: str
    """What is wrong with the nftables table; empty when nothing is."""
    server: ServerReport
    is_heard: bool
    """Whether anybody listens on the guest port as it is now."""
    answers: Answers

    @property
    def nic(self) -> Link | None:
        return self.observed.link(self.network.pod.name)

    @property
    def bridge(self) -> Link | None:
        return self.observed.link(self.network.bridge)

    @property
    def port(self) -> Link | None:
        return self.observed.link(self.network.guest_port)

    @property
    def address(self) -> str:
        return self.network.address4.address if self.network.address4 else ""

    @property
    def is_guest_there(self) -> bool:
        """Whether the VM itself answers for its address."""
        return self.network.mac in self.answers.guests


def trouble_of(link: Link | None, name: str) -> str:
    """Why no frame passes an interface; empty when frames do."""
    if link is None:
        return f"{name} is gone"
    if not link.up:
        return f"{name} is down"
    return "" if link.carrier else f"{name} has no carrier"


def judge(evidence: Evidence) -> Iterator[Check]:
    """The verdicts on one network, hop by hop."""
    for hop in (_pod_nic, _bridge_port, _bridge, _table, _guest_port, _server, _guest, _pod_network, _gateway, _node):
        yield from hop(evidence)


# --- what the kernel shows --------------------------------------------------------------------------------------------


def _pod_nic(evidence: Evidence) -> Iterator[Check]:
    name, nic = evidence.network.pod.name, evidence.nic
    if nic is None:
        advice = "the CNI has taken the interface away: run `virt-launcher teardown`, or recreate the pod"
        yield _wrong(Hop.POD_NIC, f"{name} has left this network namespace", advice)
        return
    found = list(_out_of_place(evidence, Hop.POD_NIC))
    if nic.up and not nic.carrier:
        advice = "look at its other end on the node: the CNI's host-side interface is down or gone"
        found.append(_wrong(Hop.POD_NIC, f"{name} has no carrier", advice))
    if nic.mtu < evidence.network.mtu:
        finding = f"{name} has MTU {nic.mtu}, less than the {evidence.network.mtu} that the VM was told"
        found.append(_wrong(Hop.POD_NIC, finding, f"in the pod: `ip link set {name} mtu {evidence.network.mtu}`"))
    yield from found or [_ok(Hop.POD_NIC, f"{name} is up with a carrier, MTU {nic.mtu}, and has no address left")]


def _bridge_port(evidence: Evidence) -> Iterator[Check]:
    name, bridge = evidence.network.pod.name, evidence.network.bridge
    if evidence.nic is None or evidence.bridge is None:
        yield _unseen(Hop.BRIDGE_PORT, f"{name if evidence.nic is None else bridge} is gone")
        return
    found = list(_out_of_place(evidence, Hop.BRIDGE_PORT))
    yield from found or [_ok(Hop.BRIDGE_PORT, f"{name} is a port of {bridge} and learns no MAC")]


def _bridge(evidence: Evidence) -> Iterator[Check]:
    network, bridge = evidence.network, evidence.bridge
    if evidence.nic is None:
        yield _unseen(Hop.BRIDGE, f"{network.pod.name} is gone")
        return
    found = list(_out_of_place(evidence, Hop.BRIDGE))
    if bridge and not found:
        found += _bridge_mtu(evidence, bridge)
        found += _crossing(evidence)
    if found:
        yield from found
        return
    both = all(evidence.answers.crosses.get(side) for side in Side)
    kept = f"keeps {evidence.address}" if evidence.address else "has no IPv4 address to keep"
    yield _ok(Hop.BRIDGE, f"{network.bridge} is up and {kept}{'; frames cross it both ways' if both else ''}")


def _bridge_mtu(evidence: Evidence, bridge: Link) -> Iterator[Check]:
    """A bridge takes the least MTU of its ports by itself: that is their fault and not its own."""
    ports = [link.mtu for link in (evidence.nic, evidence.port) if link]
    if bridge.mtu < min([evidence.network.mtu, *ports]):
        finding = f"{bridge.name} has MTU {bridge.mtu}, not {evidence.network.mtu}"
        yield _wrong(Hop.BRIDGE, finding, f"in the pod: `ip link set {bridge.name} mtu {evidence.network.mtu}`")


def _crossing(evidence: Evidence) -> Iterator[Check]:
    """Frames that were seen to come in on one port and not to leave by the other, with the bridge itself in order."""
    if any(_hop_of(step, evidence) in (Hop.BRIDGE_PORT, Hop.GUEST_PORT) for step in evidence.steps) or evidence.table:
        return
    nic, port = evidence.network.pod.name, evidence.network.guest_port
    for side, came, left in ((Side.NODE, nic, port), (Side.GUEST, port, nic)):
        if evidence.answers.crosses.get(side) is False and not trouble_of(evidence.observed.link(left), left):
            advice = (
                "something else filters bridged frames in this namespace: look at `nft list ruleset`, at"
                f" `bridge -d link` for the state of {left}, and, with br_netfilter, at the iptables chain FORWARD"
            )
            yield _wrong(Hop.BRIDGE, f"what comes in on {came} does not leave by {left}", advice)


def _table(evidence: Evidence) -> Iterator[Check]:
    if evidence.table:
        yield _wrong(Hop.TABLE, evidence.table, RUN_PRESTART)
    else:
        yield _ok(Hop.TABLE, "the table is the one that belongs here")


def _guest_port(evidence: Evidence) -> Iterator[Check]:
    network, port = evidence.network, evidence.port
    if evidence.nic is None:
        yield _unseen(Hop.GUEST_PORT, f"{network.pod.name} is gone")
    elif found := list(_out_of_place(evidence, Hop.GUEST_PORT)):
        yield from found
    elif evidence.bridge is None:
        yield _unseen(Hop.GUEST_PORT, f"{network.bridge} is gone")
    elif port:
        settled = f"is up, MTU {port.mtu}, a port of {network.bridge} with the VM's MAC pinned"
        yield _ok(Hop.GUEST_PORT, f"{port.name} {settled}")


def _out_of_place(evidence: Evidence, hop: Hop) -> Iterator[Check]:
    """One finding for all that `prestart` would change about a hop, or what keeps it from knowing."""
    if evidence.conflict:
        finding, _, advice = evidence.conflict.partition("; ")
        if hop is _hop_of_conflict(evidence):
            yield _wrong(hop, finding, advice or "clear that away, then run `virt-launcher prestart` again")
        else:
            yield _unseen(hop, finding)
        return
    steps = [step for step in evidence.steps if _hop_of(step, evidence) is hop]
    made = [step for step in steps if isinstance(step, CreateBridge | CreateTap)]
    if evidence.bridge is None and hop is not Hop.BRIDGE:
        # A port that has no bridge to belong to is the bridge's affair.
        steps = [step for step in steps if not isinstance(step, SetMaster | SetLearning | PinMac)]
    findings = dict.fromkeys(_fault(step, evidence) for step in (made or steps))
    if findings:
        yield _wrong(hop, "; ".join(findings), RUN_PRESTART)


def _hop_of_conflict(evidence: Evidence) -> Hop:
    """The hop of the device with whose name the refusal begins."""
    network = evidence.network
    hops = {network.bridge: Hop.BRIDGE, network.guest_port: Hop.GUEST_PORT}
    return hops.get(evidence.conflict.partition(":")[0], Hop.POD_NIC)


def _hop_of(step: Step, evidence: Evidence) -> Hop | None:
    """The hop that a step of the plan belongs to; None for what is judged otherwise."""
    network = evidence.network
    match step:
        case LoadTable() | DeleteTable():
            return None
        case CreateBridge(name=name) | CreateTap(name=name):
            device = name
        case AddRoute(route) | DeleteRoute(route):
            device = next((link.name for link in evidence.observed.links if link.index == route.interface), "")
        case SetSysctl(key):
            device = key.split("/")[3]
        case _:
            device = step.link
    if device == network.pod.name:
        return Hop.BRIDGE_PORT if isinstance(step, SetMaster | SetLearning) else Hop.POD_NIC
    # Another interface of the pod matters where it would answer for the address that the bridge keeps.
    return Hop.GUEST_PORT if device == network.guest_port else Hop.BRIDGE


def _fault(step: Step, evidence: Evidence) -> str:
    """What is wrong when this step has to be taken."""
    observed = evidence.observed
    match step:
        case CreateBridge(name=name) | CreateTap(name=name):
            return f"{name} is gone"
        case SetUp(link, _):
            return f"{link} is down"
        case SetMtu(link, mtu):
            there = observed.link(link)
            return f"{link} has MTU {there.mtu if there else 'none'}, not {mtu}"
        case SetMac(link, mac):
            there = observed.link(link)
            return f"{link} has MAC {there.mac if there else 'none'}, not {mac}"
        case SetMaster(link, master):
            return f"{link} is not a port of {master}"
        case SetLearning(link, _):
            return f"{link} learns MACs, so that an echo of the VM's own frames can make the VM unreachable"
        case PinMac(link, mac):
            return f"{mac} is not pinned to {link}"
        case AddAddress(link, address):
            return f"{link} does not keep {address.address}"
        case DeleteAddress(link, address):
            return f"{link} has the address {address.cidr}, which is the VM's to have"
        case SetSysctl(key, value):
            return f"{key.replace('/', '.')} is {observed.sysctl(key)}, not {value}"
        case _:
            return f"`{describe(step)}` is missing"


# --- who answers ------------------------------------------------------------------------------------------------------


def _server(evidence: Evidence) -> Iterator[Check]:
    network, server = evidence.network, evidence.server
    if not evidence.address:
        yield _ok(Hop.SERVER, f"none is needed: {network.pod.name} has no IPv4 address to hand out")
        return
    if server.problem:
        kill = f"kill process {server.pid} and " if server.pid else ""
        advice = f"{kill}run `virt-launcher prestart` again: it starts another, and the guest keeps its lease"
        yield _wrong(Hop.SERVER, server.problem, advice)
        return
    report = server.ports.get(network.guest_port)
    if report is None or (evidence.port and not evidence.is_heard):
        finding = f"process {server.pid} lives, but does not serve {network.guest_port} as it is now"
        yield _wrong(Hop.SERVER, finding, "run `virt-launcher prestart` again: it gives the server the new port")
        return
    answered = ", ".join(f"{count} {name}" for name, count in report.answered.items())
    yield _ok(Hop.SERVER, f"process {server.pid} serves {network.guest_port}; it has sent {answered or 'nothing yet'}")


def _guest(evidence: Evidence) -> Iterator[Check]:
    network, answers, address = evidence.network, evidence.answers, evidence.address
    trouble = trouble_of(evidence.port, network.guest_port)
    if evidence.port and evidence.port.up and trouble:
        advice = "no VM is behind it: start the VM, or set its interface's link up (`virsh domif-setlink`)"
        yield _wrong(Hop.GUEST, trouble, advice)
    elif trouble:
        yield _unseen(Hop.GUEST, trouble)
    elif evidence.is_guest_there:
        # A guest with several interfaces on one link may answer with each (ip-sysctl.rst, arp_ignore).
        others = answers.guests - {network.mac}
        also = f"; it answers with MAC {_listed(others)} too" if others else ""
        yield _ok(Hop.GUEST, f"it has {address} with MAC {network.mac}{also}")
    elif answers.guests:
        finding = f"the guest answers for {address} with MAC {_listed(answers.guests)}, not {network.mac}"
        yield _wrong(Hop.GUEST, finding, _GIVE_MAC.format(network.mac))
    elif _has_another_mac(evidence):
        seen = _listed(answers.strangers) if answers.strangers else "another one"
        finding = f"the guest sends with MAC {seen}, not {network.mac}, and so gets no lease"
        yield _wrong(Hop.GUEST, finding, _GIVE_MAC.format(network.mac))
    elif not address:
        heard = f"MAC {network.mac} sends" if answers.vm_heard else "nothing was heard from it meanwhile"
        yield _ok(Hop.GUEST, f"it has a carrier; {heard}")
    elif evidence.server.problem:
        yield _unseen(Hop.GUEST, f"it does not answer for {address}, and no DHCP server could have given it that")
    elif answers.holders:
        yield _unseen(Hop.GUEST, f"it does not answer for {address}, which another host has")
    else:
        yield _silent(evidence)


_GIVE_MAC = "give the VM's interface the MAC {} in the domain and in the guest, or teardown and set up with its own"


def _has_another_mac(evidence: Evidence) -> bool:
    """Whether the guest is there and is not whom we expect. Nested guests behind the VM's own MAC do no harm."""
    report = evidence.server.ports.get(evidence.network.guest_port, PortReport())
    asked_as_another = bool(report.ignored.get("foreign-mac")) and not report.answered
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
    elif report.answered:
        finding = f"the guest was offered {address}, and did not take it"
        advice = "look at the guest's console and at its DHCP client's log"
    else:
        finding = f"the guest does not answer ARP for {address}, and this server has had no DHCP message from it"
        advice = "wait until it has booted; then see on its console that a DHCP client runs on this interface"
    return _wrong(Hop.GUEST, finding, advice)


# --- beyond the pod ---------------------------------------------------------------------------------------------------


def _pod_network(evidence: Evidence) -> Iterator[Check]:
    answers, address = evidence.answers, evidence.address
    if not address:
        yield _ok(Hop.POD_NETWORK, "no IPv4 address is ours to watch over, and DHCP is the network's own")
        return
    if trouble := trouble_of(evidence.nic, evidence.network.pod.name):
        yield _unseen(Hop.POD_NETWORK, trouble)
        return
    if answers.holders:
        finding = f"another host, MAC {_listed(answers.holders)}, has {address} too"
        yield _wrong(Hop.POD_NETWORK, finding, f"find it and take {address} from it: the CNI gave it to this pod")
    for server, mac in sorted(answers.servers):
        finding = f"another DHCP server, {server} at MAC {mac}, answers to the VM's MAC"
        advice = "turn it off, or keep it from this network; our nftables table keeps it from the guest meanwhile"
        yield _wrong(Hop.POD_NETWORK, finding, advice)
    if not answers.holders and not answers.servers:
        yield _ok(Hop.POD_NETWORK, f"nobody else has {address}, and no other DHCP server answers")


def _gateway(evidence: Evidence) -> Iterator[Check]:
    pod = evidence.network.pod
    gateway = gateway_of(pod)[0] if evidence.address else ""
    if not gateway:
        yield _ok(Hop.GATEWAY, "the VM has none")
    elif mac := permanent_mac(pod, gateway):
        yield _ok(Hop.GATEWAY, f"{gateway} is at {mac} by a permanent entry, which our server tells the guest")
    elif trouble := trouble_of(evidence.nic, pod.name):
        yield _unseen(Hop.GATEWAY, trouble)
    elif evidence.answers.gateway_mac:
        yield _ok(Hop.GATEWAY, f"{gateway} is at {evidence.answers.gateway_mac}")
    else:
        advice = f"look on the node for who should hold or proxy {gateway}, and at the CNI's agent there"
        yield _wrong(Hop.GATEWAY, f"{gateway} does not answer ARP", advice)


def _node(evidence: Evidence) -> Iterator[Check]:
    network, answers = evidence.network, evidence.answers
    gateway = gateway_of(network.pod)[0] if evidence.address else ""
    if not gateway:
        yield _ok(Hop.NODE, "no gateway, hence nothing that would have to answer")
    elif trouble := trouble_of(evidence.nic, network.pod.name):
        yield _unseen(Hop.NODE, trouble)
    elif not answers.gateway_mac:
        yield _unseen(Hop.NODE, f"{gateway} does not answer ARP")
    elif not answers.returned:
        yield _unreached(evidence, gateway)
    elif answers.small and not answers.large and evidence.nic and evidence.nic.mtu >= network.mtu:
        finding = f"packets of {network.mtu} bytes do not come back from {gateway}, small ones do"
        advice = f"give the node's end of {network.pod.name}, and what is behind it, an MTU of {network.mtu}"
        yield _wrong(Hop.NODE, finding, advice)
    else:
        size = f", also to packets of {network.mtu} bytes" if answers.large else ""
        if answers.echoed:
            yield _ok(Hop.NODE, f"{gateway} answers ping{size}")
        else:
            silent = f"{gateway} answers no ping, as is usual where no host has it as its own address"
            yield _ok(Hop.NODE, f"{silent}; it routes, and replies{size}")


def _unreached(evidence: Evidence, gateway: str) -> Check:
    """No IP packet came back: the node's fault only if the node could know where the VM is."""
    if evidence.answers.holders:
        return _unseen(Hop.NODE, f"another host has {evidence.address}, and answers may go there")
    if not evidence.is_guest_there:
        return _unseen(Hop.NODE, f"the guest does not answer for {evidence.address}, so the node may not find it")
    finding = f"{gateway} is there, but no IP packet comes back from it or from behind it"
    advice = (
        f"on the node: does `ip route get {evidence.address}` lead to the pod's interface? If so, look for a filter"
        " (network policy, reverse path) that drops the VM's packets or every ICMP message"
    )
    return _wrong(Hop.NODE, finding, advice)


def _listed(macs: set[str]) -> str:
    return ", ".join(sorted(macs))


def _ok(hop: Hop, finding: str) -> Check:
    return Check(hop.value, True, finding)


def _wrong(hop: Hop, finding: str, advice: str) -> Check:
    return Check(hop.value, False, finding, advice)


def _unseen(hop: Hop, because: str) -> Check:
    return Check(hop.value, None, f"not looked at, because {because}")
