"""PodInterface + binding → Plan, pure. A plan is what is logged, shown by --dry-run, tested, and carried out."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from netsetup.bindings import bridge, masquerade, restore
from netsetup.errors import InvalidRequest
from netsetup.model.kernel import FORWARDING6, IFF_LOOPBACK, Namespace
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.vm_network import MASQUERADE_MAC, Masquerade, Told, VMNetwork
from netsetup.nft import nat as translation
from netsetup.nft.tables import digest_of, ruleset
from netsetup.steps import DeleteTable, LoadTable, SetSysctl, Step

ARP_IGNORE = "net/ipv4/conf/{}/arp_ignore"
LIBVIRT_TAP_OCTET = 0xFE
"""libvirt gives a tap its guest's MAC with this first octet; a guest that has it already would meet itself."""
NOT_FOR_HOST_SCOPE = "3"
"""arp_ignore: no answer for addresses of scope host (Documentation/networking/ip-sysctl.rst)."""


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """What one network of the VM asks of the pod."""

    name: str = "default"
    binding: str = "bridge"
    pod_interface: str = "eth0"
    guest_port: str = "tap0"
    mac: str | None = None
    """The MAC the VM shall have; None derives it from `stable_id`, and without that takes the pod interface's."""
    stable_id: str = ""
    """What names this interface of this VM wherever it runs."""
    mtu: int = 0
    """The largest MTU the VM shall use; 0 takes what the pod has."""
    queues: int = 1
    """Queue pairs of a tap of our own."""
    isolated: bool = True
    """Whether frames of the VM with other addresses than its own are dropped."""
    told: Told = field(default_factory=Told)
    masquerade: Masquerade = field(default_factory=Masquerade)
    """In that binding, the VM's network and what is forwarded to it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order in which they are taken; empty when there is nothing to do."""

    steps: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)

    def lines(self) -> list[str]:
        """The plan as text, a line a step."""
        return [str(step) for step in self.steps]


BINDINGS = ("bridge", "masquerade")


def describe_network(observed: Namespace, pod: PodInterface, request: NetworkRequest) -> VMNetwork:
    """What is to be built for one request, with what was there before.

    Raises DeviceConflict when something stands in the way, InvalidRequest for a binding, a network or an MTU that
    cannot be.
    """
    if request.binding not in BINDINGS:
        raise InvalidRequest(
            f"network {request.name}: no binding {request.binding!r} (there are: {', '.join(BINDINGS)})"
        )
    name = bridge.bridge_name(pod.name)
    wanted = None
    if request.binding == "masquerade":
        bridge.require_bridge_name_free(observed, name)
        wanted = masquerade.require_possible(observed, pod, request.masquerade, name)
    else:
        bridge.require_bridge_name_free(observed, name, bridge.derived_mac("bridge", pod))
        if pod.link.master:
            master = next((link.name for link in observed.links if link.index == pod.link.master), "another device")
            raise InvalidRequest(f"{pod.name}: already a port of {master}, and no record says that we made it one")
    adopted = bridge.adopt(observed, request.guest_port, name)
    mac, mac_source = guest_mac(request, pod)
    prefixes = tuple(f"net/ipv{v}/conf/{request.guest_port}/" for v in (4, 6))
    return VMNetwork(
        name=request.name,
        pod=pod,
        guest_port=request.guest_port,
        bridge=name,
        mac=mac,
        mac_source=mac_source,
        mtu=bridge.require_mtu(request.mtu, pod),
        queues=request.queues,
        isolated=request.isolated,
        told=request.told,
        masquerade=wanted,
        adopted=adopted,
        adopted_sysctls=tuple((k, v) for k, v in observed.sysctls if k.startswith(prefixes)) if adopted else (),
    )


def guest_mac(request: NetworkRequest, pod: PodInterface) -> tuple[str, str]:
    """The MAC of the VM, and where it comes from: `spec`, `derived` or `pod`.

    Raises InvalidRequest for one that the network or the tap could not use.
    """
    if request.mac:
        first = int(request.mac.split(":")[0], 16)
        if first & 1 or request.mac == "00:00:00:00:00:00" or first == LIBVIRT_TAP_OCTET:
            raise InvalidRequest(
                f"network {request.name}: MAC {request.mac} cannot be a guest's: multicast, zero or fe:…"
            )
        if request.binding == "masquerade" and request.mac == MASQUERADE_MAC:
            raise InvalidRequest(
                f"network {request.name}: MAC {request.mac} cannot be a guest's: it is the bridge's own"
            )
        return request.mac, "spec"
    if request.stable_id:
        return bridge.local_mac(f"guest {request.stable_id}"), "derived"
    return (masquerade.derived_mac(pod) if request.binding == "masquerade" else pod.link.mac), "pod"


def plan_setup(observed: Namespace, networks: Sequence[VMNetwork], copy: str = "") -> Plan:
    """The way from what is there to a pod that serves the VM; `copy` is the record, for the kernel.

    The tables come first: what must not cross never does, and the copy is there before anything can be lost.
    """
    steps: list[Step] = []
    text = ruleset_of(networks, copy)
    wanted = digest_of(text)
    translates = any(network.masquerade for network in networks)
    if (observed.table, observed.translation) != (wanted, wanted if translates else ""):
        steps.append(LoadTable(text, replace=observed.tables))
    for network in networks:
        steps += (masquerade if network.masquerade else bridge).device_steps(observed, network)
    if any(network.address4 and not network.masquerade for network in networks):
        steps += _arp_ignore_steps(observed, networks)
    for network in networks:
        if network.masquerade:
            steps += masquerade.forward_steps(observed, network)
        else:
            steps += bridge.move_steps(observed, network)
    return Plan(tuple(steps))


def ruleset_of(networks: Sequence[VMNetwork], copy: str = "") -> str:
    """The text of our nftables tables for these networks, of which one at most is masqueraded."""
    translations = [network.translation for network in networks]
    content = "".join(translation.body(t) for t in translations if t)
    return ruleset((network.barrier for network in networks), copy, content)


def plan_teardown(observed: Namespace, networks: Sequence[VMNetwork], sysctls: Sequence[tuple[str, str]]) -> Plan:
    """The way from what is there to the pod of the record. `sysctls` are settings of other interfaces as they were.

    The kernel adds routes of its own on the way: plan and apply again until the plan is empty. The table, which carries
    the copy of the record, goes when nothing else is left to do.
    """
    others = [SetSysctl(key, value) for key, value in sysctls if observed.sysctl(key) not in (value, None)]
    # What changes every interface comes first: killed after it, the next set-up changes them all again.
    steps: list[Step] = [step for step in others if step.key == FORWARDING6.format("all")]
    for network in reversed(networks):
        if network.masquerade:
            steps += masquerade.release_steps(observed, network)
        else:
            steps += bridge.release_steps(observed, network)
            steps += restore.restore_steps(observed, network.pod)
    steps += [step for step in others if step not in steps]
    # accept_ra comes in a round of its own, when all that has to do with forwarding is settled: see `masquerade`.
    steps = [step for step in steps if not _accepts_routers(step)] or steps
    if observed.tables and not steps:
        steps.append(DeleteTable(observed.tables))
    return Plan(tuple(steps))


def _accepts_routers(step: Step) -> bool:
    return isinstance(step, SetSysctl) and step.key.endswith("/accept_ra")


def is_untouched(observed: Namespace, network: VMNetwork) -> bool:
    """Whether nothing of a recorded set-up has been done, so that the pod is to be read anew."""
    nic = observed.link(network.pod.name)
    return (
        not observed.tables
        and observed.link(network.bridge) is None
        and nic is not None
        and nic.mac == network.pod.link.mac
        and (network.masquerade is not None or not restore.missing_addresses(observed, nic, network.pod))
    )


def is_replaced(observed: Namespace, network: VMNetwork) -> bool:
    """Whether the CNI has made the pod interface anew since it was recorded (DEL and ADD in one namespace)."""
    return observed.link(network.pod.name) is not None and bridge.own_nic(observed, network.pod) is None


def with_new_interface(
    observed: Namespace, network: VMNetwork, pod: PodInterface, request: NetworkRequest
) -> VMNetwork:
    """The network with the interface that has taken the place of the recorded one: its addresses are now the VM's.

    The VM keeps its MAC, and an adopted guest port is put back as it was first. Raises as `describe_network` does.
    """
    return dataclasses.replace(
        describe_network(observed, pod, request),
        mac=network.mac,
        mac_source=network.mac_source,
        adopted=network.adopted,
        adopted_sysctls=network.adopted_sysctls,
    )


def with_news(observed: Namespace, network: VMNetwork, request: NetworkRequest, resolver: Resolver) -> VMNetwork:
    """The network with what its interface was given since it was recorded, and with the wishes and resolver of today.

    In the bridge binding new addresses, routes and neighbours come behind what was there, so the VM's own address stays
    what it is. In the masquerade binding the interface is in use, and what it has now is what holds.
    """
    nic = observed.link(network.pod.name)
    forwarded = network.masquerade
    if forwarded and nic:
        pod = dataclasses.replace(
            network.pod,
            addresses=observed.addresses_of(nic.index),
            routes=observed.routes_of(nic.index),
            neighbours=observed.neighbours_of(nic.index),
        )
        wanted = request.masquerade
        forwarded = dataclasses.replace(wanted, network4=forwarded.network4, network6=forwarded.network6)
    else:
        pod = restore.news(observed, network.pod)
    return dataclasses.replace(
        network,
        pod=dataclasses.replace(pod, resolver=resolver),
        isolated=request.isolated,
        told=request.told,
        masquerade=forwarded,
    )


def other_sysctls(observed: Namespace, networks: Sequence[VMNetwork]) -> tuple[tuple[str, str], ...]:
    """The settings outside our own interfaces that a set-up changes, as they are now."""
    ours = tuple(f"/conf/{name}/" for n in networks for name in (n.pod.name, n.guest_port))
    keys = [ARP_IGNORE.format(link.name) for link in observed.links if not link.flags & IFF_LOOPBACK]
    if any(network.masquerade for network in networks):
        keys += masquerade.other_settings(observed)
    values = dict(observed.sysctls)
    return tuple((key, values[key]) for key in keys if key in values and not any(name in key for name in ours))


def _arp_ignore_steps(observed: Namespace, networks: Sequence[VMNetwork]) -> list[Step]:
    """No interface of the pod answers ARP for an address that only the VM has now; a second NIC would otherwise."""
    guest_ports = {network.guest_port for network in networks}
    names = [n.name for n in observed.links if not n.flags & IFF_LOOPBACK and n.name not in guest_ports]
    names += [network.bridge for network in networks if network.bridge not in names]
    keys = [ARP_IGNORE.format(name) for name in names]
    return [SetSysctl(key, NOT_FOR_HOST_SCOPE) for key in keys if observed.sysctl(key) != NOT_FOR_HOST_SCOPE]
