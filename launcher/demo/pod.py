"""The demo's node and pod: two network namespaces, connected by a CNI plugin or, without one, by a veth pair."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

CNI_PLUGINS = Path("/usr/lib/cni")
MTU = 1400
SUBNET, NODE_ADDRESS, POD_ADDRESS = "10.244.77.0/24", "10.244.77.1/24", "10.244.77.2/24"
RESOLV_CONF = """\
nameserver 10.96.0.10
search default.svc.cluster.local svc.cluster.local cluster.local
options ndots:5
"""


class DemoError(RuntimeError):
    """A step of the demo failed; the message says which."""


class DemoPod:
    """The namespaces of node and pod; a context manager that removes both."""

    def __init__(self, scratch: Path) -> None:
        """`scratch` is a directory for the IPAM plugin's data."""
        self.node = f"demo{os.getpid()}-node"
        self.pod = f"demo{os.getpid()}-pod"
        self.built_by = ""
        self._scratch = scratch
        self._etc = Path("/etc/netns") / self.pod

    def __enter__(self) -> DemoPod:
        try:
            for namespace in (self.node, self.pod):
                command("ip", "netns", "add", namespace)
                command("ip", "-n", namespace, "link", "set", "lo", "up")
            self._etc.mkdir(parents=True)
            (self._etc / "resolv.conf").write_text(RESOLV_CONF)
            if all((CNI_PLUGINS / plugin).exists() for plugin in ("bridge", "host-local")):
                self._connect_by_cni()
                self.built_by = "the CNI plugins bridge and host-local"
            else:
                self._connect_by_veth()
                self.built_by = "a veth pair"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for namespace in (self.pod, self.node):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)
        shutil.rmtree(self._etc, ignore_errors=True)

    def ping(self, address: str) -> bool:
        """Whether `address` answers a ping from the node."""
        words = ["ip", "netns", "exec", self.node, "ping", "-c", "1", "-W", "2", address]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def snapshot(self) -> dict[str, Any]:
        """The pod's links, addresses, routes and permanent neighbours, as `ip -j` prints them."""
        return {
            "addr": _json("ip", "-n", self.pod, "-d", "-j", "addr"),
            "route": _json("ip", "-n", self.pod, "-j", "route", "show", "table", "all"),
            "route6": _json("ip", "-n", self.pod, "-j", "-6", "route", "show", "table", "all"),
            "neighbour": _json("ip", "-n", self.pod, "-j", "neigh", "show", "nud", "permanent"),
        }

    def _connect_by_cni(self) -> None:
        network = {
            "cniVersion": "1.0.0",
            "name": "demo",
            "type": "bridge",
            "bridge": "cni0",
            "isDefaultGateway": True,
            "mtu": MTU,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self._scratch / "ipam"),
                "ranges": [[{"subnet": SUBNET}]],
            },
        }
        environment = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": self.pod,
            "CNI_NETNS": f"/run/netns/{self.pod}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(CNI_PLUGINS),
            "PATH": os.environ.get("PATH", os.defpath),
        }
        plugin = str(CNI_PLUGINS / "bridge")
        command("ip", "netns", "exec", self.node, plugin, text=json.dumps(network), environment=environment)

    def _connect_by_veth(self) -> None:
        node, pod = ("ip", "-n", self.node), ("ip", "-n", self.pod)
        ends = ("type", "veth", "peer", "name", "pod0", "mtu", str(MTU), "netns", self.node)
        command(*pod, "link", "add", "eth0", "mtu", str(MTU), *ends)
        command(*node, "address", "add", NODE_ADDRESS, "dev", "pod0")
        command(*node, "link", "set", "pod0", "up")
        command(*pod, "address", "add", POD_ADDRESS, "broadcast", "+", "dev", "eth0")
        command(*pod, "link", "set", "eth0", "up")
        command(*pod, "route", "add", "default", "via", NODE_ADDRESS.partition("/")[0])


def command(*words: str, text: str = "", environment: dict[str, str] | None = None) -> str:
    """Run a program and return its standard output. Raises DemoError with the first line of its error."""
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError:
        raise DemoError(f"{words[0]} is not installed; `make demo-packages` installs it") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise DemoError(f"{' '.join(words)}: {lines[0]}")
    return done.stdout


def _json(*words: str) -> Any:
    return json.loads(command(*words) or "[]")
