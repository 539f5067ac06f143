"""Base of the DHCP clients: private files, start, stop, and observation of the configured lease."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from launcher.testing.namespace import Namespace
from launcher.testing.waiting import PATIENCE

# The client may write all over /etc and /run: both are its own. $1 is its directory.
_PRIVATE_FILES = """
set -e
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/etc,workdir=$1/work" /etc 2>/dev/null || {
    cp -a /etc "$1/copy" && cp -a "$1/etc/." "$1/copy" && mount --bind "$1/copy" /etc
}
mount --bind "$1/run" /run
"""

_CLEAN_ENVIRONMENT = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8")


@dataclass(frozen=True, slots=True)
class Observed:
    """The network configuration that a client made from its lease, as the kernel and its files show it."""

    addresses: tuple[str, ...]
    """IPv4 addresses of the NIC with prefix length."""
    routes: frozenset[tuple[str, str]]
    """IPv4 routes as (destination, gateway), as in option 121: on-link is 0.0.0.0."""
    mtu: int
    """The largest packet: the lower of the link's MTU and the default route's."""
    nameservers: tuple[str, ...]
    search: tuple[str, ...]
    lease: str
    """The client's own record of the lease."""
    seconds: float
    """Seconds from the start of the client to this state."""

    @property
    def router(self) -> str | None:
        """The gateway of the default route."""
        return next((gateway for network, gateway in self.routes if network == "0.0.0.0/0"), None)


class Client(ABC):
    """One run of a DHCP client on the guest's NIC; a context manager that stops it."""

    name: ClassVar[str]
    classless_routes: ClassVar[bool] = True
    """Whether it applies option 121."""
    search_list: ClassVar[bool] = True
    """Whether it applies option 119."""
    probes: ClassVar[bool] = False
    """Whether it probes for another host with the address before using it (RFC 5227)."""
    patience: ClassVar[float] = 5
    """Seconds within which it has its lease on an idle machine, when the server answers at once."""
    clock: ClassVar[bool] = True
    """Whether it renews after T1 of option 58."""
    sulks: ClassVar[float] = 0
    """Seconds for which it does nothing after a NAK."""

    def __init__(self, guest: Namespace, nic: str = "eth0") -> None:
        self.guest = guest
        self.nic = nic
        self.directory = Path(tempfile.mkdtemp(prefix="vltest-client-"))
        self._process: subprocess.Popen[str] | None = None
        self._started = 0.0
        self.starts = 0
        for part in ("etc", "work", "run"):
            (self.directory / part).mkdir()
        (self.directory / "etc" / "resolv.conf").write_text("")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the client and remove its files. May be called twice."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    # Defined by each client

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """The command line of the program in the foreground; it has its own /etc and /run."""

    @abstractmethod
    def is_bound(self) -> bool:
        """Whether the client reports that it has applied a lease."""

    @abstractmethod
    def lease(self) -> str:
        """The client's own record of its lease."""

    def prepare(self) -> str:
        """Write its configuration; returns shell commands to run before it, with its files mounted."""
        return ""

    def renew(self) -> None:
        """Make it renew now.

        Raises:
            NotImplementedError: this client renews by its own clock only.
        """
        raise NotImplementedError(f"{self.name} renews by its own clock only")

    # The same for all

    def start(self) -> None:
        """Start the client; the files of an earlier start are still on its disk."""
        self.guest.ip(f"link set {self.nic} up")
        script = _PRIVATE_FILES + self.prepare() + '\nshift\nexec "$@"'
        with self.log_path.open("a") as log:
            self._started = time.monotonic()
            self.starts += 1
            self._process = self.guest.popen(
                [*_CLEAN_ENVIRONMENT, "sh", "-c", script, "sh", self.directory, *self.command()],
                stdout=log,
                stderr=log,
            )

    def acquire(self, timeout: float | None = None) -> Observed:
        """Start the client unless it runs, wait until it has applied a lease, and observe the result.

        Raises:
            AssertionError: it did not within `timeout` (by default the client's own patience); the message
                holds its log.
        """
        if self._process is None:
            self.start()
        self.wait_until_bound(timeout)
        return self.observe()

    def wait_until_bound(self, timeout: float | None = None) -> None:
        limit = max(self.patience, PATIENCE) if timeout is None else timeout
        deadline = time.monotonic() + limit
        while not self.is_bound():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name} has no lease after {limit:g} s:\n{self.log()}")
            time.sleep(0.01)

    def observe(self) -> Observed:
        """The present state of NIC and files."""
        routes = self.guest.ip_json(f"-4 route show dev {self.nic}")
        nameservers, search = self.resolver()
        limits = [self.guest.link(self.nic)["mtu"]]
        limits += [
            metric["mtu"]
            for route in routes
            if route["dst"] == "default"
            for metric in route.get("metrics", [])
            if "mtu" in metric
        ]
        return Observed(
            addresses=self.addresses(),
            routes=frozenset(map(_route, routes)),
            mtu=min(limits),
            nameservers=nameservers,
            search=search,
            lease=self.lease(),
            seconds=time.monotonic() - self._started,
        )

    def addresses(self) -> tuple[str, ...]:
        """IPv4 addresses of the NIC now, with prefix length."""
        links = self.guest.ip_json(f"-4 addr show dev {self.nic}")
        return tuple(f"{address['local']}/{address['prefixlen']}" for link in links for address in link["addr_info"])

    def resolver(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Name servers and search list that programs in the guest would use."""
        nameservers: list[str] = []
        search: list[str] = []
        for line in (self.etc / "resolv.conf").read_text().splitlines():
            match line.split():
                case ["nameserver", address]:
                    nameservers.append(address)
                case ["search", *domains] | ["domain", *domains]:
                    search = [domain.rstrip(".") for domain in domains]
        return tuple(nameservers), tuple(search)

    def stop(self) -> None:
        """Stop the client by SIGTERM, as an operating system that shuts down does."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """Kill it, without a message to the server; its files stay on its disk."""
        self.process.kill()
        self.process.wait()
        self._process = None

    @property
    def process(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process

    @property
    def etc(self) -> Path:
        """What the client wrote to /etc: the upper layer, or the copy where the kernel stacks no overlay."""
        copy = self.directory / "copy"
        return copy if copy.exists() else self.directory / "etc"

    @property
    def log_path(self) -> Path:
        return self.directory / "log"

    def log(self) -> str:
        """The output of all its starts."""
        return self.log_path.read_text(errors="replace")


def _route(route: dict[str, Any]) -> tuple[str, str]:
    destination = route["dst"]
    if destination == "default":
        destination = "0.0.0.0/0"
    elif "/" not in destination:
        destination += "/32"
    return destination, route.get("gateway", "0.0.0.0")
