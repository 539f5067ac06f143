"""The phase `domain`: a VM in a pod that another container has set up, without any capability.

It opens the tap device as its owner, reads the record, and puts nothing back.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

from dhcp.lean.frozen import Frozen
from dhcp.lean.text import printable
from launcher.container.vm_lock import vm_file_lock
from launcher.phases.requirements import require_for_domain
from launcher.phases.result import Network, network_of
from launcher.phases.shared_folder import DOMAIN_FOLDER
from netsetup.apply import require_same
from netsetup.bindings.device_names import with_devices
from netsetup.errors import InvalidRequest, MissingFeature
from netsetup.kernel.netns import state_directory
from netsetup.kernel.rtnetlink import Netlink
from netsetup.model.kernel import Namespace
from netsetup.record import read_record

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from launcher.request import SetupRequest
    from netsetup.model.owner import Owner
    from netsetup.model.vm_network import VMNetwork

SET_UP_FIRST = "run `virt-launcher prestart --phase network --owner {}` in this pod first, with this state directory"


class RecordedNetworks(Frozen):
    """The VM's networks, as the phase `network` has set them up."""

    networks: dict[str, Network]
    """By name, in the order of the request."""


def domain_lock(folder: str) -> AbstractContextManager[None]:
    """Held while the VM runs. Raises MissingNeeds, as where the phase `network` has not made it, and VMRuns."""
    require_for_domain(domain_folder(folder), SET_UP_FIRST.format(f"{os.geteuid()}:{os.getegid()}"))
    return vm_file_lock(folder, "stop that one first")


def domain_folder(folder: str) -> str:
    """Where this phase writes, below the state directory."""
    return f"{folder}/{DOMAIN_FOLDER}"


def find_vm_socket(state_dir: str | None, name: str) -> tuple[str, str | None]:
    """The state directory, and the path of a socket of the VM that runs: there, or in this phase's folder.

    Of two it is the later one: the other is that of a launcher that was killed. Raises InvalidRequest for another
    user's directory.
    """
    folder = os.path.abspath(state_directory(state_dir))
    found = []
    for path in (f"{folder}/{name}", f"{domain_folder(folder)}/{name}"):
        try:
            status = os.stat(path)
        except PermissionError:
            raise InvalidRequest(f"{folder}: is another user's: run this as that user, or as root") from None
        except OSError:
            continue
        if stat.S_ISSOCK(status.st_mode):
            found.append((status.st_mtime_ns, path))
    return folder, max(found)[1] if found else None


def recorded_networks(folder: str, request: SetupRequest) -> RecordedNetworks:
    """The networks that a VM requires, from the record.

    Raises MissingFeature when nothing is set up, or no more, and InvalidRequest for another VM or another user.
    """
    record = read_record(folder)
    who = f"{os.geteuid()}:{os.getegid()}"
    if record is None:
        raise MissingFeature(f"{folder}: no pod is set up there; {SET_UP_FIRST.format(who)}")
    with Netlink() as netlink:
        observed = Namespace(links=netlink.links())
    present = {link.name for link in observed.links}
    asked = {r.name: r for r in request.network_requests(present, printable(socket.gethostname()))}
    require_same(record, with_devices(observed, record.networks, asked))
    for network in record.networks.values():
        if network.guest_port not in present:
            raise MissingFeature(f"{network.guest_port}: no such interface; {SET_UP_FIRST.format(who)}")
        _require_opening(network)
    return RecordedNetworks({name: network_of(record.networks[name], i) for name, i in request.interfaces.items()})


def _require_opening(network: VMNetwork) -> None:
    """Raises InvalidRequest where the kernel would not let this process attach to the tap (tun_not_capable)."""
    owner: Owner | None = network.owner
    if owner is None:
        return  # whoever set it up: libvirt's error says when that is another user
    if owner.uid != os.geteuid() or owner.gid not in (os.getegid(), *os.getgroups()):
        raise InvalidRequest(
            f"{network.guest_port}: may be opened by {owner} alone, and this is {os.geteuid()}:{os.getegid()}; "
            "run as that user (Kubernetes: runAsUser, runAsGroup), or set the network up for this one (--owner)"
        )
