"""Another process of the pod, without privileges but in the same network namespace, does not become the VM, and has no
power over its server."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.pod import MakePod, Pod
from lab.rights import assert_no_capability, assert_own_user, rights_of
from lab.waiting import wait_until

pytestmark = pytest.mark.root

ATTACH = """
import errno, fcntl, os, struct, sys
uid, gid, flags = map(int, sys.argv[1:])
os.setgroups([]), os.setresgid(gid, gid, gid), os.setresuid(uid, uid, uid)
tap = os.open("/dev/net/tun", os.O_RDWR)
try:
    fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"tap0", 0x5002 | flags))
except OSError as error:
    print(errno.errorcode[error.errno])
else:
    print("attached")
"""
MULTI_QUEUE = 0x100


def attach(pod: Pod, uid: int, gid: int, flags: int = 0) -> str:
    """What an unprivileged user gets who opens the VM's tap device."""
    return pod.pod.run([sys.executable, "-c", ATTACH, str(uid), str(gid), str(flags)]).stdout.strip()


@pytest.mark.parametrize("binding", ["bridge", "fwd", "masquerade"])
def test_nobody_attaches_to_the_vms_tap(make_pod: MakePod, binding: str) -> None:
    pod = make_pod(guest_port=False)
    with Agent(pod, binding=binding) as agent:
        agent.prestart()
        assert attach(pod, 12345, 12345) == "EPERM"
        assert attach(pod, 65534, 0) == "EPERM"
        assert attach(pod, 0, 0) == "attached"


def test_nobody_takes_a_queue(make_pod: MakePod, tmp_path: Path) -> None:
    pod = make_pod(guest_port=False)
    manifest = tmp_path / "vmi.yaml"
    manifest.write_text(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: vm}\n"
        "spec: {domain: {memory: {guest: 64Mi}, cpu: {cores: 2}, devices: {networkInterfaceMultiqueue: true,"
        " interfaces: [{name: default, bridge: {}}]}}, networks: [{name: default, pod: {}}]}\n"
    )
    with Agent(pod) as agent:
        agent.prestart("--vmi", manifest)
        assert attach(pod, 12345, 12345, MULTI_QUEUE) == "EPERM"
        assert attach(pod, 0, 0, MULTI_QUEUE) == "attached"


def test_the_owner_attaches_and_nobody_else(make_pod: MakePod) -> None:
    """Hook and VM in two containers: the VM's has a user of its own, and no capability."""
    pod = make_pod(guest_port=False)
    with Agent(pod) as agent:
        agent.prestart("--owner", "107:108")
        assert attach(pod, 107, 108) == "attached"
        assert attach(pod, 108, 108) == "EPERM"
        assert attach(pod, 107, 107) == "EPERM"
        again = agent.run("prestart", "--owner", "109")
        assert again.returncode == 2
        assert "its guest port was made for 107:108, not 109:109" in again.stderr
        agent.prestart()
        for owner in ("-1", "4294967295", "root", "1:2:3", ""):
            refused = agent.run("prestart", f"--owner={owner}")
            assert refused.returncode == 2
            assert "--owner" in refused.stderr


INTERFERE = """
import ctypes, errno, json, os, resource, signal, sys
pid, uid = map(int, sys.argv[1:])
libc = ctypes.CDLL(None, use_errno=True)
os.setgroups([]), os.setresgid(uid, uid, uid), os.setresuid(uid, uid, uid)

def called(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")

def opened(name):
    os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY))

SEIZE, INTERRUPT = 0x4206, 0x4207  # ptrace(2)
ways = {
    "stop": lambda: os.kill(pid, signal.SIGSTOP),
    "priority": lambda: os.setpriority(os.PRIO_PROCESS, pid, 19),
    "processor": lambda: os.sched_setaffinity(pid, {0}),
    "limits": lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 3)),
    "trace": lambda: called(libc.ptrace(SEIZE, pid, None, None)),
    "memory": lambda: opened("mem"),
    "environment": lambda: opened("environ"),
    "addresses": lambda: opened("maps"),
    "descriptors": lambda: os.listdir(f"/proc/{pid}/fd"),
    "descriptor": lambda: called(libc.syscall(438, os.pidfd_open(pid), 0, 0)),  # pidfd_getfd
    "kill": lambda: os.kill(pid, signal.SIGKILL),
}
done = []
for name, way in ways.items():
    try:
        way()
        done.append(name)
    except OSError as error:
        assert error.errno in (errno.EPERM, errno.EACCES), (name, error)
print(json.dumps(done))
"""


def interfere(pod: Pod, pid: int, uid: int) -> list[str]:
    """What a process of this user can do to another one."""
    done: list[str] = json.loads(pod.pod.run([sys.executable, "-c", INTERFERE, str(pid), str(uid)]).stdout)
    return done


def test_nobody_has_power_over_the_server(pod: Pod, agent: Agent) -> None:
    server = agent.prestart()["dhcp"]["pid"]
    assert_no_capability(server)
    assert_own_user(server)
    for user in (65534, 12345):
        assert interfere(pod, server, user) == []
    bystander = pod.pod.popen(["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "sleep", "infinity"])
    wait_until(lambda: Path(f"/proc/{bystander.pid}/comm").read_text() == "sleep\n")
    # Yama, where the kernel has it, keeps a process from tracing another one of its user.
    assert {"stop", "environment", "descriptors", "kill"} <= {*interfere(pod, bystander.pid, 12345)}, (
        "these are attacks"
    )
    own = int(rights_of(server)["Uid"][0])
    seen = interfere(pod, server, own)
    assert {"trace", "memory", "environment", "addresses", "descriptors", "descriptor"}.isdisjoint(seen)
    assert "kill" in seen
    assert agent.prestart()["dhcp"]["pid"] != server


def test_each_server_has_a_user_of_its_own(make_pod: MakePod) -> None:
    """Also of two pods that see each other's processes."""
    found = set()
    for _ in range(2):
        with Agent(make_pod()) as agent:
            found.add(rights_of(agent.prestart()["dhcp"]["pid"])["Uid"][0])
    assert len(found) == 2
