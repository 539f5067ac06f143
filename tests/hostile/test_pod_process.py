"""Another process of the pod, without privileges but in the same network namespace, does not become the VM."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.pod import MakePod, Pod

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
