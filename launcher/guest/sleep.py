"""A guest that has put itself to sleep without QEMU's knowing, woken and named.

Suspend to memory and to disk are off in the domain. Linux offers suspend to idle whatever the platform says
(Documentation/admin-guide/pm/sleep-states.rst): all CPUs are idle, every driver has stopped its device, and QEMU has no
event of it. It shows in the virtio devices, all of which the guest has reset. A key wakes it: without suspend to memory
Linux has the PS/2 keyboard wake the machine (drivers/input/serio/i8042.c), and to a guest that is awake the Shift key
alone means nothing.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final, Protocol

from launcher.guest.events import GuestEvent
from launcher.machine.libvirt_root import LibvirtError
from launcher.machine.threads import ThreadError, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_SECONDS: Final = 5.0
"""Between two looks at the devices."""
SOON_SECONDS: Final = 1.0
"""Likewise after a sign of sleep."""
LOOKS: Final = 2
"""At which no device was in use: a guest that reboots has none for a moment."""


class Devices(Protocol):
    """Of the running domain."""

    def are_in_use(self) -> bool:
        """Whether the guest drives any virtio device. Raises LibvirtError."""

    def press_shift(self) -> None:
        """Raises LibvirtError."""


class Sleeper:
    """Tells sleep from what each look at the devices shows. Pure."""

    def __init__(self) -> None:
        self._was_in_use = False
        self._idle_looks = 0
        self._named = False

    @property
    def is_suspect(self) -> bool:
        """Whether the next look is to come soon."""
        return self._idle_looks > 0

    def restart(self) -> None:
        """The guest has rebooted: its devices are idle until its drivers are loaded."""
        self._was_in_use, self._idle_looks, self._named = False, 0, False

    def boot(self) -> None:
        """The guest's drivers are there, as its agent or its DHCP client shows."""
        self._was_in_use = True

    def look(self, in_use: bool) -> tuple[bool, GuestEvent | None]:
        """Whether a key is to be pressed, and what is to be logged."""
        if in_use:
            named, self._named = self._named, False
            self._was_in_use, self._idle_looks = True, 0
            return False, GuestEvent("woken", "the guest was woken by a key press") if named else None
        if not self._was_in_use:
            return False, None
        self._idle_looks += 1
        if self._idle_looks < LOOKS:
            return False, None
        event = None
        if not self._named:
            what = (
                "the guest has put itself to sleep (suspend to idle): all its devices are stopped; a key press wakes it"
            )
            event = GuestEvent("asleep", what, {"state": "idle"}, "warning")
        self._named = True
        return True, event


class SleepWatch:
    """Looks at the devices from a thread of its own, until `stop` or the domain's end."""

    def __init__(self, devices: Devices, report: Callable[[GuestEvent], None]) -> None:
        self._devices, self._report = devices, report
        self._sleeper = Sleeper()
        self._woken = threading.Event()
        self._rebooted = self._stopped = False

    def start(self) -> None:
        """Without a thread for it, such a sleep goes unnoticed."""
        with contextlib.suppress(ThreadError):
            start_thread("guest-sleep", self._watch)

    def stop(self) -> None:
        self._stopped = True
        self._woken.set()

    def hint(self, event: GuestEvent) -> None:
        """Take an event of the guest into account; called on any thread."""
        if event.name == "rebooted":
            self._rebooted = True
        elif event.name == "booted":
            self._sleeper.boot()
        elif event.name == "agent-disconnected":
            self._woken.set()

    def _watch(self) -> None:
        while not self._stopped:
            seconds = SOON_SECONDS if self._sleeper.is_suspect else LOOK_SECONDS
            self._woken.wait(seconds)
            self._woken.clear()
            try:
                self._look()
            except LibvirtError:
                return  # the domain has ended, or QEMU is older than 7.2, and does not tell

    def _look(self) -> None:
        if self._rebooted:
            self._rebooted = False
            self._sleeper.restart()
        press, event = self._sleeper.look(self._devices.are_in_use())
        if event is not None:
            self._report(event)
        if press and not self._rebooted:
            self._devices.press_shift()
