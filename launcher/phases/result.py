"""What the phase `network` hands on: the VM's networks as libvirt joins them, and how the set-up went."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dhcp.lean.frozen import Frozen, as_dict
from launcher.interface_xml import interface_xml

if TYPE_CHECKING:
    from launcher.vmi.model import InterfaceSpec
    from netsetup.model.vm_network import VMNetwork


class Network(Frozen):
    """One network of the VM, ready for libvirt."""

    name: str
    binding: str
    pod_interface: str
    bridge: str
    guest_port: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    """The pod's addresses in CIDR form, both families, those of the primary family first."""
    interface_xml: str


class PodNetwork(Frozen):
    """The hook's result: the networks, the DHCP server, times in milliseconds."""

    networks: dict[str, Network]
    """By name, in the order of the request."""
    dhcp_pid: int | None
    """The DHCP server's process; None when nothing is served, or by a process of another PID namespace."""
    elapsed_ms: dict[str, float]
    """Of `discover`, `plan`, `apply`, `serve` and `total`."""
    plan: tuple[str, ...]
    """The steps applied (in a dry run: to be applied), a line each; none on a pod that was set up already."""
    configs: tuple[dict[str, object], ...]
    """The DHCP server's configuration of each network that is served."""
    warnings: tuple[str, ...] = ()
    """What the VM goes without, and why, a line each."""
    fresh: bool = True
    """Whether the pod was as the CNI left it, rather than set up by an earlier run."""

    def as_json(self) -> dict[str, object]:
        """The JSON object of `prestart --output json`."""
        return {
            "networks": [as_dict(network) for network in self.networks.values()],
            "dhcp": {"pid": self.dhcp_pid},
            "elapsed_ms": self.elapsed_ms,
            "warnings": list(self.warnings),
        }


def network_of(network: VMNetwork, interface: InterfaceSpec) -> Network:
    """A network that is set up, as the VM's interface of its name joins it."""
    from netsetup.bindings.registry import binding_of

    attached = binding_of(network.binding).interface_element(network)
    return Network(
        name=network.name,
        binding=network.binding,
        pod_interface=network.pod.name,
        bridge=network.bridge,
        guest_port=network.guest_port,
        mac=network.mac,
        mtu=network.mtu,
        addresses=_primary_first(a.cidr for a in network.pod.addresses if a.is_global),
        interface_xml=interface_xml(interface, attached, network.mac, network.mtu),
    )


def _primary_first(addresses: Iterable[str]) -> tuple[str, ...]:
    """The pod's addresses, those of the primary family first.

    That is the family of MY_POD_IP, which Kubernetes' downward API sets to the first address of the pod's status.
    Without it, or with something else than an address in it, the order is the kernel's.
    """
    primary = os.environ.get("MY_POD_IP", "")
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in primary else socket.AF_INET, primary)
    except (OSError, ValueError):
        return tuple(addresses)
    return tuple(sorted(addresses, key=lambda address: (":" in address) != (":" in primary)))
