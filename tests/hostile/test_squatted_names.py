"""Another process of the pod has the names of our sockets and locks before we do, or as soon as it can."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab.agent import Agent, control_address
from lab.pod import Pod
from lab.snapshot import assert_restored, take_snapshot
from lab.waiting import PATIENCE, kill

import netsetup.kernel.lock
from dhcp.lean.owned_table import OwnedTable
from netsetup.errors import HookBusy
from netsetup.kernel.lock import NamespaceLock

pytestmark = pytest.mark.root

SQUATTER = 12345
SQUAT = """
import os, socket, sys
how, kinds = sys.argv[1], {"stream": socket.SOCK_STREAM, "packet": socket.SOCK_SEQPACKET}
os.setgroups([]), os.setresgid(UID, UID, UID), os.setresuid(UID, UID, UID)
held = []
for word in sys.argv[2:]:
    kind, _, name = word.partition(":")
    listener = socket.socket(socket.AF_UNIX, kinds[kind])
    listener.bind("\\0" + name)
    listener.listen(0 if how == "full" else 100)
    held.append(listener)
    while how == "full":
        caller = socket.socket(socket.AF_UNIX, kinds[kind])
        caller.setblocking(False)
        try:
            caller.connect("\\0" + name)
        except BlockingIOError:
            break
        held.append(caller)
# The port of the socket that kills a server (netlink).
kill = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
kill.bind((0x766C6B73, 0))
print("up", flush=True)
import threading
def answer(listener):
    while True:
        held.append(listener.accept()[0])
        if how != "silent":
            try:
                held[-1].send(b"{" if how == "garbage" else b"[" * 100000)
            except OSError:
                pass
for listener in [] if how == "full" else list(held):
    threading.Thread(target=answer, args=(listener,)).start()
threading.Event().wait()
""".replace("UID", str(SQUATTER))
LOCKS = ["stream:virt-launcher/prestart", "stream:virt-launcher/hook"]
SERVER = "packet:virt-launcher/dhcp"


def squat(pod: Pod, how: str, *names: str) -> subprocess.Popen[str]:
    """Have an unprivileged process take these names, with a full queue, or silent, or answering nonsense."""
    squatter = pod.pod.popen([sys.executable, "-c", SQUAT, how, *names], stdout=subprocess.PIPE)
    assert squatter.stdout
    assert squatter.stdout.readline() == "up\n"
    return squatter


@pytest.mark.parametrize(
    ("how", "names"),
    [
        ("full", [SERVER, *LOCKS]),
        ("silent", [SERVER, *LOCKS]),
        ("garbage", [SERVER]),
        ("huge", [SERVER]),
    ],
    ids=["full", "silent", "garbage", "huge"],
)
def test_a_squatter_is_named_and_in_nobodys_way(pod: Pod, agent: Agent, how: str, names: list[str]) -> None:
    """Before the first set-up, between two, and after the server has died."""
    before = take_snapshot(pod.pod)
    squatter = squat(pod, how, *names)
    began = time.monotonic()
    done = agent.run("prestart")
    assert done.returncode == 0, done.stderr
    who = "a process" if how == "full" else f"process {squatter.pid} of user {SQUATTER}"
    assert f"{who} has a name that DHCP servers use" in done.stderr
    status = agent.status()
    assert (status["pending"], status["dhcp"]["problem"]) == ([], "")
    server = status["dhcp"]["pid"]
    assert agent.prestart()["dhcp"]["pid"] == server
    os.kill(server, signal.SIGSTOP)
    assert agent.prestart()["dhcp"]["pid"] != server, "it answers no more"
    kill(agent.status()["dhcp"]["pid"])
    assert agent.run("teardown").returncode == 0
    assert time.monotonic() - began < 4 * PATIENCE
    assert squatter.poll() is None
    squatter.kill()
    squatter.wait()
    assert_restored(pod.pod, before)
    assert not agent.state_directory.exists()


def test_the_servers_name_is_not_to_be_guessed(pod: Pod, agent: Agent) -> None:
    """Each server has another one, and only root can read in a table where it is."""
    names = set()
    for _ in range(2):
        kill(agent.prestart()["dhcp"]["pid"])
        agent.prestart()
        names.add(control_address(pod.pod))
    assert len(names) == 2
    assert SERVER.partition(":")[2] not in [name[1:].decode() for name in names]


def test_a_lock_is_roots_alone_and_names_its_holder(pod: Pod, agent: Agent) -> None:
    take = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from dhcp.lean.owned_table import OwnedTable\n"
        "table = OwnedTable('virt-launcher-prestart')\n"
        "os.setresuid(12345, 12345, 12345)\n"  # the socket was opened as root
        "try: table.take('mine')\n"
        "except OSError as error: print(error.errno)"
    )
    root = Path(netsetup.kernel.lock.__file__).parents[2]
    assert pod.pod.run([sys.executable, "-c", take, root]).stdout == f"{errno.EPERM}\n"
    with pod.pod.entered():
        with NamespaceLock("x"), pytest.raises(HookBusy, match=rf"another hook \(pid {os.getpid()}, \S+.*\) has been"):
            NamespaceLock("x", wait_seconds=0.02).__enter__()
        with NamespaceLock("x", wait_seconds=0):
            pass  # free at once


def test_a_lock_ends_with_its_holder(pod: Pod) -> None:
    hold = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from netsetup.kernel.lock import NamespaceLock\n"
        "with NamespaceLock('x'): print('held', flush=True); time.sleep(60)"
    )
    root = Path(netsetup.kernel.lock.__file__).parents[2]
    holder = pod.pod.popen([sys.executable, "-c", hold, root], stdout=subprocess.PIPE)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    with pod.pod.entered():
        with pytest.raises(HookBusy):
            NamespaceLock("x", wait_seconds=0).__enter__()
        os.kill(holder.pid, signal.SIGKILL)
        with NamespaceLock("x"):
            assert OwnedTable("virt-launcher-x").comment() == netsetup.kernel.lock.description()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_before_linux_5_12_a_squatter_is_named_and_not_waited_for(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def take(table: OwnedTable, comment: str) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(OwnedTable, "take", take)
    with pod.pod.entered():
        with NamespaceLock("prestart"), pytest.raises(HookBusy, match=rf"another hook \(pid {os.getpid()}\)"):
            NamespaceLock("prestart", wait_seconds=0.02).__enter__()
        squatter = squat(pod, "silent", *LOCKS)
        with NamespaceLock("prestart", wait_seconds=0):
            assert f"process {squatter.pid} of user {SQUATTER} keeps hooks from locking" in caplog.text
