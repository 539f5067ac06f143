"""One network of the VM: what is built for it, and what the pod was before. Frozen data, held by the record. Pure."""

from typing import Final

from dhcp.lean.frozen import Frozen
from netsetup.model.kernel import Address, Link
from netsetup.model.local_resolver import LocalResolver
from netsetup.model.owner import Owner
from netsetup.model.pod_interface import PodInterface
from netsetup.model.private_network import PrivateNetwork

IPV6_MIN_MTU: Final = 1280
"""RFC 8200 §5."""


class GuestOptions(Frozen):
    """What the VM is given besides its network: its name, and the DHCP options that its manifest asks for."""

    hostname: str = ""
    subdomain: str = ""
    """Heads the search list."""
    ntp: tuple[str, ...] = ()
    tftp_server: str = ""
    boot_file: str = ""
    private: tuple[tuple[int, str], ...] = ()
    """Options of private use (RFC 3942) by number, as text or as 0x and hexadecimal digits."""


class Guest(Frozen):
    """The VM's end of the network, as its binding decides it: this is what the DHCP server hands out."""

    mac: str
    """The MAC the VM uses, kept as long as the record is."""
    mac_source: str = "pod"
    """Where the MAC comes from: `spec`, `derived` (from a stable id of the VM) or `pod`."""
    address4: Address | None = None
    address6: Address | None = None
    router4: Address | None = None
    """The pod's own address that is the VM's router; None where the VM has the pod's routes instead."""
    router6: Address | None = None
    """Likewise the pod's global IPv6 address."""
    router6_link_local: str = ""
    """The source of its router advertisements (RFC 4861 §4.2)."""
    router_mac: str = ""
    local_resolvers: tuple[LocalResolver, ...] = ()
    """The pod's name servers that only the pod itself can reach, and what answers the VM in their place."""

    @property
    def is_routed(self) -> bool:
        """Whether the pod is the VM's router, and keeps its own addresses."""
        return self.router4 is not None or self.router6 is not None


class EgressInterface(Frozen):
    """Another interface of the pod, by which packets of a VM leave that the pod is the router of."""

    name: str
    index: int
    forwarded: tuple[int, ...] = ()
    """The families that it forwarded before: of these the pod may forward for other hosts."""


class VMNetwork(Frozen):
    """One pod interface that serves the VM, with what was there before."""

    name: str
    """The network's name in the VM's specification."""
    binding: str
    """The binding's name (`netsetup.bindings.registry`)."""
    pod: PodInterface
    """The pod interface as the CNI left it."""
    guest_port: str
    """The device that is the VM's end in the pod, a tap."""
    guest: Guest
    mtu: int
    bridge: str = ""
    """The bridge between pod interface and guest port; empty for a binding without one."""
    queues: int = 1
    owner: Owner | None = None
    """Who may open a tap of our own; None for whoever set it up."""
    isolated: bool = True
    """Whether frames of the guest with other addresses than its own are dropped."""
    private: PrivateNetwork | None = None
    """The VM's own network behind the pod; None where the VM has the pod's addresses."""
    options: GuestOptions = GuestOptions()
    adopted: Link | None = None
    """The guest port as it was found; None when it is a tap of our own."""
    adopted_sysctls: tuple[tuple[str, str], ...] = ()
    adopted_state: PodInterface | None = None
    """Its addresses, routes and neighbours; None in a record of an earlier release."""
    requested: tuple[str, ...] = ()
    """The names by which pod interface and guest port were requested, where one was renamed since; else none."""
    gateway6_mac: str = ""
    """MAC of the pod's IPv6 gateway as it answered at set-up; empty when it is a permanent neighbour or did not."""
    gateway4_mac: str = ""
    """Likewise of the IPv6 next hop of its IPv4 default route."""
    egress: tuple[EgressInterface, ...] = ()
    """The pod's other interfaces that its routes lead through, where the pod is the VM's router."""
    further: tuple[str, ...] = ()
    """What an isolated guest may send from besides its own addresses and MAC (`netsetup.nft.sources.parse_further`)."""
    warnings: tuple[str, ...] = ()
    """What its binding has decided otherwise than usual, and what is in the VM's way by now: a line each."""

    @property
    def mac(self) -> str:
        """The VM's MAC."""
        return self.guest.mac

    @property
    def serves6(self) -> bool:
        """Whether the VM is served IPv6: there is an address for it, and the link carries IPv6 (RFC 8200 §5)."""
        return self.guest.address6 is not None and self.mtu >= IPV6_MIN_MTU

    @property
    def gives_pod_address4(self) -> bool:
        """Whether the VM has the pod's own IPv4 address, which nothing else in the pod may answer for."""
        return self.guest.address4 is not None and not self.guest.is_routed
