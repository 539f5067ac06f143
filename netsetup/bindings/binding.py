"""The seam between the hook and the ways in which a pod interface is handed to a VM. Pure.

A binding is a module with these members; `netsetup.bindings.registry` finds it by its name. All of them are pure
functions: they look at what was observed and answer with data. docs/bindings.md shows how to write one.
"""

from typing import Protocol

from dhcp.lean.frozen import Frozen
from netsetup.errors import UnsuitedInterface
from netsetup.model.kernel import Namespace
from netsetup.model.pod_interface import Resolver
from netsetup.model.request import NetworkRequest
from netsetup.model.vm_network import VMNetwork
from netsetup.nft.ruleset import NetworkRules
from netsetup.steps import Step

__all__ = ["Binding", "Hops", "InterfaceElement", "UnsuitedInterface"]


class Hops(Frozen):
    """What `doctor` says of each place between network and guest when nothing is wrong with it.

    An empty text is for a place that this binding does not have.
    """

    pod_nic: str
    bridge_port: str = ""
    bridge: str = ""
    table: str = ""
    """What forwards the frames; empty where the bridge does."""
    guest_port: str = ""


class InterfaceElement(Frozen):
    """What is the binding's own in libvirt's ``<interface>`` element (libvirt, Domain XML format)."""

    type: str
    """``ethernet`` for a device that is in place."""
    children: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """Elements with their attributes: ``("target", (("dev", "tap0"), ("managed", "no")))``."""


class Binding(Protocol):
    """The members of a binding's module."""

    @property
    def is_private(self) -> bool:
        """Whether the VM has a network of its own behind the pod: for the pod network alone, and at most once."""

    @property
    def reserved_mac(self) -> str:
        """A MAC that the guest must not have, because a device of ours has it; empty when there is none."""

    def admit(self, observed: Namespace, request: NetworkRequest, resolver: Resolver) -> VMNetwork:
        """What is to be built, with what was there before.

        Raises InvalidRequest (DeviceConflict, UnsupportedInterface, InterfaceNotFound) for what cannot be done. For an
        UnsuitedInterface all other registered bindings are asked the same, and those that admit it are named.

        Of an interface that the CNI has made anew (DEL and ADD), `request.mac` is the MAC that the VM has already.
        """

    def merge_observed_changes(self, observed: Namespace, network: VMNetwork, request: NetworkRequest) -> VMNetwork:
        """The recorded network with what its pod interface was given, or has lost, since it was recorded."""

    def device_steps(self, observed: Namespace, network: VMNetwork) -> list[Step]:
        """The devices, made and set but not yet able to pass a frame. What is as it should be takes no step.

        The tables are loaded before that, but for the netdev family's, which is loaded after it.
        """

    def connect_steps(self, observed: Namespace, network: VMNetwork) -> list[Step]:
        """The pod's addresses moved, if they move, and the devices connected and up; after all `device_steps`."""

    def release_steps(self, observed: Namespace, network: VMNetwork) -> list[Step]:
        """The way from any state back to what was recorded; planned again until nothing is left.

        Where the binding has rules of the netdev family, the guest port is down by then and the rules are gone. The
        other tables go when all is done.
        """

    def other_settings(self, observed: Namespace) -> tuple[str, ...]:
        """Keys of settings outside the network's own interfaces that `connect_steps` may change."""

    def rules(self, network: VMNetwork) -> NetworkRules:
        """The frames and packets that may pass, and the counters of those that may not."""

    def path(self, network: VMNetwork) -> tuple[str, ...]:
        """The names of the devices that frames pass between network and guest, the pod interface first."""

    def interface_element(self, network: VMNetwork) -> InterfaceElement:
        """How libvirt attaches the VM."""

    def hops(self, network: VMNetwork) -> Hops:
        """What `doctor` says of each place."""
