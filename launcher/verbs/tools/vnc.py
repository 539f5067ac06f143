"""`vnc`: how to connect to the screen of the VM that runs in this pod."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dhcp.lean.json import dumps
from launcher.streams import print_result
from launcher.verbs.namespace import enter

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers


class NoScreen(RuntimeError):
    """No VM with a screen runs here."""


def add(to: Parsers) -> None:
    to.add_verb("vnc", run, to.pod, to.output, help="how to connect to the VM's screen")


def run(options: argparse.Namespace) -> int:
    enter(options.netns)
    from launcher.manager import VNC_SOCKET
    from launcher.phases.domain import find_vm_socket

    folder, path = find_vm_socket(options.state_dir, VNC_SOCKET)
    if path is None:
        raise NoScreen(f"{folder}: no VM with a screen runs here; leave out autoattachGraphicsDevice in its manifest")
    if options.output == "json":
        print_result(dumps({"socket": path}))
    else:
        print_result(
            f"{path}\nfor a viewer at port 5900: socat TCP-LISTEN:5900,bind=127.0.0.1,fork UNIX-CONNECT:{path}"
        )
    return 0
