"""Watches one running guest: its events, its sleep, its agent."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from launcher.guest.events import LIFECYCLE, LISTENED_TO, GuestEvent, GuestJournal, event_of
from launcher.guest.link import GuestLink
from launcher.guest.sleep import SleepWatch
from launcher.machine.threads import ThreadError, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.guest.agent import Questions
    from launcher.guest.answers import GuestWord
    from launcher.machine.libvirt_driver import Connection, Domain, LifecycleEvent

AGENT_SECONDS = 2
"""What an agent that answers nothing is waited for; libvirt's own limit is 5."""


class GuestWatch:
    """Of the domain with this name; what is to be logged goes to `report`, from any thread, never too much."""

    def __init__(self, name: str, report: Callable[[GuestEvent], None]) -> None:
        self._name, self._report = name, report
        self._journal = GuestJournal(time.monotonic())
        self._lock = threading.Lock()
        self._sleep: SleepWatch | None = None
        self._link: GuestLink | None = None
        self._questions: Questions | None = None
        self.has_agent = False
        """Whether the guest's agent has its channel open."""

    def listen(self, connection: Connection) -> None:
        """Before the domain is started. Raises LibvirtError."""
        for number in LISTENED_TO:
            connection.on_event(number, self._callback(number))

    def _callback(self, number: int) -> Callable[[str, tuple[Any, ...]], None]:
        return lambda name, details: self._take(name, number, details)

    def begin(self, domain: Domain) -> None:
        """It runs."""
        self._link = GuestLink(domain)
        self._sleep = SleepWatch(self._link, self.note)
        self._sleep.start()

    def end(self) -> None:
        if self._sleep is not None:
            self._sleep.stop()

    def on_lifecycle(self, name: str, event: LifecycleEvent) -> None:
        self._take(name, LIFECYCLE, (event.event, event.detail))

    def note(self, event: GuestEvent) -> None:
        """Log an event, if it is not one too many."""
        with self._lock:
            lines = self._journal.take(event, time.monotonic())
            for line in lines:
                self._report(line)
        if self._sleep is not None:
            for sign in (event, *lines):
                self._sleep.hint(sign)

    def ask(self) -> GuestWord | None:
        """What the guest says of itself, within seconds; None for one without an agent. Called on any thread."""
        if self._link is None or not self.has_agent:
            return None
        from launcher.guest.agent import Questions

        with self._lock:
            self._questions = self._questions or Questions(self._link)
        return self._questions.ask()

    def answer(self, _request: object) -> dict[str, Any]:
        """To the request `guest` of `launcher.guest.asking`."""
        import dataclasses

        word = self.ask()
        return {"guest": None if word is None else dataclasses.asdict(word)}

    def ask_to_shut_down(self) -> bool:
        """Have the agent shut the guest down, in a thread; whether there is one to ask."""
        if self._link is None or not self.has_agent:
            return False
        try:
            start_thread("guest-shutdown", _shut_down, self._link)
        except ThreadError:
            return False
        return True

    def _take(self, name: str, number: int, details: tuple[Any, ...]) -> None:
        """Called on the thread of libvirt's event loop."""
        event = event_of(number, details) if name == self._name else None
        if event is None:
            return
        if event.name in ("agent-connected", "agent-disconnected"):
            self.has_agent = event.name == "agent-connected"
        self.note(event)


def _shut_down(link: GuestLink) -> None:
    from launcher.machine.libvirt_root import LibvirtError

    try:
        link.limit_agent(AGENT_SECONDS)
        link.shut_down_by_agent()
    except LibvirtError:
        pass  # the power button follows
