"""The plan of the bridge binding: a pure function, so everything here is data."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from netsetup.bindings.devices import bridge_name
from netsetup.errors import DeviceConflict, InvalidRequest
from netsetup.model.identity import ALIAS, derived_mac
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    IFF_LOWER_UP,
    IFF_UP,
    SCOPE_HOST,
    SCOPE_LINK,
    Address,
    Link,
    Namespace,
    Neighbour,
    NextHop,
    Route,
)
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.request import NetworkRequest
from netsetup.model.routing import inherited_routes4
from netsetup.model.vm_network import VMNetwork
from netsetup.nft.ruleset import BRIDGE, digest_of
from netsetup.plan import admit, converge, plan_setup, plan_teardown
from netsetup.steps import (
    AddAddress,
    AddNeighbour,
    AddRoute,
    CreateBridge,
    CreateTap,
    DeleteAddress,
    DeleteLink,
    DeleteTable,
    LoadTable,
    SetLearning,
    SetMac,
    SetMaster,
    SetMtu,
    SetSysctl,
    SetUp,
)

MAC = "0a:58:0a:f4:01:05"
LO = Link(1, "lo", "", "00:00:00:00:00:00", 65536, 0x9, 0, "", 0, None)
ETH0 = Link(2, "eth0", "veth", MAC, 1450, IFF_UP | IFF_LOWER_UP, 0, "", 0, None)
ADDRESS = Address(AF_INET, "10.244.1.5", 24, label="eth0", broadcast="10.244.1.255")
LINK_LOCAL = Address(AF_INET6, "fe80::858:aff:fef4:105", 64, scope=SCOPE_LINK, proto=3)
CONNECTED = Route(AF_INET, "10.244.1.0/24", interface=2, scope=SCOPE_LINK, proto=2, preferred_source="10.244.1.5")
DEFAULT = Route(AF_INET, "0.0.0.0/0", interface=2, gateway="10.244.1.1")
NEIGHBOUR = Neighbour(AF_INET, "10.244.1.1", "ee:ee:ee:ee:ee:ee")
SYSCTLS = (
    ("net/ipv4/conf/eth0/arp_ignore", "0"),
    ("net/ipv6/conf/eth0/disable_ipv6", "0"),
    ("net/ipv6/conf/eth0/accept_dad", "1"),
    ("net/ipv6/conf/eth0/dad_transmits", "1"),
)


def pod_interface(**changes: object) -> PodInterface:
    pod = PodInterface(
        link=ETH0,
        addresses=(ADDRESS, LINK_LOCAL),
        routes=(CONNECTED, DEFAULT),
        neighbours=(NEIGHBOUR,),
        sysctls=SYSCTLS,
    )
    return dataclasses.replace(pod, **changes)


def namespace(pod: PodInterface, *others: Link) -> Namespace:
    return Namespace(
        links=(LO, pod.link, *others),
        addresses=tuple((pod.link.index, a) for a in pod.addresses),
        routes=pod.routes,
        neighbours=tuple((pod.link.index, n) for n in pod.neighbours),
        sysctls=pod.sysctls,
    )


def admitted(observed: Namespace, **wishes: Any) -> VMNetwork:
    return admit(observed, NetworkRequest(**wishes), Resolver())


def kinds(steps: tuple[object, ...]) -> list[type]:
    return [type(step) for step in steps]


def test_the_address_leaves_the_interface_before_its_mac_changes_and_it_joins_last() -> None:
    pod = pod_interface()
    observed = namespace(pod)
    steps = plan_setup(observed, [admitted(observed)]).steps
    order = [
        steps.index(next(s for s in steps if wanted(s)))
        for wanted in (
            lambda s: isinstance(s, LoadTable),
            lambda s: isinstance(s, CreateBridge),
            lambda s: isinstance(s, CreateTap),
            lambda s: isinstance(s, AddAddress),
            lambda s: s == SetMaster("tap0", "k6t-eth0"),
            lambda s: s == DeleteAddress("eth0", ADDRESS),
            lambda s: s == SetSysctl("net/ipv6/conf/eth0/disable_ipv6", "1"),
            lambda s: isinstance(s, SetMac) and s.link == "eth0",
            lambda s: s == SetMaster("eth0", "k6t-eth0"),
            lambda s: s == SetLearning("eth0", False),
        )
    ]
    assert order == sorted(order)


def test_the_bridge_keeps_the_address_for_this_host_alone() -> None:
    pod = pod_interface()
    observed = namespace(pod)
    plan = plan_setup(observed, [admitted(observed)])
    kept = [step.address for step in plan.steps if isinstance(step, AddAddress)]
    assert [(a.cidr, a.scope) for a in kept] == [("10.244.1.5/32", SCOPE_HOST)]
    assert SetSysctl("net/ipv4/conf/k6t-eth0/arp_ignore", "3") in plan.steps


def test_every_other_interface_stops_answering_arp_for_it() -> None:
    second = dataclasses.replace(ETH0, index=3, name="net1", mac="0a:58:0a:f4:02:05")
    pod = pod_interface()
    observed = namespace(pod, second)
    plan = plan_setup(observed, [admitted(observed)])
    assert SetSysctl("net/ipv4/conf/net1/arp_ignore", "3") in plan.steps


def test_an_interface_without_address_is_bridged_and_dhcp_passes() -> None:
    pod = pod_interface(addresses=(LINK_LOCAL,), routes=(), neighbours=())
    observed = namespace(pod)
    network = admitted(observed)
    steps = plan_setup(observed, [network]).steps
    assert network.guest.address4 is None
    assert not [s for s in steps if isinstance(s, AddAddress | DeleteAddress)]
    (table,) = [s.ruleset for s in steps if isinstance(s, LoadTable)]
    assert "dport { 67, 68 }" not in table
    assert "dport { 546, 547 }" not in table


def test_the_mtu_is_the_least_of_link_route_and_request() -> None:
    pod = pod_interface(routes=(CONNECTED, dataclasses.replace(DEFAULT, metrics=(("mtu", 1400),))))
    observed = namespace(pod)
    assert admitted(observed).mtu == 1400
    assert admitted(observed, mtu=1300).mtu == 1300
    with pytest.raises(InvalidRequest, match=r"eth0: MTU 9000 is larger than the interface's 1450"):
        admitted(observed, mtu=9000)


def test_derived_macs_are_local_unicast_and_differ_by_role_and_pod() -> None:
    pods = [
        pod_interface(link=dataclasses.replace(ETH0, mac=f"0a:58:0a:f4:{n >> 8:02x}:{n & 255:02x}")) for n in range(999)
    ]
    macs = [derived_mac(role, pod) for role in ("bridge", "port") for pod in pods]
    assert len(set(macs)) == len(macs)
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)


def test_long_names_are_hashed_into_fifteen_characters() -> None:
    assert bridge_name("eth0") == "k6t-eth0"
    assert bridge_name("pod16477688c0e") == "k6t-16477688c0e", "as KubeVirt names it"
    assert bridge_name("podman-bridge7") != bridge_name("podman-bridge8")
    assert len(bridge_name("podman-bridge7")) == 15


@pytest.mark.parametrize(
    ("port", "addresses", "message"),
    [
        (Link(7, "tap0", "tun", "02:00:00:00:00:07", 1500, 0, 0, "", 0, None), (Address(AF_INET, "192.0.2.1", 24),),
         "tap0: in use, it has the address 192.0.2.1/24"),
        (Link(7, "tap0", "tun", "02:00:00:00:00:07", 1500, 0, 8, "", 0, None), (), "tap0: in use, it is a port of br7"),
    ],
)  # fmt: skip
def test_a_guest_port_that_somebody_uses_is_refused_by_name(
    port: Link, addresses: tuple[Address, ...], message: str
) -> None:
    pod = pod_interface()
    foreign = Link(8, "br7", "bridge", "02:00:00:00:00:08", 1500, IFF_UP, 0, "", 0, None)
    observed = namespace(pod, port, foreign)
    observed = dataclasses.replace(observed, addresses=observed.addresses + tuple((7, a) for a in addresses))
    with pytest.raises(DeviceConflict, match=message):
        admitted(observed)


def test_a_foreign_device_under_the_bridges_name_is_refused() -> None:
    pod = pod_interface()
    foreign = Link(8, "k6t-eth0", "bridge", "02:00:00:00:00:08", 1500, IFF_UP, 0, "", 0, None)
    observed = namespace(pod, foreign)
    with pytest.raises(DeviceConflict, match="k6t-eth0: a bridge of that name exists"):
        admitted(observed)


def set_up(pod: PodInterface, adopted: bool) -> tuple[Namespace, object]:
    """A namespace as the plan leaves it, and the network that was set up."""
    port = Link(7, "tap0", "veth" if adopted else "tun", "02:00:00:00:00:07", 1500, 0, 0, "", 0, None)
    before = namespace(pod, *([port] if adopted else []))
    network = admitted(before)
    bridge = Link(9, "k6t-eth0", "bridge", derived_mac("bridge", pod), 1450, IFF_UP, 0, f"{ALIAS} default", 1, None)
    nic = dataclasses.replace(ETH0, mac=derived_mac("port", pod), master=9, learning=False)
    alias = "" if adopted else f"{ALIAS} default"
    tap = dataclasses.replace(port, mtu=1450, flags=IFF_UP, master=9, alias=alias, learning=False)
    (table,) = [s.ruleset for s in plan_setup(before, [network]).steps if isinstance(s, LoadTable)]
    changed = dict(pod.sysctls) | {
        "net/ipv6/conf/eth0/disable_ipv6": "1",
        "net/ipv4/conf/eth0/arp_ignore": "3",
        "net/ipv4/conf/k6t-eth0/arp_ignore": "3",
        "net/ipv6/conf/k6t-eth0/accept_ra": "0",
        "net/ipv6/conf/k6t-eth0/disable_ipv6": "1",
        "net/ipv6/conf/tap0/disable_ipv6": "1",
    }
    kept = Address(AF_INET, "10.244.1.5", 32, SCOPE_HOST, label="k6t-eth0", flags=0x80)
    return Namespace(
        links=(LO, nic, tap, bridge),
        addresses=((9, kept),),
        forwarding_entries=((7, MAC),),
        sysctls=tuple(changed.items()),
        tables=((BRIDGE, digest_of(table)),),
    ), network


@pytest.mark.parametrize("adopted", [False, True])
def test_a_pod_that_is_set_up_needs_no_step(adopted: bool) -> None:
    observed, network = set_up(pod_interface(), adopted)
    assert plan_setup(observed, [network]).lines() == []


@pytest.mark.parametrize("adopted", [False, True])
def test_the_way_back(adopted: bool) -> None:
    pod = pod_interface()
    observed, network = set_up(pod, adopted)
    steps = plan_teardown(observed, [network], ()).steps
    assert steps[:2] == (SetMaster("eth0", ""), SetMac("eth0", MAC))
    assert (DeleteLink("tap0") in steps) is not adopted
    assert (SetMtu("tap0", 1500) in steps) is adopted
    assert (SetUp("tap0", False) in steps) is adopted
    assert DeleteLink("k6t-eth0") in steps
    assert [s.address for s in steps if isinstance(s, AddAddress)] == [LINK_LOCAL, ADDRESS]
    assert AddNeighbour("eth0", NEIGHBOUR) in steps
    assert [s.route for s in steps if isinstance(s, AddRoute)] == [DEFAULT], "the kernel makes the connected route"
    assert DeleteTable((BRIDGE,)) not in steps, "it carries the copy of the record, and goes last"


def test_the_second_round_settles_what_the_kernel_made() -> None:
    """ptp: the CNI had removed the connected route, and adding the address has brought it back."""
    pod = pod_interface(routes=(DEFAULT,))
    observed = dataclasses.replace(namespace(pod), routes=(CONNECTED, DEFAULT))
    network = admitted(namespace(pod))
    assert plan_teardown(observed, [network], ()).lines() == ["route delete 10.244.1.0/24"]


def test_a_pod_that_is_put_back_needs_no_step() -> None:
    pod = pod_interface()
    observed = namespace(pod)
    network = admitted(observed)
    assert not plan_teardown(observed, [network], ())
    assert plan_teardown(dataclasses.replace(observed, tables=((BRIDGE, "12345678"),)), [network], ()).steps == (
        DeleteTable((BRIDGE,)),
    )


def test_an_interface_that_has_left_is_not_put_back() -> None:
    pod = pod_interface()
    network = admitted(namespace(pod))
    assert kinds(plan_teardown(Namespace(links=(LO,), tables=((BRIDGE, "x"),)), [network], ()).steps) == [DeleteTable]


@pytest.mark.parametrize("binding", ["bridge", "fwd"])
def test_a_route_that_also_leads_elsewhere_is_never_deleted(binding: str) -> None:
    """The kernel takes the legs of an interface that has no address out of use, and back."""
    second = dataclasses.replace(ETH0, index=3, name="net1", mac="0a:58:0a:f4:02:05")
    hops = (NextHop(3, 1, gateway="10.9.0.1"), NextHop(2, 1, gateway="10.244.1.1"))
    shared = Route(AF_INET, "192.0.2.0/24", nexthops=hops)
    pod = pod_interface(routes=(CONNECTED, DEFAULT, shared))
    observed = namespace(pod, second)
    network = admitted(observed, binding=binding)
    emptied = dataclasses.replace(observed, addresses=(), routes=(shared,))
    for plan in (plan_setup(emptied, [network]), plan_teardown(emptied, [network], ())):
        assert not [step for step in plan.steps if getattr(step, "route", None) == shared]
    first = next(route for route in inherited_routes4(network.pod) if route.destination == shared.destination)
    assert first.gateway == "10.244.1.1", "the VM is given the leg of its own interface"


@pytest.mark.parametrize("binding", ["bridge", "fwd", "masquerade"])
@pytest.mark.parametrize("source", ["pod", "a pod's that begins with fe", "spec"])
def test_the_vm_keeps_its_mac_when_the_cni_makes_the_interface_anew(binding: str, source: str) -> None:
    """DEL and ADD with another MAC and another address: the VM runs on, and no VM takes another MAC while it runs.

    One in 64 MACs that the kernel draws for a pod begins with fe, which a manifest must not give.
    """
    request = NetworkRequest(binding=binding, mac="02:00:00:00:00:42" if source == "spec" else "")
    first = dataclasses.replace(ETH0, mac="fe:a1:22:7c:d0:e8") if "fe" in source else ETH0
    before = admit(namespace(pod_interface(link=first)), request, Resolver())
    assert binding == "masquerade" or before.mac == (request.mac or first.mac)
    address = dataclasses.replace(ADDRESS, address="10.244.1.9")
    link = dataclasses.replace(ETH0, index=12, mac="0a:58:0a:f4:01:09")
    anew = namespace(pod_interface(link=link, addresses=(address,), routes=(), neighbours=()))
    after = converge(anew, before, NetworkRequest(binding=binding), Resolver())
    assert (after.mac, after.guest.mac_source) == (before.mac, before.guest.mac_source)
    assert after.pod.link == link
    assert after.pod.addresses == (address,)
    if binding != "masquerade":
        assert after.guest.address4 == address


@pytest.mark.parametrize("binding", ["bridge", "fwd", "masquerade"])
@pytest.mark.parametrize(
    ("mac", "reason"),
    [
        ("fe:00:00:00:00:01", "must not begin with fe, which libvirt keeps for its own taps, is fe:00:00:00:00:01"),
        ("01:00:5e:00:00:01", "must not be a multicast address, is 01:00:5e:00:00:01"),
        ("00:00:00:00:00:00", "must not be all zero"),
    ],
)
def test_a_mac_that_no_guest_can_have_is_refused_without_a_manifest_too(binding: str, mac: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^network default: its MAC {reason}$"):
        admitted(namespace(pod_interface()), binding=binding, mac=mac)
