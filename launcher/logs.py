"""Logging to standard error, as text or as JSON lines; of a long run each line has its time."""

import logging
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from dhcp.lean.json import dumps
from dhcp.lean.text import printable, printable_lines

Format = Literal["text", "json"]

OPTION = "--log-format"


def format_in(words: Sequence[str]) -> Format:
    """The form that a command line asks for, before it is parsed: what is wrong with it is a line of the log, too."""
    found = [after for word, after in pairwise(words) if word == OPTION]
    found += [word.partition("=")[2] for word in words if word.startswith(f"{OPTION}=")]
    return "json" if "json" in found else "text"


class _TextFormatter(logging.Formatter):
    """``virt-launcher: warning: message``, behind its time if that is wanted; the level is left out for INFO.

    A defect's traceback follows if debug messages do.
    """

    def __init__(self, with_time: bool, with_traceback: bool) -> None:
        super().__init__()
        self._with_time, self._with_traceback = with_time, with_traceback

    def format(self, record: logging.LogRecord) -> str:
        when = f"{_timestamp(record)} " if self._with_time else ""
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        line = f"{when}virt-launcher: {level}{printable(record.getMessage())}"
        if record.exc_info and self._with_traceback:
            line += f"\n{printable_lines(self.formatException(record.exc_info))}"
        return line


class _JSONFormatter(logging.Formatter):
    """One object a line: `time` (UTC, RFC 3339), `level`, `logger`, `message`; for a milestone `event` and `data`.

    A defect has its `traceback`.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if event := getattr(record, "event", None):
            line |= {"event": event, "data": getattr(record, "data", {})}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return dumps(line)  # ASCII alone, so that no character of it does anything to a terminal


def _timestamp(record: logging.LogRecord) -> str:
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{when}.{int(record.msecs):03d}Z"


def configure(style: Format, verbose: bool = False, *, with_time: bool = False) -> None:
    """Log to standard error in this format; `verbose` adds debug messages, such as every step.

    Text has the time only where it is asked for, JSON always. Python's own warnings, and what ends a thread, are lines
    of the log as well.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_JSONFormatter() if style == "json" else _TextFormatter(with_time, verbose))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.captureWarnings(True)
    threading.excepthook = _log_end_of_thread


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_type is not SystemExit and ended.exc_value is not None:
        name = ended.thread.name if ended.thread else "unknown"
        what = (ended.exc_type, ended.exc_value, ended.exc_traceback)
        logging.getLogger("launcher").critical("thread %s has ended: %s", name, ended.exc_value, exc_info=what)
