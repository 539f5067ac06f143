"""The guest's events as lines of the launcher's log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launcher.guest.events import GuestEvent

log = logging.getLogger("launcher")


def log_event(event: GuestEvent) -> None:
    """`message` as text, `event` and `data` in JSON logs."""
    level = getattr(logging, event.level.upper())
    log.log(level, "%s", event.message, extra={"event": event.name, "data": event.data})
