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
    from launcher.container.console import NoConsole, attach
    from launcher.manager import CONSOLE_LOG, CONSOLE_SOCKET
    from launcher.phases.domain import find_vm_socket

    folder, path = find_vm_socket(options.state_dir, CONSOLE_SOCKET)
    if path is None:
        raise NoConsole(
            f"{folder}: no VM with a serial console runs here; name its --state-dir, and leave out "
            "autoattachSerialConsole in its manifest"
        )
    with contextlib.suppress(KeyboardInterrupt):
        attach(path, os.path.join(os.path.dirname(path), CONSOLE_LOG), 0, 1)
    return 0
