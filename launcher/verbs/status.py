"""`status`: what is set up."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dhcp.lean.json import dumps
from launcher.streams import print_result
from launcher.verbs.namespace import enter

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers


def add(to: Parsers) -> None:
    to.add_verb("status", run, to.pod, to.output, help="what is set up, and how it is used")


def run(options: argparse.Namespace) -> int:
    enter(options.netns)
    import dataclasses

    from launcher.status import Status, lines, read_status

    status = read_status(options.state_dir)
    if options.output == "json":
        print_result(dumps(dataclasses.asdict(status or Status())))
    else:
        print_result("\n".join(lines(status)) if status else "nothing is set up in this network namespace")
    return 0
