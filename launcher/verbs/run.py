"""`run`: the container's entrypoint."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from launcher.verbs.parsers import add_manifest, add_network_status
from launcher.verbs.tools.metrics import ADDRESS_HELP

if TYPE_CHECKING:
    from launcher.container.described import Described
    from launcher.verbs.parsers import Parsers

DESCRIPTION = ("memory", "cpus", "cloud_init")
"""Of a VM that has no manifest."""


def add(to: Parsers) -> None:
    verb = to.add_verb("run", run, to.pod, to.changes, help="container entrypoint: set up, boot, watch, put back")
    verb.set_defaults(logs_time=True)
    verb.add_argument(
        "--phase",
        choices=("all", "domain"),
        default="all",
        help="domain: boot and watch in a pod that `prestart --phase network` has set up (default: all)",
    )
    add_manifest(verb, "what the flags below say")
    add_network_status(verb)
    verb.add_argument("--disk", metavar="NAME=PATH", action="append", default=[], help="what is behind a disk")
    verb.add_argument(
        "--volumes", metavar="DIR", help="where other volumes are mounted (default: /run/virt-launcher/volumes)"
    )
    verb.add_argument(
        "--backing-files", action="store_true", help="let disk images name backing and data files, which QEMU opens too"
    )
    verb.add_argument("--metrics", metavar="ADDRESS", help=f"serve metrics for Prometheus: {ADDRESS_HELP}")
    verb.add_argument("--connect", metavar="URI", help="libvirt to use (default: one of the launcher's own)")
    described = verb.add_argument_group("without a manifest", "each --disk is a virtio disk; one of *.iso is a CD-ROM")
    described.add_argument("--memory", metavar="QUANTITY", help="the VM's memory (default: 2Gi)")
    described.add_argument("--cpus", metavar="N", type=int, help="virtual CPUs (default: 1)")
    described.add_argument("--cloud-init", metavar="FILE", help="user data for cloud-init, such as #cloud-config")


def run(options: argparse.Namespace) -> int:
    from launcher.container import run as container

    disks = container.disk_paths(options.disk)
    for name in DESCRIPTION if options.vmi else ():
        if getattr(options, name) is not None:
            raise container.BadArgument(
                f"--{name.replace('_', '-')} is for a VM without a manifest: set it in {options.vmi}"
            )
    more = {} if options.volumes is None else {"volumes": options.volumes}
    return container.run(
        options.vmi or _described(options, disks),
        name=options.name,
        disks=disks,
        backing_files=options.backing_files,
        netns=options.netns,
        state_dir=options.state_dir,
        uri=options.connect,
        host_network=options.host_network,
        log_format=options.log_format,
        metrics=options.metrics,
        phase=options.phase,
        network_status=options.network_status,
        **more,
    )


def _described(options: argparse.Namespace, disks: dict[str, str]) -> Described:
    """The VM as the flags say. Raises BadArgument."""
    import socket

    from launcher.container.described import DEFAULT_CPUS, DEFAULT_MEMORY, Described, vm_name
    from launcher.container.run import BadArgument

    if not disks:
        raise BadArgument("give --vmi FILE, a manifest, or --disk NAME=PATH, the image of a VM without one")
    user_data = None
    if options.cloud_init is not None:
        try:
            with open(options.cloud_init, "rb") as file:
                user_data = file.read()
        except OSError as error:
            raise BadArgument(f"--cloud-init {options.cloud_init}: {error.strerror}") from None
    # Pods by the name of their namespaces, all on one host, have no host names of their own.
    own = (options.netns or "").removeprefix("/var").removeprefix("/run/netns/") or socket.gethostname()
    return Described(
        options.name or vm_name(own),
        tuple(disks),
        tuple(name for name, path in disks.items() if path.endswith(".iso")),
        options.memory or DEFAULT_MEMORY,
        DEFAULT_CPUS if options.cpus is None else options.cpus,
        user_data,
    )
