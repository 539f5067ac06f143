"""`completion`: the script by which a shell completes this program's verbs, options and files (shtab)."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from launcher.streams import print_result

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers

SHELLS = ("bash", "zsh", "fish")
_FILES, _FOLDERS = ("FILE",), ("DIR",)
"""By the metavar of an option's value."""


def add(to: Parsers) -> None:
    verb = to.add_verb("completion", run, help="print the script by which a shell completes this program's words")
    verb.add_argument("shell", choices=SHELLS, help="which one")


def run(options: argparse.Namespace) -> int:
    print_result(script(options.shell).rstrip("\n"))
    return 0


def script(shell: str) -> str:
    """The script for one of SHELLS. Raises MissingFeature without shtab."""
    try:
        import shtab
    except ImportError:
        from netsetup.errors import MissingFeature

        raise MissingFeature("completion needs shtab: pip install 'virt-launcher[completion]'") from None
    from launcher.cli import whole_parser

    parser = whole_parser()
    for action in _actions(parser):
        if action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it
        elif action.metavar in _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    return shtab.complete(parser, shell=shell)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The options and arguments of a parser, and of its verbs."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _actions(verb)
