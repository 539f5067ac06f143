"""The test bed of the benchmarks: network namespaces joined by veth pairs, and the processes measured in them.

    node ─ pod0 ═ eth0 ─ pod ─ tap0 ═ eth0 ─ guest

`tap0` is a veth in place of a VM's tap; the load generator runs at its other end, in the guest's namespace.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

MAC = "0a:58:0a:f4:01:05"
ADDRESS = "10.244.1.5"
NETWORK = "10.244.1.0/24"
NETMASK = "255.255.255.0"
ROUTER = "10.244.1.1"
SERVICES = "10.96.0.0/12"
DNS = "10.96.0.10"
SEARCH = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")
MTU = 1450
PORT = "tap0"
GUEST_NIC = "eth0"
PORT_ADDRESS = "10.244.1.254"
"""The address of `tap0` itself, for servers that need one in the subnet that they serve."""

HERE = Path(__file__).resolve().parent
# servers' directories included, which an ordinary PATH lacks
_ENVIRONMENT = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
_PREFIX = "vlbench"
_STOP_SECONDS = 5
_EXIT_SECONDS = 30


class BenchError(Exception):
    """A measurement cannot be made; the message says what is wrong and, where it can, what to do."""


class Tools:
    """The small programs in C, compiled for this run."""

    def __init__(self, directory: Path) -> None:
        """Raises BenchError when there is no compiler or it fails."""
        self.stamp = directory / "stamp"
        self.load = directory / "load"
        self.floor = directory / "floor"
        _compile(self.stamp, HERE / "stamp.c")
        _compile(self.load, HERE / "dhcp/load.c", HERE / "dhcp/client.c")
        _compile(self.floor, HERE / "dhcp/floor.c")


class Process:
    """A measured program in a namespace, timed from its exec; a context manager that terminates it."""

    def __init__(self, popen: subprocess.Popen[bytes], stamp: Path, log: Path) -> None:
        self._popen = popen
        self._stamp = stamp
        self._log = log
        self.pid = popen.pid

    @property
    def started_ns(self) -> int:
        """CLOCK_MONOTONIC right before its exec."""
        return int(self._stamp.read_text())

    def wait(self) -> float:
        """Wait for exit code 0; milliseconds from exec to exit. Raises BenchError."""
        exited = os.pidfd_open(self.pid)
        try:
            # Popen.wait() with a timeout looks again every 50 ms
            if not select.select([exited], [], [], _EXIT_SECONDS)[0]:
                raise BenchError(f"still running after {_EXIT_SECONDS} s: {self.last_words()}")
            ended = time.monotonic_ns()
        finally:
            os.close(exited)
        if code := self._popen.wait():
            raise BenchError(f"ended with {code}: {self.last_words()}")
        return (ended - self.started_ns) / 1e6

    def has_ended(self) -> bool:
        return self._popen.poll() is not None

    def last_words(self) -> str:
        """The end of what it has printed."""
        return " / ".join(self._log.read_text(errors="replace").splitlines()[-3:])

    def output(self) -> str:
        """All that it has printed."""
        return self._log.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


class Laboratory:
    """A pod and a guest for one measurement; a context manager that removes them and the processes in them.

    With `pod_interface` the pod has an eth0 with address and routes, as a CNI sets it up; without it there is only the
    link to the guest, and `tap0` has an address. Without `guest_link` there is no `tap0`, as before a VM's start.
    """

    def __init__(self, tools: Tools, *, pod_interface: bool, guest_link: bool = True) -> None:
        self.tools = tools
        self.pod, self.guest, self.node = (f"{_PREFIX}-{os.getpid()}-{role}" for role in ("pod", "guest", "node"))
        self._stack = contextlib.ExitStack()
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{_PREFIX}-")))
        self.directory.chmod(0o755)  # servers that give up root read their configuration here
        try:
            for name in (self.pod, self.guest, self.node):
                _ip("netns", "add", name)
                self._stack.callback(_remove, name)
            _batch(self.guest, "link set lo up")
            _quiet(self.guest)
            _batch(self.pod, "link set lo up")
            if guest_link:
                self._plug_guest()
            if pod_interface:
                self._plug_pod()
            else:
                _batch(self.pod, f"address add {PORT_ADDRESS}/24 dev {PORT}")
        except BaseException:
            self._stack.close()
            raise

    def _plug_guest(self) -> None:
        _batch(
            self.pod,
            f"link add {PORT} mtu {MTU} type veth peer name {GUEST_NIC} mtu {MTU} address {MAC} netns {self.guest}",
            f"link set {PORT} up",
        )
        _batch(self.guest, f"link set {GUEST_NIC} up")

    def _plug_pod(self) -> None:
        configuration = Path("/etc/netns", self.pod)
        self._stack.callback(shutil.rmtree, configuration, ignore_errors=True)
        configuration.mkdir(parents=True, exist_ok=True)
        (configuration / "resolv.conf").write_text(f"nameserver {DNS}\nsearch {' '.join(SEARCH)}\noptions ndots:5\n")
        _batch(
            self.pod,
            f"link add eth0 address {MAC} mtu {MTU} type veth peer name pod0 mtu {MTU} netns {self.node}",
            f"address add {ADDRESS}/24 dev eth0",
            "link set eth0 up",
        )
        _batch(self.node, f"address add {ROUTER}/24 dev pod0", "link set pod0 up")
        _batch(self.pod, f"route add default via {ROUTER}", f"route add {SERVICES} via {ROUTER}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self, words: Sequence[str | Path], cpu: int | None = None) -> Process:
        """Start a program in the pod, on one CPU if one is given."""
        name = f"{len(list(self.directory.glob('*.stamp')))}"
        stamp, log = self.directory / f"{name}.stamp", self.directory / f"{name}.log"
        stamp.touch()
        with log.open("wb") as output:
            pinned = [] if cpu is None else ["taskset", "--cpu-list", str(cpu)]
            return Process(_popen(self.pod, [*pinned, self.tools.stamp, stamp, *words], output), stamp, log)

    def load(self, mode: str, *options: str) -> dict[str, float]:
        """Run the load generator in the guest; raises BenchError."""
        return _answer(self._generator(mode, options))

    def first_offer(self, cpu: int | None = None) -> FirstOffer:
        """Start sending DISCOVERs until the first OFFER, on one CPU if one is given; a context manager."""
        pinned = [] if cpu is None else ["--cpu", str(cpu)]
        return FirstOffer(self._generator("first", ["--seconds", "10", *pinned]))

    def _generator(self, mode: str, options: Sequence[str]) -> subprocess.Popen[bytes]:
        return _popen(self.guest, [self.tools.load, *options, mode, GUEST_NIC, MAC, ADDRESS], subprocess.PIPE)


class FirstOffer:
    """A load generator that sends DISCOVERs until the first OFFER."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        time.sleep(0.1)  # it must be sending before the measured process starts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._popen.kill()
        self._popen.wait()

    def milliseconds_after(self, process: Process) -> float:
        """From the exec of a process to the first OFFER; raises BenchError when there was none."""
        try:
            offered = _answer(self._popen)["offered_at_ns"]
        except BenchError as error:
            raise BenchError(f"{error}; {process.last_words()}") from None
        return (offered - process.started_ns) / 1e6


def pss_mib(pid: int) -> tuple[float, float]:
    """Proportional set size of a process in MiB: as the kernel counts it, and as if no other process ran its program.

    The kernel divides a page by the number of processes that map it, so a program of which another copy runs (Python
    itself, here) counts less. The second figure counts all its mapped files in full, except the system's shared
    libraries.
    """
    proportional = alone = 0
    shared_library = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            path = words[5] if len(words) > 5 else ""
            shared_library = not path.startswith("/") or "-linux-gnu/" in path
        elif words[0] == "Pss:":
            proportional += int(words[1])
            alone += int(words[1]) if shared_library else 0
        elif words[0] == "Rss:":
            alone += 0 if shared_library else int(words[1])
    return proportional / 1024, alone / 1024


def cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process in nanoseconds, from the scheduler."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def sweep() -> None:
    """Remove the namespaces that killed runs have left."""
    for path in [*Path("/run/netns").glob(f"{_PREFIX}-*"), *Path("/etc/netns").glob(f"{_PREFIX}-*")]:
        if not Path("/proc", path.name.split("-")[1]).exists():
            if path.parent.parent == Path("/etc"):
                shutil.rmtree(path, ignore_errors=True)
            else:
                _remove(path.name)


def _compile(program: Path, *sources: Path) -> None:
    if shutil.which("gcc") is None:
        raise BenchError("gcc: not found; install the Debian package gcc")
    done = subprocess.run(["gcc", "-O2", "-o", program, *sources], check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"gcc {sources[0].name}: {done.stderr.strip()}")


def _popen(namespace: str, words: Sequence[str | Path], output: int | IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["ip", "netns", "exec", namespace, *words],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=HERE.parent,
        env=_ENVIRONMENT,
    )


def _answer(popen: subprocess.Popen[bytes]) -> dict[str, float]:
    try:
        printed = popen.communicate(timeout=70)[0].decode()
    finally:
        popen.kill()
        popen.wait()
    if popen.returncode:
        raise BenchError(printed.strip() or f"the load generator ended with {popen.returncode}")
    answer: dict[str, float] = json.loads(printed)
    return answer


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _batch(namespace: str, *lines: str) -> None:
    done = subprocess.run(
        ["ip", "-n", namespace, "-batch", "-"], input="\n".join(lines), check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise BenchError(f"ip -batch in {namespace}: {done.stderr.strip()}")


def _quiet(namespace: str) -> None:
    """Disable IPv6 in the guest: router solicitations and the like are not part of the load."""
    _ip("netns", "exec", namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")


def _remove(namespace: str) -> None:
    """Kill the processes in a namespace of ours, and delete it."""
    listed = subprocess.run(["ip", "netns", "pids", namespace], check=False, capture_output=True, text=True)
    for pid in listed.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)
