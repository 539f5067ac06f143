"""How long tests wait for what must come: `launcher.testing.waiting`."""

from launcher.testing.waiting import PATIENCE, has_ended, kill, wait_until

__all__ = ["PATIENCE", "has_ended", "kill", "wait_until"]
