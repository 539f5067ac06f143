"""Undoes a set-up that fails."""

from __future__ import annotations

from collections.abc import Callable

from launcher.exit_codes import message_of


class Undo:
    """What undoes a set-up that fails: last first, and all of it, whatever of it fails. A context manager."""

    def __init__(self) -> None:
        self._actions: list[Callable[[], object]] = []

    def add(self, action: Callable[[], object]) -> None:
        self._actions.append(action)

    def clear(self) -> None:
        """The set-up has succeeded."""
        self._actions.clear()

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, _kind: object, failure: BaseException | None, _trace: object) -> None:
        """Raises NotRestored when something is not undone."""
        left = []
        while self._actions:
            try:
                self._actions.pop()()
            except Exception as error:  # whatever it is, the rest is to be undone
                left.append(message_of(error))
        if left:
            from netsetup.errors import NotRestored

            began = message_of(failure) if failure and str(failure) else "interrupted"
            raise NotRestored("; and ".join([began, *left])) from failure
