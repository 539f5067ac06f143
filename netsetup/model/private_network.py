"""A network of the VM's own behind the pod's address, and what is forwarded to it: frozen data. Pure."""

from ipaddress import ip_network
from typing import Final

from dhcp.lean.frozen import Frozen, replace
from netsetup.errors import InvalidRequest
from netsetup.model.kernel import AF_INET, Address

VM_NETWORK4: Final = "10.0.2.0/24"
VM_NETWORK6: Final = "fd10:0:2::/120"


class ForwardedPorts(Frozen):
    """Ports that are forwarded to the guest, both ends included."""

    protocol: str
    """``tcp``, ``udp`` or ``sctp``."""
    first: int
    last: int
    interfaces: tuple[str, ...] = ()
    """The pod's interfaces at which clients reach them; none for the pod network's alone."""

    @property
    def match(self) -> str:
        return f"{self.protocol} dport {self.text}"

    @property
    def text(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def counter(self) -> str:
        return f"{self.protocol}-{self.text}"


class Sidecar(Frozen):
    """A proxy in the pod that accepts incoming connections, and connects to the guest at the pod's IPv4 address."""

    own_ports: tuple[int, ...]
    """TCP ports of the loopback addresses at which the proxy itself listens."""
    direct_ports: tuple[int, ...]
    """TCP ports that bypass it."""
    own_udp_ports: tuple[int, ...] = ()


ISTIO: Final = Sidecar(
    own_ports=(15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053, 15090),
    direct_ports=(22,),
    own_udp_ports=(15053,),
)
"""The ports of Istio's proxy (istio.io, Application Requirements), and SSH, as KubeVirt has it."""


class PrivateNetwork(Frozen):
    """The VM's own subnets, and what is forwarded to the VM."""

    network4: str = VM_NETWORK4
    """CIDR; the first host address is the pod's, the second the guest's."""
    network6: str = VM_NETWORK6
    ports: tuple[ForwardedPorts, ...] = ()
    """What is forwarded to the guest; none means everything."""
    kept_ports: tuple[int, ...] = ()
    """TCP ports of the loopback address that stay the pod's own, whatever is forwarded."""
    sidecar: Sidecar | None = None
    reaches_pod: bool = False
    """Whether the guest may open connections to processes of the pod itself."""
    hides_clients: bool = False
    """Whether the guest sees the pod's own address on its network for all clients."""

    def host(self, family: int, number: int) -> Address:
        """The host address of this number, 1 for the pod and 2 for the guest, with the subnet's prefix length."""
        subnet = ip_network(self.network4 if family == AF_INET else self.network6)
        return Address(family, str(subnet[number]), subnet.prefixlen)

    def canonical(self) -> "PrivateNetwork":
        """With the subnets in canonical form. Raises InvalidRequest for one without room for a pod and a guest."""
        return replace(
            self,
            network4=_subnet("vmNetworkCIDR", self.network4, 4),
            network6=_subnet("vmIPv6NetworkCIDR", self.network6, 6),
        )


def _subnet(field: str, text: str, version: int) -> str:
    try:
        return parse_vm_network(text, version)
    except ValueError as error:
        raise InvalidRequest(f"{field}: {error}") from None


def parse_vm_network(text: str, version: int) -> str:
    """A subnet for a VM in canonical form.

    Raises ValueError, whose message goes after the name of a field, for one of the other IP version, and for one
    without room for a pod and a guest.
    """
    try:
        subnet = ip_network(text, strict=False)
    except ValueError:
        example = VM_NETWORK4 if version == 4 else VM_NETWORK6
        raise ValueError(f"must be a network such as {example}, is `{text}`") from None
    if subnet.version != version:
        raise ValueError(f"must be an IPv{version} network, is `{text}`")
    if subnet.max_prefixlen - subnet.prefixlen < 2:
        raise ValueError(f"{text} is too small, must be /{subnet.max_prefixlen - 2} or larger")
    return str(subnet)
