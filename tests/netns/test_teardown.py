"""`virt-launcher teardown`: the pod is restored exactly, for every CNI's shape."""

from __future__ import annotations

import json
import sys
from ipaddress import IPv6Address
from typing import Any

import pytest
from lab.agent import DIRECT, Agent
from lab.namespace import Namespace
from lab.pod import MakePod, Pod
from lab.shape import shape_names
from lab.snapshot import assert_restored, take_snapshot
from lab.waiting import kill

pytestmark = [pytest.mark.root, pytest.mark.parametrize("binding", DIRECT)]


@pytest.mark.parametrize("name", shape_names())
def test_every_shape_is_put_back_exactly(make_pod: MakePod, name: str, binding: str) -> None:
    pod = make_pod(name)
    before = take_snapshot(pod.pod)
    with Agent(pod, binding=binding) as agent:
        agent.prestart()
        assert before.difference(take_snapshot(pod.pod))
        agent.teardown()
        assert_restored(pod.pod, before)
        assert pod.pod.processes() == []
        assert not agent.state_directory.exists()


def test_addresses_and_routes_are_equal_as_printed(make_pod: MakePod, binding: str) -> None:
    """The promise word for word: `ip -d -j addr` and `ip -j route show table all` but for counters and lifetimes."""
    pod = make_pod("ovn-kubernetes")
    before = printed(pod.pod)
    with Agent(pod, binding=binding) as agent:
        agent.prestart()
        agent.teardown()
    assert printed(pod.pod) == before


@pytest.mark.parametrize("name", ["flannel", "ipv6-addresses", "calico"])
def test_with_duplicate_address_detection(make_pod: MakePod, name: str, binding: str) -> None:
    """The addresses come back usable at once: not tentative, not detected anew, and with the flags they had."""
    pod = make_pod(name, duplicate_address_detection=True)
    before = take_snapshot(pod.pod)
    with Agent(pod, binding=binding) as agent:
        agent.prestart()
        agent.teardown()
    assert_restored(pod.pod, before, within=0)


def test_an_address_whose_detection_is_not_over_comes_back_usable(make_pod: MakePod, binding: str) -> None:
    pod = make_pod("flannel", duplicate_address_detection=True)
    pod.pod.ip("addr add fd00:23::9/64 dev eth0")
    assert global6(pod)["tentative"]
    with Agent(pod, binding=binding) as agent:
        assert "fd00:23::9/64" in agent.prestart()["networks"][0]["addresses"]
        agent.teardown()
    assert {"tentative", "dadfailed"}.isdisjoint(global6(pod))


def global6(pod: Pod) -> dict[str, object]:
    """The one global IPv6 address of the pod interface; those that do not match are printed as {}."""
    (address,) = filter(None, pod.pod.ip_json("-6 addr show dev eth0 scope global")[0]["addr_info"])
    found: dict[str, object] = address
    return found


def test_a_temporary_address_is_made_anew_by_the_kernel(pod: Pod, agent: Agent) -> None:
    """RFC 8981: only the kernel can make one. The VM gets the lasting address, and all else is restored exactly."""
    pod.pod.write_sysctl("ipv6/conf/eth0/use_tempaddr", 2)
    pod.pod.ip("addr add fd00:23::9/64 dev eth0 mngtmpaddr nodad")
    before, kinds = lasting(pod), kinds_of_addresses(pod)
    assert kinds.count("temporary") == 1
    agent.prestart()
    assert agent.status()["networks"][0]["address6"] == "fd00:23::9/64"
    agent.teardown()
    assert (lasting(pod), kinds_of_addresses(pod)) == (before, kinds)


def kinds_of_addresses(pod: Pod) -> list[str]:
    found = pod.pod.ip_json("-6 addr show dev eth0")[0]["addr_info"]
    return ["temporary" if address.get("temporary") else address["local"] for address in found]


def lasting(pod: Pod) -> dict[str, tuple[str, ...]]:
    """The pod's snapshot with placeholders for the temporary address and its multicast group, lines sorted."""
    (temporary,) = [a["local"] for a in pod.pod.ip_json("-6 addr show dev eth0")[0]["addr_info"] if a.get("temporary")]
    group = "33:33:ff:" + IPv6Address(temporary).packed[-3:].hex(":")
    sections = take_snapshot(pod.pod).sections
    return {
        name: tuple(sorted(line.replace(temporary, "temporary").replace(group, "group") for line in lines))
        for name, lines in sections.items()
    }


def test_traffic_flows_again_at_once(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    agent.teardown()
    for target in ("10.244.1.1", "10.244.1.4", "192.0.2.1"):
        assert pod.pod.run(["ping", "-q", "-c", "1", "-W", "1", target], check=False).returncode == 0, target


def test_an_adopted_guest_port_is_put_back(pod: Pod, agent: Agent) -> None:
    pod.pod.ip("link set tap0 mtu 1400", "link set tap0 alias somebody's", "link set tap0 up")
    pod.guest.ip("link set eth0 up")
    pod.pod.settle()
    before = take_snapshot(pod.pod)
    agent.prestart()
    assert pod.pod.link("tap0")["mtu"] == 1450
    agent.teardown()
    assert_restored(pod.pod, before)


@pytest.mark.parametrize("state", ["up", "down"])
def test_what_an_adopted_guest_port_had_is_put_back(pod: Pod, binding: str, state: str) -> None:
    """Its link-local addresses, routes and neighbours of both families, and the settings that go with them."""
    pod.guest.ip("link set eth0 up")
    pod.pod.ip(
        "link set tap0 addrgenmode none",
        f"link set tap0 {state}",
        "addr add fe80::7/64 dev tap0 nodad",
        "addr add 169.254.7.7/16 scope link dev tap0",
        "neigh add 169.254.7.8 lladdr 02:00:00:00:07:08 nud permanent dev tap0",
        "neigh add fe80::8 lladdr 02:00:00:00:07:08 nud permanent dev tap0",
    )
    if state == "up":
        pod.pod.ip(
            "route add 10.77.0.0/16 via 169.254.7.8 dev tap0 metric 9",
            "route add fd77::/64 via fe80::8 dev tap0 metric 9",
            "route add fd78::/64 dev tap0 table 99",
        )
    pod.pod.settle()
    before = take_snapshot(pod.pod)
    with Agent(pod, binding=binding) as agent:
        agent.prestart()
        agent.prestart()
        agent.teardown()
        assert not agent.state_directory.exists()
    assert_restored(pod.pod, before)


@pytest.mark.parametrize(
    "alias", ["virt-launcher2", "virt-launcher", "virt-launcher default (old)", "virt-launcher-x y"]
)
def test_a_device_whose_alias_only_begins_like_ours_is_not_ours(pod: Pod, agent: Agent, alias: str) -> None:
    pod.pod.ip(f"link set tap0 alias '{alias}'")
    before = take_snapshot(pod.pod)
    agent.prestart()
    agent.teardown()
    assert_restored(pod.pod, before)


def test_a_guest_port_made_in_place_of_an_adopted_one_is_removed(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    pod.pod.ip("link del tap0")
    agent.prestart()
    agent.teardown()
    assert not pod.pod.has_link("tap0")


def test_a_tap_with_an_owner_is_adopted_and_put_back(make_pod: MakePod, binding: str) -> None:
    pod = make_pod(guest_port=False)
    pod.pod.ip("tuntap add dev tap0 mode tap user 65534", "link set tap0 up", "link set tap0 down")
    before = take_snapshot(pod.pod)
    with Agent(pod, binding=binding) as agent:
        agent.prestart()
        agent.teardown()
    assert_restored(pod.pod, before)


def test_twice_and_without_a_setup_it_does_nothing(pod: Pod, agent: Agent) -> None:
    before = take_snapshot(pod.pod)
    assert agent.run("teardown", check=True).stdout == ""
    assert_restored(pod.pod, before, within=0)
    agent.prestart()
    agent.teardown()
    agent.teardown()
    assert_restored(pod.pod, before)


def test_back_and_forth(pod: Pod, agent: Agent) -> None:
    before = take_snapshot(pod.pod)
    first = agent.prestart()["networks"]
    agent.teardown()
    assert agent.prestart()["networks"] == first
    agent.teardown()
    assert_restored(pod.pod, before)


def test_a_dead_server_is_no_obstacle(pod: Pod, agent: Agent) -> None:
    before = take_snapshot(pod.pod)
    kill(agent.prestart()["dhcp"]["pid"])
    agent.teardown()
    assert_restored(pod.pod, before)


def test_tables_of_others_are_never_touched(pod: Pod, agent: Agent) -> None:
    ruleset = """
        table inet others { chain forward { type filter hook forward priority 5; counter accept; }; }
        table bridge others { set names { type ifname; elements = { "eth0", "tap0" }; }; }
    """
    pod.pod.run(["nft", "-f", "-"], stdin=ruleset)
    listed = pod.pod.run(["nft", "list", "ruleset"]).stdout
    agent.prestart()
    during = pod.pod.run(["nft", "list", "ruleset"]).stdout
    assert during.startswith(listed.rstrip())
    agent.teardown()
    assert pod.pod.run(["nft", "list", "ruleset"]).stdout == listed


def test_offloads_are_never_switched_off(pod: Pod, agent: Agent) -> None:
    before = {name: pod.pod.run(["ethtool", "-k", name]).stdout for name in ("eth0", "tap0")}
    agent.prestart()
    assert {name: pod.pod.run(["ethtool", "-k", name]).stdout for name in ("eth0", "tap0")} == before


def printed(namespace: Namespace) -> tuple[Any, ...]:
    addresses = namespace.run(["ip", "-d", "-j", "addr"]).stdout
    routes = namespace.run(["ip", "-j", "route", "show", "table", "all"]).stdout
    routes6 = namespace.run(["ip", "-6", "-j", "route", "show", "table", "all"]).stdout
    return json.loads(addresses), json.loads(routes), json.loads(routes6)


@pytest.mark.parametrize("error", ["MemoryError()", "ZeroDivisionError('a defect')"])
def test_what_nobody_expects_is_no_success(pod: Pod, agent: Agent, error: str) -> None:
    """Exit code 1 would say that everything is undone."""
    original = take_snapshot(pod.pod)
    agent.prestart()
    fails = (
        "import sys; from netsetup import apply; from launcher import cli\n"
        f"def restore(*_, **__): raise {error}\n"
        "apply.restore_pod_network_interfaces = restore; sys.exit(cli.main())"
    )
    done = pod.pod.run([sys.executable, "-c", fails, *agent.command("teardown")[1:]], check=False)
    assert done.returncode == 3
    assert "not everything was put back: " in done.stderr.splitlines()[-1]
    assert ("critical: ZeroDivisionError" in done.stderr) == ("defect" in error)
    agent.teardown()
    assert_restored(pod.pod, original)
