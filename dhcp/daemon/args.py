"""The command line of `python -m dhcp`, without argparse, whose import takes as long as the server's start."""

from __future__ import annotations

import sys

from dhcp.daemon.main import run_alone, run_child

USAGE = """usage: python -m dhcp --interface IFACE --config FILE [--log-format text|json]

Serve one DHCP client on IFACE by the JSON in FILE. Prints a line starting with "ready" when it answers.
"""
_WITH_VALUE = ("--interface", "--config", "--log-format", "--control-fd", "--name")
_FLAGS = ("--bounded-log",)


def main(words: list[str]) -> int:
    """Run the server; returns the exit status, 2 for bad usage or a bad configuration."""
    values: dict[str, str] = {}
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        name, equals, value = word.partition("=")
        if word in ("-h", "--help"):
            print(USAGE, end="")
            return 0
        if word in _FLAGS:
            values[word] = ""
        elif name in _WITH_VALUE and (equals or remaining):
            values[name] = value if equals else remaining.pop(0)
        else:
            return _bad_usage(f"unexpected {word!r}")
    log_format = values.get("--log-format", "text")
    if log_format not in ("text", "json"):
        return _bad_usage("--log-format is text or json")
    if "--control-fd" in values:
        if not values["--control-fd"].isdigit():
            return _bad_usage("--control-fd is the number of an open descriptor")
        return run_child(int(values["--control-fd"]), log_format, "--bounded-log" in values, values.get("--name", ""))
    if "--interface" not in values or "--config" not in values:
        return _bad_usage("--interface and --config are required")
    return run_alone(values["--interface"], values["--config"], log_format)


def _bad_usage(reason: str) -> int:
    print(f"python -m dhcp: {reason}\n{USAGE}", end="", file=sys.stderr)
    return 2
