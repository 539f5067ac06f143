"""SetupRequest: what a VM requires of its pod's network, keyed by network name. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from dhcp.lean.frozen import Frozen, replace
from launcher.vmi.model import DEFAULT_INTERFACE, InterfaceSpec

if TYPE_CHECKING:
    from launcher.vmi.model import VirtualMachineInstance
    from netsetup.model.owner import Owner
    from netsetup.model.pod_interface import DNSRequest
    from netsetup.model.private_network import PrivateNetwork
    from netsetup.model.request import NetworkRequest
    from netsetup.model.vm_network import GuestOptions


class SetupRequest(Frozen):
    """The argument of `setup_pod_network`: the VM's interfaces, looked up by name, and settings common to all."""

    interfaces: Mapping[str, InterfaceSpec]
    """By network name, in the VM's order."""
    is_whole: bool = True
    """Whether the VM has no other networks, so that those which are set up besides are put back."""
    hostname: str | None = None
    """DHCP option 12; None for this host's name."""
    subdomain: str | None = None
    isolated: bool = True
    """Whether the guest may send with its own addresses only."""
    reaches_pod: bool = False
    """Whether the guest reaches processes of the pod itself, where the pod is its router."""
    further_addresses: tuple[str, ...] = ()
    """What an isolated guest may send from besides its own addresses: addresses, networks, MACs of virtual routers."""
    hides_clients: bool = False
    """Whether the guest sees its router's address for all clients, where the pod is its router."""
    stable_id: str | None = None
    """Identifies the VM in whatever pod it runs; MACs that the manifest does not give are derived from it."""
    owner: Owner | None = None
    """Who may open the VM's tap devices without CAP_NET_ADMIN; None for this process's user and group."""
    dns: DNSRequest | None = None
    """What the manifest changes of the pod's resolver configuration; None for nothing."""
    left_out: tuple[str, ...] = ()
    """Interfaces of the manifest that are not served, a line each, for `status`."""

    @classmethod
    def default(cls, pod_interface: str | None = None, guest_port: str | None = None) -> SetupRequest:
        """A request for one virtio NIC, bridged to the default route's interface, or to the named one.

        It says nothing of further networks: a pod that is set up for some is not this VM's.
        """
        interface = replace(DEFAULT_INTERFACE, pod_interface=pod_interface or "", guest_port=guest_port)
        return cls({interface.name: interface}, is_whole=False)

    @classmethod
    def of(cls, *interfaces: InterfaceSpec) -> SetupRequest:
        """A request for these interfaces, with default settings."""
        return cls({interface.name: interface for interface in interfaces})

    @classmethod
    def from_vmi(cls, vmi: VirtualMachineInstance) -> SetupRequest:
        """The request of a manifest's VM."""
        return cls(
            interfaces={interface.name: interface for interface in vmi.interfaces},
            hostname=vmi.hostname,
            subdomain=vmi.subdomain,
            isolated=vmi.isolated,
            reaches_pod=vmi.reaches_pod,
            further_addresses=vmi.further_addresses,
            hides_clients=vmi.hides_clients,
            stable_id=vmi.stable_id,
            dns=vmi.dns,
            left_out=vmi.left_out,
        )

    def guest_options(self, interface: InterfaceSpec, hostname: str) -> GuestOptions:
        """Host name and DHCP options of one network; `hostname` is the default of a request without one."""
        from netsetup.model.vm_network import GuestOptions

        options = interface.dhcp_options
        return GuestOptions(
            hostname=hostname if self.hostname is None else self.hostname,
            subdomain=self.subdomain or "",
            ntp=tuple(options.ntp),
            tftp_server=options.tftp_server or "",
            boot_file=options.boot_file or "",
            private=tuple((number, text) for number, text in options.private),
        )

    def network_requests(self, present: Collection[str], hostname: str) -> list[NetworkRequest]:
        """The request of each network, in the VM's order; `present` are the names of the pod's interfaces."""
        from netsetup.model.request import NetworkRequest

        requests = []
        ordinal = 0
        for interface in self.interfaces.values():
            ordinal += not interface.is_primary
            pod_interface, guest_port = _devices(interface, interface.ordinal or ordinal, present)
            requests.append(
                NetworkRequest(
                    name=interface.name,
                    binding=interface.binding,
                    pod_interface=pod_interface,
                    any_pod_interface=not interface.pod_interface,
                    is_pod_network=interface.pod_network,
                    guest_port=interface.guest_port or guest_port,
                    any_guest_port=interface.guest_port is None,
                    mac=interface.mac,
                    stable_id=f"{self.stable_id} {interface.name}" if self.stable_id else "",
                    mtu=interface.mtu,
                    queues=interface.queues,
                    owner=self.owner,
                    isolated=self.isolated,
                    further=self.further_addresses,
                    options=self.guest_options(interface, hostname),
                    dns=self.dns,
                    private=_private_network(interface, self.reaches_pod, self.hides_clients),
                    any_vm_network=_unnamed_networks(interface),
                )
            )
        return requests


def _private_network(interface: InterfaceSpec, reaches_pod: bool, hides_clients: bool) -> PrivateNetwork:
    """The VM's own network and the ports that are forwarded to it, for bindings that use one."""
    from netsetup.model.private_network import ISTIO, VM_NETWORK4, VM_NETWORK6, ForwardedPorts, PrivateNetwork

    return PrivateNetwork(
        network4=interface.vm_network or VM_NETWORK4,
        network6=interface.vm_network6 or VM_NETWORK6,
        ports=tuple(
            ForwardedPorts(p.protocol.lower(), p.port, p.last or p.port, p.interfaces) for p in interface.ports
        ),
        kept_ports=interface.kept_ports,
        sidecar=ISTIO if interface.sidecar else None,
        reaches_pod=reaches_pod,
        hides_clients=hides_clients,
    )


def _unnamed_networks(interface: InterfaceSpec) -> tuple[int, ...]:
    """The families of which the manifest does not name the VM's own network."""
    from netsetup.model.kernel import AF_INET, AF_INET6

    given = {AF_INET: interface.vm_network, AF_INET6: interface.vm_network6}
    return tuple(family for family, network in given.items() if not network)


def _devices(interface: InterfaceSpec, ordinal: int, present: Collection[str]) -> tuple[str, str]:
    """(pod interface, guest port) of one interface, by KubeVirt's naming schemes unless the former is given.

    The primary network has eth0 and tap0, or where there is no eth0, the default route's interface. Others are named by
    a hash of the network's name, or, in a pod that uses the older scheme, net1, net2 … by their order, in which this is
    number `ordinal`; in a container they are eth1, eth2 …
    """
    if interface.is_primary:
        if interface.pod_interface is not None:
            return interface.pod_interface, "tap0"
        return "eth0" if "eth0" in present else "", "tap0"
    import hashlib

    suffix = hashlib.sha256(interface.name.encode()).hexdigest()[:11]
    schemes = {f"pod{suffix}": f"tap{suffix}", f"net{ordinal}": f"tap{ordinal}", f"eth{ordinal}": f"tap{ordinal}"}
    first = next((name for name in schemes if name in present), f"pod{suffix}")
    return interface.pod_interface or first, schemes[first]
