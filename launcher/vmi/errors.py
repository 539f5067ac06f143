"""The error of an invalid manifest."""

from typing import ClassVar


class ManifestError(ValueError):
    """The manifest is invalid, or uses a feature that this launcher does not support.

    The message is one line and starts with the path of the field, as in
    `spec.domain.cpu.cores: must be at least 1`.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> "tuple[type[ManifestError], tuple[str, str]]":
        return type(self), (self.path, self.reason)
