"""One request: all that a VM asks of its pod's network, by the names of the VM's networks. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from dhcp.lean.frozen import Frozen
from launcher.vmi.model import DEFAULT_INTERFACE, InterfaceSpec

if TYPE_CHECKING:
    from launcher.vmi.model import VirtualMachineInstance
    from netsetup.model.private_network import PrivateNetwork
    from netsetup.model.request import NetworkRequest
    from netsetup.model.vm_network import GuestOptions


class SetupRequest(Frozen):
    """What `setup_pod_network` is asked for. Nothing in it is found by its position."""

    interfaces: Mapping[str, InterfaceSpec]
    """By the network's name, in the order in which the VM has them."""
    hostname: str | None = None
    """Option 12; None for this host's."""
    subdomain: str | None = None
    isolated: bool = True
    """Whether the guest is held to its own addresses."""
    stable_id: str | None = None
    """What names the VM wherever it runs: MACs that the manifest does not give are derived from it."""

    @classmethod
    def default(cls) -> SetupRequest:
        """The pod network, bridged to one virtio NIC."""
        return cls.of(DEFAULT_INTERFACE)

    @classmethod
    def of(cls, *interfaces: InterfaceSpec) -> SetupRequest:
        """These interfaces, and defaults for all else."""
        return cls({interface.name: interface for interface in interfaces})

    @classmethod
    def from_vmi(cls, vmi: VirtualMachineInstance) -> SetupRequest:
        """What a manifest asks for."""
        return cls(
            interfaces={interface.name: interface for interface in vmi.interfaces},
            hostname=vmi.hostname,
            subdomain=vmi.subdomain,
            isolated=vmi.isolated,
            stable_id=vmi.stable_id,
        )

    def guest_options(self, interface: InterfaceSpec, hostname: str) -> GuestOptions:
        """What the VM is given on one network besides its addresses; `hostname` is used where none is asked for."""
        from netsetup.model.vm_network import GuestOptions

        wanted = interface.dhcp_options
        return GuestOptions(
            hostname=hostname if self.hostname is None else self.hostname,
            subdomain=self.subdomain or "",
            ntp=wanted.ntp,
            tftp_server=wanted.tftp_server or "",
            boot_file=wanted.boot_file or "",
            private=wanted.private,
        )

    def network_requests(self, present: Collection[str], hostname: str) -> list[NetworkRequest]:
        """What each network asks of the pod, whose interfaces `present` are."""
        from netsetup.model.request import NetworkRequest

        requests = []
        ordinal = 0
        for interface in self.interfaces.values():
            ordinal += not interface.is_primary
            pod_interface, guest_port = _devices(interface, ordinal, present)
            requests.append(
                NetworkRequest(
                    name=interface.name,
                    binding=interface.binding,
                    pod_interface=pod_interface,
                    guest_port=guest_port,
                    mac=interface.mac,
                    stable_id=f"{self.stable_id} {interface.name}" if self.stable_id else "",
                    mtu=interface.mtu,
                    queues=interface.queues,
                    isolated=self.isolated,
                    options=self.guest_options(interface, hostname),
                    private=_private_network(interface),
                )
            )
        return requests


def _private_network(interface: InterfaceSpec) -> PrivateNetwork:
    """The VM's own network, for a binding that gives it one, and what is forwarded to the VM."""
    from netsetup.model.private_network import ISTIO, VM_NETWORK4, VM_NETWORK6, ForwardedPorts, PrivateNetwork

    return PrivateNetwork(
        network4=interface.vm_network or VM_NETWORK4,
        network6=interface.vm_network6 or VM_NETWORK6,
        ports=tuple(ForwardedPorts(p.protocol.lower(), p.port, p.last or p.port) for p in interface.ports),
        kept_ports=interface.kept_ports,
        sidecar=ISTIO if interface.sidecar else None,
    )


def _devices(interface: InterfaceSpec, ordinal: int, present: Collection[str]) -> tuple[str, str]:
    """(pod interface, guest port) of one interface, by KubeVirt's naming schemes unless it is named otherwise.

    The pod network's is eth0 with tap0. Others are named by a hash of the network's name, or, in a pod that was made
    by the older scheme, net1, net2 … in their order, of which this is number `ordinal`.
    """
    if interface.is_primary:
        return interface.pod_interface or "eth0", "tap0"
    import hashlib

    suffix = hashlib.sha256(interface.name.encode()).hexdigest()[:11]
    older = f"pod{suffix}" not in present and f"net{ordinal}" in present
    scheme = (f"net{ordinal}", f"tap{ordinal}") if older else (f"pod{suffix}", f"tap{suffix}")
    return interface.pod_interface or scheme[0], scheme[1]
