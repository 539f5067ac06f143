"""`status`: what is set up."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from dhcp.lean.json import dumps
from launcher.streams import print_result
from launcher.verbs.namespace import enter

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers

WATCH_SECONDS = 2.0
_CLEAR = "\x1b[H\x1b[2J"
"""Of ECMA-48: to the first line, and erase the display."""


def add(to: Parsers) -> None:
    status = to.add_verb("status", run, to.pod, to.output, help="what is set up, and how it is used")
    status.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=_seconds,
        const=WATCH_SECONDS,
        help=f"again and again until it is interrupted, every {WATCH_SECONDS:g} seconds unless SECONDS says otherwise",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text}: must be 0.1 to 86400 seconds")
    return seconds


def run(options: argparse.Namespace) -> int:
    enter(options.netns)
    _print(options)
    while options.watch:
        time.sleep(options.watch)
        _print(options)
    return 0


def _print(options: argparse.Namespace) -> None:
    """The status once; when it is watched, on a terminal that was cleared, and JSON as an object a line."""
    import dataclasses

    from launcher.sight.status import Status, read_status
    from launcher.sight.status_text import lines

    status = read_status(options.state_dir, ask_guest=True)
    if options.output == "json":
        print_result(dumps(dataclasses.asdict(status or Status())))
        return
    if options.watch and sys.stdout is not None and sys.stdout.isatty():
        sys.stdout.write(_CLEAR)
    print_result("\n".join(lines(status)) if status else "nothing is set up in this network namespace")
