"""`detach`: take an interface from the running VM, and put its network back."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from launcher.verbs.namespace import enter

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers


def add(to: Parsers) -> None:
    detach = to.add_verb("detach", run, to.pod, help="take an interface from the running VM, and put its network back")
    detach.add_argument("network", metavar="NAME", help="the network's name")


def run(options: argparse.Namespace) -> int:
    enter(options.netns)
    from launcher.control.client import ask

    ask(options.state_dir, "detach", name=options.network)
    return 0
