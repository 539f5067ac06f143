"""`teardown`: put everything back."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

from launcher.verbs.namespace import enter

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers

log = logging.getLogger("launcher")


def add(to: Parsers) -> None:
    teardown = to.add_verb("teardown", run, to.pod, to.changes, help="put everything back, stop the DHCP server")
    teardown.add_argument("--force", action="store_true", help="also while a `run` has its VM here, which is cut off")


def run(options: argparse.Namespace) -> int:
    enter(options.netns)
    from launcher.prestart import teardown_pod_network

    if not teardown_pod_network(options.state_dir, host_network=options.host_network, under_vm=options.force):
        log.info("nothing was set up in this network namespace")
    return 0
