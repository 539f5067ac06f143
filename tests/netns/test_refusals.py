"""Refusals: one line with the object and what to do, and an unchanged pod."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from lab.agent import ORDINARY_USER, Agent
from lab.monitor import Monitor
from lab.nft import Nft
from lab.pod import MakePod, Pod
from lab.snapshot import assert_restored, take_snapshot

pytestmark = pytest.mark.root

MANIFEST = """
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: vm}
spec:
  domain:
    memory: {guest: 64Mi}
    devices: {interfaces: [{name: default, %s}]}
  networks: [{name: default, pod: {}}]
"""


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        (["link set eth0 down", "link set eth0 name net7"], r"eth0: no such interface .*net7"),
        (["link add k6t-eth0 type veth peer name other"], r"k6t-eth0: a veth of that name exists"),
        (["link add k6t-eth0 type bridge"], r"k6t-eth0: a bridge of that name exists"),
        (
            ["link add br9 type bridge", "link set eth0 master br9"],
            r"eth0: a port of the bridge device br9; release it",
        ),
        (
            ["link del eth0", "link add up9 type veth peer name up8", "link add eth0 link up9 type macvlan"],
            r"eth0: a macvlan device .* use ",
        ),
        (["link del eth0", "tuntap add dev eth0 mode tun"], r"eth0: not an Ethernet device"),
        (
            ["link del eth0", "link add eth0 type veth peer name other", "link set eth0 up"],
            r"eth0: no carrier, .* its other end is down",
        ),
    ],
    ids=[
        "no interface",
        "veth name",
        "bridge name",
        "port",
        "macvlan",
        "tun",
        "no carrier",
    ],
)
def test_what_stands_in_the_way_is_named(pod: Pod, agent: Agent, commands: list[str], message: str) -> None:
    pod.pod.ip(*commands)
    assert_refused(agent, 2, message)


def test_what_kubevirts_own_launcher_has_left_is_named(pod: Pod, agent: Agent) -> None:
    """Its bridge binding renames the pod interface and adds a device of that name with the address (KV#10564)."""
    pod.pod.ip(
        "link set eth0 down",
        "link set eth0 name eth0-nic",
        "addr flush dev eth0-nic",
        "link set eth0-nic address 02:00:00:00:00:21",
        "link add k6t-eth0 type bridge",
        "addr add 169.254.75.10/32 dev k6t-eth0",
        "link set eth0-nic master k6t-eth0",
        "link set eth0-nic type bridge_slave learning off",
        "link set tap0 master k6t-eth0",
        "link set eth0-nic up",
        "link set tap0 up",
        "link set k6t-eth0 up",
        f"link add eth0 address {pod.mac} type bridge",  # KubeVirt makes a dummy, which not every kernel has
        "addr add 10.244.1.3/24 dev eth0",
    )
    pod.pod.await_up("eth0-nic")
    assert_refused(agent, 2, r"eth0: KubeVirt's own launcher has .*eth0-nic.*; start the VM in a new pod")


def test_as_an_ordinary_user(pod: Pod, agent: Agent) -> None:
    agent.state_directory.mkdir()
    os.chown(agent.state_directory, 65534, 65534)
    agent.state_directory.parent.chmod(0o755)
    assert_refused(
        agent,
        2,
        r"the container lacks \d things: CAP_NET_ADMIN \(.*CAP_NET_RAW \(",
        prefix=ORDINARY_USER,
    )


def test_a_read_only_proc_sys_is_named(pod: Pod, agent: Agent) -> None:
    """As in an unprivileged container; detected before the first change."""
    script = ["sh", "-c", 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"', "sh"]
    with Monitor(pod.pod) as monitor:
        assert_refused(agent, 2, r"sysctl .*: not permitted; .*writable /proc/sys", prefix=script)
        assert monitor.events() == []


def test_a_state_directory_that_cannot_be_written_is_named(pod: Pod, agent: Agent) -> None:
    agent.state_directory.write_text("a file")
    assert_refused(agent, 2, rf"{agent.state_directory}: .*--state-dir")


def test_a_missing_program_is_named(pod: Pod, agent: Agent) -> None:
    script = ["sh", "-c", 'mount -t tmpfs none /usr/sbin && exec "$@"', "sh"]
    assert_refused(agent, 2, r"nft: no such program; install the package nftables", prefix=script)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (MANIFEST % "bridge: {}, model: virtio, macAddress: zz", r"spec\.domain\.devices\.interfaces\[0\]\.macAddress"),
        (MANIFEST % "passt: {}", r"spec\.domain\.devices\.interfaces\[0\]\.passt"),
        (MANIFEST % "bridge: {}, colour: red", r"spec\.domain\.devices\.interfaces\[0\].*colour"),
        ("kind: [", r"manifest\.yaml.*line 1"),
        ("", r"manifest\.yaml"),
    ],
    ids=["mac", "passt", "unknown field", "not yaml", "empty"],
)
def test_a_broken_manifest_is_named_by_its_field(
    pod: Pod, agent: Agent, tmp_path: Path, manifest: str, message: str
) -> None:
    path = tmp_path / "manifest.yaml"
    path.write_text(manifest)
    assert_refused(agent, 2, message, "--vmi", path)


def test_a_missing_manifest_is_named(agent: Agent) -> None:
    assert_refused(agent, 2, r"/no/such/manifest\.yaml: ", "--vmi", "/no/such/manifest.yaml")


def test_an_unknown_namespace_is_named(agent: Agent) -> None:
    assert_refused(agent, 2, r"no-such-namespace", "--netns", "no-such-namespace")


def test_another_networks_wishes_after_a_setup_are_refused(pod: Pod, agent: Agent, tmp_path: Path) -> None:
    agent.prestart()
    path = tmp_path / "manifest.yaml"
    path.write_text(MANIFEST % "bridge: {}, macAddress: '52:54:00:00:00:09'")
    assert_refused(agent, 2, rf"set up with MAC {pod.mac}.*run teardown first", "--vmi", path)


def test_a_full_table_is_told(make_pod: MakePod, tmp_path: Path) -> None:
    nft = Nft(tmp_path, "type mark", "table is full")
    with Agent(make_pod("ipv6-addresses")) as agent:
        assert_refused(agent, 1, "table is full", prefix=nft.prefix)
    assert nft.changes == 1


def test_an_interrupted_setup_can_be_taken_down(pod: Pod, agent: Agent) -> None:
    before = take_snapshot(pod.pod)
    script = ["timeout", "-s", "INT", "0.12"]
    completed = agent.run("prestart", prefix=script)
    agent.teardown()
    assert_restored(pod.pod, before)
    assert completed.returncode in (0, 124, 130)


def assert_refused(
    agent: Agent, code: int, message: str, *arguments: str | Path, prefix: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Assert a refusal with this exit code and one line; pod, processes and state directory are as before."""
    __tracebackhide__ = True
    pod = agent.pod.pod
    before, processes, state = take_snapshot(pod), pod.processes(), listing(agent)
    completed = agent.run("prestart", *arguments, prefix=prefix or [])
    assert completed.returncode == code, completed.stderr
    assert completed.stdout == ""
    *warnings, line = completed.stderr.splitlines()
    assert re.search(message, line), completed.stderr
    assert line.startswith("virt-launcher: error: "), completed.stderr
    # a failure during the set-up may be logged before it is undone; for bad input there is one line only
    assert all(warning.startswith("virt-launcher: warning: ") for warning in warnings), completed.stderr
    assert code == 1 or warnings == []
    assert_restored(pod, before)
    assert pod.processes() == processes
    assert listing(agent) == state
    return completed


def listing(agent: Agent) -> list[str]:
    """The files in the state directory."""
    return sorted(str(path) for path in agent.state_directory.parent.rglob("*"))
