"""PID 1 of the container: forwards signals, reaps children.

The launcher runs as its child. libvirt starts QEMU as a daemon, which becomes a child of the nearest subreaper;
libvirt detects QEMU's exit by its pid, so a zombie that is not reaped keeps libvirt waiting. In one process with
libvirt, waiting for all children would also reap those that libvirt waits for itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import struct
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from dhcp.lean.libc import prctl

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("launcher")

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SI_KERNEL = 0x80

FORWARDED = frozenset(
    (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGCONT,
        signal.SIGWINCH,
    )
)
_WAITED_FOR = FORWARDED | {signal.SIGCHLD}

_END = struct.Struct("=ii")
"""Pid and exit code of an orphan, negative for a signal, as the first process hands it to its child."""

_SIGNALLED = 128
"""Added to the number of the signal that ended a process, as shells do."""


_ends: list[int] = []
"""In the child alone: the pipe from which the ends of orphans are read."""


def supervise(main: Callable[[], int], *, keeps_capabilities: bool = True) -> int:
    """Run `main` in a child process, forward signals to it, reap every orphan, and return its exit code.

    To be called before anything costly is imported and before any thread is started. When `main` ends, the processes
    that it left below this one are killed. When this process exits first, the child gets SIGTERM.
    Signals stay blocked afterwards: the caller can only exit, and a late signal would replace the exit code.
    What this process does takes no capability but CAP_KILL for children of other users.
    """
    # Blocked before the fork, so that a signal in between stays pending until `_forward_and_reap`.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    parent = os.getpid()
    ends, reaped = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _ends.append(ends)
        os.close(reaped)
        _run(main, parent, before)
    os.close(ends)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if not keeps_capabilities:
        from netsetup.kernel.capabilities import keep_capabilities

        keep_capabilities(())
    return _forward_and_reap(child, reaped)


def exit_code_of_orphan(pid: int, seconds: float) -> int | None:
    """In `main`: the exit code of a process that the first one has reaped, negative for a signal.

    None when it has not ended in time, or nothing supervises.
    """
    deadline = time.monotonic() + seconds
    while _ends and (remaining := deadline - time.monotonic()) > 0:
        if select.select(_ends, [], [], remaining)[0]:
            received = os.read(_ends[0], 512 * _END.size)
            if not received:
                return None
            for orphan, code in _END.iter_unpack(received):
                if orphan == pid:
                    return int(code)
    return None


def _run(main: Callable[[], int], parent: int, mask: set[int | signal.Signals]) -> NoReturn:
    """The child's code: never returns into the caller's stack."""
    status = 1
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            # The parent exited before the death signal was set.
            os.kill(os.getpid(), signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        status = main()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        status = _SIGNALLED + signal.SIGINT
    except BaseException:
        log.critical("the launcher has ended by a defect", exc_info=True)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def _forward_and_reap(child: int, reaped: int) -> int:
    """Forward signals and reap children until `child` has exited; its exit code. Others' go to the pipe `reaped`."""
    while True:
        information = signal.sigwaitinfo(_WAITED_FOR)
        if information.si_signo != signal.SIGCHLD:
            # A terminal's signal (Ctrl-C) has reached the child already, which is in the same process group.
            if information.si_code != _SI_KERNEL:
                os.kill(child, information.si_signo)
            continue
        # One SIGCHLD may stand for several children.
        status = None
        while (ended := _reap_any()) is not None:
            if ended[0] == child:
                status = os.waitstatus_to_exitcode(ended[1])
            else:
                with contextlib.suppress(OSError):  # full of what nobody has asked for, or its reader has ended
                    os.write(reaped, _END.pack(ended[0], os.waitstatus_to_exitcode(ended[1])))
        if status is not None:
            _kill_orphans()
            return status if status >= 0 else _SIGNALLED - status


def _reap_any() -> tuple[int, int] | None:
    """Reap one child that has exited: its pid and wait status, or None when there is none."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _kill_orphans() -> None:
    """Kill the processes that are left below this one: a launcher that was killed leaves QEMU running."""
    while orphans := _children():
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in orphans:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    """The pids of this process's children, zombies included."""
    found = []
    me = os.getpid()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                # The name in parentheses may hold any character; the fields are counted from its end.
                parent = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == me:
            found.append(int(entry))
    return found


def _prctl(option: int, value: int) -> None:
    if prctl(option, value, 0, 0, 0) != 0:
        raise OSError(f"prctl({option}, {value}) is refused")
