"""Plugs interfaces into a machine that runs, takes them out, and sets their links. Any thread may call it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from launcher.machine.libvirt_root import LibvirtError
from launcher.machine.live_interfaces import ALIAS, free_buses, live_interfaces, with_link

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.machine.domain import Domain
    from launcher.machine.libvirt_driver import Connection
    from launcher.machine.live_interfaces import LiveInterface

RELEASE_SECONDS = 20.0
"""How long a guest has to release a device; Linux takes milliseconds, once it has booted."""
LOOK_SECONDS = 1.0
"""Between two looks whether the device is gone, where the event does not say so."""

UNDER_WAY = "process of unplug"
"""In QEMU's error for a device that the guest was asked to release before."""


class NotReleased(LibvirtError):
    """The guest keeps its device, for now: its removal stays requested."""


class Hotplug:
    """The interfaces of one running domain, by the networks' names; its caller changes one at a time."""

    def __init__(self, connection: Connection, domain: Domain, name: str) -> None:
        """`name` is the domain's. Raises LibvirtError."""
        import libvirt

        self._domain = domain
        self._name = name
        self._something_went = threading.Event()
        self._is_ended = False
        self._late: set[str] = set()
        self.removed_late: Callable[[str], object] = lambda name: None
        """Called with the name of an interface that goes after NotReleased, by a thread of its own."""
        connection.on_event(libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, self._on_removed)

    def interfaces(self) -> dict[str, LiveInterface]:
        """Raises LibvirtError."""
        return live_interfaces(self._domain.xml())

    def free_buses(self) -> tuple[int, ...]:
        """Where a further one can be plugged in. Raises LibvirtError."""
        return free_buses(self._domain.xml())

    def plug(self, interface_xml: str) -> None:
        """Raises LibvirtError; nothing is plugged in then."""
        self._domain.attach_device(interface_xml)

    def unplug(self, name: str) -> None:
        """Have the guest release an interface; returns when it is gone, at once for one that is not there.

        Raises NotReleased when it is not within RELEASE_SECONDS, or when the VM ends, and LibvirtError. QEMU forgets no
        request: `removed_late` is called when the guest, or its next reset, carries it out.
        """
        try:
            if self._is_released(name):
                return
            self._late.add(name)
            if name not in self.interfaces():  # since the last look
                return
        except LibvirtError:
            if self._has_ended():
                raise NotReleased(f"interface {name}: the VM has ended, and its interfaces with it") from None
            raise
        raise NotReleased(
            f"interface {name}: the guest has not released it within {RELEASE_SECONDS:.0f} s; it stays for now, as "
            "does its network: its removal stays requested, and both go when the guest answers or reboots"
        )

    def _is_released(self, name: str) -> bool:
        """Request it, and wait. Raises LibvirtError."""
        if name not in self.interfaces():
            return True
        deadline = time.monotonic() + RELEASE_SECONDS
        self._something_went.clear()
        try:
            self._domain.request_removal(ALIAS + name)
        except LibvirtError as error:
            if UNDER_WAY not in str(error):
                raise
        while time.monotonic() < deadline:
            self._something_went.wait(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
            self._something_went.clear()
            if self._is_ended:
                raise LibvirtError(f"{self._name}: the VM ends")
            if name not in self.interfaces():
                return True
        return False

    def _has_ended(self) -> bool:
        """Whether the domain is no more, which its caller may hear of before `end` is called. Raises LibvirtError."""
        return self._is_ended or not self._domain.is_active()

    def set_link(self, name: str, link: str) -> None:
        """Set a link `up` or `down`, which the guest sees as its carrier. Raises LibvirtError."""
        element = with_link(self._domain.xml(), name, link)
        if element is None:
            raise LibvirtError(f"interface {name}: is not plugged in")
        self._domain.update_device(element)

    def end(self) -> None:
        """The VM ends: nobody waits for its guest any more."""
        self._is_ended = True
        self._something_went.set()

    def _on_removed(self, domain: str, details: tuple[str, ...]) -> None:
        """On the thread of libvirt's event loop, which must not wait for a change; `details` is the device's alias."""
        if domain != self._name:
            return
        self._something_went.set()
        name = details[0].removeprefix(ALIAS)
        if name in self._late and not self._is_ended:
            self._late.discard(name)
            threading.Thread(target=self.removed_late, args=(name,), name="removed late", daemon=True).start()
