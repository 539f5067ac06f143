"""The standard streams: results on standard output, which count as printed only when they were written."""

from __future__ import annotations

import contextlib
import os
import sys

from dhcp.lean.text import printable_lines


class OutputError(Exception):
    """The result cannot be written to standard output."""


def require_output() -> None:
    """Raises OutputError when standard output is closed, so that a result could not be printed."""
    if sys.stdout is None:
        raise OutputError("standard output is closed; give it a file, a pipe or /dev/null")


def print_result(text: str) -> None:
    """Print to standard output, whatever its encoding, and write it at once; raises OutputError."""
    require_output()
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(printable_lines(text).encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError as error:
        discard_output()
        raise OutputError(f"standard output: {error.strerror}") from None


def flush() -> str:
    """Write what the standard streams still hold; why standard output could not be written, empty when it was."""
    problem = ""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        discard_output()
        problem = f"standard output: {error.strerror}"
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.flush()
    return problem


def discard_output() -> None:
    """Write to /dev/null what the stream still holds, or every later flush would fail as well."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, 1)
    os.close(null)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
