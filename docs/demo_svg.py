#!/usr/bin/env python3
"""Record `make demo` as docs/demo.svg, the terminal that README shows: `.venv/bin/python docs/demo_svg.py`, as root.

With two files for arguments the text of the first is drawn into the second, instead of a demo that runs.
"""

import re
import subprocess
import sys
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
COLUMN, LINE, MARGIN = 8.43, 19, 16
"""Pixels of one character of 14 px, of a line, and around the text."""
STEP = re.compile(r"^(?P<name>  [A-Za-z].{20})(?P<took> *[\d.]+ m?s)(?P<seen>   .*)$")
HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="make demo in a terminal">
<rect width="{width}" height="{height}" rx="8" fill="#1b1f27"/>
<g font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" fill="#d7dae0"
   style="white-space: pre" xml:space="preserve">
"""


def recorded() -> str:
    demo = ["make", "--silent", "--no-print-directory", "demo"]
    return "$ make demo\n" + subprocess.run(demo, cwd=HERE.parent, check=True, capture_output=True, text=True).stdout


def drawn(text: str) -> str:
    lines = text.rstrip().splitlines()
    width = round(max(map(len, lines)) * COLUMN + 2 * MARGIN)
    head = HEAD.format(width=width, height=len(lines) * LINE + 2 * MARGIN)
    rows = (f'<text x="{MARGIN}" y="{MARGIN + 14 + LINE * n}">{colour(line)}</text>' for n, line in enumerate(lines))
    return head + "\n".join(rows) + "\n</g>\n</svg>\n"


def colour(line: str) -> str:
    if step := STEP.match(line):
        name, took, seen = (escape(step[part]) for part in ("name", "took", "seen"))
        return f'<tspan fill="#8fd0ff">{name}</tspan><tspan fill="#e5c07b">{took}</tspan>{seen}'
    if line.startswith(("$", "Every step worked")):
        return f'<tspan fill="#98c379">{escape(line)}</tspan>'
    return escape(line)


if __name__ == "__main__":
    if sys.argv[1:]:
        Path(sys.argv[2]).write_text(drawn(Path(sys.argv[1]).read_text()))
    else:
        (HERE / "demo.svg").write_text(drawn(recorded()))
