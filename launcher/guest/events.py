"""What a guest does, from libvirt's events to lines of the log. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dhcp.lean.frozen import Frozen
from dhcp.lean.text import printable, shortened
from dhcp.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Mapping

# virDomainEventID, a stable part of libvirt's API, as are the numbers below.
LIFECYCLE: Final = 0
REBOOT: Final = 1
WATCHDOG: Final = 3
IO_ERROR: Final = 6
"""VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON."""
PMWAKEUP: Final = 11
PMSUSPEND: Final = 12
AGENT_LIFECYCLE: Final = 18

LISTENED_TO: Final = (REBOOT, WATCHDOG, IO_ERROR, PMWAKEUP, PMSUSPEND, AGENT_LIFECYCLE)
"""Besides lifecycle events, which the manager listens to."""

LINES_AT_ONCE: Final = 60
SECONDS_A_LINE: Final = 10.0
"""The guest decides how many events there are; the log stays bounded all the same."""
SAME_REBOOT_SECONDS: Final = 3.0
"""SeaBIOS resets the machine once more when it is entered again (its `handle_resume32`)."""
_LONGEST: Final = 200
"""Characters of what the guest, or a device, has named."""

_SUSPENDED, _RESUMED, _SHUTDOWN, _CRASHED = 3, 4, 6, 8
_PAUSES: Final = {2: "one of its disks had an error", 3: "its watchdog fired"}
_WATCHDOG_ACTIONS: Final = {
    1: "it is paused",
    2: "it is reset",
    3: "it is powered off",
    4: "it is asked to shut down",
    6: "it gets an NMI",
}
_LAST: Final = frozenset(("powered-off", "panicked"))
"""After these nothing follows: they are logged whatever came before."""


class GuestEvent(Frozen):
    """One thing that the guest did."""

    name: str
    """`event` of JSON logs."""
    message: str
    data: Mapping[str, object] = {}
    level: str = "info"


def event_of(number: int, details: tuple[Any, ...]) -> GuestEvent | None:
    """An event of libvirt by its number, and what its callback is given besides the domain; None for no news."""
    if number == LIFECYCLE:
        return _lifecycle(details[0], details[1])
    if number == REBOOT:
        return GuestEvent("rebooted", "the guest has rebooted itself, or was reset")
    if number == PMSUSPEND:
        return GuestEvent("asleep", "the guest sleeps (suspend to memory)", {"state": "memory"}, "warning")
    if number == PMWAKEUP:
        return GuestEvent("woken", "the guest is awake again")
    if number == WATCHDOG:
        done = _WATCHDOG_ACTIONS.get(details[0], "nothing is done")
        return GuestEvent("watchdog", f"the guest has not fed its watchdog: {done}", {}, "warning")
    if number == IO_ERROR:
        _path, alias, _action, reason = details
        disk, why = (shortened(printable(str(text)), _LONGEST) for text in (alias, reason))
        what = f"disk {disk}: an error{f' ({why})' if why else ''}"
        return GuestEvent("disk-error", what, {"disk": disk, "reason": why}, "warning")
    if number == AGENT_LIFECYCLE:
        return _agent(details[0], details[1])
    return None


def _lifecycle(event: int, detail: int) -> GuestEvent | None:
    if (event, detail) == (_SHUTDOWN, 1):
        return GuestEvent("powered-off", "the guest has powered itself off")
    if event == _CRASHED:
        return GuestEvent("panicked", "the guest's kernel has panicked", {}, "error")
    if event == _SUSPENDED and detail in _PAUSES:
        return GuestEvent("paused", f"the guest is paused: {_PAUSES[detail]}", {}, "warning")
    if (event, detail) == (_RESUMED, 0):
        return GuestEvent("resumed", "the guest runs on")
    return None


def _agent(state: int, reason: int) -> GuestEvent | None:
    if state == 1:
        return GuestEvent("agent-connected", "the guest's agent is there")
    # Also sent of every guest when it starts (reason 1).
    return GuestEvent("agent-disconnected", "the guest's agent has gone") if reason == 2 else None


class GuestJournal:
    """Which of the guest's events are logged: no more than so many, and that it has booted, where something shows it.

    Times are monotonic seconds.
    """

    def __init__(self, now: float) -> None:
        self._rate = TokenBucket(LINES_AT_ONCE, SECONDS_A_LINE, now)
        self._unlogged = 0
        self._booted = self._paused = False
        self._since = now
        self._rebooted = -SAME_REBOOT_SECONDS

    def take(self, event: GuestEvent, now: float) -> tuple[GuestEvent, ...]:
        """What is to be logged of an event at `now`."""
        news: tuple[GuestEvent, ...] = (event,)
        if event.name in ("paused", "resumed"):
            was, self._paused = self._paused, event.name == "paused"
            if not was and not self._paused:
                return ()  # libvirt starts every guest paused
        if event.name == "rebooted":
            if not self._booted and now - self._rebooted < SAME_REBOOT_SECONDS:
                return ()
            self._booted, self._since, self._rebooted = False, now, now
        elif not self._booted and (sign := self._sign_of_boot(event, now)):
            self._booted = True
            news = (GuestEvent("booted", f"the guest has booted: {sign[1]}", {"sign": sign[0]}), event)
        return tuple(line for each in news for line in self._bounded(each, now))

    def _sign_of_boot(self, event: GuestEvent, now: float) -> tuple[str, str] | None:
        if event.name == "agent-connected":
            return "agent", "its agent is there"
        age = event.data.get("age_seconds")
        if event.name == "lease-taken" and isinstance(age, float) and now - age >= self._since:
            return "lease", "it has taken a lease"
        return None

    def _bounded(self, event: GuestEvent, now: float) -> tuple[GuestEvent, ...]:
        if not self._rate.take(now) and event.name not in _LAST:
            self._unlogged += 1
            return ()
        if not self._unlogged:
            return (event,)
        count, self._unlogged = self._unlogged, 0
        lost = GuestEvent("suppressed", f"{count} events of the guest came too fast to be logged", {"events": count})
        return lost, event
