"""`metrics`: what can be measured of a pod that is set up."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from launcher.streams import print_result
from launcher.verbs.namespace import enter

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers

ADDRESS_HELP = "PORT (on 127.0.0.1), ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH"


def add(to: Parsers) -> None:
    to.add_verb("metrics", run, to.pod, help="print the metrics, as Prometheus has them; `run --metrics` serves them")


def run(options: argparse.Namespace) -> int:
    enter(options.netns)
    from launcher.sight.exposition import PodCollector, require_library, text_of

    require_library()
    print_result(text_of(PodCollector(options.state_dir)).rstrip("\n"))
    return 0
