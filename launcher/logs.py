"""Logging to standard error, as text or as JSON lines."""

import logging
import time
from typing import Literal

from dhcp.lean.json import dumps
from dhcp.lean.text import printable

Format = Literal["text", "json"]


class _TextFormatter(logging.Formatter):
    """``virt-launcher: warning: message``; the level is left out for INFO."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"virt-launcher: {level}{printable(record.getMessage())}"


class _JSONFormatter(logging.Formatter):
    """One object a line: `time` (UTC, RFC 3339), `level`, `logger`, `message`; for a milestone `event` and `data`."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{when}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if event := getattr(record, "event", None):
            line |= {"event": event, "data": getattr(record, "data", {})}
        return dumps(line)  # ASCII alone, so that no character of it does anything to a terminal


def configure(style: Format, verbose: bool) -> None:
    """Log to standard error in this format; `verbose` adds debug messages, such as every step."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JSONFormatter() if style == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
