"""A pod that an earlier version set up: its record is read, and the pod is taken over or restored exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lab.agent import Agent
from lab.pod import MakePod, Pod
from lab.shape import Nic, Shape, Side
from lab.snapshot import Snapshot, assert_restored, take_snapshot
from lab.waiting import kill

from netsetup.kernel.rtnetlink import Netlink
from netsetup.record import boot_id

pytestmark = pytest.mark.root

RECORDS = Path(__file__).parent.parent / "records"
NAMES = sorted(path.stem for path in RECORDS.glob("*.json"))
BRIDGE_NETFILTER = ("bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables")

SHAPE = Shape(
    name="earlier",
    source="tests/records/README.md",
    interface="eth0",
    nics=(Nic("eth0", "0a:58:0a:f4:01:05", 1500, "vethpod"),),
    pod=Side(
        {},
        (
            "addr add 10.244.1.5/24 brd 10.244.1.255 dev eth0",
            "addr add fd00:10:244:1::5/64 dev eth0 nodad",
            "route add default via 10.244.1.1",
            "route add default via fd00:10:244:1::1",
            "route add 10.96.0.0/12 via 10.244.1.1",
            "neigh add 10.244.1.1 lladdr 0a:58:0a:f4:01:01 dev eth0 nud permanent",
        ),
    ),
    node=Side(
        {},
        (
            "link set vethpod address 0a:58:0a:f4:01:01",
            "addr add 10.244.1.1/24 dev vethpod",
            "addr add fd00:10:244:1::1/64 dev vethpod nodad",
        ),
    ),
    node_before=(),
    neighbour=Side({}, ()),
    guest=None,
    guest6=None,
)


class Earlier:
    """A pod as the version that wrote the record left it."""

    def __init__(self, pod: Pod, agent: Agent, name: str) -> None:
        self.pod, self.agent = pod, agent
        self.content: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text())
        (network,) = self.content["networks"]
        self.binding = "masquerade" if network.get("masquerade") else "bridge"
        self.mac = network["mac"]
        self.manifest = agent.state_directory.parent / "vmi.json"
        self.manifest.write_text(json.dumps(self._vmi()))
        self.before: Snapshot = take_snapshot(pod.pod)
        settings = {name: self._read(name) for name in BRIDGE_NETFILTER}
        self._set_up(name)
        recorded = dict(self.content["sysctls"])
        for setting, value in settings.items():
            if f"net/{setting}" not in recorded and value:
                pod.pod.write_sysctl(setting, value)  # that program left it alone

    def _vmi(self) -> dict[str, Any]:
        interface: dict[str, Any] = {"name": "default", self.binding: {}}
        if self.binding == "masquerade":
            interface["ports"] = [{"port": 80}]
        if self.mac != self.pod.mac:
            interface["macAddress"] = self.mac
        return {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstance",
            "metadata": {"name": "vm1"},
            "spec": {
                "domain": {"memory": {"guest": "64Mi"}, "devices": {"interfaces": [interface]}},
                "networks": [{"name": "default", "pod": {}}],
            },
        }

    def _read(self, setting: str) -> str:
        done = self.pod.pod.run(["cat", f"/proc/sys/net/{setting}"], check=False)
        return done.stdout.strip()

    def _set_up(self, name: str) -> None:
        """Set up devices and settings, which are the same in every version, and that version's tables and record."""
        kill(self.agent.prestart("--vmi", self.manifest)["dhcp"]["pid"])
        for family in ("bridge", "inet") if self.binding == "masquerade" else ("bridge",):
            self.pod.pod.run(["nft", "delete", "table", family, "virt-launcher"])
        self.pod.pod.run(["nft", "-f", RECORDS / f"{name}.nft"])
        index = self.pod.pod.link("eth0")["ifindex"]
        (network,) = self.content["networks"]
        network["pod"]["link"]["index"] = index
        for route in network["pod"]["routes"]:
            route["interface"] = index
        with self.pod.pod.entered(), Netlink() as netlink:
            here = {"boot_id": boot_id(), "namespace_cookie": netlink.namespace_cookie}
        (self.agent.state_directory / "network.json").write_text(json.dumps(self.content | here))


@pytest.fixture(params=NAMES)
def earlier(request: pytest.FixtureRequest, make_pod: MakePod) -> Any:
    pod = make_pod(SHAPE, guest_port=False, duplicate_address_detection=True)
    with Agent(pod) as agent:
        yield Earlier(pod, agent, request.param)


def test_it_is_put_back(earlier: Earlier) -> None:
    shown = earlier.agent.status()
    assert [network["mac"] for network in shown["networks"]] == [earlier.mac]
    earlier.agent.teardown()
    assert_restored(earlier.pod.pod, earlier.before)
    assert not earlier.agent.state_directory.exists()


def test_it_is_taken_over(earlier: Earlier) -> None:
    agent = earlier.agent
    printed = agent.prestart("--vmi", earlier.manifest)
    assert printed["networks"][0]["mac"] == earlier.mac
    record = json.loads((agent.state_directory / "network.json").read_text())
    assert record["version"] == 3
    assert record["networks"]["default"]["binding"] == earlier.binding
    status = agent.status()
    assert (status["pending"], status["refused"]) == ([], "")
    assert status["dhcp"]["pid"] == printed["dhcp"]["pid"]
    agent.teardown()
    assert_restored(earlier.pod.pod, earlier.before)


def test_where_a_mac_comes_from_is_guessed_right(make_pod: MakePod) -> None:
    """The first forms did not record it; the manifest's MAC must not count as the pod's."""
    pod = make_pod(SHAPE, guest_port=False, duplicate_address_detection=True)
    with Agent(pod) as agent:
        earlier = Earlier(pod, agent, "1-502a40c-bridge-mac")
        (network,) = agent.status()["networks"]
        assert (network["mac"], network["mac_source"], network["isolated"]) == (earlier.mac, "spec", False)
