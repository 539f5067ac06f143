"""`validate`: what `run` would do with a manifest."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dhcp.lean.json import dumps
from launcher.streams import print_result

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers


def add(to: Parsers) -> None:
    verb = to.add_verb(
        "validate", run, to.output, help="what `run` would do with a manifest; exit code 2: it would refuse it"
    )
    verb.add_argument("files", metavar="FILE", nargs="*", help="manifest, YAML or JSON, - for standard input")
    verb.add_argument("--name", metavar="NAME", help="which virtual machine of the manifest (default: each)")
    verb.add_argument("--schema", action="store_true", help="print the JSON Schema of what is accepted, and no more")
    verb.set_defaults(usage=verb.error)


def run(options: argparse.Namespace) -> int:
    if options.schema:
        import json

        from launcher.manifest.json_schema import json_schema

        print_result(json.dumps(json_schema(), indent=2))
        return 0
    if not options.files:
        options.usage("the following arguments are required: FILE")
    from launcher.vmi.report import is_refused, lines, report_file

    reports = [report for file in options.files for report in report_file(file, options.name)]
    print_result(dumps({"machines": reports}) if options.output == "json" else "\n".join(lines(reports)))
    return 2 if is_refused(reports) else 0
