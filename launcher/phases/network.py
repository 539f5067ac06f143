"""The part of a set-up that is the network's alone: a request in this pod, without its DHCP server."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from dhcp.lean.text import printable
from netsetup.apply import prepare_pod_network_interfaces
from netsetup.errors import KernelRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.request import SetupRequest
    from netsetup.apply import Prepared
    from netsetup.record import Record


def prepare(
    request: SetupRequest,
    folder: str,
    resolver_path: str,
    *,
    dry_run: bool,
    host_network: bool,
    follows: bool,
    check: Callable[[Record], object],
) -> Prepared:
    """`netsetup.apply.prepare_pod_network_interfaces` for a request, by the names that the pod has now."""
    return prepare_pod_network_interfaces(
        request.network_requests(_interface_names(), printable(socket.gethostname())),
        state_dir=folder,
        resolver_path=resolver_path,
        dry_run=dry_run,
        host_network=host_network,
        removes=request.is_whole,
        left_out=request.left_out if request.is_whole else None,
        follows=follows,
        check=check,
    )


def _interface_names() -> set[str]:
    try:
        return {name for _, name in socket.if_nameindex()}
    except OSError as error:
        raise KernelRefused.of("list the interfaces", error) from None
