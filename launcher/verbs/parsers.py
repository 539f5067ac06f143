"""What the verbs' command lines have in common: one-line errors, help's width, arguments of several verbs."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from launcher import streams
from launcher.exit_codes import FAILED

log = logging.getLogger("launcher")

HELP_WIDTH = 100
"""Of the lines of `--help` where COLUMNS does not say another."""

# Instead of gettext, which has no translation of these texts, and takes 2 ms to find that out.
setattr(argparse, "_", str)  # noqa: B010


class Parser(argparse.ArgumentParser):
    """Bad usage is one line, as every error is; the rest of the usage is a `--help` away."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=_formatter, **settings)

    def _print_message(self, message: str, file: Any = None) -> None:
        stream = file or sys.stderr
        try:
            if message and stream is not None:
                stream.write(message)  # argparse's own says nothing of an error, from Python 3.12 on
                stream.flush()
        except OSError as error:
            if file is sys.stdout:  # of help; an error's exit code says more than that it cannot be read
                streams.discard_output()
                log.error("standard output: %s", error.strerror)
                self.exit(FAILED)

    def error(self, message: str) -> NoReturn:
        log.error("%s; see %s --help", message, self.prog)
        self.exit(2)


class _Version(argparse.Action):
    """Prints the version; reading it takes some milliseconds, so not before it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from launcher.sight.version import program_version

        parser._print_message(f"virt-launcher {program_version()}\n", sys.stdout)
        parser.exit()


def _formatter(prog: str) -> argparse.HelpFormatter:
    """A formatter of COLUMNS or HELP_WIDTH; querying the terminal would import shutil."""
    columns = os.environ.get("COLUMNS", "")
    is_number = columns.isdecimal() and len(columns) < 6
    return _Formatter(prog, width=(int(columns) if is_number else 0) or HELP_WIDTH)


class _Formatter(argparse.HelpFormatter):
    """Has room for the longest verb beside what it does, which argparse takes for two columns shorter."""

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            longest = max(map(len, action.choices))
            self._action_max_length = max(self._action_max_length, longest + 2 * self._indent_increment)


class Parsers:
    """The command line's, and what several verbs have in common."""

    def __init__(self) -> None:
        self.common = Parser(add_help=False)
        self.common.add_argument("--log-format", choices=("text", "json"), default="text", help="form of the log")
        self.common.add_argument("--verbose", action="store_true", help="log every step")
        self.pod = Parser(add_help=False)
        self.pod.add_argument("--netns", metavar="NAME|PATH", help="enter this network namespace first")
        self.pod.add_argument(
            "--state-dir", metavar="DIR", help="folder of this pod's record (default: below /run/virt-launcher)"
        )
        self.changes = Parser(add_help=False)
        self.changes.add_argument(
            "--host-network", action="store_true", help="also if this is the machine's own network namespace"
        )
        self.output = Parser(add_help=False)
        self.output.add_argument("--output", choices=("text", "json"), default="text", help="form of the result")
        self.all = Parser(
            prog="virt-launcher", description="Hands a pod's network to the virtual machine that runs in it."
        )
        self.all.add_argument("--version", action=_Version, nargs=0, help="show the version")
        self._verbs = self.all.add_subparsers(metavar="VERB", required=True, prog="virt-launcher")

    def add_verb(
        self, name: str, run: Callable[[argparse.Namespace], int], *parents: Parser, help: str
    ) -> argparse.ArgumentParser:
        verb = self._verbs.add_parser(name, parents=[self.common, *parents], help=help)
        verb.set_defaults(verb=run)
        return verb


def add_manifest(verb: argparse.ArgumentParser, default: str) -> None:
    """The flags that name a manifest; `default` is what holds without."""
    without = f" (default: {default})" if default else ""
    verb.add_argument(
        "--vmi",
        metavar="FILE",
        help=f"manifest of a VirtualMachine or VirtualMachineInstance, - for standard input{without}",
    )
    verb.add_argument("--name", metavar="NAME", help="which virtual machine of the manifest, if it has several")


def add_network_status(verb: argparse.ArgumentParser) -> None:
    """The flag of verbs that hand over the interfaces of several networks."""
    verb.add_argument(
        "--network-status",
        metavar="FILE",
        help="Multus' annotation k8s.v1.cni.cncf.io/network-status, which names the networks' pod interfaces",
    )
