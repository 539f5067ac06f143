"""Plugs interfaces into a machine that runs, takes them out, and sets their links. Any thread may call it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from launcher.machine.libvirt_root import LibvirtError
from launcher.machine.live_interfaces import ALIAS, free_buses, live_interfaces, with_link

if TYPE_CHECKING:
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
    """The guest keeps its device: nothing was changed."""


class Hotplug:
    """The interfaces of one running domain, by the networks' names; its caller changes one at a time."""

    def __init__(self, connection: Connection, domain: Domain, name: str) -> None:
        """`name` is the domain's. Raises LibvirtError."""
        import libvirt

        self._domain = domain
        self._name = name
        self._something_went = threading.Event()
        self._is_ended = False
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

        Raises NotReleased when it is not within RELEASE_SECONDS, and LibvirtError.
        """
        if name not in self.interfaces():
            return
        deadline = time.monotonic() + RELEASE_SECONDS
        self._something_went.clear()
        try:
            self._domain.request_removal(ALIAS + name)
        except LibvirtError as error:
            if UNDER_WAY not in str(error):
                raise
        while not self._is_ended and time.monotonic() < deadline:
            self._something_went.wait(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
            self._something_went.clear()
            if name not in self.interfaces():
                return
        why = "the VM ends" if self._is_ended else f"the guest has not released it within {RELEASE_SECONDS:.0f} s"
        raise NotReleased(
            f"interface {name}: {why}; it stays, as does its network: try again once the guest has booted"
        )

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

    def _on_removed(self, domain: str, _details: object) -> None:
        """On the thread of libvirt's event loop."""
        if domain == self._name:
            self._something_went.set()
