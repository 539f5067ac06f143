"""What the pod reaches besides the VM's own network, and by which ways: those are the VM's, too. Pure.

The VM's network must not overlap what the pod reaches elsewhere, which the VM then could not. What the VM sends is
routed as the pod's own processes' packets are that have no address yet: by the routing tables and rules that there are.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from dhcp.lean.frozen import replace
from netsetup.errors import InvalidRequest
from netsetup.model.identity import is_marked
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    IFF_LOOPBACK,
    RTN_UNICAST,
    TABLE_LOCAL,
    TABLE_MAIN,
    Link,
    Namespace,
    Route,
    Rule,
)
from netsetup.model.pod_interface import PodInterface
from netsetup.model.private_network import PrivateNetwork
from netsetup.model.request import NetworkRequest
from netsetup.model.settings import FORCE_FORWARDING, FORWARDING4, FORWARDING6
from netsetup.model.vm_network import EgressInterface, VMNetwork
from netsetup.nft.nat import REPLY_MARK

MAIN_PRIORITY: Final = 32766
"""Where every namespace has the rule for its main table (ip-rule(8))."""
PROTOCOL: Final = 118
"""Who has made a rule (FRA_PROTOCOL): a number that linux/rtnetlink.h gives nobody. By that we know ours again."""
CHOSEN: Final = "the VM's network is "
"""How the line begins about a network that was chosen because the usual one was taken."""
NOT_IN_RULES: Final = set('"*\\')
"""What a name between quotation marks does not have in nft(8)."""
FIELDS: Final = {AF_INET: "vmNetworkCIDR", AF_INET6: "vmIPv6NetworkCIDR"}

CANDIDATES: Final = {
    AF_INET: [f"{start}.{n}.0/24" for start in ("10.0", "172.31", "192.168", "10.254") for n in range(3, 255, 7)],
    AF_INET6: [f"fd10:0:{n:x}::/120" for n in range(3, 255, 7)],
}
"""Private networks (RFC 1918, RFC 4193) of the usual one's size, in the order in which they are tried."""

_Network = IPv4Network | IPv6Network
_Block = tuple[int, int]
"""A network's first address as a number, and its prefix length: `ip_network` takes five times as long."""


# --- the VM's network -------------------------------------------------------------------------------------------------


def chosen_network(
    observed: Namespace, pod: PodInterface, request: NetworkRequest, bridge: str
) -> tuple[PrivateNetwork, tuple[str, ...]]:
    """The request's network for the VM. Where that is taken, and any other will do, one that is free takes its place,
    which the second value says, a line for each family.

    Raises InvalidRequest that names the manifest's field.
    """
    private = _unless_kept(request, request.kept_private)
    networks = {AF_INET: private.network4, AF_INET6: private.network6}
    warnings = []
    for family, text in networks.items():
        overlap = overlap_of(observed, pod, text, bridge) if pod.global_addresses(family) else ""
        if not overlap:
            continue
        free = _free_network(observed, pod, family, bridge) if family in request.any_vm_network else ""
        if not free:
            raise InvalidRequest(f"{pod.name}: the VM's network {overlap}; choose another one with {FIELDS[family]}")
        networks[family] = free
        warnings.append(f"{CHOSEN}{free}: {overlap}; {FIELDS[family]} names another one")
    return replace(private, network4=networks[AF_INET], network6=networks[AF_INET6]), tuple(warnings)


def overlap_of(observed: Namespace, pod: PodInterface, text: str, bridge: str) -> str:
    """What the kernel could take for the VM's network `text`, in words; empty for nothing: an address or a gateway in
    it, and a route to it or to a part of it.

    A wider route is none of that: the longest prefix decides, in the table that the binding's rules have looked in
    first. What is on our own `bridge` is the VM's.
    """
    family = AF_INET6 if ":" in text else AF_INET
    block = _block(text)
    for taken, what in _taken(observed, pod, family, bridge):
        if _lies_within(_block(taken), block, family):
            return f"{text} overlaps {_in_words(observed, what) if isinstance(what, Route) else what}"
    return ""


def _taken(observed: Namespace, pod: PodInterface, family: int, bridge: str) -> Iterator[tuple[str, Route | str]]:
    """Addresses and networks that are not the VM's, each with what it is: a route, or words."""
    names = {link.index: link.name for link in observed.links}
    for index, address in observed.addresses:
        other = names.get(index, "")
        if address.family == family and other != bridge:
            for end in filter(None, (address.address, address.peer, address.network)):
                yield end, f"the address {address.cidr} of {other}"
    gateways: set[str] = set()
    for route in observed.routes:
        if route.family != family or names.get(route.interface) == bridge:
            continue
        yield route.destination, route
        for gateway in (route.gateway, *(hop.gateway for hop in route.nexthops)):
            if gateway and gateway not in gateways:
                gateways.add(gateway)
                yield gateway, route
    for server in pod.resolver.nameservers:
        end = server.partition("%")[0]
        if (":" in end) == (family == AF_INET6):
            yield end, f"the name server {server}"


def _in_words(observed: Namespace, route: Route) -> str:
    by = next((f" dev {link.name}" for link in observed.links if link.index == route.interface), "")
    return f"the route {route.text}{by}"


def _block(text: str) -> _Block:
    address, _, length = text.partition("/")
    if ":" in address:
        return int(IPv6Address(address)), int(length or 128)
    return int(IPv4Address(address)), int(length or 32)


def _lies_within(inner: _Block, outer: _Block, family: int) -> bool:
    """Whether a network is this one, or a part of it."""
    unused = (32 if family == AF_INET else 128) - outer[1]
    return inner[1] >= outer[1] and inner[0] >> unused == outer[0] >> unused


def _free_network(observed: Namespace, pod: PodInterface, family: int, bridge: str) -> str:
    """The first network that overlaps nothing, preferably one that no wider route leads to; empty for none."""
    taken = list({_block(text): None for text, _ in _taken(observed, pod, family, bridge)})
    # A default route is wider than all, and so are a VPN's two halves.
    wider = [block for block in taken if block[1] > 1]
    second = ""
    for text in CANDIDATES[family]:
        block = _block(text)
        if any(_lies_within(one, block, family) for one in taken):
            continue
        if not any(_lies_within(block, one, family) for one in wider):
            return text
        second = second or text
    return second


def kept_network(
    observed: Namespace, network: VMNetwork, request: NetworkRequest
) -> tuple[PrivateNetwork, tuple[str, ...]]:
    """What the request says of the VM's network, which stays the recorded one; and warnings, of what overlaps it now.

    Raises InvalidRequest for another one.
    """
    recorded = network.private
    assert recorded is not None, "admit() gives every network that needs it one"
    wanted = _unless_kept(request, recorded)
    if (wanted.network4, wanted.network6) != (recorded.network4, recorded.network6):
        raise InvalidRequest(
            f"network {network.name}: the VM's networks are {recorded.network4} and {recorded.network6}; "
            "run teardown first"
        )
    warnings = [line for line in network.warnings if line.startswith(CHOSEN)]
    for router, text in ((network.guest.router4, recorded.network4), (network.guest.router6, recorded.network6)):
        overlap = overlap_of(observed, network.pod, text, network.bridge) if router else ""
        if overlap:
            warnings.append(f"the VM's network {overlap}, which the VM does not reach")
    return wanted, tuple(warnings)


def _unless_kept(request: NetworkRequest, kept: PrivateNetwork | None) -> PrivateNetwork:
    """What is requested, with the networks that the VM has already, of the families of which any will do.

    Raises InvalidRequest for one without room for a pod and a guest.
    """
    names = {AF_INET: "network4", AF_INET6: "network6"}
    networks = {names[family]: getattr(kept, names[family]) for family in request.any_vm_network if kept}
    return replace(request.private, **networks).canonical()


# --- interfaces -------------------------------------------------------------------------------------------------------


def egress_of(observed: Namespace, network: VMNetwork, others: tuple[str, ...] = ()) -> tuple[EgressInterface, ...]:
    """The pod's other interfaces that its routes lead through, or ports name, but for those of the `others` networks.

    One that was recorded stays as long as it is there: it goes on forwarding until it is put back.
    """
    recorded = {one.index: one for one in network.egress}
    through = {index for route in observed.routes if _leads_out(route) for index in route.interfaces}
    ports = network.private.ports if network.private else ()
    named = {name for port in ports for name in port.interfaces}
    found = []
    for link in observed.links:
        if link.index == network.pod.link.index or link.name in others or not _may_lead_out(link):
            continue
        if link.index in recorded:
            found.append(replace(recorded[link.index], name=link.name))
        elif link.index in through or link.name in named:
            found.append(EgressInterface(link.name, link.index, _forwarded(observed, network, link.name)))
    return tuple(found)


def _leads_out(route: Route) -> bool:
    on_link = route.family == AF_INET6 and ip_network(route.destination).network_address in _OF_EVERY_LINK
    return route.type == RTN_UNICAST and route.table != TABLE_LOCAL and not on_link


_OF_EVERY_LINK: Final = (IPv6Address("fe80::"), IPv6Address("ff00::"))


def _may_lead_out(link: Link) -> bool:
    """Whether packets are sent by it, not by the device that it is a port of, nor to our guests."""
    named = link.name.isascii() and not set(link.name) & NOT_IN_RULES
    return named and not link.flags & IFF_LOOPBACK and not link.master and not is_marked(link)


def _forwarded(observed: Namespace, network: VMNetwork, name: str) -> tuple[int, ...]:
    """The families that an interface forwards, and not because we have switched that on for all."""
    keys = {AF_INET: (FORWARDING4,), AF_INET6: (FORCE_FORWARDING, FORWARDING6)}
    before = dict(network.pod.sysctls)
    for_all = observed.sysctl(FORCE_FORWARDING.format(network.pod.name)) is None
    return tuple(
        family
        for family, settings in keys.items()
        if any(observed.sysctl(setting.format(name)) == "1" for setting in settings)
        and not (family == AF_INET6 and for_all and before.get(FORWARDING6.format(network.pod.name)) == "0")
    )


# --- rules ------------------------------------------------------------------------------------------------------------


def policy_rules(observed: Namespace, network: VMNetwork) -> list[Rule]:
    """Policy routing (ip-rule(8)) besides the pod's own, which leads the VM's packets as all that are forwarded.

    Answers to who has reached the VM at the pod's address go where the pod's answers go, by the rules for that address:
    they are routed before they have it again, so they are marked. What is for the VM stays out of that, and out of
    every table that the pod looks in before its main one: a wider route there (a VPN's default, 10.0.0.0/8) would lead
    it elsewhere.
    """
    rules: list[Rule] = []
    for family, gateway in ((AF_INET, network.guest.router4), (AF_INET6, network.guest.router6)):
        if gateway is None:
            continue
        own, vm = ip_address(network.pod.global_addresses(family)[0].address), ip_network(gateway.network)
        answers = [
            replace(rule, source=gateway.network, mark=REPLY_MARK, selective=True, protocol=PROTOCOL)
            for rule in observed.rules
            if rule.family == family and rule.source and not rule.selective and _is_of(own, rule.source, vm)
        ]
        earlier = [rule for rule in observed.rules if rule.family == family and _may_divert(rule, vm)]
        if answers or earlier:
            first = max(1, min(rule.priority for rule in (*answers, *earlier)) - 1)
            rules += [Rule(family, first, TABLE_MAIN, destination=gateway.network, protocol=PROTOCOL), *answers]
    return rules


def own_rules(observed: Namespace, private: PrivateNetwork) -> list[Rule]:
    """Those of the namespace about the VM's network that we have made; somebody else's are not ours to delete."""
    ours = {private.network4, private.network6}
    about = [rule for rule in observed.rules if {rule.source, rule.destination} & ours]
    return [rule for rule in about if rule.protocol == PROTOCOL]


def _is_of(own: IPv4Address | IPv6Address, source: str, vm: _Network) -> bool:
    network = ip_network(source)
    return own in network and not network.overlaps(vm)


def _may_divert(rule: Rule, vm: _Network) -> bool:
    """Whether a rule that is not ours has packets for the VM looked up before the main table is."""
    ends = [ip_network(end) for end in (rule.source, rule.destination) if end]
    ours = any(end == vm for end in ends)
    elsewhere = bool(rule.destination) and not ip_network(rule.destination).overlaps(vm)
    return rule.priority < MAIN_PRIORITY and rule.table not in (TABLE_LOCAL, TABLE_MAIN) and not ours and not elsewhere
