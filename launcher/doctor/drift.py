"""Reports each step the plan would take as a finding at its hop. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.doctor.findings import RUN_PRESTART, Check, Evidence, Hop, unseen, wrong
from netsetup.steps import (
    AddAddress,
    AddRoute,
    AddRule,
    CreateBridge,
    CreateMacvtap,
    CreateTap,
    DeleteAddress,
    DeleteRoute,
    DeleteRule,
    DeleteTable,
    LoadTable,
    MoveRoute,
    PinMac,
    SetAllMulticast,
    SetLearning,
    SetMac,
    SetMaster,
    SetMtu,
    SetSysctl,
    SetUp,
    Step,
)

JOINS = SetMaster | SetLearning | PinMac
"""Steps that make a device a port, or are for a port alone."""


def pending_findings(evidence: Evidence, hop: Hop) -> Iterator[Check]:
    """One finding for all that `prestart` would change about a hop, or the conflict that prevents a plan."""
    if evidence.conflict:
        finding, _, advice = evidence.conflict.partition("; ")
        if hop is _hop_of_conflict(evidence):
            yield wrong(hop, finding, advice or "clear that away, then run `virt-launcher prestart` again")
        else:
            yield unseen(hop, finding)
        return
    network = evidence.network
    steps = [step for step in evidence.steps if hop_of(step, evidence) is hop]
    made = [step for step in steps if isinstance(step, CreateBridge | CreateTap | CreateMacvtap)]
    if network.bridge and evidence.bridge is None and hop is not Hop.BRIDGE:
        # A missing bridge is reported at the bridge, not at its ports.
        steps = [step for step in steps if not isinstance(step, JOINS)]
    findings = dict.fromkeys(_fault(step, evidence) for step in (made or steps))
    if findings:
        yield wrong(hop, "; ".join(findings), RUN_PRESTART)


def has_no_bridge(evidence: Evidence, hop: Hop) -> bool:
    """Whether a device is to be a port of a bridge that has gone."""
    steps = [step for step in evidence.steps if isinstance(step, JOINS) and hop_of(step, evidence) is hop]
    return evidence.bridge is None and bool(steps)


def _hop_of_conflict(evidence: Evidence) -> Hop:
    """The hop of the device with whose name the refusal begins."""
    network = evidence.network
    hops = {network.bridge: Hop.BRIDGE, network.guest_port: Hop.GUEST_PORT}
    return hops.get(evidence.conflict.partition(":")[0], Hop.POD_NIC)


def hop_of(step: Step, evidence: Evidence) -> Hop | None:
    """The hop that a step of the plan belongs to; None for what is judged otherwise."""
    network = evidence.network
    match step:
        case LoadTable() | DeleteTable():
            return None
        case SetMtu(link=device) if device == network.bridge:
            return None
        case CreateBridge(name=name) | CreateTap(name=name) | CreateMacvtap(name=name):
            device = name
        case AddRoute(route=route) | MoveRoute(route) | DeleteRoute(route):
            device = next((link.name for link in evidence.observed.links if link.index == route.interface), "")
        case AddRule() | DeleteRule():
            device = network.bridge
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
        case CreateBridge(name=name) | CreateTap(name=name) | CreateMacvtap(name=name):
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
        case SetAllMulticast(link, _):
            return f"{link} filters multicast, and neighbour discovery for the VM with it"
        case SetLearning(link, _):
            return f"{link} learns MACs, so that an echo of the VM's own frames can make the VM unreachable"
        case PinMac(link, mac):
            return f"{mac} is not pinned to {link}"
        case AddAddress(link, address):
            return f"{link} does not have {address.cidr}"
        case DeleteAddress(link, address):
            return f"{link} has {address.cidr}, which is the VM's to have"
        case SetSysctl(key, value):
            return f"{key.replace('/', '.')} is {observed.sysctl(key)}, not {value}"
        case _:
            return f"`{step}` is missing"
