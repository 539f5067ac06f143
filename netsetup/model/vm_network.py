"""One network of the VM, as data: what is built for it, and what the pod was before. This is what the record holds."""

from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Final

from netsetup.errors import InvalidRequest
from netsetup.model.kernel import AF_INET, AF_INET6, FORCE_FORWARDING, FORWARDING4, FORWARDING6, Address, Link
from netsetup.model.pod_interface import PodInterface
from netsetup.nft.nat import ForwardedPorts, Side, Sidecar, Translation
from netsetup.nft.tables import Barrier

VM_NETWORK4: Final = "10.0.2.0/24"
VM_NETWORK6: Final = "fd10:0:2::/120"
IPV6_MIN_MTU: Final = 1280
MASQUERADE_MAC: Final = "02:00:00:00:00:00"
"""The bridge's, in the masquerade binding: the same in every pod, so that a guest that moves finds its router again."""
MASQUERADE_LINK_LOCAL: Final = "fe80::ff:fe00:0"
"""What the kernel makes of that MAC (RFC 4291 appendix A): the router's address in advertisements."""


@dataclass(frozen=True, slots=True)
class Masquerade:
    """A network of the VM's own behind the pod's address: what is forwarded to it."""

    network4: str = VM_NETWORK4
    """The first host address of a network is the bridge's, the second the guest's."""
    network6: str = VM_NETWORK6
    ports: tuple[ForwardedPorts, ...] = ()
    """What is forwarded to the guest; none stands for everything."""
    kept_ports: tuple[int, ...] = ()
    """TCP ports of the loopback address that stay the pod's own, whatever is forwarded."""
    sidecar: Sidecar | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What the VM is told beyond what its network is: its name, and the DHCP options that its manifest wants."""

    hostname: str = ""
    subdomain: str = ""
    """Heads the search list."""
    ntp: tuple[str, ...] = ()
    tftp_server: str = ""
    boot_file: str = ""
    private: tuple[tuple[int, str], ...] = ()
    """Options of private use (RFC 3942) by number, as text or as 0x and hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class VMNetwork:
    """One pod interface that serves the VM; the record of what was there before."""

    name: str
    """The network's name in the VM's specification."""
    pod: PodInterface
    """The pod interface as the CNI left it."""
    guest_port: str
    bridge: str
    mac: str
    """The MAC the VM uses, kept as long as the record is."""
    mtu: int
    mac_source: str = "pod"
    """Where the MAC comes from: `spec`, `derived` (from a stable id of the VM) or `pod`."""
    queues: int = 1
    isolated: bool = True
    """Whether the guest is held to its own addresses and its MAC."""
    masquerade: Masquerade | None = None
    """None in the bridge binding, where the VM has the pod's own addresses."""
    told: Told = Told()
    adopted: Link | None = None
    """The guest port as it was found; None when it is a tap of our own."""
    adopted_sysctls: tuple[tuple[str, str], ...] = ()
    router6_mac: str = ""
    """MAC of the pod's IPv6 gateway as it answered at set-up; empty when it is a permanent neighbour or did not."""

    @property
    def binding(self) -> str:
        return "masquerade" if self.masquerade else "bridge"

    @property
    def address4(self) -> Address | None:
        """The IPv4 address the VM gets: the first the CNI gave, or that of the VM's own network."""
        return self._guest_address(AF_INET)

    @property
    def address6(self) -> Address | None:
        """The IPv6 address the VM gets, likewise."""
        return self._guest_address(AF_INET6)

    @property
    def serves6(self) -> bool:
        """Whether the VM is served IPv6: there is an address for it, and the link carries IPv6 (RFC 8200 §5)."""
        return self.address6 is not None and self.mtu >= IPV6_MIN_MTU

    @property
    def gateway4(self) -> Address | None:
        """The bridge's own IPv4 address, the VM's router; None in the bridge binding and where the pod has no IPv4."""
        return self._of_vm_network(AF_INET, 1)

    @property
    def gateway6(self) -> Address | None:
        """The bridge's own global IPv6 address, likewise."""
        return self._of_vm_network(AF_INET6, 1)

    @property
    def barrier(self) -> Barrier:
        guests = [self.address4, self.address6] if self.masquerade else self.pod.addresses
        addresses = [a for a in guests if a and a.is_global]
        return Barrier(
            self.pod.name,
            self.guest_port,
            dhcp4=self.address4 is not None,
            dhcp6=self.serves6,
            isolated=self.isolated,
            mac=self.mac,
            addresses4=tuple(a.address for a in addresses if a.family == AF_INET),
            addresses6=tuple(a.address for a in addresses if a.family == AF_INET6),
            routed=self.masquerade is not None,
        )

    @property
    def translation(self) -> Translation | None:
        """What the kernel translates for this network; None in the bridge binding."""
        if self.masquerade is None:
            return None
        sides = []
        for family, settings in ((AF_INET, (FORWARDING4,)), (AF_INET6, (FORCE_FORWARDING, FORWARDING6))):
            gateway, guest = self._of_vm_network(family, 1), self._of_vm_network(family, 2)
            if gateway is None or guest is None:
                continue
            before = dict(self.pod.sysctls)
            sides.append(
                Side(
                    family=family,
                    network=gateway.network,
                    gateway=gateway.address,
                    guest=guest.address,
                    pod_addresses=tuple(a.address for a in self.pod.global_addresses(family)),
                    forwarded_before=any(before.get(s.format(self.pod.name)) == "1" for s in settings),
                )
            )
        return Translation(
            pod_interface=self.pod.name,
            bridge=self.bridge,
            sides=tuple(sides),
            ports=self.masquerade.ports,
            kept_ports=self.masquerade.kept_ports,
            sidecar=self.masquerade.sidecar,
        )

    def _guest_address(self, family: int) -> Address | None:
        if self.masquerade:
            return self._of_vm_network(family, 2)
        return self.pod.main_address(family)

    def _of_vm_network(self, family: int, number: int) -> Address | None:
        """The host of this number in the VM's own network; None where there is no such network."""
        if self.masquerade is None or not self.pod.global_addresses(family):
            return None
        text = self.masquerade.network4 if family == AF_INET else self.masquerade.network6
        network = ip_network(text)
        return Address(family, str(network[number]), network.prefixlen)


def canonical(wanted: Masquerade) -> Masquerade:
    """With the VM's networks as the record has them.

    Raises InvalidRequest for one without room for a gateway and a guest.
    """
    return replace(
        wanted,
        network4=_vm_network(wanted.network4, 4, "vmNetworkCIDR"),
        network6=_vm_network(wanted.network6, 6, "vmIPv6NetworkCIDR"),
    )


def _vm_network(text: str, version: int, field: str) -> str:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise InvalidRequest(f"{field}: {text} is not a network such as {VM_NETWORK4} or {VM_NETWORK6}") from None
    if network.version != version:
        raise InvalidRequest(f"{field}: {text} is not an IPv{version} network")
    if network.max_prefixlen - network.prefixlen < 2:
        raise InvalidRequest(f"{field}: {text} is too small, it must be /{network.max_prefixlen - 2} or larger")
    return str(network)
