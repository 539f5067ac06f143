"""LibvirtDomainManager: sets up a VM's network, starts its domain, waits for its end, shuts it down."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dhcp.lean.frozen import Frozen
from launcher.guest.events import GuestEvent
from launcher.guest.watch import GuestWatch
from launcher.hardware.elements import Sockets, effective_features
from launcher.hardware.host import check_hardware, firmware_files
from launcher.machine.console import ConsoleLog
from launcher.machine.disk_images import check_kernel
from launcher.machine.domain_xml import domain_xml
from launcher.machine.libvirt_driver import DriverOpening, connect, require_binding
from launcher.machine.libvirt_root import SHARED_CACHE, LibvirtError, check_root
from launcher.request import SetupRequest
from launcher.volumes.folder import DEFAULT_FOLDER
from launcher.volumes.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from launcher.machine.accelerator import Accelerator
    from launcher.machine.disk_images import DiskImage
    from launcher.machine.domain import Domain
    from launcher.machine.emulator_end import ContainerMemory
    from launcher.machine.hotplug import Hotplug
    from launcher.machine.libvirt_driver import Connection, LifecycleEvent
    from launcher.vmi.model import VirtualMachineInstance

# virDomainEventType and virDomainEventStoppedDetailType, stable parts of libvirt's API.
_EVENT_STOPPED = 5
_STOPPED_SHUTDOWN, _STOPPED_DESTROYED, _STOPPED_CRASHED, _STOPPED_FAILED = 0, 1, 2, 5

CONSOLE_SOCKET, CONSOLE_LOG, VNC_SOCKET = "console.sock", "console.log", "vnc.sock"
"""Of the VM's serial console and its screen, in the state directory."""

PRESS_AGAIN_SECONDS = 2.0
"""A guest that is still booting ignores its power button, so it is pressed again until the grace period ends."""

AGENT_SECONDS = 2.0
"""A head start of the guest's agent over the power button, half the grace period at most."""

REAPED_WITHIN_SECONDS = 2.0
"""QEMU's exit code comes from the first process, a moment after libvirt has seen QEMU's end."""


class Ending(Enum):
    """How the VM ended."""

    POWERED_OFF = "powered off"
    SHUT_DOWN = "shut down"
    DESTROYED = "destroyed"
    CRASHED = "crashed"
    KILLED = "killed"

    @property
    def exit_code(self) -> int:
        """The launcher's exit code."""
        return {Ending.DESTROYED: 4, Ending.CRASHED: 5, Ending.KILLED: 5}.get(self, 0)


class AttachedNetwork(Protocol):
    """One network that is set up, as far as the manager uses it."""

    @property
    def interface_xml(self) -> str: ...


class AttachedNetworks(Protocol):
    """The result of the pre-start hook, as far as the manager uses it."""

    @property
    def networks(self) -> Mapping[str, AttachedNetwork]: ...


class _Lost(Frozen):
    """Queued when the connection to libvirt is lost."""


class LibvirtDomainManager:
    """Runs the domain of one VirtualMachineInstance.

    The order is `pre_start_hook`, `start`, `wait` or `stop`, `close`, `teardown`; as a context manager it closes and
    tears down by itself. One thread at a time may use it. `setup` and `teardown` replace the functions of
    `launcher.prestart`, for networks that are set up by other means.
    """

    def __init__(
        self,
        vmi: VirtualMachineInstance,
        *,
        state_dir: str | os.PathLike[str],
        disks: Mapping[str, str | os.PathLike[str]] | None = None,
        volumes: str | os.PathLike[str] = DEFAULT_FOLDER,
        backing_files: bool = False,
        uri: str | None = None,
        accelerator: Accelerator | None = None,
        cache: Path | None = SHARED_CACHE,
        setup: Callable[[SetupRequest, Path], AttachedNetworks] | None = None,
        teardown: Callable[[Path], object] | None = None,
        host_network: bool = False,
        on_guest_event: Callable[[GuestEvent], None] | None = None,
    ) -> None:
        """Check kernel, disk images and folder, before anything is changed. Raises ManifestError and UnusableRoot.

        `disks` gives the images of volumes by their names, before those that are found in the folder `volumes`; with
        `backing_files` they may name other files, which QEMU opens as well. `uri` is the libvirt to use instead of the
        embedded driver.
        The machine's own network namespace is touched only where `host_network` says so. What the guest does is told
        to `on_guest_event`, by `wait` and `stop`.
        """
        self.vmi = vmi
        self.state_dir = Path(state_dir).absolute()
        self.console_log = self.state_dir / CONSOLE_LOG
        self.console_socket = self.state_dir / CONSOLE_SOCKET
        check_kernel(vmi)
        if uri is None:
            check_hardware(vmi)
        self.vnc_socket = self.state_dir / VNC_SOCKET
        self.agent_socket = self.state_dir / "agent.sock"
        self._storage = Storage(vmi, disks or {}, state_dir=self.state_dir, folder=volumes, backing_files=backing_files)
        self._images: dict[str, DiskImage] = {}
        self._uri = uri
        self._accelerator = accelerator
        self._cache = cache
        self._setup = setup or functools.partial(_setup_pod_network, host_network)
        self._teardown = teardown or functools.partial(_teardown_pod_network, host_network)
        self._networks: AttachedNetworks | None = None
        self._root = self.state_dir / "libvirt"
        if uri is None:
            check_root(self._root)
        self._opening: DriverOpening | None = None
        self._connection: Connection | None = None
        self._domain: Domain | None = None
        self._console = ConsoleLog(self.console_log)
        self._events: queue.SimpleQueue[LifecycleEvent | GuestEvent | _Lost] = queue.SimpleQueue()
        self._on_guest_event = on_guest_event
        self.guest = GuestWatch(vmi.domain_name, self._events.put)
        self._ending: Ending | None = None
        self._stop_requested = False
        self._lost = False
        self._memory: ContainerMemory | None = None
        self._emulator: int | None = None
        self.end_reason = ""
        """Why QEMU itself has ended, and what to do; empty when the guest ended, or was ended."""

    def __enter__(self) -> LibvirtDomainManager:
        return self

    def __exit__(self, *_exception: object) -> None:
        try:
            self.close()
        finally:
            self.teardown()

    @property
    def accelerator(self) -> Accelerator:
        """KVM or TCG, chosen at first use unless it was given."""
        if self._accelerator is None:
            from launcher.machine.accelerator import choose_accelerator

            self._accelerator = choose_accelerator()
        return self._accelerator

    @property
    def started(self) -> bool:
        """Whether the domain was started; it may have ended since."""
        return self._domain is not None

    def pre_start_hook(self) -> AttachedNetworks:
        """Set the pod's networks up for the VM.

        Raises what `launcher.prestart` raises, and LibvirtError without libvirt's binding; the pod is then as before.
        """
        require_binding()
        request = SetupRequest.from_vmi(self.vmi)
        if self._uri is None:
            self._opening = DriverOpening(self._root, self._cache)
        try:
            self._networks = self._setup(request, self.state_dir)
        except BaseException:
            self._discard_opening()
            raise
        return self._networks

    def domain_xml(self) -> str:
        """The domain XML that `start` passes to libvirt, once it has made the images."""
        networks = self._networks.networks.values() if self._networks is not None else ()
        return domain_xml(
            self.vmi,
            interfaces=[network.interface_xml for network in networks],
            accelerator=self.accelerator,
            images=self._images,
            folders=self._storage.folders,
            console_socket=str(self.console_socket),
            console_log=str(self.console_log),
            sockets=Sockets(str(self.agent_socket), str(self.vnc_socket)),
            firmware=firmware_files(self.vmi, self.state_dir, self._storage.made),
            cpus=sorted(os.sched_getaffinity(0)) if self.vmi.hardware.pinned else (),
        )

    def warnings(self) -> list[str]:
        """What the VM goes without on this host, a line each."""
        wanted = self.vmi.hardware.features
        if effective_features(wanted, self.accelerator.name == "kvm") == wanted:
            return []
        return ["hyperv, hypervPassthrough and pvspinlock of spec.domain.features are ignored: they need KVM"]

    def start(self) -> None:
        """Make the images that the VM needs, and start the domain; returns when it runs.

        Raises LibvirtError and StorageError.
        """
        if self._domain is not None:
            raise RuntimeError(f"the domain {self.vmi.domain_name} was started before")
        self.state_dir.mkdir(parents=True, exist_ok=True)
        name = self.vmi.domain_name
        if self._opening is not None:
            self._connection = self._opening.connection()
            self._opening = None
        else:
            self._connection = connect(self._uri, root=self._root, cache=self._cache)
        leftover = self._connection.find(name)
        if leftover is not None:
            # Left by a launcher that was killed: it uses the same tap and disks.
            leftover.destroy()
        self._connection.on_lifecycle(self._on_lifecycle)
        self.guest.listen(self._connection)
        self._connection.on_close(lambda: self._events.put(_Lost()))
        self._console.start()
        self._images = self._storage.make()
        if self.vmi.hardware.efi is not None:
            self._storage.prepare()
        from launcher.machine.emulator_end import container_memory, emulator_pid

        self._memory = container_memory()
        try:
            self._domain = self._connection.create(self.domain_xml())
            self._emulator = emulator_pid(self._root, name)
            self.guest.begin(self._domain)
        except BaseException:
            # Such as a signal handler's exception during the call: the domain may run nevertheless.
            with contextlib.suppress(LibvirtError):
                self._domain = self._connection.find(name)
            raise

    def hotplug(self) -> Hotplug:
        """What changes the interfaces of the domain that runs; other threads may use it. Raises LibvirtError."""
        from launcher.machine.hotplug import Hotplug

        assert self._connection is not None
        assert self._domain is not None
        return Hotplug(self._connection, self._domain, self.vmi.domain_name)

    def wait(self, timeout: float | None = None) -> Ending | None:
        """Wait for the VM to end and return how it did, or None if it still runs after `timeout` seconds.

        Raises LibvirtError when the connection to libvirt is lost. Signal handlers run meanwhile.
        """
        if self._domain is None:
            raise RuntimeError(f"the domain {self.vmi.domain_name} was not started")
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._ending is None:
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                event = self._events.get(timeout=remaining)
            except queue.Empty:
                return None
            if isinstance(event, GuestEvent):
                if self._on_guest_event is not None:
                    self._on_guest_event(event)
                continue
            if isinstance(event, _Lost):
                self._lost = True
                raise LibvirtError("the connection to libvirt is lost, and the domain with it")
            self._ending = _ending(event, self._stop_requested)
            if event.detail == _STOPPED_FAILED and self._uri is None:
                self._ending = self._end_of_emulator()
        return self._ending

    def stop(self, grace_seconds: float | None = None) -> Ending:
        """Shut the guest down; destroy the domain if it still runs after the grace period (default: the manifest's).

        Its agent is asked first, if there is one. Whatever comes of it, the power button follows.
        """
        grace = self.vmi.grace_seconds if grace_seconds is None else grace_seconds
        deadline = time.monotonic() + grace
        self._stop_requested = True
        if self._running() and self.guest.ask_to_shut_down():
            self.wait(min(grace / 2, AGENT_SECONDS))
        while (remaining := deadline - time.monotonic()) > 0 and self._running():
            self._press_power_button()
            self.wait(min(remaining, PRESS_AGAIN_SECONDS))
        if self._running():
            assert self._domain is not None
            self._domain.destroy()
        ending = self.wait()
        assert ending is not None
        return ending

    def close(self) -> None:
        """Destroy the domain if it still runs, and close the connection. May be called at any time."""
        self._discard_opening()
        self.guest.end()
        if self._connection is None:
            return
        try:
            if self._domain is not None and self._ending is None and not self._lost:
                self._domain.destroy()
        finally:
            self._connection.close()
            self._connection = None
            self._console.stop()
            self._storage.remove()
            for socket in (self.vnc_socket, self.agent_socket):
                socket.unlink(missing_ok=True)  # QEMU leaves them when it is killed

    def teardown(self) -> None:
        """Put the pod's networks back. Raises what `launcher.prestart` raises."""
        self._discard_opening()
        if self._networks is not None:
            self._teardown(self.state_dir)
            self._networks = None

    def _discard_opening(self) -> None:
        if self._opening is not None:
            self._opening.discard()
            self._opening = None

    def _end_of_emulator(self) -> Ending:
        """How QEMU ended without the guest's doing."""
        from launcher.container.init import exit_code_of_orphan
        from launcher.machine.emulator_end import container_memory, how_it_ended

        status = None if self._emulator is None else exit_code_of_orphan(self._emulator, REAPED_WITHIN_SECONDS)
        killed, self.end_reason = how_it_ended(status, self._memory, container_memory(), self.vmi.memory)
        return Ending.KILLED if killed else Ending.CRASHED

    def _running(self) -> bool:
        return self.wait(0) is None

    def _press_power_button(self) -> None:
        assert self._domain is not None
        try:
            self._domain.press_power_button()
        except LibvirtError:
            # The domain may have ended just now; its stopped event follows.
            if self._domain.is_active():
                raise

    def _on_lifecycle(self, name: str, event: LifecycleEvent) -> None:
        """Queue the domain's stopped event, and the guest's; called on the event loop's thread."""
        self.guest.on_lifecycle(name, event)
        if name == self.vmi.domain_name and event.event == _EVENT_STOPPED:
            self._events.put(event)


def _ending(event: LifecycleEvent, stop_requested: bool) -> Ending:
    if event.detail == _STOPPED_SHUTDOWN:
        return Ending.SHUT_DOWN if stop_requested else Ending.POWERED_OFF
    if event.detail in (_STOPPED_CRASHED, _STOPPED_FAILED):
        return Ending.CRASHED
    return Ending.DESTROYED


def _setup_pod_network(host_network: bool, request: SetupRequest, state_dir: Path) -> AttachedNetworks:
    from launcher.prestart import setup_pod_network

    return setup_pod_network(request, state_dir=state_dir, host_network=host_network)


def _teardown_pod_network(host_network: bool, state_dir: Path) -> None:
    from launcher.prestart import teardown_pod_network

    teardown_pod_network(state_dir=state_dir, host_network=host_network)
