"""Network namespaces for tests, which remove them and everything in them."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from launcher.testing.waiting import PATIENCE, wait_until

NETNS_DIRECTORY = Path("/run/netns")
CONFIGURATION_DIRECTORY = Path("/etc/netns")
PREFIX = "vltest"

_CLONE_NEWNET = 0x40000000
_LIMIT = 2 * PATIENCE
_sequence = itertools.count(1)
_libc = ctypes.CDLL(None, use_errno=True)


class CommandError(AssertionError):
    """A command in a namespace exited with an unexpected code; the message has its whole output."""

    def __init__(self, completed: subprocess.CompletedProcess[str], namespace: str) -> None:
        self.completed = completed
        message = (
            f"{' '.join(map(str, completed.args))} in {namespace}: exit code {completed.returncode}\n"
            f"{completed.stdout}{completed.stderr}".rstrip()
        )
        super().__init__(message.encode(errors="backslashreplace").decode())  # a report of xdist's must be UTF-8


class Namespace:
    """One named network namespace with loopback up; a context manager that removes it and what runs in it.

    The name carries the process id of the test run, so that what a killed run left behind is not confused with
    what another run is using (`sweep`).

    Args:
        role: what it stands for, the last part of the name ("pod", "node" …).
        resolv_conf: content of /etc/resolv.conf for programs started in it; None for the host's file.
    """

    def __init__(self, role: str, *, resolv_conf: str | None = None) -> None:
        self.role = role
        self.name = f"{PREFIX}-{os.getpid()}-{next(_sequence)}-{role}"
        self.path = NETNS_DIRECTORY / self.name
        self.configuration = CONFIGURATION_DIRECTORY / self.name
        self._children: list[subprocess.Popen[str]] = []
        _guard(os.getpid())
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.ip("link set lo up")
        if resolv_conf is not None:
            self.write_resolv_conf(resolv_conf)

    def __repr__(self) -> str:
        return f"<Namespace {self.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill every process in the namespace, then remove it. May be called twice."""
        _remove(self.name)
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=PATIENCE)
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream:
                    stream.close()
        self._children.clear()

    def write_resolv_conf(self, text: str) -> None:
        """Give programs that `run` and `popen` start (and `ip netns exec`) this /etc/resolv.conf."""
        self.configuration.mkdir(parents=True, exist_ok=True)
        (self.configuration / "resolv.conf").write_text(text)

    # Programs

    def command(self, arguments: Sequence[str | Path]) -> list[str]:
        """The argument list that runs `arguments` in this namespace."""
        return ["ip", "netns", "exec", self.name, *map(str, arguments)]

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        check: bool = True,
        stdin: str = "",
        timeout: float = _LIMIT,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program, wait for its exit and return its output.

        Raises:
            CommandError: it did not exit with 0 (unless `check` is false).
            subprocess.TimeoutExpired: it took longer than `timeout` seconds; it has been killed.
        """
        completed = subprocess.run(
            self.command(arguments),
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            env={**os.environ, **env} if env else None,
        )
        if check and completed.returncode != 0:
            raise CommandError(completed, self.name)
        return completed

    def popen(
        self,
        arguments: Sequence[str | Path],
        *,
        stdout: int | IO[Any] = subprocess.DEVNULL,
        stderr: int | IO[Any] = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a program; it is killed when the namespace is closed."""
        child = subprocess.Popen(
            self.command(arguments),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            errors="surrogateescape",
            env={**os.environ, **env} if env else None,
        )
        self._children.append(child)
        return child

    def processes(self) -> list[int]:
        """Pids of all running processes in it, except this one."""
        return _pids(self.name)

    # Network configuration

    def ip(self, *lines: str) -> None:
        """Run `ip` command lines (without the word `ip`) in one batch; the first that fails raises
        CommandError."""
        batch = ["ip", "-n", self.name, "-batch", "-"]
        completed = subprocess.run(
            batch, check=False, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=2 * PATIENCE
        )
        if completed.returncode != 0:
            completed.stderr += "".join(f"{n:4}: {line}\n" for n, line in enumerate(lines, start=1))
            raise CommandError(completed, self.name)

    def ip_json(self, arguments: str) -> list[dict[str, Any]]:
        """What `ip -j ARGUMENTS` prints, e.g. `ip_json("-4 route show table all")`."""
        command = ["ip", "-n", self.name, "-j", *arguments.split()]
        completed = subprocess.run(
            command, check=False, capture_output=True, text=True, errors="surrogateescape", timeout=_LIMIT
        )
        if completed.returncode != 0:
            raise CommandError(completed, self.name)
        parsed: list[dict[str, Any]] = json.loads(completed.stdout or "[]", strict=False)
        return [entry for entry in parsed if entry]

    def link(self, name: str) -> dict[str, Any]:
        """`ip -d -j link show` of one interface."""
        return self.ip_json(f"-d link show dev {name}")[0]

    def has_link(self, name: str) -> bool:
        return any(link["ifname"] == name for link in self.ip_json("link show"))

    def sysctl(self, **values: int | str) -> None:
        """Set sysctls below `net.`; `__` stands for the dot: `sysctl(ipv4__ip_forward=1)`."""
        for name, value in values.items():
            self.write_sysctl(name.replace("__", "/"), value)

    def write_sysctl(self, path: str, value: int | str) -> None:
        """Set one sysctl by its path below /proc/sys/net, e.g. `ipv4/conf/eth0/arp_ignore`."""
        with self.entered():
            Path("/proc/sys/net", path).write_text(str(value))

    def read_sysctl(self, path: str) -> str:
        with self.entered():
            return Path("/proc/sys/net", path).read_text().strip()

    # This process inside the namespace

    def entered(self) -> contextlib.AbstractContextManager[None]:
        """`entered(self)`."""
        return entered(self.path)

    def await_up(self, name: str) -> None:
        """Wait until an interface is operational. The kernel drops what is sent in the moments between `link set up`
        and that, as its queue is not there yet."""
        wait_until(lambda: self.link(name)["operstate"] == "UP", log=lambda: self.link(name))

    def settle(self, timeout: float = PATIENCE) -> None:
        """Wait until no IPv6 address of the namespace is tentative any more."""
        deadline = time.monotonic() + timeout
        while any(link["addr_info"] for link in self.ip_json("-6 addr show tentative")):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: IPv6 addresses still tentative after {timeout:g} s")
            time.sleep(0.02)


@contextlib.contextmanager
def entered(namespace: Namespace | str | Path) -> Iterator[None]:
    """Move the calling thread into a network namespace: sockets that it opens and /proc/sys/net are the namespace's.

    Mounts stay the caller's: /sys and /etc/resolv.conf do not follow. `namespace` may be a name or a path.
    """
    path = namespace.path if isinstance(namespace, Namespace) else NETNS_DIRECTORY / namespace
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        inside = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set_network_namespace(inside)
        finally:
            os.close(inside)
        try:
            yield
        finally:
            _set_network_namespace(back)
    finally:
        os.close(back)


@functools.cache
def _guard(pid: int) -> subprocess.Popen[bytes]:
    """A process that removes what this one has made, when this one ends in whatever way.

    It waits for the end of a pipe whose other end is this process's alone; `pid` is this process, for the cache.
    """
    script = (
        "trap '' HUP INT TERM; cat >/dev/null; cd /run/netns 2>/dev/null || exit; "
        'for name in "$0"-*; do test -e "$name" || continue; '
        'kill -9 $(ip netns pids "$name") 2>/dev/null; ip netns delete "$name"; rm -rf "/etc/netns/$name"; done'
    )
    return subprocess.Popen(
        ["sh", "-c", script, f"{PREFIX}-{pid}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def sweep() -> None:
    """Remove the namespaces of test runs that were killed before they could clean up."""
    if not NETNS_DIRECTORY.is_dir():
        return
    for path in NETNS_DIRECTORY.glob(f"{PREFIX}-*"):
        owner = path.name.split("-")[1]
        if owner.isdigit() and not Path("/proc", owner).exists():
            _remove(path.name)


def _remove(name: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while pids := _pids(name):
        # a process may fork meanwhile: repeat until none is left
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(0.005)
    if (NETNS_DIRECTORY / name).exists():
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
    shutil.rmtree(CONFIGURATION_DIRECTORY / name, ignore_errors=True)


def _pids(name: str) -> list[int]:
    """Running processes of a namespace, without zombies, which hold no namespace, and without this process."""
    if not (NETNS_DIRECTORY / name).exists():
        return []
    listed = subprocess.run(["ip", "netns", "pids", name], check=False, capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split() if int(pid) != os.getpid()]


def _set_network_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
