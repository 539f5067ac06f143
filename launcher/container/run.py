"""`virt-launcher run`, the container's entrypoint: set up the network, run the VM, shut it down, tear down."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from dhcp.lean.text import is_plain
from launcher.container.init import supervise
from launcher.container.reading import read_vmi
from launcher.container.vm_run import Options, VMRun
from launcher.exit_codes import exit_code_of
from launcher.volumes.folder import DEFAULT_FOLDER

if TYPE_CHECKING:
    from launcher.container.described import Described

log = logging.getLogger("launcher")


class BadArgument(ValueError):
    """An invalid command-line argument."""

    exit_code = 2


def run(
    vmi: str | Described,
    *,
    name: str | None = None,
    disks: Mapping[str, str],
    volumes: str = DEFAULT_FOLDER,
    backing_files: bool = False,
    netns: str | None = None,
    state_dir: str | None = None,
    uri: str | None = None,
    log_format: str = "text",
    host_network: bool = False,
    metrics: str | None = None,
    phase: str = "all",
    network_status: str | None = None,
) -> int:
    """Run the VM of a manifest's path, or as it is described, until it ends, as the container's init process.

    Returns the exit code. `name` chooses among several of the manifest's. `disks` are paths of images by the disks'
    names, which may name other files with `backing_files`; others are looked for in the folder `volumes`. `uri` is the
    libvirt to use instead of the embedded driver, `metrics` an address as of `launcher.sight.endpoint.parse_address`.
    The `phase` is `all`, or `domain` in a pod that another container has set up, which stays so. `network_status` is a
    file as of `launcher.vmi.network_status`.
    """
    for option, text in (("--connect", uri), ("--state-dir", state_dir), ("--volumes", volumes)):
        if text is not None and not is_plain(text):
            raise BadArgument(f"{option} {text}: libvirt takes plain text only, UTF-8 without control characters")
    options = Options(
        disks, volumes, backing_files, netns, state_dir, uri, log_format, host_network, metrics, phase, network_status
    )
    return supervise(lambda: exit_code_of(lambda: _launch(vmi, name, options)))


def disk_paths(words: Sequence[str]) -> dict[str, str]:
    """The paths of disk images by the disks' names, of words NAME=PATH. Raises BadArgument."""
    paths: dict[str, str] = {}
    for word in words:
        name, separator, path = word.partition("=")
        if not (name and separator and path):
            raise BadArgument(f"--disk {word}: must be NAME=PATH")
        if name in paths:
            raise BadArgument(f"--disk {word}: {name} is given twice")
        paths[name] = path
    return paths


def _launch(source: str | Described, name: str | None, options: Options) -> int:
    from netsetup.kernel import netns as namespaces

    sys.setswitchinterval(0.0005)  # between the hook and the thread that opens libvirt's driver
    resolver_path = namespaces.resolver_path(options.netns)
    vmi = read_vmi(source, name, _import_what_follows)
    for warning in (*vmi.left_out, *vmi.warnings):
        log.warning("%s", warning)
    if options.netns is not None:
        namespaces.enter(options.netns)
    namespaces.require_own_namespace(options.host_network)
    folder = namespaces.state_directory(options.state_dir)
    from launcher.container.vm_lock import lock_pod
    from launcher.phases.domain import domain_folder, domain_lock

    with contextlib.ExitStack() as held:
        if options.phase == "domain":
            held.enter_context(domain_lock(folder))
            machine = VMRun(vmi, options, domain_folder(folder), resolver_path, shared_folder=folder)
        else:
            held.enter_context(lock_pod(vmi, folder, resolver_path))
            machine = VMRun(vmi, options, folder, resolver_path)
        if options.metrics is not None:
            from launcher.sight.endpoint import listening

            machine.endpoint = held.enter_context(listening(options.metrics))
        return machine.run_vm()


def _import_what_follows() -> None:
    """Load libvirt's library, and the hook."""
    from launcher.machine.libvirt_driver import preload

    preload()
    for name in (
        "launcher.container.dhcp_watchdog",
        "launcher.container.pod_setup",
        "launcher.manager",
        "launcher.prestart",
        "netsetup.apply",
    ):
        import_module(name)
