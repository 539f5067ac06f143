"""podman on a node of its own: images of this tree, containers, and pods from Kubernetes' YAML."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.namespace import Namespace
from lab.waiting import PATIENCE, wait_until

ROOT = Path(__file__).parent.parent.parent
STORE = ROOT / ".cache/containers"
IMAGE = "localhost/virt-launcher"
BUILD_SECONDS = 900
"""What a first build may take, which downloads Debian's packages; later ones take what has changed."""

_CONFIGURATION = """\
[containers]
base_hosts_file = "none"
default_ulimits = ["nofile=10000:10000", "nproc=30000:30000"]
init_path = "/usr/bin/catatonit"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "runc"
"""
"""Without CAP_SYS_RESOURCE podman's own limits cannot be set, and without systemd cgroups are made by hand. Locks in
shared memory would be those of every podman on this machine, and so would its /etc/hosts be every container's."""


def build_images() -> None:
    """`make image` of this tree, whose store is kept below .cache; one run at a time."""
    STORE.mkdir(parents=True, exist_ok=True)
    with (STORE / "lock").open("w") as lock, tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        fcntl.flock(lock, fcntl.LOCK_EX)
        options = ("--root", STORE / "store", "--runroot", STORE / "run", "--storage-driver", "overlay")
        podman = " ".join(map(str, ("podman", *options)))
        done = subprocess.run(
            ["make", "image", f"PODMAN={podman}", f"IMAGE={IMAGE}"],
            cwd=ROOT,
            env=_environment(Path(directory)),
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
        )
    assert done.returncode == 0, done.stdout + done.stderr


def _environment(directory: Path) -> dict[str, str]:
    configuration = directory / "containers.conf"
    configuration.write_text(_CONFIGURATION)
    own = {"CONTAINERS_CONF": str(configuration)}
    return {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | own


class Engine:
    """podman of some user, by its command line."""

    def run(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run podman. Raises AssertionError, with its output, where it fails."""
        raise NotImplementedError

    def inspect(self, name: str) -> dict[str, Any]:
        """What podman says of a container, a pod or an image."""
        found = json.loads(self.run("inspect", name).stdout)
        described: dict[str, Any] = found[0] if isinstance(found, list) else found
        return described

    def logs(self, name: str) -> str:
        """Both streams of a container."""
        done = self.run("logs", name, check=False)
        return done.stdout + done.stderr


class Podman(Engine):
    """podman in the network namespace of a node, with a store of its own on top of that of the images.

    A context manager that removes its containers, their networks and their files.
    """

    def __init__(self) -> None:
        # The paths of sockets below it are limited
        self._directory = tempfile.TemporaryDirectory(prefix="vltest-")
        self.folder = Path(self._directory.name)
        self.node = Namespace("node")
        self._environment = _environment(self.folder)
        # Where podman's networks and their name server are known, of which there would be one for the whole machine
        Path("/run/containers").mkdir(exist_ok=True)
        own = self.folder / "run-containers"
        own.mkdir()
        hold = f"mount --bind {own} /run/containers && echo mounted && exec sleep infinity"
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", hold], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == "mounted\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for remove in (("pod", "rm"), ("rm",)):
            self.run(*remove, "--all", "--force", "--time", "0", check=False)
        self.node.close()
        self._holder.kill()
        self._holder.communicate()
        self._directory.cleanup()

    def run(
        self, *arguments: str | Path, check: bool = True, stdin: str = "", timeout: float = 2 * PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run podman. Raises AssertionError, with its output, where it fails."""
        __tracebackhide__ = True
        # not by `ip netns exec`, whose /sys has no cgroups
        enter = ["nsenter", f"--net={self.node.path}", f"--mount=/proc/{self._holder.pid}/ns/mnt", "podman"]
        store = ["--root", self.folder / "store", "--runroot", self.folder / "run", "--tmpdir", self.folder / "tmp"]
        images = ["--storage-driver", "overlay", "--storage-opt", f"overlay.imagestore={STORE / 'store'}"]
        networks = ["--network-config-dir", self.folder / "networks"]
        command = [*enter, *store, *images, *networks, *arguments]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, env=self._environment
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def network(self, name: str, *subnets: str) -> None:
        """Make a network, of both families where there are two subnets."""
        families = ["--ipv6"] if len(subnets) > 1 else []
        self.run("network", "create", *families, *(word for each in subnets for word in ("--subnet", each)), name)

    def wait_for_log(self, name: str, pattern: str, seconds: float, count: int = 1) -> re.Match[str]:
        """Wait for the `count`-th match in a container's log, and return it."""
        __tracebackhide__ = True
        found: list[re.Match[str]] = []

        def is_there() -> bool:
            found[:] = re.finditer(pattern, self.logs(name), re.MULTILINE)
            return len(found) >= count

        wait_until(is_there, seconds, log=lambda: self.logs(name))
        return found[count - 1]

    def play(self, documents: str, *options: str) -> None:
        """`podman kube play`."""
        path = self.folder / "play.yaml"
        path.write_text(documents)
        self.run("kube", "play", *options, path)
