"""The plan of the fwd binding, and the text of its rules: pure functions, so everything here is data."""

from __future__ import annotations

import dataclasses

import pytest

from netsetup.model.identity import ALIAS
from netsetup.model.kernel import AF_INET, AF_INET6, IFF_ALLMULTI, IFF_LOWER_UP, IFF_UP, Address, Link, Namespace, Route
from netsetup.model.pod_interface import Resolver
from netsetup.model.request import NetworkRequest
from netsetup.model.vm_network import VMNetwork
from netsetup.nft.ruleset import BRIDGE, NETDEV, digest_of
from netsetup.plan import admit, converge, is_untouched, plan_setup, plan_teardown, wanted_tables
from netsetup.steps import (
    AddAddress,
    CreateBridge,
    CreateTap,
    DeleteAddress,
    DeleteLink,
    DeleteTable,
    LoadTable,
    SetAllMulticast,
    SetMac,
    SetMaster,
    SetSysctl,
    SetUp,
    Step,
)

MAC = "0a:58:0a:f4:01:05"
LO = Link(1, "lo", "", "00:00:00:00:00:00", 65536, 0x9, 0, "", 0, None)
ETH0 = Link(2, "eth0", "macvlan", MAC, 1450, IFF_UP | IFF_LOWER_UP, 0, "", 0, None)
ADDRESS = Address(AF_INET, "10.244.1.5", 24, label="eth0", broadcast="10.244.1.255")
ADDRESS6 = Address(AF_INET6, "fd00:1::5", 64)
DEFAULT = Route(AF_INET, "0.0.0.0/0", interface=2, gateway="10.244.1.1")
SYSCTLS = (
    ("net/ipv4/conf/eth0/arp_ignore", "0"),
    ("net/ipv6/conf/eth0/disable_ipv6", "0"),
    ("net/ipv6/conf/eth0/accept_dad", "1"),
    ("net/ipv6/conf/eth0/dad_transmits", "1"),
)
BEFORE = Namespace(links=(LO, ETH0), addresses=((2, ADDRESS), (2, ADDRESS6)), routes=(DEFAULT,), sysctls=SYSCTLS)


def network_of(observed: Namespace = BEFORE, **wishes: object) -> VMNetwork:
    return admit(observed, NetworkRequest(binding="fwd", **wishes), Resolver())  # type: ignore[arg-type]


def order(steps: tuple[Step, ...], *wanted: object) -> list[int]:
    """Where in the plan these steps are, or the first ones of these types."""
    found = []
    for want in wanted:
        found.append(next(n for n, s in enumerate(steps) if s == want or (isinstance(want, type) and type(s) is want)))
    return found


def loads(steps: tuple[Step, ...]) -> list[int]:
    return [number for number, step in enumerate(steps) if isinstance(step, LoadTable)]


def during(network: VMNetwork, **links: Link) -> Namespace:
    """A pod that is set up."""
    digests = {family: digest_of(text) for family, text in wanted_tables([network]).items()}
    up = IFF_UP | IFF_LOWER_UP
    ours = {
        "eth0": dataclasses.replace(ETH0, flags=ETH0.flags | IFF_ALLMULTI),
        "k6t-eth0": Link(3, "k6t-eth0", "bridge", "02:00:00:00:00:01", 1450, IFF_UP, 0, f"{ALIAS} default", 1, None),
        "tap0": Link(4, "tap0", "tun", "02:00:00:00:00:02", 1450, up, 0, f"{ALIAS} default", 0, None),
    }
    return Namespace(links=(LO, *(ours | links).values()), sysctls=SYSCTLS, tables=tuple(digests.items()))


def test_what_the_table_names_is_there_before_it_and_no_address_moves_earlier() -> None:
    steps = plan_setup(BEFORE, [network_of()]).steps
    first, second = loads(steps)
    assert [steps[n].families for n in (first, second)] == [[BRIDGE], [NETDEV]]  # type: ignore[union-attr]
    positions = [
        first,
        *order(steps, CreateBridge, CreateTap, SetAllMulticast("eth0", True)),
        *order(steps, SetSysctl("net/ipv4/conf/eth0/arp_ignore", "3")),
        second,
        *order(steps, SetUp("k6t-eth0", True), AddAddress, DeleteAddress("eth0", ADDRESS)),
        *order(steps, SetSysctl("net/ipv6/conf/eth0/disable_ipv6", "1"), SetUp("tap0", True)),
    ]
    assert positions == sorted(positions)
    assert positions[-1] == len(steps) - 1, "the guest's frames pass when all is done"
    assert not [step for step in steps if isinstance(step, SetMac | SetMaster)], "no port, and eth0 keeps its MAC"


def test_nothing_is_handed_on_when_an_address_comes_back() -> None:
    network = network_of()
    steps = plan_teardown(during(network), [network], ()).steps
    positions = order(
        steps,
        SetUp("tap0", False),
        DeleteTable((NETDEV,)),
        SetAllMulticast("eth0", False),
        DeleteLink("tap0"),
        AddAddress,
        DeleteLink("k6t-eth0"),
    )
    assert positions == sorted(positions)
    assert DeleteTable((BRIDGE,)) not in steps, "which carries the copy of the record"
    last = dataclasses.replace(BEFORE, tables=((BRIDGE, "x"),))
    assert plan_teardown(last, [network], ()).steps == (DeleteTable((BRIDGE,)),)
    assert not plan_teardown(BEFORE, [network], ())


def test_a_guest_port_that_was_up_is_up_again() -> None:
    """It goes down for as long as the table is there, and no longer."""
    tap = Link(4, "tap0", "tun", "02:00:00:00:00:02", 1450, IFF_UP, 0, "", 0, None)
    before = dataclasses.replace(BEFORE, links=(LO, ETH0, tap))
    network = network_of(before)
    first = plan_teardown(dataclasses.replace(before, tables=((NETDEV, "x"),)), [network], ()).steps
    assert first == (SetUp("tap0", False), DeleteTable((NETDEV,)))
    down = dataclasses.replace(before, links=(LO, ETH0, dataclasses.replace(tap, flags=0)))
    assert plan_teardown(down, [network], ()).steps == (SetUp("tap0", True),)
    assert not plan_teardown(before, [network], ())


def test_multicast_that_was_on_stays_on() -> None:
    before = dataclasses.replace(BEFORE, links=(LO, dataclasses.replace(ETH0, flags=ETH0.flags | IFF_ALLMULTI)))
    network = network_of(before)
    assert not [s for s in plan_setup(before, [network]).steps if isinstance(s, SetAllMulticast)]
    assert not [s for s in plan_teardown(during(network), [network], ()).steps if isinstance(s, SetAllMulticast)]


def test_a_guest_port_made_anew_has_its_rules_loaded_anew() -> None:
    """Whatever the kernel says of the table: it holds the number of the device that was there."""
    network = network_of()
    there = during(network)
    assert not [s for s in plan_setup(there, [network]).steps if isinstance(s, LoadTable)]
    gone = dataclasses.replace(there, links=tuple(link for link in there.links if link.name != "tap0"))
    (step,) = [s for s in plan_setup(gone, [network]).steps if isinstance(s, LoadTable)]
    assert (step.families, step.replace) == ([NETDEV], (NETDEV,))


def test_a_filter_of_multicast_that_is_not_as_recorded_is_not_untouched() -> None:
    network = network_of()
    assert is_untouched(BEFORE, network)
    flags = ETH0.flags | IFF_ALLMULTI
    assert not is_untouched(dataclasses.replace(BEFORE, links=(LO, dataclasses.replace(ETH0, flags=flags))), network)


def test_a_pod_interface_made_anew_is_admitted_for_the_mac_that_the_vm_has() -> None:
    network = network_of(mac=MAC)
    other = dataclasses.replace(ETH0, index=9, kind="veth", mac="0a:58:0a:f4:01:06")
    anew = Namespace(links=(LO, other), addresses=((9, ADDRESS),))
    merged = converge(anew, network, NetworkRequest(binding="fwd"), Resolver())
    assert (merged.mac, merged.guest.mac_source, merged.pod.link.mac) == (MAC, "spec", other.mac)


@pytest.mark.parametrize("isolated", [True, False])
def test_the_last_rule_decides(isolated: bool) -> None:
    """Not the policy: while one table takes the place of another, a chain is hooked that has no rules in force yet."""
    text = wanted_tables([network_of(isolated=isolated)])[NETDEV]
    chains = dict(block.split(" {\n", 1) for block in text.split("  chain ")[1:])
    rules = {name: [line.strip() for line in body.split("  }")[0].splitlines()] for name, body in chains.items()}
    assert {name: lines[-1] for name, lines in rules.items() if "hook" in lines[0]} == {
        "from-tap0": 'fwd to "eth0"',
        "to-tap0": 'fwd to "tap0"',
        "own-tap0": "counter name tap0-own drop",
        "clean-tap0": "meta mark 0x766c6677 meta mark set 0",
    }
    assert all("policy accept" in lines[0] for lines in rules.values() if "hook" in lines[0])
    assert " accept" not in "".join(line for name in rules for line in rules[name] if name.startswith("tap0"))
    assert ("jump tap0" in text, "tap0-inward" in text) == (isolated, isolated)


def test_status_has_a_counter_of_what_is_dropped_beside_isolation() -> None:
    from netsetup.bindings import fwd

    counters = {counter.label: counter.what for counter in fwd.rules(network_of()).counters}
    assert counters["inward"] == "frames for the guest: no untagged IP or ARP, or what could hide it"
    assert counters["own"] == "frames of the pod itself: none is to leave with the VM's MAC"
    assert [counter.label for counter in fwd.rules(network_of(isolated=False)).counters] == ["own"]
