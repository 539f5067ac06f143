"""Networks of a VM: in a manifest, and as their bindings make them, for tests that begin behind the plan."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from lab.agent import binding_field
from netsetup.bindings import keeper, masquerade
from netsetup.model.pod_interface import PodInterface
from netsetup.model.private_network import PrivateNetwork
from netsetup.model.vm_network import VMNetwork


def bridged(pod: PodInterface, *, mtu: int = 1450, mac: str = "", **more: Any) -> VMNetwork:
    """The VM has the pod's addresses, and unless said otherwise its MAC."""
    guest = keeper.guest_of(pod, mac or pod.link.mac, "pod")
    return VMNetwork("default", "bridge", pod, "tap0", guest, mtu, "k6t-eth0", **more)


def masqueraded(pod: PodInterface, private: PrivateNetwork | None = None, *, mtu: int = 1450) -> VMNetwork:
    """The VM is behind the pod."""
    private = private or PrivateNetwork()
    guest = masquerade.guest_of(pod, private, "02:00:00:00:00:07", "derived")
    return dataclasses.replace(bridged(pod, mtu=mtu), binding="masquerade", guest=guest, private=private)


def manifest(file: Path, **bindings: str) -> Path:
    """A VM with a network of each name; the first is the pod network, the others are on net1, net2 …"""
    names = list(bindings)
    networks: list[dict[str, object]] = [{"name": names[0], "pod": {}}] if names else []
    networks += [{"name": name, "multus": {"networkName": name}} for name in names[1:]]
    interfaces = [{"name": name, **binding_field(binding)} for name, binding in bindings.items()]
    devices = {"interfaces": interfaces, "autoattachPodInterface": bool(names)}
    spec = {"domain": {"memory": {"guest": "64Mi"}, "devices": devices}, "networks": networks}
    kind = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance"}
    file.write_text(json.dumps(kind | {"metadata": {"name": "vm"}, "spec": spec}))
    return file
