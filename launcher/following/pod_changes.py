"""What has changed in a pod that is set up, found without changing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.phases.network import prepare
from launcher.serve import require_servable
from netsetup.bindings.devices import require_nic
from netsetup.errors import NetworkSetupError, NotSetUp
from netsetup.kernel.lock import NamespaceLock
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.kernel import IFA_F_TENTATIVE, Namespace
from netsetup.plan import is_replaced
from netsetup.record import read_record

if TYPE_CHECKING:
    from launcher.request import SetupRequest
    from netsetup.model.vm_network import VMNetwork


class Unsettled(NetworkSetupError):
    """The CNI is still at work at an interface that it makes anew."""


def pending_changes(
    request: SetupRequest, folder: str, resolver_path: str, *, host_network: bool, waits: bool = True
) -> tuple[str, ...]:
    """The steps that `prestart` would take now for the request, a line each; none when nothing has changed.

    Raises what it would raise, and NotSetUp; where nothing else has changed, InvalidRequest for an interface that has
    gone; with `waits`, Unsettled too: to take an interface's address while the CNI
    is still at work there may fail the CNI.
    """
    with Netlink() as netlink, NamespaceLock():
        record = read_record(folder)
        if record is None:
            raise NotSetUp("nothing is set up in this network namespace any more")
        observed = Namespace(links=netlink.links(), addresses=netlink.addresses())
        for network in record.networks.values() if waits else ():
            if is_replaced(observed, network) and _is_unfinished(observed, network):
                raise Unsettled(f"{network.pod.name}: the CNI makes it anew")
    prepared = prepare(
        request,
        folder,
        resolver_path,
        dry_run=True,
        host_network=host_network,
        follows=True,
        check=require_servable,
    )
    steps = tuple(prepared.plan.lines())
    if not steps:
        for network in prepared.networks.values():  # which keeps no other network from being followed
            require_nic(observed, network)
    return steps


def _is_unfinished(observed: Namespace, network: VMNetwork) -> bool:
    """Whether a new interface has no address yet where the one before had, or one that is still checked for being
    another's (RFC 4862 §5.4)."""
    link = observed.link(network.pod.name)
    addresses = [a for a in observed.addresses_of(link.index) if a.is_global] if link else []
    had = any(address.is_global for address in network.pod.addresses)
    return (had and not addresses) or any(address.flags & IFA_F_TENTATIVE for address in addresses)
