"""Pods as data, and what happens in each: for tests of whole plans."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lab.simulated import OF_A_SECRET, carry_out, index_of, renamed, with_link, with_new_link, with_sysctl, without_link
from netsetup.admission import SYSCTLS
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    IFA_F_NODAD,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_UP,
    SCOPE_LINK,
    Address,
    Link,
    Namespace,
    Neighbour,
    NextHop,
    Route,
    Rule,
)
from netsetup.model.owner import Owner
from netsetup.model.pod_interface import DNSRequest, Resolver
from netsetup.model.private_network import ISTIO, ForwardedPorts, PrivateNetwork
from netsetup.model.request import NetworkRequest
from netsetup.model.settings import BRIDGE_NETFILTER, FORCE_FORWARDING, FORWARDING6
from netsetup.model.vm_network import GuestOptions
from netsetup.steps import AddAddress, AddNeighbour, AddRoute, DeleteAddress, DeleteRoute, DeleteTable, SetMtu, Step

UP = IFF_UP | IFF_LOWER_UP
DEFAULTS = {"disable_ipv6": "0", "accept_ra": "1", "accept_dad": "1", "dad_transmits": "1"}
Event = Callable[[Namespace], Namespace]


@dataclass(frozen=True)
class Scene:
    """One pod and its VM."""

    about: str
    before: Namespace
    requests: tuple[NetworkRequest, ...]
    resolver: Resolver = field(default_factory=Resolver)
    events: dict[str, Event] = field(default_factory=dict)
    """What happens while the VM runs, one after another, by what it is."""
    after: Event = lambda namespace: namespace
    """What is different in the end from what was there before."""


def pod(*links: Link, ipv6: bool = True, force: bool = True, netfilter: bool = False) -> Namespace:
    """A namespace with these devices, and nothing on them yet."""
    keys = [key for key in SYSCTLS if ipv6 or "ipv6" not in key]
    keys = [key for key in keys if force or key != FORCE_FORWARDING]
    sysctls = {key.format("default"): DEFAULTS.get(key.rpartition("/")[2], "0") for key in keys}
    if ipv6 and not force:
        sysctls |= {FORWARDING6.format(name): "0" for name in ("all", "lo")}
    if netfilter:
        sysctls |= dict.fromkeys(BRIDGE_NETFILTER, "1")
    lo = Link(1, "lo", "", "00:00:00:00:00:00", 65536, UP | IFF_LOOPBACK, 0, "", 0, None)
    made = Namespace(links=(lo,), sysctls=tuple(sysctls.items()), now=1000)
    for link in links:
        made = with_new_link(made, link)
    return made


def eth0(**changes: Any) -> Link:
    link = Link(2, "eth0", "veth", "0a:58:0a:f4:01:05", 1450, UP, 0, "", 0, None, parent=9, parent_elsewhere=True)
    return dataclasses.replace(link, **changes)


def nic(index: int, name: str, mac: str, **changes: Any) -> Link:
    link = Link(index, name, "veth", mac, 1500, UP, 0, "", 0, None, parent=index + 7, parent_elsewhere=True)
    return dataclasses.replace(link, **changes)


def address(text: str, **changes: Any) -> Address:
    found, _, length = text.partition("/")
    if ":" not in found:
        return Address(AF_INET, found, int(length), **{"label": "eth0", **changes})
    return Address(AF_INET6, found, int(length), **{"flags": IFA_F_NODAD, **changes})


def link_local(text: str) -> Address:
    return Address(AF_INET6, text, 64, scope=SCOPE_LINK, proto=3)


def route(destination: str, gateway: str = "", **changes: Any) -> Route:
    is6 = ":" in destination
    found = Route(AF_INET6 if is6 else AF_INET, destination, interface=2, gateway=gateway, metric=1024 if is6 else 0)
    return dataclasses.replace(found, **changes)


def add(device: str, *items: Address | Neighbour | Route) -> Iterator[Step]:
    for item in items:
        if isinstance(item, Address):
            yield AddAddress(device, item)
        elif isinstance(item, Neighbour):
            yield AddNeighbour(device, item)
        else:
            yield AddRoute(item)


def with_items(observed: Namespace, device: str, *items: Address | Neighbour | Route) -> Namespace:
    return carry_out(observed, add(device, *items))


def dual_stack(observed: Namespace) -> Namespace:
    """A pod with much of what a CNI may give it."""
    observed = with_items(
        observed,
        "eth0",
        link_local("fe80::858:aff:fef4:105"),
        address("10.244.1.5/24", broadcast="10.244.1.255"),
        address("10.244.1.6/24", label="eth0:1"),
        address("192.168.7.9/32", metric=50),
        address("fd00:10:244::5/64"),
        address("fd00:10:244::6/64", flags=0, valid_seconds=600, preferred_seconds=300, read_at=990),
        route("0.0.0.0/0", "10.244.1.1", metrics=(("mtu", 1400),)),
        route("10.96.0.0/12", "10.244.1.1"),
        route("10.97.0.0/16", "10.244.1.2", metric=20),
        route("10.97.0.0/16", "10.244.1.3", metric=10),
        route("10.98.0.0/16", nexthops=(NextHop(2, 1, gateway="10.244.1.4"), NextHop(2, 0, gateway="10.244.1.7"))),
        route("169.254.42.1/32", scope=SCOPE_LINK),
        route("10.99.0.0/16", "169.254.42.1", table=100),
        route("10.95.0.0/16", tos=0x10, gateway="10.244.1.1"),
        route("::/0", "fe80::1"),
        route("fd00:10:96::/112", "fe80::1"),
        route("fd00:10:97::/112", "fe80::2"),
        route("fd00:20::/64"),
        Neighbour(AF_INET, "10.244.1.1", "ee:ee:ee:ee:ee:01"),
        Neighbour(AF_INET6, "fe80::1", "ee:ee:ee:ee:ee:02"),
    )
    if observed.link("net1"):
        observed = with_items(observed, "net1", address("10.9.0.5/24", label="net1"), link_local("fe80::958:9"))
    return observed


def single_stack(observed: Namespace) -> Namespace:
    return with_items(observed, "eth0", address("10.244.1.5/24"), route("0.0.0.0/0", "10.244.1.1"))


def with_adopted(observed: Namespace) -> Namespace:
    """A tap that somebody has made for the VM."""
    tap = Link(4, "tap0", "tun", "02:aa:00:00:00:01", 1400, UP, 0, "mine", 0, None)
    observed = with_new_link(observed, tap)
    observed = with_items(observed, "tap0", link_local("fe80::aa:ff:fe00:1"))
    return with_items(observed, "tap0", Neighbour(AF_INET, "10.1.1.1", "ee:ee:ee:ee:ee:03"))


# --- what happens while the VM runs -----------------------------------------------------------------------------------


def gains(*items: Address | Neighbour | Route) -> Event:
    return lambda observed: with_items(observed, "eth0", *items)


def made_anew(mac: str, *items: Address | Neighbour | Route) -> Event:
    """DEL and ADD."""

    def change(observed: Namespace) -> Namespace:
        old = observed.link("eth0")
        assert old
        observed = without_link(observed, "eth0")
        observed = dataclasses.replace(observed, tables=tuple(t for t in observed.tables if t[0] != "netdev"))
        new = dataclasses.replace(old, index=33, mac=mac, master=0, learning=None, flags=UP, addr_gen_mode=0)
        moved = [dataclasses.replace(i, interface=33) if isinstance(i, Route) else i for i in items]
        return with_items(with_new_link(observed, new), "eth0", *moved)

    return change


def tables_gone(*families: str) -> Event:
    return lambda observed: carry_out(observed, [DeleteTable(families)])


def setting(key: str, value: str) -> Event:
    return partial(with_sysctl, key=key, value=value)


def link_changes(device: str, /, **changes: Any) -> Event:
    return lambda observed: with_link(observed, device, **changes)


def mtu(size: int) -> Event:
    return lambda observed: carry_out(observed, [SetMtu("eth0", size)])


def loses(device: str, item: Address | Route) -> Event:
    step = DeleteAddress(device, item) if isinstance(item, Address) else DeleteRoute(item)
    return lambda observed: carry_out(observed, [step])


def bridge_loses_its_addresses(observed: Namespace) -> Namespace:
    own = observed.addresses_of(index_of(observed, "k6t-eth0"))
    return carry_out(observed, [DeleteAddress("k6t-eth0", a) for a in own])


def called(name: str, new: str) -> Event:
    return partial(renamed, name=name, new=new)


NET1 = nic(3, "net1", "0a:58:0a:f4:02:05")
LATER = (address("10.244.9.9/24", label="eth0"), address("10.244.1.77/24"), route("10.50.0.0/16", "10.244.1.1"))
LATER_NEIGHBOUR = Neighbour(AF_INET, "10.244.1.9", "ee:ee:ee:ee:ee:09")
RULES = (
    Rule(AF_INET, 0, 255),
    Rule(AF_INET, 500, 100, source="10.244.1.0/24"),
    Rule(AF_INET, 510, 100, source="10.244.1.5/32", destination="10.96.0.0/12"),
    Rule(AF_INET, 520, 101, source="10.244.1.0/24", selective=True),
    Rule(AF_INET, 530, 102, source="172.16.0.0/12"),
    Rule(AF_INET, 32766, 254),
    Rule(AF_INET6, 0, 255),
    Rule(AF_INET6, 700, 103, destination="fd00:66::/64"),
    Rule(AF_INET6, 32766, 254),
)
LOOPBACK_DNS = Resolver(
    nameservers=("127.0.0.11", "10.96.0.10", "::1"),
    search=("default.svc.cluster.local",),
    ports=(("127.0.0.11", 40053, 40054),),
)


def bridged(**changes: Any) -> NetworkRequest:
    return NetworkRequest(**changes)


def masqueraded(**changes: Any) -> NetworkRequest:
    return NetworkRequest(binding="masquerade", **changes)


def forwarded(**changes: Any) -> NetworkRequest:
    return NetworkRequest(binding="fwd", **changes)


def ports(*texts: str) -> tuple[ForwardedPorts, ...]:
    parts = [text.partition("/") for text in texts]
    ends = [(protocol, *map(int, numbers.split("-"))) for protocol, _, numbers in parts]
    return tuple(ForwardedPorts(protocol, numbers[0], numbers[-1]) for protocol, *numbers in ends)


SCENES: dict[str, Scene] = {
    "bridge": Scene(
        "a pod with two families, two NICs and routes of all kinds",
        dual_stack(pod(eth0(), NET1)),
        (
            bridged(
                queues=2,
                owner=Owner(107, 108),
                options=GuestOptions(hostname="vm"),
                dns=DNSRequest(False, ("9.9.9.9",)),
            ),
        ),
        Resolver(("10.96.0.10",), ("default.svc.cluster.local", "cluster.local"), ("ndots:5",)),
        {
            "the CNI adds addresses and a route": gains(*LATER, LATER_NEIGHBOUR),
            "the bridge loses its addresses": bridge_loses_its_addresses,
            "the bridge goes down": link_changes("k6t-eth0", flags=0),
            "somebody deletes the tables": tables_gone("bridge"),
            "another MAC on the pod interface": link_changes("eth0", mac="02:de:ad:00:00:01"),
            "the ports learn": lambda observed: with_link(
                with_link(observed, "eth0", learning=True), "tap0", learning=True
            ),
            "the guest port goes": partial(without_link, name="tap0"),
            "another MTU": mtu(1300),
            "ARP is answered again": setting("net/ipv4/conf/net1/arp_ignore", "0"),
        },
        lambda observed: mtu(1300)(gains(*LATER, LATER_NEIGHBOUR)(observed)),
    ),
    "bridge-dns": Scene(
        "name servers that only the pod reaches, over both families",
        dual_stack(pod(eth0(), netfilter=True)),
        (bridged(mac="02-00-00-00-00-AA"),),
        LOOPBACK_DNS,
        {
            "the bridge forgets its routes": lambda observed: dataclasses.replace(
                observed,
                routes=tuple(r for r in observed.routes if r.interface != index_of(observed, "k6t-eth0")),
                neighbours=tuple(n for n in observed.neighbours if n[0] != index_of(observed, "k6t-eth0")),
            ),
        },
    ),
    "bridge-ipv6": Scene(
        "IPv6 alone, with a name server that only the pod reaches, and an address that comes later",
        with_items(
            pod(eth0()), "eth0", link_local("fe80::858:aff:fef4:105"), address("fd00::5/64"), route("::/0", "fe80::1")
        ),
        (bridged(),),
        Resolver(("::1",)),
        {"the CNI adds an IPv4 address": gains(address("10.244.1.5/24"))},
        gains(address("10.244.1.5/24")),
    ),
    "bridge-layer2": Scene(
        "no address at all, and a guest port that was there before; no IPv6",
        with_adopted(pod(eth0(mtu=1300), ipv6=True)),
        (bridged(isolated=False, stable_id="ns/vm default", name="blue"),),
    ),
    "bridge-down": Scene(
        "an interface that was down, and no IPv6 in the kernel",
        with_items(pod(eth0(flags=0), ipv6=False), "eth0", address("10.244.1.5/24")),
        (bridged(),),
    ),
    "bridge-small": Scene(
        "an MTU too small for IPv6",
        dual_stack(pod(eth0())),
        (bridged(mtu=1200),),
        events={"a larger MTU": mtu(1600)},
        after=mtu(1600),
    ),
    "bridge-shrunk": Scene(
        "an MTU that becomes too small for IPv6",
        dual_stack(pod(eth0(), NET1)),
        (bridged(),),
        events={"the MTU": mtu(1279)},
        after=mtu(1279),
    ),
    "masquerade-shrunk": Scene(
        "an MTU that becomes too small for IPv6",
        dual_stack(pod(eth0())),
        (masqueraded(),),
        events={"the MTU": mtu(1279)},
        after=mtu(1279),
    ),
    "bridge-least": Scene("the least MTU for IPv6", dual_stack(pod(eth0(mtu=1280))), (bridged(),)),
    "masquerade-least": Scene(
        "the least MTU for IPv6, name servers over both families",
        dual_stack(pod(eth0(mtu=1280))),
        (masqueraded(),),
        LOOPBACK_DNS,
    ),
    "masquerade-small": Scene(
        "an MTU too small for IPv6", dual_stack(pod(eth0())), (masqueraded(mtu=1279),), LOOPBACK_DNS
    ),
    "bridge-both": Scene(
        "two networks, each at a NIC of the pod; one has no address",
        single_stack(pod(eth0(), nic(3, "a-long-name-net1", "0a:58:0a:f4:02:05"))),
        (
            bridged(),
            bridged(name="second", pod_interface="a-long-name-net1", guest_port="tap1", is_pod_network=False),
        ),
    ),
    "bridge-anew": Scene(
        "the CNI makes the pod interface anew",
        single_stack(pod(eth0(), NET1)),
        (bridged(),),
        Resolver(("10.96.0.10",)),
        {"DEL and ADD": made_anew("0a:58:0a:f4:01:99", address("10.244.1.50/24"), route("0.0.0.0/0", "10.244.1.1"))},
        made_anew("0a:58:0a:f4:01:99", address("10.244.1.50/24"), route("0.0.0.0/0", "10.244.1.1")),
    ),
    "bridge-renamed": Scene(
        "devices are renamed while the VM runs",
        with_adopted(single_stack(pod(eth0(), NET1))),
        (bridged(),),
        events={
            "the pod interface": called("eth0", "lan0"),
            "the bridge": called("k6t-eth0", "br0"),
            "the guest port": called("tap0", "vmport"),
        },
        after=lambda observed: renamed(renamed(observed, "eth0", "lan0"), "tap0", "vmport"),
    ),
    "masquerade": Scene(
        "both families, rules of the pod's own, ports",
        dataclasses.replace(dual_stack(pod(eth0(), NET1)), rules=RULES),
        (
            masqueraded(
                private=PrivateNetwork(
                    ports=ports("tcp/80", "tcp/8080-8090", "udp/53"), kept_ports=(22222,), network4="10.0.3.9/24"
                )
            ),
        ),
        LOOPBACK_DNS,
        {
            "the CNI adds addresses": gains(*LATER),
            "the bridge loses its addresses": bridge_loses_its_addresses,
            "forwarding is off": setting("net/ipv4/conf/eth0/forwarding", "0"),
            "the tables go": tables_gone("inet", "bridge"),
            "a smaller MTU": mtu(1290),
        },
        lambda observed: mtu(1290)(gains(*LATER)(observed)),
    ),
    "masquerade-all": Scene(
        "every port, a kernel that forwards IPv6 for all or none, bridge netfilter, routes from a router",
        with_items(
            dual_stack(pod(eth0(), NET1, force=False, netfilter=True)),
            "net1",
            route("fd00:9::/64", interface=3, proto=9),
        ),
        (masqueraded(),),
        events={"accept_ra of net1": setting("net/ipv6/conf/net1/accept_ra", "1")},
    ),
    "masquerade-istio": Scene(
        "a sidecar, IPv4 alone",
        single_stack(pod(eth0())),
        (masqueraded(private=PrivateNetwork(sidecar=ISTIO)),),
    ),
    "masquerade-istio-ports": Scene(
        "a sidecar and ports; the pod forwarded before",
        with_sysctl(dual_stack(pod(eth0())), "net/ipv4/conf/eth0/forwarding", "1"),
        (masqueraded(isolated=False, private=PrivateNetwork(sidecar=ISTIO, ports=ports("tcp/20-25", "udp/53"))),),
    ),
    "masquerade-ipv6": Scene(
        "IPv6 alone, and a guest port that was there before",
        with_adopted(with_items(pod(eth0(mtu=1500)), "eth0", address("fd00:10:244::5/64"), route("::/0", "fe80::1"))),
        (masqueraded(mac="02:00:00:00:00:77", private=PrivateNetwork(network6="fd10:0:9::/64")),),
        LOOPBACK_DNS,
    ),
    "fwd": Scene(
        "frames forwarded without a bridge, and DNS carried",
        dual_stack(pod(eth0(), NET1)),
        (forwarded(),),
        LOOPBACK_DNS,
        {
            "the CNI adds addresses": gains(*LATER),
            "the netdev table goes": tables_gone("netdev"),
            "the guest port goes": lambda observed: tables_gone("netdev")(without_link(observed, "tap0")),
            "another MAC": link_changes("eth0", mac="02:de:ad:00:00:01"),
            "down": link_changes("eth0", flags=0x200),
        },
        gains(*LATER),
    ),
    "fwd-adopted": Scene(
        "a guest port that was there before, down, a macvlan, any frame",
        with_link(with_adopted(single_stack(pod(eth0(kind="macvlan")))), "tap0", flags=0),
        (forwarded(isolated=False, stable_id="ns/vm default"),),
        LOOPBACK_DNS,
    ),
    "fwd-layer2": Scene("no address", pod(eth0(kind="tun")), (forwarded(stable_id="ns/vm default"),)),
    "fwd-anew": Scene(
        "the CNI makes the pod interface anew",
        single_stack(pod(eth0(), NET1)),
        (forwarded(),),
        events={"DEL and ADD": made_anew("0a:58:0a:f4:01:99", address("10.244.1.50/24"))},
        after=made_anew("0a:58:0a:f4:01:99", address("10.244.1.50/24")),
    ),
    "bridge-equal": Scene(
        "routes that differ only in their next hops, on two NICs; what no user can add, and what no field holds",
        with_items(
            with_items(
                with_sysctl(pod(eth0(addr_gen_mode=3), NET1), "net/ipv6/conf/eth0/mtu", "1400"),
                "net1",
                address("10.9.0.5/24", label="net1"),
                route("0.0.0.0/0", "10.9.0.1", interface=3),
                route("10.60.0.0/16", "10.9.0.1", interface=3),
            ),
            "eth0",
            OF_A_SECRET,
            address("10.244.1.5/24"),
            address("10.244.2.5/24", scope=SCOPE_LINK),
            route("0.0.0.0/0", "10.244.1.1"),
            route("0.0.0.0/0", "10.244.1.2"),
            route("10.60.0.0/16", "10.244.1.3"),
            route("10.61.0.0/16", "10.244.1.3", raw="0200"),
            route("10.62.0.0/16", nexthop_id=7),
            route("10.63.0.0/16", "10.9.0.1", interface=3, preferred_source="10.244.1.5"),
            route("10.64.0.0/16", via="fe80::1"),
            Neighbour(AF_INET, "10.244.1.200", "", flags=8),
        ),
        (bridged(stable_id="ns/vm default"),),
        events={
            "another address, a default route replaced, another gone": lambda observed: carry_out(
                observed,
                [
                    AddAddress("eth0", address("10.244.1.7/24")),
                    DeleteRoute(route("0.0.0.0/0", "10.9.0.1", interface=3)),
                    AddRoute(route("0.0.0.0/0", "10.244.1.254")),
                ],
            ),
        },
        after=lambda observed: carry_out(
            observed,
            [
                AddAddress("eth0", address("10.244.1.7/24")),
                DeleteRoute(route("0.0.0.0/0", "10.9.0.1", interface=3)),
                DeleteRoute(route("0.0.0.0/0", "10.244.1.1")),
                AddRoute(route("0.0.0.0/0", "10.244.1.254"), first=True),
            ],
        ),
    ),
}
