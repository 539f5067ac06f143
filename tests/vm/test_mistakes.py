"""The typical mistakes, made: each ends with one line that says what to do, and docs/troubleshooting.md has them all.

`pytest tests/vm/test_mistakes.py --update-snapshots` writes the page's table anew.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.agent import ORDINARY_USER, Agent
from lab.forked import SUCCEEDED, run_in
from lab.memory_limit import MemoryLimit
from lab.pod import MakePod, Pod
from lab.snapshot import assert_restored, take_snapshot
from lab.waiting import has_ended, wait_until

from launcher.demo.guest_image import GuestImage, kernel_arguments

from .entrypoint import Entrypoint
from .machine import BOOT_SECONDS, manifest

pytestmark = [pytest.mark.vm, pytest.mark.root]

PAGE = Path(__file__).parent.parent.parent / "docs/troubleshooting.md"
HEAD = ("| mistake | verb | exit code | what it says |", "|---|---|---|---|")
MIB = 1 << 20

DISK = {
    "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]},
    "volumes": [{"name": "root", "hostDisk": {"path": "/unused", "type": "Disk"}}],
}


@dataclass
class Case:
    """What a mistake is made with."""

    pod: Pod
    folder: Path
    guest: GuestImage

    def write(self, **changes: Any) -> Path:
        path = self.folder / "vmi.yaml"
        path.write_text(yaml.safe_dump(manifest(self.guest, kernel_arguments(), **changes)))
        return path

    def run(self, verb: str, *options: str | Path, prefix: Sequence[str] = ()) -> Said:
        """Run a verb in the pod, with a state directory unless an option names one."""
        folder = () if "--state-dir" in options else ("--state-dir", self.folder / "state")
        done = self.pod.pod.run([*prefix, Agent.program(), verb, *folder, *options], check=False)
        assert done.stdout == ""
        lines = re.findall(r"^(?:\S+Z )?virt-launcher: error: (.*)$", done.stderr, re.MULTILINE)
        assert len(lines) == 1, done.stderr
        return Said(verb, done.returncode, lines[0])


@dataclass(frozen=True)
class Said:
    """How a verb has ended."""

    verb: str
    code: int
    line: str


def shell(script: str) -> list[str]:
    """A prefix: what a container has, or lacks; `ip netns exec` has given it mounts of its own."""
    return ["sh", "-c", f'{script} && exec "$@"', "sh"]


def no_root(case: Case) -> Said:
    state = case.folder / "state"
    state.mkdir()
    os.chown(state, 65534, 65534)
    case.folder.chmod(0o755)
    return case.run("prestart", prefix=ORDINARY_USER)


def no_such_namespace(case: Case) -> Said:
    return case.run("prestart", "--netns", "no-such-pod")


def no_such_interface(case: Case) -> Said:
    case.pod.pod.ip("link set eth0 down", "link set eth0 name net7")
    try:
        return case.run("prestart")
    finally:
        case.pod.close()


def no_tun(case: Case) -> Said:
    return case.run("prestart", prefix=shell("mount -t tmpfs none /dev/net"))


def no_nft(case: Case) -> Said:
    return case.run("prestart", prefix=shell("mount -t tmpfs none /usr/sbin"))


def no_proc_sys(case: Case) -> Said:
    return case.run("prestart", prefix=shell("mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"))


def bad_yaml(case: Case) -> Said:
    path = case.folder / "vmi.yaml"
    path.write_text("kind: VirtualMachineInstance\nspec:\n  domain: {memory: {guest: 64Mi}\n")
    return case.run("run", "--vmi", path)


def no_manifest(case: Case) -> Said:
    return case.run("run", "--vmi", "/vmi.yaml")


def read_only_state(case: Case) -> Said:
    folder = case.folder / "read-only"
    folder.mkdir()
    prefix = shell(f"mount -t tmpfs -o ro none {folder}")
    return case.run("prestart", "--state-dir", folder / "state", prefix=prefix)


def busy_port(case: Case) -> Said:
    case.pod.pod.ip("tuntap add dev tap0 mode tap", "addr add 10.9.9.9/24 dev tap0")
    try:
        return case.run("prestart", "--guest-port", "tap0")
    finally:
        case.pod.pod.ip("link del tap0")


def opened_port(case: Case) -> Said:
    """By another process, such as another VM's QEMU."""
    holder = (
        "import fcntl, os, struct, subprocess, sys\n"
        "tap = os.open('/dev/net/tun', os.O_RDWR)\n"
        "fcntl.ioctl(tap, 0x400454CA, struct.pack('16sH22x', b'tap0', 0x1002))\n"
        "sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    )
    case.pod.pod.ip("tuntap add dev tap0 mode tap")
    try:
        return case.run("run", "--vmi", case.write(), prefix=[sys.executable, "-c", holder])
    finally:
        case.pod.pod.ip("link del tap0")


def unsupported_nic(case: Case) -> Said:
    case.pod.pod.ip(
        "link del eth0",
        "link add up9 type veth peer name up8",
        "link set up8 up",
        "link set up9 up",
        "link add eth0 link up9 type macvlan mode bridge",
        "link set eth0 up",
        "addr add 10.244.1.3/24 dev eth0",
    )
    try:
        return case.run("prestart")
    finally:
        case.pod.close()


def no_libvirt(case: Case) -> Said:
    (case.folder / "libvirt.py").write_text("raise ImportError('no module named libvirt')\n")
    prefix = ["env", f"PYTHONPATH={os.pathsep.join([str(case.folder), *sys.path])}"]
    return case.run("run", "--vmi", case.write(), prefix=prefix)


def no_qemu(case: Case) -> Said:
    programs = case.folder / "bin"
    programs.mkdir()
    for name in ("nft", "ip"):
        (programs / name).symlink_to(f"/usr/sbin/{name}")
    return case.run("run", "--vmi", case.write(), prefix=["env", f"PATH={programs}"])


def no_disk(case: Case) -> Said:
    return case.run("run", "--vmi", case.write(**DISK), "--disk", "root=/disks/root.qcow2")


def read_only_disk(case: Case) -> Said:
    """Of another user, in a container whose root is not above permissions."""
    image = case.folder / "root.raw"
    image.write_bytes(bytes(512))
    os.chown(image, 65534, 65534)
    image.chmod(0o444)
    prefix = ["setpriv", "--bounding-set", "-dac_override", "--inh-caps", "-dac_override"]
    return case.run("run", "--vmi", case.write(**DISK), "--disk", f"root={image}", prefix=prefix)


def long_name(case: Case) -> Said:
    path = case.write()
    document = yaml.safe_load(path.read_text())
    document["spec"]["hostname"] = "a" * 64
    path.write_text(yaml.safe_dump(document))
    return case.run("run", "--vmi", path)


def long_folder(case: Case) -> Said:
    return case.run("run", "--vmi", case.write(), "--state-dir", case.folder / ("s" * 60))


REFUSED: dict[str, Callable[[Case], Said]] = {
    "no root, or no capability": no_root,
    "a network namespace that does not exist": no_such_namespace,
    "the pod has no eth0": no_such_interface,
    "no /dev/net/tun": no_tun,
    "no nftables": no_nft,
    "/proc/sys is read-only": no_proc_sys,
    "bad YAML": bad_yaml,
    "no manifest": no_manifest,
    "the state directory cannot be written": read_only_state,
    "the guest port is somebody's": busy_port,
    "the guest port is open": opened_port,
    "a NIC that the binding cannot use": unsupported_nic,
    "no libvirt": no_libvirt,
    "no QEMU": no_qemu,
    "no disk": no_disk,
    "a disk that may not be written to": read_only_disk,
    "a name that is too long": long_name,
    "a state directory that is too long": long_folder,
}
OWN, SECOND, IMPATIENT, MEMORY = (
    "the machine's own network namespace",
    "a second `run` in the pod",
    "a stop time-out shorter than the grace period",
    "not enough memory",
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Pod]:
    """One for all that leave it as it was."""
    with Pod("flannel", guest_port=False) as pod:
        yield pod


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vltest-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_mistake_is_refused(
    mistake: str, shared: Pod, make_pod: MakePod, folder: Path, guest: GuestImage, pytestconfig: pytest.Config
) -> None:
    """Nothing is left of it in the pod."""
    provoke = REFUSED[mistake]
    if provoke in (no_such_interface, unsupported_nic):
        check_page(mistake, provoke(Case(make_pod(guest_port=False), folder, guest)), folder, pytestconfig)
        return
    before, processes = take_snapshot(shared.pod), shared.pod.processes()
    check_page(mistake, provoke(Case(shared, folder, guest)), folder, pytestconfig)
    assert_restored(shared.pod, before)
    assert shared.pod.processes() == processes


def test_the_machines_own_network(shared: Pod, folder: Path, pytestconfig: pytest.Config) -> None:
    """The machine stays safe from a test that fails: its own namespace is the pod's here, by the number."""

    def refused(_state: Path) -> None:
        import netsetup.kernel.netns as netns
        from launcher.prestart import setup_pod_network
        from netsetup.errors import InvalidRequest

        netns.INITIAL_INODE = os.stat(netns.SELF).st_ino
        with pytest.raises(InvalidRequest) as raised:
            setup_pod_network(state_dir=folder / "state")
        (folder / "line").write_text(str(raised.value))

    assert run_in(shared.pod, refused, folder) == SUCCEEDED
    check_page(OWN, Said("prestart", 2, (folder / "line").read_text()), folder, pytestconfig)


def test_a_second_run_and_a_stop_that_does_not_wait(
    make_pod: MakePod, folder: Path, guest: GuestImage, pytestconfig: pytest.Config
) -> None:
    """The guest ignores its power button; the container's runtime kills after its own time-out."""
    pod = make_pod(guest_port=False)
    document = manifest(guest, kernel_arguments(button=False), terminationGracePeriodSeconds=180)
    machine = Entrypoint(pod, folder / "first", document)
    machine.await_report("lease")
    second = Case(pod, folder, guest)
    said = second.run("run", "--vmi", machine.vmi)
    line = said.line.replace(f"pid {machine.launcher()}", "pid 8").replace(f"{machine.state_dir}", f"{folder}/first")
    check_page(SECOND, Said("run", said.code, line), folder, pytestconfig)
    machine.terminate()

    def stopping() -> list[str]:
        return [line for line in machine.messages("info") if "signal to stop" in line]

    wait_until(stopping, log=machine.errors)
    (last,) = stopping()
    processes = pod.pod.processes()
    os.kill(machine.process.pid, signal.SIGKILL)
    code = 128 - machine.process.wait()
    for pid in processes:  # of the container, whose end is its first process's
        if (Path("/proc") / str(pid)).exists():
            os.kill(pid, signal.SIGKILL)
            assert has_ended(pid)
    check_page(IMPATIENT, Said("run", code, last), folder, pytestconfig)


def test_qemu_is_killed_for_memory(
    make_pod: MakePod, folder: Path, guest: GuestImage, pytestconfig: pytest.Config
) -> None:
    """The container's limit is less than what the guest uses; the pod's network is put back nevertheless."""
    with MemoryLimit(192 * MIB) as limit:
        pod = make_pod(guest_port=False)
        document = manifest(guest, kernel_arguments(), memory={"guest": "256Mi"})
        machine = Entrypoint(pod, folder / "vm", document, program=(*limit.prefix, Agent.program()))
        # a guest that is still booting may take too much already
        wait_until(lambda: machine.reports("lease") or machine.process.poll() is not None, BOOT_SECONDS)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as console:
            console.connect(str(machine.state_dir / "console.sock"))
            console.sendall(b"dd if=/dev/zero of=/full bs=1M count=200\n")
        code = machine.await_end()
        (line,) = machine.messages("error")
        assert machine.event("ended") == {"how": "killed"}
        machine.assert_pod_restored()
    check_page(MEMORY, Said("run", code, line), folder, pytestconfig)


def test_the_page_has_no_other_mistakes() -> None:
    assert sorted(re.findall(r"^\| (.+?) \| `", PAGE.read_text(), re.MULTILINE)) == sorted(
        [*REFUSED, OWN, SECOND, IMPATIENT, MEMORY]
    )


def check_page(mistake: str, said: Said, folder: Path, config: pytest.Config) -> None:
    """Compare what was said with the page's row, or write it there."""
    __tracebackhide__ = True
    line = re.sub(r"s{20,}", "sss…", said.line)
    line = re.sub(r"(libvirt cannot [^:]+: ).*(; (?:there is no|another process))", r"\1…\2", line)
    row = (
        f"| {mistake} | `{said.verb}` | {said.code} | {line.replace(str(folder), '/vm').replace('|', chr(92) + '|')} |"
    )
    text = PAGE.read_text()
    before, after = text.split("\n".join(HEAD) + "\n")
    rows = re.findall(r"^\| .*$", after, re.MULTILINE)
    if config.getoption("--update-snapshots"):
        rest = after.split("\n\n", 1)[1] if "\n\n" in after else ""
        rows = [other for other in rows if not other.startswith(f"| {mistake} | ")] + [row]
        order = [*REFUSED, OWN, SECOND, IMPATIENT, MEMORY]
        rows.sort(key=lambda row: order.index(row.removeprefix("| ").partition(" | ")[0]))
        PAGE.write_text(before + "\n".join([*HEAD, *rows]) + "\n\n" + rest)
        return
    assert row in rows
