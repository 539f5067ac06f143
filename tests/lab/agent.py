"""Runs the program under test by its command line inside a pod, as a container does."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dhcp.daemon.connection import connect
from dhcp.daemon.registration import FIXED, find_registered
from lab.cni import CniPod
from lab.containers import ContainerNetwork
from lab.namespace import Namespace
from lab.pod import Pod
from lab.waiting import PATIENCE

DIRECT = ("bridge", "fwd")
"""The bindings whose VM has the pod's own addresses."""
ORDINARY_USER = [
    *("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
]
"""Starts a program as nobody, who may read what root may: the tests' own files may lie below /root."""


class Agent:
    """`virt-launcher` in one pod, with a state directory of its own; a context manager that removes the directory.

    It does not tear down what it set up: the pod's namespaces are removed anyway.

    Args:
        pod: where it runs.
        namespace: one of the pod's other namespaces instead, e.g. the neighbour as a second VM's pod.
        binding: the binding in the manifest, unless a test brings a manifest of its own.
    """

    def __init__(
        self, pod: Pod | CniPod | ContainerNetwork, namespace: Namespace | None = None, *, binding: str = "bridge"
    ) -> None:
        self.pod = pod
        self.binding = binding
        self.namespace = namespace or pod.pod
        self._directory = tempfile.TemporaryDirectory(prefix="vltest-state-")
        self.state_directory = Path(self._directory.name, "state")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._directory.cleanup()

    def run(
        self, verb: str, *arguments: str | Path, prefix: Sequence[str] = (), check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb and return its result. `prefix` is a program that starts it, e.g. to drop capabilities.

        Returns when the program has exited *and* no process holds its output open any more.
        """
        return self.namespace.run([*prefix, *self.command(verb), *arguments], check=check)

    def command(self, verb: str) -> list[str]:
        """The beginning of a command line: program, verb and this agent's state directory.

        Where the interface is not called eth0, or the binding is not the usual one, `prestart` has a manifest that
        says so; another `--vmi` after it takes its place.
        """
        manifest = []
        if verb == "prestart" and (self.pod.interface != "eth0" or self.binding != "bridge"):
            manifest = ["--vmi", str(self._manifest())]
        return [self.program(), verb, "--state-dir", str(self.state_directory), *manifest]

    @staticmethod
    def program() -> str:
        """Path of `virt-launcher`, installed beside the Python that runs the tests."""
        return str(Path(sys.executable).with_name("virt-launcher"))

    def prestart(self, *arguments: str | Path) -> dict[str, Any]:
        """`prestart --output json`, which must succeed; what it printed."""
        completed = self.run("prestart", "--output", "json", *arguments, check=True)
        printed: dict[str, Any] = json.loads(completed.stdout)
        return printed

    def _manifest(self) -> Path:
        path = Path(self._directory.name, "vmi.json")
        devices = {"interfaces": [{"name": "default", **binding_field(self.binding)}]}
        manifest = {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstance",
            "metadata": {"name": "vm", "annotations": {"virt-launcher.io/mac": "pod"}},
            "spec": {
                "hostname": socket.gethostname().partition(".")[0].lower(),
                "domain": {"memory": {"guest": "64Mi"}, "devices": devices},
                "networks": [{"name": "default", "pod": {}}],
            },
            "status": {"interfaces": [{"name": "default", "podInterfaceName": self.pod.interface}]},
        }
        path.write_text(json.dumps(manifest))
        return path

    def serve(self, **changes: object) -> None:
        """Reconfigure the server: `prestart`'s configuration with these fields changed, e.g. `lease_seconds=20`.

        None removes a field. The next `prestart` reverts the changes.
        """
        configs = self.prestart("--dry-run")["configs"]
        with self.namespace.entered():
            server = connect()
            assert server, "no server runs"
            changed = [(config | changes).items() for config in configs]
            server.configure([{key: value for key, value in items if value is not None} for items in changed])
            server.release()

    def teardown(self) -> None:
        """Run `teardown`, which must succeed."""
        self.run("teardown", check=True)

    def status(self) -> dict[str, Any]:
        """What `status --output json` prints."""
        printed: dict[str, Any] = json.loads(self.run("status", "--output", "json", check=True).stdout)
        return printed

    def log(self) -> str:
        """The DHCP server's log, which it writes when it is idle."""
        return (self.state_directory / "dhcp.log").read_text()

    def wait_for_log(self, text: str, timeout: float = PATIENCE) -> str:
        """Wait for a line with this text in the server's log, and return the first.

        Raises:
            AssertionError: it did not come; the message is the log.
        """
        deadline = time.monotonic() + timeout
        while True:
            log = self.log()
            for line in log.splitlines():
                if text in line:
                    return line
            if time.monotonic() > deadline:
                raise AssertionError(f"no {text!r} in the server's log:\n{log}")
            time.sleep(0.01)


def binding_field(name: str) -> dict[str, Any]:
    """How a manifest's interface names its binding: KubeVirt has fields for some, and plugs in all others by name."""
    return {name: {}} if name in ("bridge", "masquerade") else {"binding": {"name": name}}


def control_address(namespace: Namespace) -> bytes:
    """The name of the DHCP server's control socket."""
    with namespace.entered():
        return (find_registered() or FIXED)[0]


def fill_backlog(namespace: Namespace) -> None:
    """Connect to the DHCP server's control socket until it takes no more: a caller that waits would wait for ever."""
    address = control_address(namespace)
    with namespace.entered(), contextlib.suppress(BlockingIOError):
        while True:
            caller = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            caller.setblocking(False)
            try:
                caller.connect(address)
            finally:
                caller.close()
