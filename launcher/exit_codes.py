"""How an action of the launcher ends for whoever started it: one line on standard error and an exit code.

0 done; 1 failed, everything undone; 2 bad usage or bad input; 3 failed and not fully undone. An error that says so
carries its code as `exit_code`.
"""

import logging
from collections.abc import Callable

log = logging.getLogger("launcher")

FAILED = 1
INTERRUPTED = 130
"""128 + SIGINT, as a shell has it."""


def exit_code_of(action: Callable[[], int]) -> int:
    """Run `action` and return its exit code, or log the error that ended it and return the error's."""
    try:
        return action()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None and not _is_ours(error):
            log.critical("%s: %s", type(error).__name__, error, exc_info=True)
        else:
            log.error("%s", error)
        return FAILED if code is None else int(code)


def _is_ours(error: Exception) -> bool:
    """Whether the error was written for a person; anything else is a defect and is shown with its traceback."""
    return type(error).__module__.partition(".")[0] in ("dhcp", "launcher", "netsetup")
