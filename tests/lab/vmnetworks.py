"""Networks of a VM as their bindings make them, for tests that begin behind the plan."""

from __future__ import annotations

import dataclasses
from typing import Any

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
