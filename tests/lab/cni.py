"""Pods made by Debian's CNI plugins, called as a container runtime calls them (CNI specification 1.0.0)."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.namespace import Namespace
from lab.pod import RESOLV_CONF, plug_guest
from lab.shape import OUTSIDE

PLUGINS_DIRECTORY = Path("/usr/lib/cni")
VERSION = "1.0.0"

Plugin = Mapping[str, object]


class CniPod:
    """Node, pod and guest as namespaces, the pod's `eth0` made by a chain of plugins; a context manager.

    The node has an uplink `up0`, which may be the parent of a macvlan, and is the outside world too.

    Args:
        plugins: their configurations in the order of the chain, without name and version. `host-local` keeps its
            addresses where this pod says.
    """

    interface = "eth0"

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="vltest-cni-")
        self.leases = Path(self._directory.name, "leases")
        self._plugins = [self._with_leases(plugin) for plugin in plugins]
        with contextlib.ExitStack() as stack:
            stack.callback(self._directory.cleanup)
            self.node = stack.enter_context(Namespace("node"))
            self.pod = stack.enter_context(Namespace("pod", resolv_conf=RESOLV_CONF))
            self.guest = stack.enter_context(Namespace("guest", resolv_conf=""))
            self.node.ip(
                "link add up0 type veth peer name up1",
                "link set up1 up",
                "link set up0 up",
                f"addr add {OUTSIDE}/32 dev lo",
            )
            self.result = self.add()
            self.mac: str = self.pod.link(self.interface)["address"]
            plug_guest(self.pod, self.guest, self.mac)
            self.pod.settle()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self) -> dict[str, Any]:
        """ADD of the pod, along the chain; the last plugin's result."""
        return self._add(self.pod, self._plugins)

    def delete(self) -> None:
        """DEL of the pod, against the chain. Raises CommandError when a plugin fails."""
        for plugin in reversed(self._plugins):
            self._call("DEL", self.pod, plugin, self.result)

    def add_neighbour(self) -> Namespace:
        """Another pod of the node, with the next address, without the plugins that only one pod can have."""
        neighbour = self._stack.enter_context(Namespace("neighbour", resolv_conf=RESOLV_CONF))
        self._add(neighbour, [{k: v for k, v in p.items() if k not in ("mac", "runtimeConfig")} for p in self._plugins])
        return neighbour

    def reserved(self) -> list[str]:
        """The addresses that host-local holds."""
        return sorted(path.name for path in self.leases.glob("*/[0-9]*"))

    def _add(self, namespace: Namespace, plugins: Sequence[Plugin]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for plugin in plugins:
            result = json.loads(self._call("ADD", namespace, plugin, result))
        return result

    def _call(self, command: str, namespace: Namespace, plugin: Plugin, previous: Mapping[str, Any]) -> str:
        configuration = {"cniVersion": VERSION, "name": "net", **plugin}
        if previous:
            configuration["prevResult"] = previous
        program = PLUGINS_DIRECTORY / str(plugin["type"])
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": namespace.name,
            "CNI_NETNS": str(namespace.path),
            "CNI_IFNAME": self.interface,
            "CNI_PATH": str(PLUGINS_DIRECTORY),
        }
        return self.node.run([program], stdin=json.dumps(configuration), env=variables).stdout

    def _with_leases(self, plugin: Plugin) -> Plugin:
        ipam = plugin.get("ipam")
        return {**plugin, "ipam": {**ipam, "dataDir": str(self.leases)}} if isinstance(ipam, Mapping) else plugin
