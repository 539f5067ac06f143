"""Threads that a container's limit on processes may forbid."""

from __future__ import annotations

import threading
from collections.abc import Callable


class ThreadError(Exception):
    """A thread cannot be started."""


def start_thread(name: str, target: Callable[..., object], *arguments: object) -> threading.Thread:
    """Start a thread that does not keep the process alive. Raises ThreadError."""
    thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # Python does not say which errno it was
        raise ThreadError(f"thread {name}: cannot be started; raise the container's limit on processes") from None
    return thread
