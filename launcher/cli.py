"""The command line: verbs, results on standard output, logs and errors on standard error, exit codes.

0 done; 1 failed, everything undone; 2 bad usage, bad input, or what container or kernel lack, nothing changed; 3 failed
and not fully undone. `run` adds 4, the VM was destroyed after its grace period, and 5, the guest or QEMU
crashed, or QEMU was killed.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from dhcp.lean.importer import install
from netsetup.kernel.lazy_import import make_lazy

make_lazy("traceback")  # which logging imports for failures alone, and which takes half as long as all of it

import logging
from typing import TYPE_CHECKING, NoReturn

from dhcp.standard_streams import open_standard_streams
from launcher import logs, streams
from launcher.exit_codes import FAILED, exit_code_of
from launcher.verbs.parsers import Parsers

if TYPE_CHECKING:
    from argparse import ArgumentParser

log = logging.getLogger("launcher")

_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

VERBS = (
    "prestart",
    "teardown",
    "status",
    "doctor",
    "probe",
    "metrics",
    "capture",
    "serve",
    "run",
    "attach",
    "detach",
    "link",
    "console",
    "vnc",
    "validate",
    "demo",
    "completion",
)
"""In the order of `--help`; each is a module of launcher.verbs, or of a folder in it."""
_TOOLS = frozenset(("attach", "detach", "link", "metrics", "capture", "completion", "console", "vnc"))


def command() -> NoReturn:
    """The program: `main`, exiting without the interpreter's 10 ms of finalisation."""
    for package in ("dhcp", "launcher", "netsetup"):
        install(package, f"{_FOLDER}/{package}")
    gc.disable()  # hardly anything of what a start makes is garbage; `run`, which runs on, switches it on again
    open_standard_streams()
    try:
        status = main()
    except SystemExit as ended:  # help, or bad usage
        status = ended.code if isinstance(ended.code, int) else FAILED
    if problem := streams.flush():
        log.error("%s", problem)
        status = status or FAILED
    os._exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; `arguments` defaults to the command line's."""
    words = sys.argv[1:] if arguments is None else arguments
    logs.configure(logs.format_in(words))
    options = _parser(words).parse_args(words)
    logs.configure(options.log_format, options.verbose, with_time=getattr(options, "logs_time", False))
    return exit_code_of(lambda: int(options.verb(options)))


def _parser(words: Sequence[str]) -> ArgumentParser:
    """What parses `words`. Where they begin with a verb it has no other: each takes a sixth of a millisecond."""
    parsers = Parsers()
    for name in words[:1] if words and words[0] in VERBS else VERBS:
        import_module(f"launcher.verbs.{'tools.' if name in _TOOLS else ''}{name}").add(parsers)
    return parsers.all


def whole_parser() -> ArgumentParser:
    """That of all verbs, for what is made from it: completion, the manual page."""
    return _parser(())
