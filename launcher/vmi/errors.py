"""What is wrong with a manifest."""

from typing import ClassVar


class ManifestError(ValueError):
    """The manifest is broken or asks for what the launcher cannot do.

    The message is one line and starts with the path of the field, as in
    `spec.domain.cpu.cores: must be at least 1`.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
