"""`doctor`: look at each hop between VM and node."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dhcp.lean.json import dumps
from launcher.exit_codes import FAILED
from launcher.streams import print_result
from launcher.verbs.namespace import enter

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers


def add(to: Parsers) -> None:
    doctor = to.add_verb(
        "doctor", run, to.pod, to.output, help="look at each hop between VM and node; exit code 1: one is wrong"
    )
    doctor.add_argument(
        "--quick", action="store_true", help="health check: whether it is set up and the DHCP server answers; no probes"
    )


def run(options: argparse.Namespace) -> int:
    enter(options.netns)
    import dataclasses

    from launcher.doctor.findings import is_well, lines

    if options.quick:
        from launcher.container.health import examine_quickly as examine
    else:
        from launcher.doctor.examine import examine
    checks = examine(options.state_dir)
    if options.output == "json":
        print_result(dumps({"checks": [dataclasses.asdict(check) for check in checks]}))
    else:
        print_result("\n".join(lines(checks)))
    return 0 if is_well(checks) else FAILED
