"""A VM's networks change while it runs: `prestart` with another manifest adds and removes the difference alone."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from lab.agent import DIRECT, Agent
from lab.clients import Udhcpc
from lab.pod import MakePod, Pod
from lab.rawclient import ACK, RawClient
from lab.snapshot import assert_restored, take_snapshot
from lab.vmnetworks import manifest
from lab.waiting import wait_until

pytestmark = pytest.mark.root

SECOND = "198.51.100.5/24"
RENEWS_EVERY = 0.1


@pytest.fixture
def two(make_pod: MakePod) -> Pod:
    """A pod with a second interface and a guest with two NICs."""
    pod = make_pod()
    pod.node.ip(f"link add far1 type veth peer name net1 netns {pod.pod.name}", "link set far1 up")
    pod.pod.ip("link set net1 up", f"addr add {SECOND} dev net1")
    pod.plug_guest("02:00:00:00:00:71", "tap1", "eth1")
    return pod


class Renewals:
    """Renews the guest's lease again and again, in a thread, in the block; `missed` are those without an ACK."""

    def __init__(self, client: RawClient, address: str) -> None:
        self.done, self.missed = 0, 0
        self._client, self._address = client, address
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew)

    def __enter__(self) -> Renewals:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._over.wait(RENEWS_EVERY):
            reply = self._client.renew(self._address)
            self.done += 1
            self.missed += reply is None or reply.message_type != ACK


@pytest.mark.parametrize(("first", "second"), [("bridge", "bridge"), ("masquerade", "bridge"), ("fwd", "fwd")])
def test_a_network_comes_and_goes_while_another_is_served(two: Pod, tmp_path: Path, first: str, second: str) -> None:
    pod, original = two, take_snapshot(two.pod)

    def difference() -> str:
        return original.difference(take_snapshot(pod.pod))

    one = manifest(tmp_path / "one.json", default=first)
    both = manifest(tmp_path / "both.json", default=first, blue=second)
    with Agent(pod) as agent:
        before = agent.prestart("--vmi", one)
        network = before["networks"][0]
        pod.guest.ip(f"link set eth0 address {network['mac']}", "link set eth0 up")
        with RawClient(pod.guest) as client:
            offer = client.discover()
            assert offer is not None
            with Renewals(client, offer.yiaddr) as renewals:
                planned = json.loads(agent.run("prestart", "--vmi", both, "--dry-run", "--output", "json").stdout)
                assert any("net1" in step for step in planned["plan"])
                added = agent.prestart("--vmi", both)
                assert added["networks"][0] == network
                assert added["dhcp"] == before["dhcp"], "the same server"
                blue = added["networks"][1]
                assert (blue["pod_interface"], blue["guest_port"]) == ("net1", "tap1")
                pod.guest.ip(f"link set eth1 address {blue['mac']}")
                with Udhcpc(pod.guest, "eth1") as other:
                    assert other.acquire().addresses == (SECOND,)
                assert [n["name"] for n in agent.status()["networks"]] == ["default", "blue"]
                removed = agent.prestart("--vmi", one)
                assert (removed["networks"], removed["dhcp"]) == ([network], before["dhcp"])
                assert pod.pod.ip_json("-4 addr show dev net1")[0]["addr_info"][0]["local"] == SECOND.partition("/")[0]
                assert agent.status()["pending"] == []
        assert (renewals.done > 5, renewals.missed) == (True, 0)
        agent.teardown()
    pod.guest.ip("link set eth0 down", "link set eth1 down")
    # the kernel notices a lost carrier a little later
    wait_until(lambda: not difference(), log=difference)


@pytest.mark.parametrize("binding", DIRECT)
def test_all_networks_may_go(two: Pod, tmp_path: Path, binding: str) -> None:
    original = take_snapshot(two.pod)
    both = manifest(tmp_path / "both.json", default=binding, blue=binding)
    none = manifest(tmp_path / "none.json")
    with Agent(two) as agent:
        agent.prestart("--vmi", both)
        gone = agent.prestart("--vmi", none)
        assert (gone["networks"], gone["dhcp"]) == ([], {"pid": None})
        assert agent.prestart("--vmi", both)["networks"][1]["name"] == "blue"
        agent.prestart("--vmi", none)
        agent.teardown()
    assert_restored(two.pod, original)


@pytest.mark.parametrize("binding", DIRECT)
def test_what_the_cni_has_changed_meanwhile_stays_on_the_interface(two: Pod, tmp_path: Path, binding: str) -> None:
    """As after a teardown: addresses and routes that came, or were replaced, while the VM had it."""
    two.pod.ip("route add 203.0.113.0/24 via 198.51.100.1 dev net1")
    one = manifest(tmp_path / "one.json", default="bridge")
    both = manifest(tmp_path / "both.json", default="bridge", blue=binding)
    with Agent(two) as agent:
        agent.prestart("--vmi", both)
        two.pod.ip(
            "addr add 198.51.100.77/24 dev net1",
            "route replace 203.0.113.0/24 via 198.51.100.9 dev net1",
            "route add 192.0.2.128/25 via 198.51.100.77 dev net1",
        )
        agent.prestart("--vmi", one)
        addresses = {a["local"] for a in two.pod.ip_json("-4 addr show dev net1")[0]["addr_info"]}
        routes = {(r["dst"], r.get("gateway")) for r in two.pod.ip_json("-4 route show dev net1")}
        assert addresses == {"198.51.100.5", "198.51.100.77"}
        assert routes == {
            ("198.51.100.0/24", None),
            ("203.0.113.0/24", "198.51.100.9"),
            ("192.0.2.128/25", "198.51.100.77"),
        }
        agent.teardown()
        assert {a["local"] for a in two.pod.ip_json("-4 addr show dev net1")[0]["addr_info"]} == addresses
        assert {(r["dst"], r.get("gateway")) for r in two.pod.ip_json("-4 route show dev net1")} == routes


def test_without_a_manifest_no_network_is_removed(two: Pod, tmp_path: Path) -> None:
    """It is a slip, or another VM: nothing changes."""
    with Agent(two) as agent:
        agent.prestart("--vmi", manifest(tmp_path / "vmi.json", default="bridge", blue="bridge"))
        before, networks = take_snapshot(two.pod), agent.status()["networks"]
        done = agent.run("prestart")
        assert done.returncode == 2
        assert "this pod is set up for networks default, blue, not default; run teardown first" in done.stderr
        assert_restored(two.pod, before)
        assert agent.status()["networks"] == networks


def test_a_network_cannot_have_the_interface_of_another(two: Pod, tmp_path: Path) -> None:
    """A manifest that renames a network is another VM's, or a slip; nothing changes."""
    with Agent(two) as agent:
        agent.prestart("--vmi", manifest(tmp_path / "vmi.json", default="bridge", blue="bridge"))
        before = take_snapshot(two.pod)
        done = agent.run("prestart", "--vmi", manifest(tmp_path / "vmi.json", other="bridge", blue="bridge"))
        assert done.returncode == 2
        assert "network other: eth0 is network default's, which is set up; run teardown first" in done.stderr
        assert_restored(two.pod, before)


def test_a_network_whose_interface_is_not_there(two: Pod, tmp_path: Path) -> None:
    """The others stay as they are."""
    with Agent(two) as agent:
        agent.prestart("--vmi", manifest(tmp_path / "vmi.json", default="bridge", blue="bridge"))
        before, networks = take_snapshot(two.pod), agent.status()["networks"]
        done = agent.run(
            "prestart", "--vmi", manifest(tmp_path / "vmi.json", default="bridge", blue="bridge", red="bridge")
        )
        assert done.returncode == 2
        assert "no such interface" in done.stderr
        assert_restored(two.pod, before)
        assert agent.status()["networks"] == networks
