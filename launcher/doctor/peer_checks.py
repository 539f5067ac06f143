"""Checks of the peers in each IP family: guest, gateway and node must answer, other hosts must not. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.doctor.findings import Check, Evidence, Hop, ok, trouble_of, unseen, wrong
from launcher.doctor.targets import Family

_GIVE_MAC = "give the VM's interface the MAC {} in the domain and in the guest, or teardown and set up with its own"


def guest(evidence: Evidence, family: Family) -> Iterator[Check]:
    """Whether the VM is there, with its MAC and its address."""
    network, answers, address = evidence.network, family.answers, family.address
    trouble = trouble_of(evidence.port, network.guest_port)
    if evidence.port and evidence.port.up and trouble:
        advice = "no VM is behind it: start the VM, or set its interface's link up (`virsh domif-setlink`)"
        yield wrong(Hop.GUEST, trouble, advice)
    elif trouble:
        yield unseen(Hop.GUEST, trouble)
    elif _is_there(evidence, family):
        # A guest with several interfaces on one link may answer with each (ip-sysctl.rst, arp_ignore).
        others = answers.guests - {network.mac}
        also = f"; it answers with MAC {_listed(others)} too" if others else ""
        yield ok(Hop.GUEST, f"it has {address} with MAC {network.mac}{also}")
    elif answers.guests:
        finding = f"the guest answers for {address} with MAC {_listed(answers.guests)}, not {network.mac}"
        yield wrong(Hop.GUEST, finding, _GIVE_MAC.format(network.mac))
    elif _has_another_mac(evidence, family):
        seen = _listed(answers.other_macs) if answers.other_macs else "another one"
        finding = f"the guest sends with MAC {seen}, not {network.mac}, and so gets no lease"
        yield wrong(Hop.GUEST, finding, _GIVE_MAC.format(network.mac))
    elif not address:
        seen = f"MAC {network.mac} sends" if answers.vm_mac_seen else "no frame received from it"
        yield ok(Hop.GUEST, f"it has a carrier; {seen}")
    elif evidence.server.problem:
        yield unseen(Hop.GUEST, f"it does not answer for {address}, and no DHCP server could have given it that")
    elif answers.holders and not network.guest.is_routed:
        yield unseen(Hop.GUEST, f"it does not answer for {address}, which another host has")
    elif _uses_the_other_alone(evidence, family):
        yield ok(Hop.GUEST, f"it uses IPv4 alone: it has not requested {address}, and cannot be reached there")
    else:
        yield _silent(evidence, family)


def _is_there(evidence: Evidence, family: Family) -> bool:
    """Whether the VM itself answers for its address."""
    return evidence.network.mac in family.answers.guests


def _uses_the_other_alone(evidence: Evidence, family: Family) -> bool:
    """Whether the guest is in order, and has never requested an IPv6 address: many have no DHCPv6 client."""
    asked = {"ADVERTISE", "REPLY"} & evidence.report.answered.keys()
    return family.is_ipv6 and not asked and any(_is_there(evidence, other) for other in evidence.families)


def _has_another_mac(evidence: Evidence, family: Family) -> bool:
    """Whether the guest sends with other MACs (as nested guests may) and never with the VM's."""
    report = evidence.report
    asked_as_another = bool(report.ignored.get("foreign-mac")) and not report.answered.get("OFFER")
    return not family.answers.vm_mac_seen and (bool(family.answers.other_macs) or asked_as_another)


def _silent(evidence: Evidence, family: Family) -> Check:
    """How far a guest got that does not answer for its address, by what the server counted."""
    report = evidence.report
    address, dhcp = family.address, family.dhcp
    offer, lease = ("ADVERTISE", "REPLY") if family.is_ipv6 else ("OFFER", "ACK")
    if report.ignored.get("decline") and not family.is_ipv6:
        finding, advice = f"the guest has declined {address} as another host's", "restart DHCP in the guest"
    elif report.answered.get(lease):
        finding = f"the guest was given {address}, but does not answer {family.resolution} for it now"
        advice = "look at the guest's console: does it still run, and has its interface still that address?"
    elif report.answered.get(offer):
        finding = f"the guest was offered {address}, and did not take it"
        advice = f"look at the guest's console and at its {dhcp} client's log"
    else:
        asked = f"this server has had no {dhcp} message from it"
        finding = f"the guest does not answer {family.resolution} for {address}, and {asked}"
        advice = f"wait until it has booted; then see on its console that a {dhcp} client runs on this interface"
    return wrong(Hop.GUEST, finding, advice)


def pod_network(evidence: Evidence, family: Family) -> Iterator[Check]:
    """Whether no other host has the address, or serves addresses or routes."""
    answers, address = family.answers, family.outer_address
    if not address:
        yield ok(Hop.POD_NETWORK, "the pod has no address to check here, and DHCP is the network's own")
        return
    if trouble := trouble_of(evidence.nic, evidence.network.pod.name):
        yield unseen(Hop.POD_NETWORK, trouble)
        return
    if not evidence.has_frames:
        yield ok(
            Hop.POD_NETWORK,
            f"{evidence.network.pod.name} has no frames, and so no neighbours that could have {address}",
        )
        return
    if answers.holders:
        finding = f"another host, MAC {_listed(answers.holders)}, has {address} too"
        yield wrong(Hop.POD_NETWORK, finding, f"find it and take {address} from it: the CNI gave it to this pod")
    advice = "turn it off, or keep it from this network; our nftables table keeps it from the guest meanwhile"
    own = set() if evidence.table else _own_servers(family)
    for server, mac in sorted(answers.servers - own):
        yield wrong(
            Hop.POD_NETWORK, f"another {family.dhcp} server, {server} at MAC {mac}, answers to the VM's MAC", advice
        )
    for server, mac in sorted(own):
        is_at = f"{server} at MAC {mac}, offers {address} as well"
        yield ok(Hop.POD_NETWORK, f"the network's own {family.dhcp} server, {is_at}; our table keeps it from the guest")
    routers = [] if evidence.network.guest.is_routed else sorted(_foreign_routers(family))
    for router, mac in routers:
        yield wrong(Hop.POD_NETWORK, f"another router, {router} at MAC {mac}, advertises itself", advice)
    if not answers.holders and not answers.servers - own and not routers:
        others = f", and no other {family.dhcp} server{' or router' if family.is_ipv6 else ''} answers"
        yield ok(Hop.POD_NETWORK, f"no other host has {address}{'' if evidence.network.guest.is_routed else others}")


def _own_servers(family: Family) -> set[tuple[str, str]]:
    """The network's own DHCP servers: at the gateway, and what they offer is what the CNI has given the pod.

    pasta has one, for one, and libslirp.
    """
    answers = family.answers
    return {
        (server, mac) for server, mac in answers.own_servers if server in family.routers or mac == answers.gateway_mac
    }


def _foreign_routers(family: Family) -> set[tuple[str, str]]:
    """Those that advertise themselves and are no gateway of the pod's, nor the link-local face of its global one."""
    return {
        (router, mac)
        for router, mac in family.answers.routers
        if router not in family.routers and mac != family.answers.gateway_mac
    }


def gateway(evidence: Evidence, family: Family) -> Iterator[Check]:
    """Whether the gateway is on the link."""
    if not family.gateway:
        yield ok(Hop.GATEWAY, f"there is none{' of IPv6' if family.is_ipv6 else ''}")
    elif not evidence.has_frames:
        yield ok(Hop.GATEWAY, f"{family.gateway} needs no MAC: {evidence.network.pod.name} has no frames")
    elif family.permanent_mac:
        entry = f"is at {family.permanent_mac} by a permanent entry, which needs no answer"
        yield ok(Hop.GATEWAY, f"{family.gateway} {entry}")
    elif trouble := trouble_of(evidence.nic, evidence.network.pod.name):
        yield unseen(Hop.GATEWAY, trouble)
    elif family.answers.gateway_mac:
        yield ok(Hop.GATEWAY, f"{family.gateway} is at {family.answers.gateway_mac}")
    else:
        advice = f"look on the node for what should hold or proxy {family.gateway}, and at the CNI's agent there"
        yield wrong(Hop.GATEWAY, f"{family.gateway} does not answer {family.resolution}", advice)


def node(evidence: Evidence, family: Family) -> Iterator[Check]:
    """Whether packets get to the gateway and back, also large ones."""
    network, answers = evidence.network, family.answers
    if not family.gateway:
        which = "IPv6 gateway" if family.is_ipv6 else "gateway"
        yield ok(Hop.NODE, f"no {which}, hence nothing that would have to answer")
    elif trouble := trouble_of(evidence.nic, network.pod.name):
        yield unseen(Hop.NODE, trouble)
    elif not evidence.has_frames:
        yield unseen(Hop.NODE, f"{network.pod.name} has no frames to ask in")
    elif not answers.gateway_mac:
        yield unseen(Hop.NODE, f"{family.gateway} does not answer {family.resolution}")
    elif not answers.returned and _own_servers(family):
        yield ok(Hop.NODE, f"{family.gateway} answers no ping, but packets of {family.dhcp}")
    elif not answers.returned:
        yield _unreached(evidence, family)
    elif answers.small and not answers.large and evidence.nic and evidence.nic.mtu >= network.mtu:
        finding = f"packets of {network.mtu} bytes do not come back from {family.gateway}, small ones do"
        advice = f"give the node's end of {network.pod.name}, and what is behind it, an MTU of {network.mtu}"
        yield wrong(Hop.NODE, finding, advice)
    else:
        size = f", also to packets of {network.mtu} bytes" if answers.large else ""
        if answers.echoed:
            yield ok(Hop.NODE, f"{family.gateway} answers ping{size}")
        else:
            silent = f"{family.gateway} answers no ping, as is usual where no host has it as its own address"
            yield ok(Hop.NODE, f"{silent}; it routes, and replies{size}")


def _unreached(evidence: Evidence, family: Family) -> Check:
    """No IP packet came back: the node's fault only if the node can resolve the VM's address."""
    if family.answers.holders:
        return unseen(Hop.NODE, f"another host has {family.outer_address}, and answers may go there")
    if not _is_there(evidence, family) and not evidence.network.guest.is_routed:
        return unseen(Hop.NODE, f"the guest does not answer for {family.address}, so the node may not find it")
    finding = f"{family.gateway} is there, but no IP packet comes back from it or from behind it"
    advice = (
        f"on the node: does `ip route get {family.outer_address}` lead to the pod's interface? If so, look for a"
        " filter (network policy, reverse path) that drops the VM's packets or every ICMP message"
    )
    return wrong(Hop.NODE, finding, advice)


def _listed(macs: set[str]) -> str:
    return ", ".join(sorted(macs))
