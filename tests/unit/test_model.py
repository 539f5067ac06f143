"""What the data of a pod says about itself: defaults, lifetimes, devices found again, MACs and owners."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from lab.scenes import address, called, eth0, link_local, nic, pod, with_items

from netsetup.errors import InvalidRequest
from netsetup.model.identity import as_named_now, is_marked, mark_of, own_nic
from netsetup.model.kernel import (
    AF_INET,
    AF_INET6,
    FOREVER,
    Address,
    Link,
    Namespace,
    Neighbour,
    NextHop,
    Route,
    Rule,
)
from netsetup.model.local_resolver import LocalResolver, Substitute
from netsetup.model.mac import local_mac, parse_guest_mac
from netsetup.model.owner import LARGEST_ID, Owner, parse_owner
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.private_network import ForwardedPorts, PrivateNetwork
from netsetup.model.request import NetworkRequest
from netsetup.model.settings import interface_of, of_interface, settings_now
from netsetup.model.vm_network import EgressInterface, Guest, VMNetwork
from netsetup.plan import admit
from netsetup.steps import SetSysctl

DEFAULTS = {
    Link: "parent=0 parent_elsewhere=False multi_queue=None tap_owner=None",
    Address: "scope=0 flags=0 label= broadcast= peer= metric=0 proto=0"
    " valid_seconds=4294967295 preferred_seconds=4294967295 read_at=0",
    Route: "table=254 interface=0 gateway= type=1 scope=0 proto=3 metric=0 tos=0 flags=0 preferred_source= source= via="
    " preference=0 metrics=() nexthops=() expires_seconds=0 nexthop_id=0 raw=",
    NextHop: "flags=0 gateway= via=",
    Neighbour: "state=128 flags=0 extended_flags=0 proto=0",
    Rule: "source= destination= selective=False mark=0 protocol=0",
    PodInterface: "addresses=() routes=() neighbours=() tables=(254,) tables6=(254,) sysctls=()"
    " resolver=Resolver(nameservers=(), search=(), options=(), problems=(), ports=()) equal_routes=()",
    Guest: "mac_source=pod address4=None address6=None router4=None router6=None router6_link_local= router_mac="
    " local_resolvers=()",
    VMNetwork: "bridge= queues=1 owner=None isolated=True private=None options=GuestOptions(hostname='', subdomain='',"
    " ntp=(), tftp_server='', boot_file='', private=()) adopted=None adopted_sysctls=() adopted_state=None requested=()"
    " gateway6_mac= gateway4_mac= egress=() further=() warnings=()",
    EgressInterface: "forwarded=()",
    LocalResolver: "substitute=None fault= udp_port=53 tcp_port=53",
    Substitute: "source= mac=",
    PrivateNetwork: "network4=10.0.2.0/24 network6=fd10:0:2::/120 ports=() kept_ports=() sidecar=None"
    " reaches_pod=False hides_clients=False",
    ForwardedPorts: "interfaces=()",
}


@pytest.mark.parametrize("model", DEFAULTS)
def test_what_a_field_means_that_a_record_does_not_have(model: type) -> None:
    fields = [f for f in dataclasses.fields(model) if f.default is not dataclasses.MISSING]
    assert " ".join(f"{field.name}={field.default}" for field in fields) == DEFAULTS[model]


# --- addresses --------------------------------------------------------------------------------------------------------

AGEING = Address(AF_INET6, "fd00::5", 64, valid_seconds=100, preferred_seconds=50, read_at=1000)


@pytest.mark.parametrize(
    ("now", "left"),
    [
        (1000, (100, 50, 1000)),
        (1001, (99, 49, 1001)),
        (1100, (0, 0, 1100)),
        (1200, (0, 0, 1200)),
        (990, (100, 50, 1000)),
    ],
)
def test_what_is_left_of_lifetimes(now: int, left: tuple[int, int, int]) -> None:
    then = AGEING.at(now)
    assert (then.valid_seconds, then.preferred_seconds, then.read_at) == left
    assert (AGEING.valid_until, AGEING.preferred_until) == (1100, 1050)


def test_what_does_not_run_out_does_not() -> None:
    lasting = dataclasses.replace(AGEING, valid_seconds=FOREVER, preferred_seconds=FOREVER)
    assert lasting.at(5000).valid_seconds == lasting.at(5000).preferred_seconds == FOREVER
    assert (lasting.valid_until, lasting.preferred_until) == (0, 0)
    assert dataclasses.replace(AGEING, read_at=0).at(5000) == dataclasses.replace(AGEING, read_at=0)
    assert dataclasses.replace(AGEING, read_at=0).valid_until == 0
    assert dataclasses.replace(AGEING, read_at=0).preferred_until == 0


@pytest.mark.parametrize(("by", "is_renewed"), [(0, False), (2, False), (-2, False), (3, True), (-3, True)])
def test_a_second_reading_is_no_renewal(by: int, is_renewed: bool) -> None:
    for field in ("valid_seconds", "preferred_seconds"):
        later = dataclasses.replace(AGEING, **{field: getattr(AGEING, field) + by})
        assert (AGEING.unless_renewed(later) is later) is is_renewed


def test_the_key_of_an_address() -> None:
    assert AGEING.key.valid_seconds == AGEING.key.preferred_seconds == AGEING.key.read_at == 0
    assert Address(AF_INET, "10.0.0.1", 24, flags=0x80 | 0x200).key == Address(AF_INET, "10.0.0.1", 24, flags=0x200)
    assert dataclasses.replace(AGEING, flags=0x100 | 0x800 | 0x40).key.flags == 0x900
    assert AGEING.identity == dataclasses.replace(AGEING, valid_seconds=FOREVER, preferred_seconds=FOREVER, read_at=0)
    assert dataclasses.replace(AGEING, flags=1).restorable is False
    assert Address(AF_INET, "10.0.0.1", 24, flags=1).restorable is True
    assert Address(AF_INET, "10.0.0.1", 24, peer="10.9.9.9").network == "10.9.9.0/24"


# --- devices found again ----------------------------------------------------------------------------------------------

BEFORE = with_items(
    pod(eth0(), nic(3, "net1", "0a:58:0a:f4:02:05")), "eth0", address("10.244.1.5/24", label="eth0:web")
)
NETWORK = admit(BEFORE, NetworkRequest(), Resolver())


@pytest.mark.parametrize(
    ("changes", "is_it"),
    [
        ({}, True),
        ({"name": "lan0"}, True),
        ({"mac": "02:00:00:00:00:99"}, True),
        ({"name": "lan0", "mac": "02:00:00:00:00:99"}, True),  # the other end is the same
        ({"name": "lan0", "mac": "02:00:00:00:00:99", "parent": 77}, False),
        ({"name": "lan0", "parent": 77}, True),
        ({"name": "lan0", "kind": "macvlan"}, False),
        ({"name": "lan0", "mac": "02:00:00:00:00:99", "kind": "macvlan", "parent": 77}, False),
        ({"index": 12}, False),
    ],
)
def test_an_interface_is_its_index_and_mac(changes: dict[str, Any], is_it: bool) -> None:
    observed = dataclasses.replace(BEFORE, links=(eth0(**changes),))
    assert (own_nic(observed, NETWORK.pod) is not None) is is_it


def test_of_two_without_another_end_only_the_mac_counts() -> None:
    recorded = dataclasses.replace(NETWORK.pod, link=eth0(parent=0))
    other = Namespace(links=(eth0(parent=0, name="lan0", mac="02:00:00:00:00:99"),))
    assert own_nic(other, recorded) is None


def test_a_renamed_interface_in_the_record() -> None:
    named = as_named_now(called("eth0", "a-name-of-15-ch")(BEFORE).links, NETWORK)
    assert named.pod.name == "a-name-of-15-ch"
    assert [a.label for a in named.pod.addresses] == ["a-name-of-1:web"]  # cut to what the kernel has room for
    assert dict(named.pod.sysctls)["net/ipv6/conf/a-name-of-15-ch/accept_ra"] == "1"
    assert named.requested == ("eth0", "tap0")
    assert as_named_now(BEFORE.links, NETWORK) is NETWORK


@pytest.mark.parametrize(
    ("alias", "is_ours"),
    [
        ("virt-launcher default", True),
        ("virt-launcher", False),
        ("virt-launcher ", False),
        ("virt-launcher a b", False),
        ("virt-launchers default", False),
        ("", False),
    ],
)
def test_our_mark(alias: str, is_ours: bool) -> None:
    assert is_marked(eth0(alias=alias)) is is_ours
    assert (alias == mark_of("default")) is is_ours


def test_settings_of_others_under_their_present_names() -> None:
    settings = (
        ("net/ipv4/conf/net1/arp_ignore", "0"),
        ("net/ipv4/conf/gone/arp_ignore", "1"),
        ("net/ipv4/ip_forward", "1"),
    )
    links = (eth0(), nic(3, "lan1", "0a:58:0a:f4:02:05"))
    assert settings_now(links, settings, (("net1", 3), ("gone", 9))) == (
        (("net/ipv4/conf/lan1/arp_ignore", "0"), ("net/ipv4/ip_forward", "1")),
        (("lan1", 3),),
    )
    assert interface_of("net/ipv4/conf/net1/arp_ignore") == "net1"
    assert interface_of("net/ipv4/ip_forward") == interface_of("net/a/b/c/d/e") == ""


@pytest.mark.parametrize("name", ["net1", "conf", "ipv4", "net"])
def test_the_same_setting_of_another_interface(name: str) -> None:
    assert of_interface(f"net/ipv4/conf/{name}/arp_ignore", "default") == "net/ipv4/conf/default/arp_ignore"


@pytest.mark.parametrize(
    ("key", "devconf"),
    [
        ("net/ipv4/conf/eth0/arp_ignore", 19),
        ("net/ipv4/conf/eth0/route_localnet", 26),
        ("net/ipv4/conf/eth0/forwarding", 0),
        ("net/ipv6/conf/eth0/arp_ignore", 0),
        ("net/ipv4/arp_ignore", 0),
    ],
)
def test_settings_that_netlink_sets(key: str, devconf: int) -> None:
    assert SetSysctl(key, "1").devconf == devconf


# --- MACs, owners, ports ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mac"),
    [
        ("02:00:00:00:00:0A", "02:00:00:00:00:0a"),
        ("02-00-00-00-00-0a", "02:00:00:00:00:0a"),
        ("0200.0000.000a", "02:00:00:00:00:0a"),
        ("02:00:00:00:00", "six bytes"),
        ("02:00:00:00:00:0a:0b", "six bytes"),
        ("02:00-00:00:00:0a", "six bytes"),
        ("03:00:00:00:00:0a", "multicast"),
        ("00:00:00:00:00:00", "all zero"),
        ("fe:00:00:00:00:0a", "begin with fe"),
        ("02:00:00:00:00:01", "the bridge's own"),
    ],
)
def test_macs_of_guests(text: str, mac: str) -> None:
    if ":" in mac:
        assert parse_guest_mac(text, "02:00:00:00:00:01") == mac
    else:
        with pytest.raises(ValueError, match=mac):
            parse_guest_mac(text, "02:00:00:00:00:01")


def test_macs_of_our_own_never_change() -> None:
    assert local_mac("guest 0a:58:0a:f4:01:05") == "0e:ce:63:dc:3e:09"
    assert {int(local_mac(str(number))[:2], 16) & 3 for number in range(99)} == {2}
    assert len({local_mac(str(number)) for number in range(999)}) == 999


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("107", Owner(107, 107)),
        ("107:36", Owner(107, 36)),
        (f"{LARGEST_ID}:0", Owner(4294967294, 0)),
        (f"0:{LARGEST_ID}", Owner(0, 4294967294)),
        ("4294967295", "at most 4294967294"),
        ("1:4294967295", "at most 4294967294"),
        ("a", "UID or UID:GID"),
        ("1:2:3", "UID or UID:GID"),
        ("12345678901", "UID or UID:GID"),
    ],
)
def test_owners(text: str, owner: Owner | str) -> None:
    if isinstance(owner, Owner):
        assert parse_owner(text) == owner
        assert str(owner) == f"{owner.uid}:{owner.gid}"
    else:
        with pytest.raises(ValueError, match=owner):
            parse_owner(text)


def test_forwarded_ports_in_words() -> None:
    assert (ForwardedPorts("tcp", 80, 80).match, ForwardedPorts("tcp", 80, 80).counter) == ("tcp dport 80", "tcp-80")
    assert (ForwardedPorts("udp", 1, 9).match, ForwardedPorts("udp", 1, 9).counter) == ("udp dport 1-9", "udp-1-9")


def test_a_private_network() -> None:
    own = PrivateNetwork("10.9.8.7/24", "fd09::7/112").canonical()
    assert (own.network4, own.network6) == ("10.9.8.0/24", "fd09::/112")
    assert [own.host(family, 1).cidr for family in (AF_INET, AF_INET6)] == ["10.9.8.1/24", "fd09::1/112"]
    assert own.host(AF_INET6, 2).cidr == "fd09::2/112"
    assert PrivateNetwork("10.9.8.0/30").canonical().network4 == "10.9.8.0/30"
    with pytest.raises(InvalidRequest, match="must be /30 or larger"):
        PrivateNetwork("10.9.8.0/31").canonical()


def test_the_address_that_a_vm_gets() -> None:
    deprecated = address("fd00::1/64", preferred_seconds=0, valid_seconds=50, read_at=1)
    temporary = address("fd00::2/64", flags=1)
    lasting, later = address("fd00::3/64"), address("fd00::4/64")
    newest_first = (later, lasting, temporary, deprecated, link_local("fe80::1"))
    assert PodInterface(eth0(), newest_first).main_address(AF_INET6) == lasting
    assert PodInterface(eth0(), newest_first[2:]).main_address(AF_INET6) == deprecated
    assert PodInterface(eth0(), newest_first[2:3]).main_address(AF_INET6) == temporary
    assert PodInterface(eth0(), newest_first[4:]).main_address(AF_INET6) is None
    assert PodInterface(eth0(), newest_first).main_address(AF_INET) is None
