"""Exit codes of the command line, and the one-line error that goes with each.

0 done; 1 failed, everything undone; 2 bad usage, bad input, or what container or kernel lack, nothing changed; 3 failed
and not fully undone. An error other than 1 carries its code as `exit_code`.
"""

import logging
from collections.abc import Callable

from dhcp.lean.text import shortened

log = logging.getLogger("launcher")

FAILED = 1
INTERRUPTED = 130
"""128 + SIGINT, as shells do."""

OUT_OF_MEMORY = "this process gets no more memory: raise the container's limit, or try again"


def exit_code_of(action: Callable[[], int]) -> int:
    """Run `action` and return its exit code; log an error that it raises and return that error's code."""
    try:
        return action()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is not None or is_typed(error):
            for line in getattr(error, "lines", (str(error),)):
                log.error("%s", shortened(line))
        else:
            log_untyped(error)
        return FAILED if code is None else int(code)


def log_untyped(error: Exception) -> None:
    """Log an error that is none of ours: what the system refuses is one line, anything else is a defect."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
        log.error("%s", message_of(error))
        log.debug("it was raised here", exc_info=error)
    else:
        log.critical("%s: %s", type(error).__name__, error, exc_info=error)


def message_of(error: BaseException) -> str:
    """What an error says, for one line with others."""
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    return failed_call(error) if isinstance(error, OSError) and error.errno else str(error)


def failed_call(error: OSError) -> str:
    """A system call that failed where nobody expected it: the function that made it, on what, and why."""
    from netsetup.errors import KernelRefused

    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    step = trace.tb_frame.f_code.co_qualname if trace is not None else "a system call"
    return str(KernelRefused.of(f"{step}: {error.filename}" if error.filename else step, error))


def is_typed(error: Exception) -> bool:
    """Whether the error's class is one of this project's; any other is a defect and logged with its traceback."""
    return type(error).__module__.partition(".")[0] in ("dhcp", "launcher", "netsetup")
