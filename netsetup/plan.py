"""From what is observed, and what each network asks for, to the steps that lead there and back. Pure.

A plan is what is logged, shown by --dry-run, tested, and carried out. What differs between bindings is theirs
(`netsetup.bindings`).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from dhcp.lean.frozen import Frozen, replace
from netsetup.admission import require_nobodys
from netsetup.bindings.reach import egress_of
from netsetup.bindings.registry import binding_of, names_that_admit
from netsetup.bindings.restore import missing_addresses
from netsetup.errors import InvalidRequest, UnsuitedInterface
from netsetup.model.identity import is_marked, own_nic
from netsetup.model.kernel import IFF_LOOPBACK, Link, Namespace
from netsetup.model.pod_interface import Resolver
from netsetup.model.request import NetworkRequest
from netsetup.model.settings import ARP_IGNORE, FORWARDING6, interface_of
from netsetup.model.vm_network import VMNetwork
from netsetup.nft.ruleset import BRIDGE, INET, NETDEV, digest_of, tables_of
from netsetup.nft.sources import parse_further
from netsetup.resolver import merge_dns
from netsetup.steps import DeleteTable, LoadTable, SetSysctl, SetUp, Step, made_by

FURTHER_BEHIND_THE_POD: Final = "further addresses are not for a VM that is behind the pod's address; left out"
NOT_FOR_HOST_SCOPE: Final = "3"
"""arp_ignore: no answer for addresses of scope host (Documentation/networking/ip-sysctl.rst)."""


class Plan(Frozen):
    """Steps in the order in which they are taken; empty when there is nothing to do."""

    steps: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)

    def lines(self) -> list[str]:
        """The plan as text, a line a step."""
        return [str(step) for step in self.steps]


def admit(observed: Namespace, request: NetworkRequest, resolver: Resolver) -> VMNetwork:
    """What is to be built for one request, with what was there before.

    Raises InvalidRequest for what cannot be done in this pod, UnknownBinding and DeviceConflict among it; one for an
    interface that other bindings would admit names them.
    """
    resolver = merge_dns(resolver, request.dns)
    try:
        return _with_further(observed, binding_of(request.binding).admit(observed, request, resolver), request)
    except UnsuitedInterface as refused:
        others = names_that_admit(observed, request, resolver)
        if not others:
            raise
        raise refused.or_instead(f"use the {' or '.join(others)} binding") from None


def converge(observed: Namespace, network: VMNetwork, request: NetworkRequest, resolver: Resolver) -> VMNetwork:
    """The recorded network with what has changed in the pod, in the request and in the resolver since.

    Of an interface that the CNI has made anew, the addresses are now the VM's, which keeps its MAC; an adopted guest
    port will still be put back as it was first. Raises as a binding's `admit` does.
    """
    binding = binding_of(network.binding)
    resolver = merge_dns(resolver, request.dns)
    if is_replaced(observed, network):
        named = replace(request, pod_interface=network.pod.name, guest_port=network.guest_port)
        named = replace(named, kept_mac=network.guest.mac, kept_private=network.private)
        anew = binding.admit(observed, named, resolver)
        return replace(
            _with_further(observed, anew, request),
            guest=replace(anew.guest, mac_source=network.guest.mac_source),
            bridge=anew.bridge and network.bridge,
            adopted=network.adopted,
            adopted_sysctls=network.adopted_sysctls,
            adopted_state=network.adopted_state,
            requested=network.requested,
        )
    network = replace(network, pod=replace(network.pod, resolver=resolver))
    merged = binding.merge_observed_changes(observed, network, request)
    merged = _with_further(observed, replace(merged, isolated=request.isolated, options=request.options), request)
    return with_present_mtu(observed, merged, request.mtu)


def _with_further(observed: Namespace, network: VMNetwork, request: NetworkRequest) -> VMNetwork:
    """The network with the further addresses that its guest may send from.

    Raises InvalidRequest for one that is another's.
    """
    if network.guest.is_routed:
        lines = (FURTHER_BEHIND_THE_POD,) if request.further else ()
        return replace(network, further=(), warnings=(*network.warnings, *lines))
    try:
        further = parse_further(request.further)
    except ValueError as error:
        raise InvalidRequest(f"network {network.name}: further addresses: {error}") from None
    require_nobodys(observed, network, further)
    return replace(network, further=further)


def with_present_mtu(observed: Namespace, network: VMNetwork, limit: int) -> VMNetwork:
    """The recorded network with the MTU that its pod interface has now, which is for the CNI alone to change.

    `limit` is the largest that the VM shall use, 0 for none.
    """
    nic = own_nic(observed, network.pod)
    pod = replace(network.pod, link=replace(network.pod.link, mtu=nic.mtu)) if nic else network.pod
    return replace(network, pod=pod, mtu=min(limit, pod.mtu) if limit else pod.mtu)


def as_prestart_would(observed: Namespace, network: VMNetwork) -> VMNetwork:
    """The recorded network with what the next `prestart` follows without asking anybody: the MTU, and the interfaces
    that a router's routes lead through."""
    limit = network.mtu if network.mtu < network.pod.mtu else 0
    return with_present_mtu(observed, with_present_egress(observed, network), limit)


def with_present_egress(observed: Namespace, network: VMNetwork) -> VMNetwork:
    """The recorded network with the other interfaces that the pod's routes lead through now, where it is a router."""
    return replace(network, egress=egress_of(observed, network)) if network.guest.is_routed else network


def plan_setup(
    observed: Namespace, networks: Sequence[VMNetwork], copy: str = "", *, without: Collection[str] = ()
) -> Plan:
    """The way from what is there to a pod that serves the VM; `copy` is the record, for the kernel.

    Networks `without` their pod interface, which the CNI has taken away, are left as they are.

    The tables come first: what must not cross never does, and the copy is there before anything can be lost. Only
    those of the netdev family need their devices first.
    """
    tables = wanted_tables(networks, copy, without=without)
    steps = _table_steps(observed, tables, (BRIDGE, INET))
    there = [network for network in networks if network.name not in without]
    for network in there:
        steps += binding_of(network.binding).device_steps(observed, network)
    if any(network.gives_pod_address4 for network in networks):
        steps += _arp_ignore_steps(observed, networks)
    steps += _table_steps(observed, tables, (NETDEV,), outdated=bool(made_by(steps)))
    for network in there:
        steps += binding_of(network.binding).connect_steps(observed, network)
    return Plan(tuple(steps))


def wanted_tables(networks: Iterable[VMNetwork], copy: str = "", *, without: Collection[str] = ()) -> dict[str, str]:
    """The text of our nftables tables for these networks, by family.

    What is in a device's path takes that device, which networks `without` one have not got.
    """
    rules = {network.name: binding_of(network.binding).rules(network) for network in networks}
    return tables_of((replace(r, netdev=()) if name in without else r for name, r in rules.items()), copy)


def table_faults(observed: Namespace, tables: Mapping[str, str]) -> dict[str, str]:
    """The families whose table is not the one of this text, with the digest of what is there; empty for no table."""
    wanted = {family: digest_of(text) for family, text in tables.items()}
    there = dict(observed.tables)
    return {family: there.get(family, "") for family in {**wanted, **there} if wanted.get(family) != there.get(family)}


def _table_steps(
    observed: Namespace, tables: Mapping[str, str], families: tuple[str, ...], *, outdated: bool = False
) -> list[Step]:
    """`outdated` says that a table which is there cannot have the devices that it names."""
    faults = table_faults(observed, tables).keys() & set(families)
    if not faults and not (outdated and any(observed.table(family) for family in families)):
        return []
    replaced = tuple(family for family, _ in observed.tables if family in families)
    text = "".join(tables.get(family, "") for family in families)
    return [LoadTable(text, replace=replaced) if text else DeleteTable(replaced)]


def plan_teardown(observed: Namespace, networks: Sequence[VMNetwork], sysctls: Sequence[tuple[str, str]]) -> Plan:
    """The way from what is there to the pod of the record. `sysctls` are settings of other interfaces as they were.

    The kernel adds routes of its own on the way: plan and apply again until the plan is empty. The tables, one of which
    carries the copy of the record, go when nothing else is left to do.
    """
    others = [SetSysctl(key, value) for key, value in sysctls if observed.sysctl(key) not in (value, None)]
    # What changes every interface comes first: killed after it, the next set-up changes them all again.
    steps: list[Step] = [step for step in others if step.key == FORWARDING6.format("all")]
    steps += _stop_forwarding_steps(observed, networks)
    for network in reversed(networks):
        steps += binding_of(network.binding).release_steps(observed, network)
    steps += [step for step in others if step not in steps]
    # accept_ra comes in a round of its own, when all that has to do with forwarding is settled: see `masquerade`.
    steps = [step for step in steps if not _accepts_routers(step)] or steps
    if observed.tables and not steps:
        steps.append(DeleteTable(tuple(family for family, _ in observed.tables)))
    return Plan(tuple(steps))


def plan_release(
    observed: Namespace,
    networks: Sequence[VMNetwork],
    names: Collection[str],
    sysctls: Sequence[tuple[str, str]],
    copy: str = "",
) -> Plan:
    """The way from what is there to the networks without those of these `names`, which are put back as recorded.

    As for a teardown: plan and apply until the plan is empty. Only then are the tables loaded without them, by the
    set-up of those that stay; until then what must not cross does not, and the copy of the record has them all. Their
    frames are forwarded no more, before anything else is done.
    """
    gone = [network for network in networks if network.name in names]
    kept = [network for network in networks if network.name not in names]
    rules = {network.name: binding_of(network.binding).rules(network) for network in networks}
    hooked = _forwarded_ports(network for network in gone if rules[network.name].netdev)
    rules |= {network.name: replace(rules[network.name], netdev=()) for network in gone}
    steps = _table_steps(observed, tables_of(rules.values(), copy), (BRIDGE, INET, NETDEV)) if hooked else []
    if steps:
        steps = [*(SetUp(link.name, False) for link in observed.links if link.name in hooked and link.up), *steps]
    for network in reversed(gone):
        steps += binding_of(network.binding).release_steps(observed, network)
    keep = settings_to_keep(observed, kept)
    before = [*sysctls, *_arp_ignore_before(observed, kept)]
    others = [(key, value) for key, value in before if key not in keep and observed.sysctl(key) not in (value, None)]
    # As in a teardown: what changes every interface comes first, and the accepting of router advertisements last.
    steps += [SetSysctl(*s) for s in sorted(others, key=lambda s: s[0] != FORWARDING6.format("all"))]
    return Plan(tuple([step for step in steps if not _accepts_routers(step)] or steps))


def _arp_ignore_before(observed: Namespace, networks: Iterable[VMNetwork]) -> Iterator[tuple[str, str]]:
    """The setting of these networks' own interfaces, which is changed for addresses that any network gives."""
    default = observed.sysctl(ARP_IGNORE.format("default"))
    for network in networks:
        key = ARP_IGNORE.format(network.pod.name)
        yield from (setting for setting in network.pod.sysctls if setting[0] == key)
        if network.bridge and default is not None:
            yield ARP_IGNORE.format(network.bridge), default


def settings_to_keep(observed: Namespace, networks: Sequence[VMNetwork]) -> set[str]:
    """The keys of what these networks have changed outside their own interfaces, or on any interface of the pod."""
    keys = {key for key, _ in other_sysctls(observed, networks)}
    everywhere = {ARP_IGNORE.format(link.name) for link in observed.links}
    return keys | everywhere if any(network.gives_pod_address4 for network in networks) else keys - everywhere


def _stop_forwarding_steps(observed: Namespace, networks: Sequence[VMNetwork]) -> list[Step]:
    """Stops forwarding before the pod interface has its addresses again; nor does the pod receive frames of the guest's
    instead."""
    if not observed.table(NETDEV):
        return []
    hooked = _forwarded_ports(n for n in networks if binding_of(n.binding).rules(n).netdev)
    ports = [link.name for link in observed.links if link.name in hooked and link.up]
    return [*(SetUp(name, False) for name in ports), DeleteTable((NETDEV,))]


def _forwarded_ports(networks: Iterable[VMNetwork]) -> set[str]:
    """The guest ports that are no pod interface themselves: what is on the other side of those is not this pod's."""
    return {network.guest_port for network in networks if network.guest_port != network.pod.name}


def _accepts_routers(step: Step) -> bool:
    return isinstance(step, SetSysctl) and step.key.endswith("/accept_ra")


def is_untouched(observed: Namespace, network: VMNetwork) -> bool:
    """Whether nothing of a recorded set-up has been done, so that the pod is to be read anew."""
    nic = observed.link(network.pod.name)
    return (
        not observed.tables
        and observed.link(network.bridge) is None
        and nic is not None
        and (nic.mac, nic.all_multicast) == (network.pod.link.mac, network.pod.link.all_multicast)
        and not missing_addresses(observed, nic, network.pod)
    )


def is_stale(observed: Namespace, networks: Sequence[VMNetwork]) -> bool:
    """Whether nothing of ours is there, and every pod interface has addresses of its own: what was set up has been put
    back, by way of another state directory. The tables come first and go last, so they are there at all times between.
    """
    if observed.tables or any(is_marked(link) for link in observed.links):
        return False
    nics = [(network, own_nic(observed, network.pod)) for network in networks]
    return all(nic is not None and _is_the_pods(observed, network, nic) for network, nic in nics)


def _is_the_pods(observed: Namespace, network: VMNetwork, nic: Link) -> bool:
    had_address = any(address.is_global for address in network.pod.addresses)
    has_address = any(address.is_global for address in observed.addresses_of(nic.index))
    return nic.mac == network.pod.link.mac and has_address >= had_address


def is_replaced(observed: Namespace, network: VMNetwork) -> bool:
    """Whether the CNI has made the pod interface anew since it was recorded (DEL and ADD in one namespace)."""
    return observed.link(network.pod.name) is not None and own_nic(observed, network.pod) is None


def other_sysctls(observed: Namespace, networks: Sequence[VMNetwork]) -> tuple[tuple[str, str], ...]:
    """The settings outside our own interfaces that a set-up changes, as they are now."""
    ours = {f"/conf/{name}/" for n in networks for name in (n.pod.name, n.guest_port, n.bridge) if name}
    keys = [ARP_IGNORE.format(link.name) for link in observed.links if not link.flags & IFF_LOOPBACK]
    for name in dict.fromkeys(network.binding for network in networks):
        keys += binding_of(name).other_settings(observed)
    values = dict(observed.sysctls)
    return tuple((key, values[key]) for key in keys if key in values and not any(name in key for name in ours))


def interfaces_of(observed: Namespace, sysctls: Sequence[tuple[str, str]]) -> tuple[tuple[str, int], ...]:
    """The interfaces that settings are of, with their indexes."""
    names = dict.fromkeys(interface_of(key) for key, _ in sysctls)
    return tuple((link.name, link.index) for link in observed.links if link.name in names)


def _arp_ignore_steps(observed: Namespace, networks: Sequence[VMNetwork]) -> list[Step]:
    """No interface of the pod answers ARP for an address that only the VM has now; a second NIC would otherwise."""
    guest_ports = {network.guest_port for network in networks}
    names = [n.name for n in observed.links if not n.flags & IFF_LOOPBACK and n.name not in guest_ports]
    names += [network.bridge for network in networks if network.bridge and network.bridge not in names]
    keys = [ARP_IGNORE.format(name) for name in names]
    return [SetSysctl(key, NOT_FOR_HOST_SCOPE) for key in keys if observed.sysctl(key) != NOT_FOR_HOST_SCOPE]
