"""One network's request to the pod: frozen data. Pure."""

from dhcp.lean.frozen import Frozen
from netsetup.model.owner import Owner
from netsetup.model.pod_interface import DNSRequest
from netsetup.model.private_network import PrivateNetwork
from netsetup.model.vm_network import GuestOptions


class NetworkRequest(Frozen):
    """One network's request to the pod."""

    name: str = "default"
    binding: str = "bridge"
    pod_interface: str = "eth0"
    """Empty for the one that the pod's default route leads through."""
    any_pod_interface: bool = False
    """Whether nobody has named it, so that a network that is set up keeps the one it has."""
    is_pod_network: bool = True
    """Whether it is the pod network; another one cannot have a binding with a network of the VM's own."""
    guest_port: str = "tap0"
    any_guest_port: bool = False
    """Whether it may have another name where this one is taken."""
    mac: str | None = None
    """The MAC the VM shall have; None derives it from `stable_id`, and without that takes the pod interface's."""
    kept_mac: str = ""
    """The MAC that the VM has already, whatever it is; no VM takes another one while it runs."""
    stable_id: str = ""
    """What names this interface of this VM wherever it runs."""
    mtu: int = 0
    """The largest MTU the VM shall use; 0 takes what the pod has."""
    queues: int = 1
    """Queue pairs of a tap of our own."""
    owner: Owner | None = None
    """Who may open it besides the privileged; None for this process's user and group."""
    isolated: bool = True
    """Whether frames of the VM with other addresses than its own are dropped."""
    further: tuple[str, ...] = ()
    """What the VM may send from besides, as `netsetup.nft.sources.parse_further` takes it."""
    options: GuestOptions = GuestOptions()
    dns: DNSRequest | None = None
    """What the VM asks for besides the pod's resolver configuration; None for nothing."""
    private: PrivateNetwork = PrivateNetwork()
    """The VM's own network, for bindings that put it behind the pod."""
    any_vm_network: tuple[int, ...] = ()
    """The families of which that may be another one where this one is taken."""
    kept_private: PrivateNetwork | None = None
    """The one that the VM has already, which it keeps where it may be another than this one."""
    others: tuple[str, ...] = ()
    """The pod interfaces of the VM's other networks."""
