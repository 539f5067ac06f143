"""`probe`: request the VM's lease as a client would."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dhcp.lean.json import dumps
from launcher.streams import print_result
from launcher.verbs.namespace import enter
from launcher.verbs.parsers import add_manifest

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers


def add(to: Parsers) -> None:
    probe = to.add_verb(
        "probe",
        run,
        to.pod,
        to.output,
        help="request the VM's lease without sending the guest a frame; exit code 1: it is not as recorded",
    )
    add_manifest(probe, "compare with what prestart was given")


def run(options: argparse.Namespace) -> int:
    enter(options.netns)
    import dataclasses

    from launcher.probe import lines, probe
    from launcher.vmi.load import load_request

    found = probe(options.state_dir, load_request(options.vmi, options.name) if options.vmi else None)
    if options.output == "json":
        print_result(dumps({"networks": [dataclasses.asdict(probed) for probed in found]}))
    else:
        print_result("\n".join(lines(found)))
    return 1 if any(probed.problems for probed in found) else 0
