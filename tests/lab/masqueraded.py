"""A pod in the masquerade binding, with a guest that has the VM's addresses set by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.agent import Agent
from lab.checks import pings
from lab.pod import GUEST_NIC, Pod
from lab.snapshot import Snapshot, take_snapshot

ROUTER_LINK_LOCAL = "fe80::ff:fe00:0"


def manifest(
    *,
    interface: dict[str, Any] | None = None,
    network: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    secondary: Sequence[str] = (),
) -> dict[str, Any]:
    """A manifest with a masqueraded NIC, and a bridged one for each `secondary` network."""
    interfaces = [{"name": "default", "masquerade": {}, **(interface or {})}]
    interfaces += [{"name": name, "bridge": {}} for name in secondary]
    networks: list[dict[str, Any]] = [{"name": "default", "pod": network or {}}]
    networks += [{"name": name, "multus": {"networkName": name}} for name in secondary]
    document: dict[str, Any] = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm", **(metadata or {})},
        "spec": {
            "domain": {"memory": {"guest": "128Mi"}, "devices": {"interfaces": interfaces}},
            "networks": networks,
        },
    }
    return document | ({"status": status} if status else {})


def write_manifest(directory: Path, **options: Any) -> Path:
    """Write `manifest` with these options to a file."""
    file = directory / "vmi.json"
    file.write_text(json.dumps(manifest(**options)))
    return file


class Masqueraded:
    """A pod with its VM's network set up, and a guest configured by hand; a context manager.

    Args:
        pod: where.
        networks: the VM's networks of both families, where they are not the usual ones.
        options: what `manifest` takes.
    """

    def __init__(self, pod: Pod, networks: Sequence[str] = ("10.0.2", "fd10:0:2:"), **options: Any) -> None:
        self.pod, self.node, self.guest, self.inside = pod, pod.node, pod.guest, pod.pod
        self.original: Snapshot = take_snapshot(pod.pod)
        self.agent = Agent(pod)
        self.agent.state_directory.mkdir()
        self.file = self.write(**options)
        self.printed = self.prestart()
        self.network: dict[str, Any] = self.printed["networks"][0]
        self.guest4, self.gateway4 = f"{networks[0]}.2", f"{networks[0]}.1"
        self.guest6, self.gateway6 = f"{networks[1]}:2", f"{networks[1]}:1"
        families = [":" in address for address in self.network["addresses"]]
        self._configure_guest(ipv4=False in families, ipv6=True in families)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.agent.__exit__(kind, error, trace)

    def write(self, **options: Any) -> Path:
        """Another manifest for the next `prestart`."""
        return write_manifest(self.agent.state_directory.parent, **options)

    def prestart(self) -> dict[str, Any]:
        return self.agent.prestart("--vmi", self.file)

    def status(self) -> dict[str, Any]:
        """The status of the masqueraded network."""
        network: dict[str, Any] = self.agent.status()["networks"][0]
        return network

    def address(self, version: int) -> str:
        """The pod's own address, at which the VM is reached."""
        addresses: list[str] = self.network["addresses"]
        return next(a.partition("/")[0] for a in addresses if (":" in a) == (version == 6))

    def _configure_guest(self, *, ipv4: bool, ipv6: bool) -> None:
        self.guest.write_sysctl(f"ipv6/conf/{GUEST_NIC}/accept_ra", 0)  # advertisements have tests of their own
        lines = [
            f"link set {GUEST_NIC} address {self.network['mac']} mtu {self.network['mtu']}",
            f"link set {GUEST_NIC} up",
        ]
        if ipv4:
            lines += [f"addr add {self.guest4}/24 dev {GUEST_NIC}", f"route add default via {self.gateway4}"]
        if ipv6:
            lines += [
                f"addr add {self.guest6}/120 dev {GUEST_NIC} nodad",
                f"route add default via {ROUTER_LINK_LOCAL} dev {GUEST_NIC}",
            ]
        self.guest.ip(*lines)
        for gateway in [self.gateway4] * ipv4 + [self.gateway6] * ipv6:
            pings(self.guest, gateway)  # waits for the guest port to forward
        if ipv6:
            # The node's bridge drops the first solicitations, until it has learnt the pod's multicast groups.
            self.node.run(["ping", "-q", "-c", "5", "-i", "0.2", "-w", "3", self.address(6)], check=False)
