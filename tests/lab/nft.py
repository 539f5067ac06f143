"""An nftables that refuses the rules that a test chooses, like a kernel that lacks a feature or memory."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

_CALLS = """
from netsetup.nft import program
from netsetup.errors import (RulesetRefused)

run = program.run

def refusing(commands, **options):
    if not (commands.startswith("list") or options.get("dry_run")):
        with open({asked!r}, "a") as asked:
            asked.write(".")
    if {unknown!r} in commands:
        raise RulesetRefused("nftables: Error: {error}")
    return run(commands, **options)

program.run = refusing
"""
_PROGRAM = """#!/bin/sh
rules=$(cat)
case $rules in *{unknown}*) echo 'Error: {error}' >&2; exit 1 ;; esac
echo "$rules" | /usr/sbin/nft "$@"
"""


class Nft:
    """Stands before nft, and before its rule check, for programs that are started with `prefix`.

    Args:
        directory: where its files are written.
        unknown: rules that contain this text are refused.
        error: the error message.
    """

    def __init__(self, directory: Path, unknown: str, error: str = "Could not process rule") -> None:
        self._directory, self._asked = directory, directory / "asked"
        calls = _CALLS.format(asked=str(self._asked), unknown=unknown, error=error)
        (directory / "sitecustomize.py").write_text(calls)
        program = directory / "nft"
        program.write_text(_PROGRAM.format(unknown=shlex.quote(unknown), error=error))
        program.chmod(0o755)

    @property
    def prefix(self) -> list[str]:
        return ["env", f"PATH={self._directory}:{os.environ['PATH']}", f"PYTHONPATH={self._directory}"]

    @property
    def changes(self) -> int:
        """How many changes were requested, refused ones included."""
        return len(self._asked.read_text()) if self._asked.exists() else 0
