"""`console`: the serial console of the VM that runs in this pod."""

from __future__ import annotations

import argparse
import contextlib
import os
from typing import TYPE_CHECKING

from launcher.verbs.namespace import enter

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers


def add(to: Parsers) -> None:
    to.add_verb("console", run, to.pod, help="the running VM's serial console in this terminal; Ctrl-] leaves it")


def run(options: argparse.Namespace) -> int:
    enter(options.netns)
    from launcher.container.console import attach, find_console
    from launcher.phases.domain import domain_folder
    from netsetup.kernel.netns import state_directory

    folder = os.path.abspath(state_directory(options.state_dir))
    with contextlib.suppress(KeyboardInterrupt):
        attach(find_console(folder, domain_folder(folder)), 0, 1)
    return 0
