"""The smallest sets of capabilities that work, and what is left of any to the server: none, in every case."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.monitor import Monitor
from lab.pod import Pod
from lab.rights import assert_closed, assert_no_capability, assert_own_user, rights_of
from lab.snapshot import assert_restored, take_snapshot
from lab.waiting import PATIENCE

pytestmark = pytest.mark.root

NEEDED = "+net_admin,+net_raw"
LACKS = "not permitted; the container needs CAP_NET"
USER = 1000


def root(capabilities: str) -> list[str]:
    """Starts a program as root with these capabilities and no others, as a container's runtime does."""
    return ["setpriv", f"--bounding-set=-all,{capabilities}", "--inh-caps=-all"]


def user(capabilities: str) -> list[str]:
    """Starts a program as another user with these ambient capabilities; the tests' own files may lie below /root."""
    every = f"-all,{capabilities},+dac_read_search"
    sets = [f"--{name}={every}" for name in ("inh-caps", "ambient-caps", "bounding-set")]
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *sets]


@pytest.mark.parametrize(
    ("binding", "prefix", "uid"),
    [
        ("bridge", root(NEEDED), 0),
        ("fwd", root(NEEDED), 0),
        ("masquerade", root(NEEDED), 0),
        ("bridge", root(f"{NEEDED},+setuid,+setgid,+setpcap"), None),
        ("bridge", user(NEEDED), USER),
        ("masquerade", user(f"{NEEDED},+setuid,+setgid"), None),
    ],
    ids=["bridge", "fwd", "masquerade", "root that changes users", "user", "user that changes users"],
)
def test_two_capabilities_are_enough(pod: Pod, agent: Agent, binding: str, prefix: list[str], uid: int | None) -> None:
    """For all that changes the pod. With two more the server has a user of its own."""
    before = take_snapshot(pod.pod)
    agent.state_directory.parent.chmod(0o755)
    agent.state_directory.mkdir()
    if "--clear-groups" in prefix:
        os.chown(agent.state_directory, USER, USER)
    for _ in range(2):  # the second finds a server, and talks to it
        assert agent.run("prestart", prefix=prefix).stderr == ""
    (server,) = pod.pod.processes()
    assert_no_capability(server, bounding="+setpcap" not in prefix[1])
    assert_closed(server)
    if uid is None:
        assert_own_user(server)
    else:
        assert rights_of(server)["Uid"] == [str(uid)] * 4
    torn_down = agent.run("teardown", prefix=prefix)
    assert (torn_down.returncode, torn_down.stderr) == (0, "")
    assert pod.pod.processes() == []
    assert_restored(pod.pod, before)


OF_A_FILE = f"""
import os, struct, sys
from dhcp.lean.libc import capset, prctl
from launcher.cli import command
keep_caps, ambient, to_raise, dac_read_search, net_admin, net_raw = 8, 47, 2, 2, 12, 13
own = 1 << dac_read_search | 1 << net_admin | 1 << net_raw
assert prctl(keep_caps, 1, 0, 0, 0) == 0
os.setgroups([])
os.setresgid({USER}, {USER}, {USER})
os.setresuid({USER}, {USER}, {USER})
sets = struct.pack("=6I", own, own, 1 << dac_read_search, 0, 0, 0)
assert capset(struct.pack("=Ii", 0x20080522, 0), sets) == 0
assert prctl(ambient, to_raise, dac_read_search, 0, 0) == 0
del sys.argv[0]
command()
"""
"""Runs virt-launcher with the two capabilities as if its file had them, and not the programs that it starts."""


def test_capabilities_of_the_programs_file(pod: Pod, agent: Agent) -> None:
    before = take_snapshot(pod.pod)
    agent.state_directory.parent.chmod(0o755)
    agent.state_directory.mkdir()
    os.chown(agent.state_directory, USER, USER)
    for verb in ("prestart", "prestart", "teardown"):
        done = agent.run(verb, prefix=[sys.executable, "-c", OF_A_FILE])
        assert (done.returncode, done.stderr) == (0, "")
    assert pod.pod.processes() == []
    assert_restored(pod.pod, before)


@pytest.mark.parametrize(
    ("binding", "prefix", "reason"),
    [
        ("bridge", root("+net_admin"), f"DHCP server: open a packet socket: {LACKS}_RAW"),
        ("masquerade", root("+net_admin"), f"DHCP server: open a packet socket: {LACKS}_RAW"),
        ("bridge", root("+net_raw"), f"lock the network namespace: {LACKS}_ADMIN"),
    ],
    ids=["no raw", "masquerade, no raw", "no admin"],
)
def test_without_one_of_them_nothing_is_changed(
    pod: Pod, agent: Agent, binding: str, prefix: list[str], reason: str
) -> None:
    with Monitor(pod.pod) as monitor:
        done = agent.run("prestart", prefix=prefix)
        assert monitor.events() == []
    flag = reason.rpartition("CAP_")[2]
    flags = f"(Docker, Podman: --cap-add {flag}; Kubernetes: capabilities.add: [{flag}])"
    assert (done.returncode, done.stderr) == (2, f"virt-launcher: error: {reason} {flags}\n")
    assert not agent.state_directory.exists()
    assert pod.pod.processes() == []


MAPPED = """
import ctypes, os, subprocess, sys
new_user, new_net = 0x10000000, 0x40000000
assert ctypes.CDLL(None).unshare(new_user | new_net) == 0
print("unshared", flush=True)
sys.stdin.readline()  # until the ids are mapped
for command in ("link add tap0 type veth peer name other", "link set tap0 up"):
    subprocess.run(["ip", *command.split()], check=True)
os.execv(sys.executable, [sys.executable, "-m", "dhcp", "--interface", "tap0", "--config", sys.argv[1]])
"""
CONFIG = '{"client_mac": "02:00:00:00:00:01", "client_address": "10.0.0.2/24", "server_address": "10.0.0.1"}'


@pytest.mark.parametrize(("count", "uids"), [(1, range(1)), (65536, range(61440, 65534))])
def test_in_a_user_namespace_it_is_a_user_that_is_mapped(tmp_path: Path, count: int, uids: range) -> None:
    """As without root on the machine, where there may be no other user than the one that root is."""
    config = tmp_path / "config.json"
    config.write_text(CONFIG)
    program = [sys.executable, "-c", MAPPED, config]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "unshared\n"
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{process.pid}/{name}").write_text(f"0 0 {count}\n")
        process.stdin.write("mapped\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready tap0\n"
        assert_no_capability(process.pid)
        (found,) = set(rights_of(process.pid)["Uid"])
        assert int(found) in uids
        process.terminate()
        assert process.wait(PATIENCE) == 0
