"""What cannot be done is refused before anything is changed, with what is in the way; what is like it, and can be done,
is not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from lab.scenes import NET1, address, eth0, nic, pod, route, with_items
from lab.simulated import with_link, with_new_link

from netsetup.errors import (
    DeviceConflict,
    InterfaceNotFound,
    InvalidRequest,
    UnsuitedInterface,
    UnsupportedInterface,
)
from netsetup.model.identity import ALIAS
from netsetup.model.kernel import IFF_UP, Link, Namespace, NextHop, Route
from netsetup.model.owner import Owner
from netsetup.model.pod_interface import Resolver
from netsetup.model.private_network import PrivateNetwork
from netsetup.model.request import NetworkRequest
from netsetup.plan import admit

PLAIN = with_items(pod(eth0(), NET1), "eth0", address("10.244.1.5/24"), route("0.0.0.0/0", "10.244.1.1"))
IPV6 = with_items(pod(eth0()), "eth0", address("fd00::5/64"))
TAP = Link(7, "tap0", "tun", "02:aa:00:00:00:01", 1400, IFF_UP, 0, "", 0, None)
BRIDGE = nic(8, "br0", "02:00:00:00:00:08", kind="bridge", parent=0)


def beside(*links: Link, observed: Namespace = PLAIN, **changes: Any) -> Namespace:
    """With further devices, and `changes` of eth0."""
    for link in links:
        observed = with_new_link(observed, link)
    return with_link(observed, "eth0", **changes)


def with_routes(*routes: Route, observed: Namespace = PLAIN) -> Namespace:
    return dataclasses.replace(observed, routes=(*observed.routes, *routes))


def private(*networks: str) -> dict[str, Any]:
    return {"binding": "masquerade", "private": PrivateNetwork(*networks)}


def upper(kind: str, **changes: Any) -> Link:
    return nic(9, "up0", "02:00:00:00:00:09", kind=kind, **{"parent": 2, "parent_elsewhere": False, **changes})


REFUSED: dict[str, tuple[Namespace, dict[str, Any], type[Exception], str]] = {
    "an interface that is not there": (PLAIN, {"pod_interface": "eth7"}, InterfaceNotFound, "eth7"),
    "the loopback device": (PLAIN, {"pod_interface": "lo"}, UnsupportedInterface, "lo: the loopback device"),
    "the loopback device, masqueraded": (
        PLAIN,
        {"pod_interface": "lo", "binding": "masquerade"},
        UnsupportedInterface,
        "lo: the loopback device",
    ),
    "a pod of KubeVirt's": (
        beside(nic(8, "eth0-nic", "02:00:00:00:00:08")),
        {},
        UnsupportedInterface,
        "eth0-nic is there",
    ),
    "no carrier": (beside(flags=IFF_UP), {}, UnsupportedInterface, "eth0: no carrier"),
    "no MAC": (beside(mac="00:00:00:00:00:00"), {}, UnsuitedInterface, "not an Ethernet device"),
    "no Ethernet": (beside(mac="0a:58"), {}, UnsuitedInterface, "not an Ethernet device"),
    "no Ethernet, fwd": (beside(mac=""), {"binding": "fwd"}, UnsuitedInterface, "not an Ethernet device"),
    "a port of a bridge": (beside(BRIDGE, master=8), {}, UnsupportedInterface, "a port of the bridge device br0; rele"),
    "a port of a bond": (
        beside(dataclasses.replace(BRIDGE, kind="bond"), master=8),
        {},
        UnsupportedInterface,
        "or give the VM br0 itself",
    ),
    "a port of a VRF, masqueraded": (
        beside(dataclasses.replace(BRIDGE, kind="vrf"), master=8),
        {"binding": "masquerade"},
        UnsupportedInterface,
        "a port of the vrf device br0; release it",
    ),
    "a port of a bridge of ours": (
        beside(dataclasses.replace(BRIDGE, alias=f"{ALIAS} default"), master=8),
        {},
        InvalidRequest,
        "eth0: already a port of br0, and no record",
    ),
    "a port of a bridge of ours, fwd": (
        beside(dataclasses.replace(BRIDGE, alias=f"{ALIAS} default"), master=8),
        {"binding": "fwd"},
        InvalidRequest,
        "eth0: already a port of br0, and no record",
    ),
    "a binding that is not there": (PLAIN, {"binding": "nosuch"}, InvalidRequest, "nosuch"),
    "macvlan in a bridge": (beside(kind="macvlan"), {}, UnsuitedInterface, "a macvlan device lets no second MAC thr"),
    "ipvlan in a bridge": (beside(kind="ipvlan"), {}, UnsuitedInterface, "an ipvlan device lets no second MAC thr"),
    "ipvlan, fwd": (beside(kind="ipvlan"), {"binding": "fwd"}, UnsuitedInterface, "receives nothing for an address"),
    "macvtap in a bridge": (beside(kind="macvtap"), {}, UnsuitedInterface, "a macvtap device lets no second MAC thr"),
    "macvlan, fwd, another MAC": (
        beside(kind="macvlan"),
        {"binding": "fwd", "mac": "02:00:00:00:00:10"},
        UnsuitedInterface,
        "lets no MAC through but its own 0a:58:0a:f4:01:05, and the VM's is 02:00:00:00:00:10",
    ),
    "hardware, fwd, another MAC": (
        beside(kind=""),
        {"binding": "fwd", "mac": "02:00:00:00:00:10"},
        UnsuitedInterface,
        "a hardware device lets no MAC through",
    ),
    "a macvlan on top": (beside(upper("macvlan")), {}, UnsuitedInterface, "up0, a macvlan device, is on top of it"),
    "a tunnel on top, fwd": (beside(upper("vxlan")), {"binding": "fwd"}, UnsuitedInterface, "is on top of it"),
    "the bridge's name": (
        beside(dataclasses.replace(BRIDGE, name="k6t-eth0")),
        {},
        DeviceConflict,
        "k6t-eth0: a bridge of that name exists and is not ours",
    ),
    "the bridge's name, fwd": (
        beside(dataclasses.replace(BRIDGE, name="k6t-eth0", alias="other")),
        {"binding": "fwd"},
        DeviceConflict,
        "k6t-eth0: a bridge of that name exists",
    ),
    "the bridge's name, masqueraded": (
        beside(dataclasses.replace(NET1, index=8, name="k6t-eth0", alias=f"{ALIAS} default")),
        {"binding": "masquerade"},
        DeviceConflict,
        "k6t-eth0: a veth of that name exists",
    ),
    "a guest port with an address": (
        with_items(beside(TAP), "tap0", address("10.3.3.3/24", label="tap0")),
        {},
        DeviceConflict,
        "tap0: in use, it has the address 10.3.3.3/24",
    ),
    "a guest port of another bridge": (
        beside(BRIDGE, dataclasses.replace(TAP, master=8)),
        {},
        DeviceConflict,
        "tap0: in use, it is a port of br0",
    ),
    "a guest port of what nobody sees": (
        beside(dataclasses.replace(TAP, master=88)),
        {},
        DeviceConflict,
        "tap0: in use, it is a port of 88",
    ),
    "a guest port with something on top": (
        beside(TAP, upper("vlan", parent=7)),
        {},
        DeviceConflict,
        "tap0: in use, up0, a vlan device, is on top of it",
    ),
    "a guest port without frames": (
        beside(dataclasses.replace(TAP, mac="")),
        {},
        DeviceConflict,
        "tap0: a tun device without frames, no guest port; remove it",
    ),
    "a guest port of more queues": (
        beside(dataclasses.replace(TAP, multi_queue=True)),
        {},
        DeviceConflict,
        "tap0: a tap device with several queues, and the VM has 1",
    ),
    "a guest port of one queue": (
        beside(dataclasses.replace(TAP, multi_queue=False)),
        {"queues": 4},
        DeviceConflict,
        "tap0: a tap device with one queue, and the VM has 4",
    ),
    "a guest port of another user": (
        beside(dataclasses.replace(TAP, multi_queue=False, tap_owner=1000)),
        {"owner": Owner(107, 107)},
        DeviceConflict,
        "tap0: a tap device of user 1000, and the VM is user 107's",
    ),
    "a guest port that leads elsewhere": (
        beside(dataclasses.replace(TAP, kind="macvtap", parent=88)),
        {},
        DeviceConflict,
        "tap0: a macvtap device, no guest port",
    ),
    "too large an MTU": (PLAIN, {"mtu": 1451}, InvalidRequest, "eth0: MTU 1451 is larger than the interface's 1450"),
    "no MAC of a guest": (
        PLAIN,
        {"mac": "03:00:00:00:00:01"},
        InvalidRequest,
        "its MAC must not be a",
    ),
    "the bridge's MAC": (
        PLAIN,
        {"mac": "02:00:00:00:00:00", "binding": "masquerade"},
        InvalidRequest,
        "which is the bridge's own",
    ),
    "no address": (pod(eth0()), {"binding": "masquerade"}, UnsuitedInterface, "has no address to masquerade behind"),
    "the VM's network is the pod's": (
        PLAIN,
        private("10.244.0.0/16"),
        InvalidRequest,
        "10.244.0.0/16 overlaps the address 10.244.1.5/24 of eth0; choose another one with vmNetworkCIDR",
    ),
    "the VM's network is part of the pod's": (
        PLAIN,
        private("10.244.1.0/29"),
        InvalidRequest,
        "the address 10.244.1.5",
    ),
    "the VM's network holds a peer": (
        with_items(PLAIN, "net1", address("172.20.0.1/32", peer="10.0.2.77", label="net1")),
        private(),
        InvalidRequest,
        "the address 172.20.0.1/32 of net1",
    ),
    "the VM's network has a route": (
        with_routes(route("10.0.2.128/25", "10.244.1.1")),
        private(),
        InvalidRequest,
        "10.0.2.0/24 overlaps the route 10.0.2.128/25 via 10.244.1.1 dev eth0",
    ),
    "the VM's network holds a gateway": (
        with_routes(route("10.77.0.0/16", "10.0.2.9", interface=99)),
        private(),
        InvalidRequest,
        "overlaps the route 10.77.0.0/16 via 10.0.2.9; choose",
    ),
    "the VM's network holds a hop": (
        with_routes(
            route("10.77.0.0/16", nexthops=(NextHop(2, 0, gateway="10.244.1.1"), NextHop(3, 0, 0, "10.0.2.9")))
        ),
        private(),
        InvalidRequest,
        "overlaps the route 10.77.0.0/16",
    ),
    "the VM's network holds a name server": (
        PLAIN,
        private("10.96.0.0/16"),
        InvalidRequest,
        "name server 10.96.0.10",
    ),
    "the VM's IPv6 network is the pod's": (
        IPV6,
        private("10.0.2.0/24", "fd00::/64"),
        InvalidRequest,
        "fd00::/64 overlaps the address fd00::5/64 of eth0; choose another one with vmIPv6NetworkCIDR",
    ),
    "too small a network": (PLAIN, private("10.0.2.0/31"), InvalidRequest, "vmNetworkCIDR: 10.0.2.0/31 is too small"),
    "too small an IPv6 network": (
        PLAIN,
        private("10.0.2.0/24", "fd00::/127"),
        InvalidRequest,
        "vmIPv6NetworkCIDR: fd00::/127 is too small, must be /126 or larger",
    ),
    "a network of the other family": (PLAIN, private("fd00::/64"), InvalidRequest, "must be an IPv4 network"),
    "no network": (
        PLAIN,
        private("10.0.2.0/24", "x"),
        InvalidRequest,
        "a network such as fd10:0:2::/120, is `x`",
    ),
}

ADMITTED: dict[str, tuple[Namespace, dict[str, Any]]] = {
    "an interface that is down": (beside(flags=0), {}),
    "a peer of a veth": (beside(upper("veth")), {}),
    "an upper device in another namespace": (beside(upper("macvlan", parent_elsewhere=True)), {}),
    "a device on top of another": (beside(upper("macvlan", parent=3)), {}),
    "a marked bridge": (beside(dataclasses.replace(BRIDGE, name="k6t-eth0", alias=f"{ALIAS} default")), {}),
    "a free guest port": (beside(TAP), {}),
    "a guest port of ours": (with_items(beside(dataclasses.replace(TAP, alias=f"{ALIAS} default")), "tap0"), {}),
    "the whole MTU": (PLAIN, {"mtu": 1450}),
    "a macvlan, fwd": (beside(kind="macvlan"), {"binding": "fwd"}),
    "another MAC, veth, fwd": (PLAIN, {"binding": "fwd", "mac": "02:00:00:00:00:10"}),
    "another MAC, tap, fwd": (beside(kind="tun"), {"binding": "fwd", "mac": "02:00:00:00:00:10"}),
    "a wider route": (with_routes(route("10.0.0.0/8", "10.244.1.1")), private()),
    "a route beside": (with_routes(route("10.0.3.0/24", "10.244.1.1"), route("10.0.1.0/24", "10.244.1.1")), private()),
    "an address beside": (with_items(PLAIN, "net1", address("10.0.3.1/24", label="net1")), private()),
    "IPv6 of the other family": (PLAIN, private("10.0.2.0/24", "fd00::/64")),
    "IPv4 of the other family": (IPV6, private("10.244.1.0/24")),
    "the smallest networks": (PLAIN, private("10.0.2.0/30", "fd10::/126")),
    "no carrier, masqueraded": (beside(flags=IFF_UP), private()),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str) -> None:
    observed, wishes, error, words = REFUSED[what]
    with pytest.raises(error) as refused:
        admit(observed, NetworkRequest(**wishes), Resolver(("10.96.0.10", "fe80::53%eth0")))
    assert words in str(refused.value)


@pytest.mark.parametrize("what", ADMITTED)
def test_admitted(what: str) -> None:
    observed, wishes = ADMITTED[what]
    assert admit(observed, NetworkRequest(**wishes), Resolver(("10.96.0.10",))).name == "default"
