"""`link`: the carrier of one of the running VM's interfaces."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from launcher.verbs.namespace import enter

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers


def add(to: Parsers) -> None:
    link = to.add_verb("link", run, to.pod, help="set the carrier of one of the running VM's interfaces")
    link.add_argument("network", metavar="NAME", help="the network's name")
    link.add_argument("link", metavar="up|down", choices=("up", "down"), help="what the guest is to see")


def run(options: argparse.Namespace) -> int:
    enter(options.netns)
    from launcher.control.client import ask

    ask(options.state_dir, "link", name=options.network, link=options.link)
    return 0
