"""A thread that has the pod's network follow what changes there, from the moment it is started until it is stopped.

It waits for events, without looking at the clock. After the first it waits until no more come, for half a second at
most, then looks what there is to do, and has that done. What it does makes events of its own: the look that follows
them finds nothing to do.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import time
from typing import TYPE_CHECKING

from launcher.exit_codes import is_typed, log_untyped, message_of
from launcher.following.file_events import FileEvents
from launcher.following.kernel_events import KernelEvents
from launcher.following.pod_changes import Unsettled
from launcher.machine.threads import ThreadError, start_thread
from launcher.sight.history import note_not_taken_in
from netsetup.errors import KernelRefused, NetworkSetupError, NotSetUp
from netsetup.teardown import shortened

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

log = logging.getLogger("launcher")

QUIET_SECONDS, LONGEST_SECONDS = 0.15, 0.5
"""A change is complete when nothing more has come for so long; one that goes on is taken in by parts."""
SPACING_SECONDS = 0.5
"""Between the end of one look and the next."""
SHARE = 2
"""Of a pod in which a look takes long the spacing is so many times that."""
UNSETTLED_SECONDS, LONGEST_UNSETTLED_SECONDS = 0.25, 5.0
"""How soon a CNI that is at work is looked at again, and how long it is waited for."""
RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 60.0
MOST_REPEATS = 3
"""Of the same steps, one after another, without somebody else who undoes them."""
STOP_SECONDS = 15.0
"""How long `stop` waits for changes that are being taken in; a teardown then waits for the lock of the hooks, too."""


class Follower:
    """Follows one pod, in the network namespace of the thread that starts it."""

    def __init__(
        self,
        folder: str,
        files: Sequence[str],
        *,
        look: Callable[[bool], Sequence[str]],
        take_in: Callable[[], object],
    ) -> None:
        """`files` are those whose content matters. `look(waits)` returns the steps that there are to take, as
        `pending_changes` does, and `take_in()` has them taken; both may raise anything, and are called again."""
        self._folder, self._files = folder, tuple(files)
        self._look, self._take_in = look, take_in
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._events: list[KernelEvents | FileEvents] = []
        self._thread: threading.Thread | None = None
        self._problem, self._retry = "", RETRY_SECONDS
        self._repeated: tuple[tuple[str, ...], int] = ((), 0)
        self._is_contested, self._taken_in_at = False, 0.0
        self._unsettled_since: float | None = None
        self._earliest = 0.0

    def start(self) -> None:
        """Start with a look: something may have changed since the set-up.

        Where it cannot be started that is an error in the log, and the VM runs on without.
        """
        try:
            self._events.append(KernelEvents())
            self._watch_files()
            self._thread = start_thread("follower", self._follow)
        except (KernelRefused, ThreadError) as error:
            log.error("%s; what changes in the pod is not taken in before the next `prestart`", error)

    def _watch_files(self) -> None:
        try:
            self._events.append(FileEvents(self._files))
        except OSError as error:
            files = ", ".join(self._files)
            log.warning("%s: %s; changes of them are taken in with others of the pod", files, error.strerror)

    def stop(self) -> None:
        """Follow no more; returns when what is being taken in is done, after STOP_SECONDS at the latest."""
        os.eventfd_write(self._stop, 1)
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)
            if self._thread.is_alive():
                return
        self._close()

    def _close(self) -> None:
        for events in self._events:
            events.close()
        self._events.clear()
        os.close(self._stop)

    def _follow(self) -> None:
        try:
            due = self._round()
            while self._wait(due):
                if self._drain():
                    if not self._gather():
                        return
                elif due is None or time.monotonic() < due:
                    if self._is_stopped(QUIET_SECONDS):  # what does not matter wakes us no oftener than that
                        return
                    continue
                due = self._round()
        except Exception as error:
            log_untyped(error)
            log.error("the pod's network is followed no more; `prestart` takes in what changes")

    def _wait(self, due: float | None) -> bool:
        """Wait for an event, or until a time by the monotonic clock; False when stopped."""
        seconds = None if due is None else max(0.0, due - time.monotonic())
        ready, _, _ = select.select([self._stop, *self._events], [], [], seconds)
        return self._stop not in ready

    def _is_stopped(self, seconds: float) -> bool:
        """Wait for that, regardless of events."""
        return bool(select.select([self._stop], [], [], seconds)[0])

    def _drain(self) -> bool:
        changed = [events.drain() for events in self._events]
        return any(changed)

    def _gather(self) -> bool:
        """Wait until no more events come; False when stopped."""
        end = time.monotonic() + LONGEST_SECONDS
        while not self._is_stopped(max(QUIET_SECONDS, self._earliest - time.monotonic())):
            if not self._drain() or time.monotonic() >= end:
                return True
        return False

    def _round(self) -> float | None:
        """Look, and take in what has changed; when to look again if nothing happens, None for never."""
        began = time.monotonic()
        spacing = SPACING_SECONDS
        try:
            again = self._taken_in()
        except NotSetUp as error:
            again = None
            self._report(str(error))
        except Exception as error:
            if not is_typed(error) and message_of(error) != self._problem:
                log_untyped(error)
            self._report(message_of(error))
            again, self._retry = self._retry, min(2 * self._retry, LONGEST_RETRY_SECONDS)
            if isinstance(error, Contested):
                spacing = again
        now = time.monotonic()
        self._earliest = now + max(spacing, SHARE * (now - began))
        return None if again is None else max(now + again, self._earliest)

    def _taken_in(self) -> float | None:
        """In how many seconds to look again."""
        began = time.monotonic()
        since = began if self._unsettled_since is None else self._unsettled_since
        try:
            steps = tuple(self._look(began - since < LONGEST_UNSETTLED_SECONDS))
        except Unsettled as error:
            log.debug("%s", error)
            self._unsettled_since = since
            return UNSETTLED_SECONDS
        self._unsettled_since = None
        if not steps:
            lasts = began - self._taken_in_at
            if self._is_contested and lasts < self._retry:
                return self._retry - lasts  # whoever undoes it may only be slower than we are
            self._repeated, self._is_contested = ((), 0), False
            self._report("")
            return None
        known, repeats = self._repeated
        repeats = repeats + 1 if steps == known else 0
        self._repeated = (steps, repeats)
        if repeats > MOST_REPEATS:
            self._repeated = (steps, MOST_REPEATS - 1)  # once more when the time has come
            self._is_contested = True
            raise Contested(f"somebody undoes it each time: {'; '.join(steps)}")
        if self._is_stopped(0):
            return None
        self._take_in()
        self._taken_in_at = time.monotonic()
        log.log(
            logging.DEBUG if repeats else logging.INFO, "what has changed in the pod is taken in: %s", shortened(steps)
        )
        if not self._is_contested:
            self._retry = RETRY_SECONDS
        return SPACING_SECONDS

    def _report(self, problem: str) -> None:
        """Say once why changes are not taken in, and that they are."""
        known, self._problem = self._problem, problem
        if not (known or problem):
            return
        if not problem:
            log.info("nothing is left of what was not taken in")
            self._retry = RETRY_SECONDS
        elif problem != known:
            log.error("what has changed in the pod is not taken in: %s", problem)
        with contextlib.suppress(NetworkSetupError):
            note_not_taken_in(self._folder, problem)


class Contested(NetworkSetupError):
    """What is taken in does not last."""
