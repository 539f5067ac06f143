"""What a container lacks for a verb: all of it at once, each with the flag that gives it.

Nothing here costs a set-up that succeeds: when one is refused before its first change, everything else that it would
have been refused for is looked for.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

from dhcp.lean.text import printable
from netsetup.bindings.device_names import with_devices
from netsetup.discover import PROC_SYS, observe
from netsetup.errors import MissingFeature, NetworkSetupError, NotPermitted, RecordError
from netsetup.kernel.capabilities import CAP_NET_ADMIN, CAP_NET_RAW, has_capability
from netsetup.kernel.rtnetlink import Netlink
from netsetup.kernel.tap import DEVICE
from netsetup.model.settings import of_interface
from netsetup.nft import program
from netsetup.nft.tables import has_netfilter
from netsetup.plan import admit, plan_setup
from netsetup.resolver import read_resolver
from netsetup.steps import CreateTap, SetSysctl, made_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.request import SetupRequest
    from netsetup.plan import Plan

CAPABILITY: Final = "Docker, Podman: --cap-add {0}; Kubernetes: capabilities.add: [{0}]"
TUN: Final = (
    f"Docker, Podman: --device {DEVICE}; Kubernetes: a hostPath volume of type CharDevice at {DEVICE}, "
    "or a device plug-in"
)
SETTINGS: Final = (
    "Docker: --security-opt systempaths=unconfined; Podman: --security-opt unmask=/proc/sys; "
    "Kubernetes: securityContext.procMount: Unmasked; or have them set: --sysctl, the pod's securityContext.sysctls"
)
KVM_DEVICE: Final = "/dev/kvm"
KVM: Final = f"Docker, Podman: --device {KVM_DEVICE}; Kubernetes: as {DEVICE}"
OWNER: Final = (
    "Docker, Podman: --user, --group-add as `prestart --owner` says, and a volume; Kubernetes: runAsUser, runAsGroup, "
    "fsGroup, and an emptyDir"
)
FOLDER: Final = "Docker, Podman: --tmpfs {0}, or a volume; Kubernetes: an emptyDir at {0}"
IN_IMAGE: Final = "in the image: apt-get install {0}"
KERNEL: Final = "on the node: modprobe {0}"


class MissingNeeds(MissingFeature):
    """The container lacks several things, or one; the message names each with the flag that gives it."""

    @classmethod
    def of(cls, things: Sequence[str]) -> MissingNeeds:
        """Of things as `THING (FLAGS)`."""
        count = f"{len(things)} things: " if len(things) > 1 else ""
        return cls(f"the container lacks {count}{'; '.join(things)}")


def naming_all(
    failure: Exception, request: SetupRequest, folder: str, resolver_path: str, *, serves: bool
) -> Exception:
    """A MissingNeeds in the place of what the first missing thing has raised; other errors stay as they are.

    `serves` says whether the DHCP server is started, too.
    """
    if isinstance(failure, MissingNeeds) or not isinstance(failure, NotPermitted | MissingFeature | RecordError):
        return failure
    if failure.exit_code != NotPermitted.exit_code or not (
        lacking := missing_needs(request, folder, resolver_path, serves=serves)
    ):
        return failure
    if len(lacking) > 1:
        besides = [str(failure)] if str(failure).startswith("this kernel lacks") else []
        return MissingNeeds.of([*lacking, *besides])
    return MissingNeeds(f"{failure} ({_flags(lacking[0])})")


def require_for_domain(folder: str, set_up_first: str) -> None:
    """Raises MissingNeeds with all that a container lacks to run a VM in a pod that another one has set up.

    `folder` is where the VM's files go, and `set_up_first` what to do where there is none.
    """
    lacking = []
    if not os.path.isdir(folder):
        lacking.append(f"a network that is set up for its user ({set_up_first})")
    elif problem := _folder_problem(folder):
        lacking.append(f"write access to {folder}: {problem} ({OWNER})")
    if problem := _tun_problem():
        lacking.append(f"{DEVICE}: {problem} ({TUN})")
    if lacking:
        if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
            lacking.append(f"{KVM_DEVICE}, without which a VM is slow ({KVM})")
        raise MissingNeeds.of(lacking)


def missing_needs(request: SetupRequest, folder: str, resolver_path: str, *, serves: bool) -> list[str]:
    """Each thing that this process lacks for a set-up, with the flag that gives it, as `THING (FLAGS)`."""
    lacking = [f"CAP_{name} ({flags_of(name)})" for name in _missing_capabilities(serves)]
    plan = _plan(request, resolver_path)
    if (plan is None or any(isinstance(step, CreateTap) for step in plan.steps)) and (problem := _tun_problem()):
        lacking.append(f"{DEVICE}: {problem} ({TUN})")
    if settings := _fixed_settings(plan) if plan else []:
        lacking.append(f"a writable /proc/sys, to set {', '.join(settings)} ({SETTINGS})")
    try:
        program.path()
    except MissingFeature:
        lacking.append(f"nft ({IN_IMAGE.format('nftables')})")
    if not has_netfilter():
        lacking.append(f"nftables in the kernel ({KERNEL.format('nf_tables')})")
    if problem := _folder_problem(folder):
        lacking.append(f"a state directory: {folder}: {problem} ({FOLDER.format(os.path.dirname(folder))})")
    return lacking


def flags_of(capability: str) -> str:
    """How a container is given a capability, named without CAP_."""
    return CAPABILITY.format(capability)


def _flags(thing: str) -> str:
    return thing[thing.index(" (") + 2 : -1]


def _missing_capabilities(serves: bool) -> list[str]:
    needed = {"NET_ADMIN": CAP_NET_ADMIN} | ({"NET_RAW": CAP_NET_RAW} if serves else {})
    return [name for name, number in needed.items() if not has_capability(number)]


def _plan(request: SetupRequest, resolver_path: str) -> Plan | None:
    """What a first set-up would do, as far as it can be read without CAP_NET_ADMIN; None where it would be refused."""
    try:
        with Netlink() as netlink:
            observed = observe(netlink, tables=False)
        present = [link.name for link in observed.links]
        asked = {r.name: r for r in request.network_requests(present, printable(socket.gethostname()))}
        resolver = read_resolver(resolver_path)
        networks = [admit(observed, r, resolver) for r in with_devices(observed, {}, asked).values()]
        return plan_setup(observed, networks)
    except (NetworkSetupError, OSError):
        return None


def _tun_problem() -> str:
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _fixed_settings(plan: Plan) -> list[str]:
    """The settings that a plan changes and that cannot be written; of a device to be made, those it begins with."""
    # With the capability users other than root may write them, too.
    is_fixed = _is_unwritable if has_capability(CAP_NET_ADMIN) else _is_read_only
    made = made_by(plan.steps)
    found = []
    for step in plan.steps:
        if isinstance(step, SetSysctl) and not step.devconf:
            key = of_interface(step.key, "default") if step.link in made else step.key
            if is_fixed(f"{PROC_SYS}/{key}"):
                found.append(f"{step.key.replace('/', '.')}={step.value}")
    return found


def _is_unwritable(path: str) -> bool:
    return not os.access(path, os.W_OK, effective_ids=True)


def _is_read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _folder_problem(folder: str) -> str:
    """Why the state directory cannot be written; empty when it can be, or could be made."""
    existing = folder
    while not os.path.exists(existing):
        existing = os.path.dirname(existing) or "."
    if os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
        return ""
    return "read-only file system" if _is_read_only(existing) else f"{existing} may not be written"
