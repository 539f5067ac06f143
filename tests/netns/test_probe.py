"""`virt-launcher probe`: the lease that the VM would get, without a frame to the VM, and every kind of difference."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from lab.agent import Agent
from lab.pod import MakePod, Pod
from lab.rawclient import RawClient
from lab.shape import shape_names
from lab.sniffer import Sniffer
from lab.waiting import kill
from scapy.layers.dhcp import BOOTP

from dhcp.daemon.connection import ServerConnection, connect

pytestmark = pytest.mark.root

MANIFEST = """
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: vm}
spec:
  hostname: told
  domain:
    memory: {guest: 128Mi}
    devices:
      interfaces:
        - name: default
          bridge: {}
          dhcpOptions:
            bootFileName: linux.0
            tftpServerName: boot.example
            ntpServers: [10.96.0.11]
            privateOptions: [{option: 240, value: site}]
  networks:
    - {name: default, pod: {}}
"""
WITHOUT_OPTIONS = re.sub(r" *dhcpOptions:\n(?: {12}.*\n)*", "", MANIFEST)
INFINITE = 0xFFFFFFFF


def probe(agent: Agent, *words: str | Path) -> tuple[int, dict[str, Any]]:
    """Run `probe --output json`; returns the exit code and the only network of the output."""
    done = agent.run("probe", "--output", "json", *words)
    (network,) = json.loads(done.stdout)["networks"]
    return done.returncode, network


def serve(pod: Pod, config: dict[str, object], changes: dict[str, object]) -> None:
    """Reconfigure the running server with these fields changed; None removes one."""
    with pod.pod.entered():
        server = connect()
    assert isinstance(server, ServerConnection)
    server.configure([{key: value for key, value in (config | changes).items() if value is not None}])
    server.release()


def await_router6(pod: Pod) -> None:
    """Wait until the pod reaches its IPv6 router, as any pod does long before its VM: a new bridge of the lab's
    node drops the first multicast, and with it the solicitation for the router's MAC."""
    for route in pod.pod.ip_json("-6 route show default"):
        if "gateway" in route:
            pod.pod.run(["ping", "-6", "-c", "1", "-W", "2", "-I", route["dev"], route["gateway"]], check=False)


@pytest.mark.parametrize("shape", [name for name in shape_names() if name != "layer2"])
def test_what_prestart_set_up_is_as_configured(make_pod: MakePod, shape: str) -> None:
    pod = make_pod(shape)
    await_router6(pod)
    with Agent(pod) as agent:
        printed = agent.prestart()
        served = printed["dhcp"]["pid"] is not None
        done = agent.run("probe", "--output", "json")
        networks = json.loads(done.stdout)["networks"]
        assert (done.returncode, [network["problems"] for network in networks]) == (0, [[]] * len(networks))
        assert bool(networks) == served


def test_the_guest_notices_nothing(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    pod.guest.ip("link set eth0 up")
    with RawClient(pod.guest) as client:
        assert client.discover()
    before = status(pod)
    with Sniffer(pod.guest, "eth0") as guest, Sniffer(pod.node, "vethpod") as node:
        code, network = probe(agent)
        assert status(pod) == before
        with RawClient(pod.guest) as client:
            assert client.discover()  # what the probe may have caused comes before its OFFER
        sent = [frame.packet()[BOOTP].xid for frame in [*guest.frames, *node.frames] if frame.is_dhcp()]
    assert set(sent) <= {client.xid}
    assert code == 0
    assert network["offer"]["message"] == "ack"


def status(pod: Pod) -> dict[str, object]:
    with pod.pod.entered():
        server = connect()
    assert server is not None
    told = server.status()
    server.release()
    return told


def test_the_offer_is_shown(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    _, network = probe(agent)
    offer = network["offer"]
    assert {name: offer[name] for name in ("address", "server", "router", "mtu", "dns", "lease_seconds")} == {
        "address": "10.244.1.3/24",
        "server": "10.244.1.1",
        "router": "10.244.1.1",
        "mtu": 1450,
        "dns": ["10.96.0.10"],
        "lease_seconds": 86_400,
    }
    assert offer["search"] == ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"]
    text = agent.run("probe", check=True).stdout
    assert "network default, on tap0:\n  ack of 10.244.1.3/24 by 10.244.1.1\n" in text
    assert text.endswith("  as configured\n")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"client_address": "10.244.1.9/24"}, "yiaddr: offered 10.244.1.9, configured 10.244.1.3"),
        ({"client_address": "10.244.1.3/16"}, "option 1 (netmask): offered 255.255.0.0, configured 255.255.255.0"),
        ({"client_address": "10.244.1.3/16"}, "option 28 (broadcast): offered 10.244.255.255, configured 10.244.1.255"),
        ({"server_address": "10.244.1.7"}, "option 54 (server): offered 10.244.1.7, configured 10.244.1.1"),
        ({"server_address": "10.244.1.7"}, "source: offered 10.244.1.7, configured 10.244.1.1"),
        ({"router": "10.244.1.9"}, "option 3 (router): offered 10.244.1.9, configured 10.244.1.1"),
        ({"mtu": 1500}, "option 26 (mtu): offered 1500, configured 1450"),
        ({"dns": None}, "option 6 (dns): offered nothing, configured 10.96.0.10"),
        ({"lease_seconds": 20}, "option 51 (lease_seconds): offered 20, configured 86400"),
        ({"lease_seconds": 20}, "option 58 (t1_seconds): offered 10, configured 3600"),
        ({"lease_seconds": 20}, "option 59 (t2_seconds): offered 17, configured 75600"),
        ({"lease_seconds": INFINITE}, "option 51 (lease_seconds): offered 4294967295, configured 86400"),
        ({"lease_seconds": INFINITE}, "option 58 (t1_seconds): offered nothing, configured 3600"),
        ({"t1_seconds": 5}, "option 58 (t1_seconds): offered 5, configured 3600"),
        (
            {"search": None},
            "option 119 (search): offered nothing, "
            "configured default.svc.cluster.local svc.cluster.local cluster.local",
        ),
        ({"domain": "evil.test"}, "option 15 (domain): offered evil.test, configured default.svc.cluster.local"),
        ({"hostname": "evil"}, "option 12 (hostname): offered evil, configured told"),
        ({"hostname": None}, "option 12 (hostname): offered nothing, configured told"),
        ({"options": {"240": "44"}}, "option 240: offered 0x3434, configured nothing"),
        ({"options": {"43": "0x0102"}}, "option 43: offered 0x0102, configured nothing"),
        ({"ntp": ["10.0.0.1"]}, "option 42 (ntp): offered 10.0.0.1, configured nothing"),
        ({"tftp_server": "10.0.0.1"}, "option 66 (tftp_server): offered 10.0.0.1, configured nothing"),
        ({"boot_file": "x"}, "option 67 (boot_file): offered x, configured nothing"),
        ({"boot_file": "x"}, "file: offered x, configured nothing"),
        ({"boot_file": "x", "tftp_server": "10.0.0.1"}, "siaddr: offered 10.0.0.1, configured 0.0.0.0"),
        (
            {"routes": None},
            "option 121 (routes): 10.245.0.0/16 via 10.244.1.9 is configured and not offered",
        ),
        (
            {"routes": [{"destination": "10.0.0.0/8", "gateway": "10.244.1.1"}]},
            "option 121 (routes): 10.0.0.0/8 via 10.244.1.1 is offered and not configured",
        ),
        ({"client_mac": "02:00:00:00:00:55"}, "DISCOVER gets no answer: chaddr is not the client's MAC"),
        ({"interface": "lo"}, "DHCP server (pid "),
    ],
    ids=str,
)
def test_another_offer_is_named(
    pod: Pod, agent: Agent, tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    manifest = tmp_path / "vmi.yaml"
    manifest.write_text(WITHOUT_OPTIONS)
    pod.pod.ip("route add 10.245.0.0/16 via 10.244.1.9 dev eth0")
    agent.prestart("--vmi", manifest)
    assert probe(agent)[0] == 0
    (config,) = agent.prestart("--dry-run", "--vmi", manifest)["configs"]
    serve(pod, config, changes)
    code, network = probe(agent)
    assert code == 1
    assert any(line.startswith(problem) for line in network["problems"]), network["problems"]


def test_a_port_that_is_down_or_gone_is_named(pod: Pod, agent: Agent) -> None:
    agent.prestart()
    pod.pod.ip("link set tap0 down")
    code, network = probe(agent)
    assert (code, network["problems"]) == (1, ["tap0 is down"])
    pod.pod.ip("link delete tap0")
    pod.plug_guest(pod.mac)
    assert probe(agent)[1]["problems"] == ["the server's socket has lost tap0, which was removed or renamed"]


def test_a_dead_server_is_named(pod: Pod, agent: Agent) -> None:
    pid = agent.prestart()["dhcp"]["pid"]
    kill(pid)
    code, network = probe(agent)
    assert (code, network["offer"]) == (1, None)
    assert network["problems"][0].startswith("no DHCP server runs in this network namespace")


def test_names_are_compared_with_the_manifest(pod: Pod, agent: Agent, tmp_path: Path) -> None:
    manifest = tmp_path / "vmi.yaml"
    manifest.write_text(MANIFEST)
    agent.prestart("--vmi", manifest)
    code, network = probe(agent, "--vmi", manifest)
    assert (code, network["problems"]) == (0, [])
    offer = network["offer"]
    assert (offer["hostname"], offer["boot_file"], offer["options"]) == ("told", "linux.0", {"240": b"site".hex()})
    assert probe(agent)[1] == network, "without the manifest the record says what is in it"
    another = tmp_path / "another.yaml"
    another.write_text(MANIFEST.replace("hostname: told", "hostname: another").replace("site", "'0xC17E'"))
    assert probe(agent, "--vmi", another)[1]["problems"] == [
        "option 12 (hostname): offered told, configured another",
        "option 240: offered 0x73697465, configured 0xc17e",
    ]
    agent.prestart("--vmi", another)
    code, network = probe(agent)
    assert (code, network["problems"], network["offer"]["hostname"]) == (0, [], "another")


def test_what_is_left_of_the_record_in_the_kernel_is_enough(pod: Pod, agent: Agent, tmp_path: Path) -> None:
    manifest = tmp_path / "vmi.yaml"
    manifest.write_text(MANIFEST)
    agent.prestart("--vmi", manifest)
    (agent.state_directory / "network.json").unlink()
    assert probe(agent)[0] == 0


def test_nothing_to_probe(pod: Pod, agent: Agent) -> None:
    done = agent.run("probe")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip().endswith("nothing is set up in this network namespace")


def test_without_scapy_it_says_what_to_install(pod: Pod, agent: Agent, tmp_path: Path) -> None:
    agent.prestart()
    blocker = tmp_path / "scapy.py"
    blocker.write_text("raise ImportError('not installed')")
    done = pod.pod.run(agent.command("probe"), check=False, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("probe needs scapy: pip install 'virt-launcher[probe]'")
