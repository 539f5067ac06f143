"""`run`: the container's entrypoint."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from launcher.verbs.parsers import add_manifest

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers


def add(to: Parsers) -> None:
    verb = to.add_verb("run", run, to.pod, to.changes, help="container entrypoint: set up, boot, watch, put back")
    add_manifest(verb, "", required=True)
    verb.add_argument(
        "--disk", metavar="NAME=PATH", action="append", default=[], help="what is behind a disk of the manifest"
    )
    verb.add_argument(
        "--backing-files", action="store_true", help="let disk images name backing and data files, which QEMU opens too"
    )
    verb.add_argument("--connect", metavar="URI", help="libvirt to use (default: one of the launcher's own)")


def run(options: argparse.Namespace) -> int:
    from launcher.container import run as container

    return container.run(
        options.vmi,
        name=options.name,
        disks=options.disk,
        backing_files=options.backing_files,
        netns=options.netns,
        state_dir=options.state_dir,
        uri=options.connect,
        host_network=options.host_network,
        log_format=options.log_format,
    )
