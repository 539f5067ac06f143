"""The guest's word next to what it was served, asked of the launcher that runs: for `status` and `doctor`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from dhcp.lean.frozen import Frozen
from launcher.control.client import LauncherError, ask
from launcher.guest.answers import GuestInterface, GuestRoute, GuestWord
from launcher.guest.comparison import Difference, Served, differences, served_of
from launcher.serve import server_configs
from netsetup.model.decode import Mismatch, decode

if TYPE_CHECKING:
    from netsetup.record import Record

REQUEST: Final = "guest"
"""Its name at `launcher.sock`; the answer's `guest` is a GuestWord, or null where the guest has no agent."""
SECONDS: Final = 6.0
"""What the launcher may take, which waits for the guest a little less."""


class GuestStatus(Frozen):
    """What the guest says of itself, by its agent."""

    hostname: str
    system: str
    """Its name and version, as the guest has it."""
    kernel: str
    interfaces: tuple[GuestInterface, ...]
    routes: tuple[GuestRoute, ...] | None
    """None where the agent does not report them: before QEMU 9.1 none does."""
    problem: str
    """Why something is missing; empty where nothing is."""
    served: tuple[Served, ...]
    """What the VM is served, network by network."""
    differences: tuple[Difference, ...]
    """What the guest has otherwise."""


def guest_status(state_dir: str | os.PathLike[str] | None, record: Record) -> GuestStatus | None:
    """The guest of the pod with this state directory; None without a launcher that answers, or without an agent."""
    try:
        found = ask(None if state_dir is None else os.fspath(state_dir), REQUEST, seconds=SECONDS).get("guest")
        if found is None:
            return None
        word = decode(GuestWord, found)
    except (LauncherError, Mismatch):
        return None  # none runs here, it is another user's, or of an earlier release
    configs = {str(config["interface"]): config for config in server_configs(record)}
    served = tuple(
        served_of(network.name, network.mac, network.isolated, configs.get(network.guest_port))
        for network in record.networks.values()
    )
    return GuestStatus(
        hostname=word.hostname,
        system=word.system,
        kernel=word.kernel,
        interfaces=word.interfaces,
        routes=word.routes,
        problem=word.problem,
        served=served,
        differences=differences(word, served),
    )
