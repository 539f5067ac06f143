"""What is wrong with a manifest: one error with the path of its field, or several at once."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import ClassVar

MOST_PROBLEMS = 100
"""Reported of one manifest."""
MOST_COLLECTED = 1000
"""Of more it is only said how many there are."""


class ManifestError(ValueError):
    """The manifest is invalid, or asks for what this launcher does not have.

    The message has a line for each problem, which starts with the path of the field, as in
    `spec.domain.cpu.cores: must be at least 1, is 0`. `path` and `reason` are those of the first.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, path: str, reason: str, *others: ManifestError, meant: str = "") -> None:
        self.path = path
        self.reason = reason
        self.meant = meant
        """Path of the field that an unknown one was probably meant to be."""
        self.problems: tuple[ManifestError, ...] = (self, *others)
        self.lines = tuple(f"{problem.path}: {problem.reason}" for problem in self.problems)
        super().__init__("\n".join(self.lines))

    def __reduce__(self) -> tuple[Callable[..., ManifestError], tuple[object, ...]]:
        return ManifestError, (self.path, self.reason, *self.problems[1:])

    def relocated(self, locate: Callable[[str], str]) -> ManifestError:
        """The same at the paths that `locate` makes of its own; two that become one are said once."""
        moved = [ManifestError(locate(p.path), p.reason, meant=p.meant) for p in self.problems]
        moved = list({(p.path, p.reason): p for p in moved}.values())
        return ManifestError(moved[0].path, moved[0].reason, *moved[1:], meant=moved[0].meant)

    @property
    def remedy(self) -> tuple[str, str]:
        """What is wrong, and what to do."""
        what, separator, remedy = self.reason.partition(": ")
        if separator:
            return what, remedy
        rule, separator, found = what.rpartition(", ")
        if rule.startswith("must ") and found.startswith(("is ", "are ")):
            return found, rule
        return what, "give it" if what.startswith("is required") else "correct it, or leave it out"


class Problems:
    """Collects what is wrong with one manifest: as a context manager each ManifestError of the block that it ends."""

    def __init__(self) -> None:
        self.found: list[ManifestError] = []
        self.ignored: list[tuple[str, str]] = []
        """Path of each field that is given, known and has no effect, and what the VM goes without; may be empty."""
        self.left_out: list[tuple[str, str]] = []
        """Path of each field that keeps an interface from being served, and what is done, where that is no problem."""
        self.dropped = 0
        """How many more there are than `found` has."""
        self.is_broken = False
        """Whether something is missing without which nothing more can be said."""

    def __enter__(self) -> Problems:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, ManifestError):
            return False
        self._keep(error)
        return True

    def add(self, path: str, reason: str, meant: str = "") -> None:
        self._keep(ManifestError(path, reason, meant=meant))

    def _keep(self, error: ManifestError) -> None:
        if len(self.found) >= MOST_COLLECTED:
            self.dropped += 1
        elif not any(is_below(other.path, error.path) for other in self.found):
            # else it is missing because it could not be read, which has been reported
            self.found.append(error)

    def lines_of_left_out(self, locate: Callable[[str], str]) -> tuple[str, ...]:
        """A line for each interface that is left out."""
        return tuple(f"{locate(path)}: {what}" for path, what in self.left_out)

    def error(self, locate: Callable[[str], str]) -> ManifestError | None:
        """All of them as one error, at the paths that `locate` makes of theirs; None when nothing is wrong."""
        if not self.found:
            return None
        found = [ManifestError(locate(p.path), p.reason, meant=p.meant) for p in self.found[:MOST_PROBLEMS]]
        if (more := len(self.found) + self.dropped - MOST_PROBLEMS) > 0:
            found.append(ManifestError("manifest", f"has {more} more problems: correct these first"))
        return ManifestError(found[0].path, found[0].reason, *found[1:], meant=found[0].meant)


def is_below(path: str, parent: str) -> bool:
    """Whether `path` is `parent` or one of its fields or elements."""
    return path == parent or path.startswith((f"{parent}.", f"{parent}["))


def is_one_of(path: str, parents: Iterable[str]) -> bool:
    """Whether `path` is one of `parents`, below one, or above."""
    return any(is_below(path, parent) or is_below(parent, path) for parent in parents)
