#!/usr/bin/env python3
"""Prints the entries of constraints.txt, with their hashes, that this package requires or one of its extras does.

Usage: locked.py FOLDER [EXTRA | =NAME]…    FOLDER has setup.cfg and constraints.txt; `=NAME` is one entry by its name.
"""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path


def normal(requirement: str) -> str:
    """The distribution's name in a requirement, as indexes spell it (the name normalisation of PEP 503)."""
    name = re.split(r"[^\w.-]", requirement.strip())[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def main(folder: Path, wanted: list[str]) -> None:
    setup = configparser.ConfigParser()
    setup.read(folder / "setup.cfg")
    names = {word[1:] for word in wanted if word.startswith("=")}
    if extras := [word for word in wanted if not word.startswith("=")]:
        texts = [setup["options.extras_require"][extra] for extra in extras]
    else:
        texts = [] if names else [setup["options"]["install_requires"]]
    names |= {normal(line) for text in texts for line in text.splitlines() if line.strip()}
    entries = re.findall(r"^[\w.-]+==(?:.*\\\n)*.*\n", (folder / "constraints.txt").read_text(), re.MULTILINE)
    locked = {normal(entry.partition("==")[0]): entry for entry in entries}
    if missing := names - set(locked):
        raise SystemExit(f"constraints.txt has no entry for {', '.join(sorted(missing))}: `make constraints`")
    print("".join(locked[name] for name in sorted(names)), end="")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
