"""`demo`: a pod, a node and a real VM on this machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers


def add(to: Parsers) -> None:
    to.add_verb("demo", run, to.output, help="a pod, a node and a real VM on this machine (needs root)")


def run(options: argparse.Namespace) -> int:
    from launcher.demo.scenario import demo

    return demo(options.output)
