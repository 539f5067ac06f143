"""libvirt connections and domains: the embedded QEMU driver by default, any other libvirt by its URI.

`qemu:///embed` runs libvirt's QEMU driver in the process that opens it, below a root directory of its own: no
daemon, no socket, several side by side. All of libvirt's errors leave this module as LibvirtError.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dhcp.lean.frozen import Frozen
from launcher.machine.domain import EMULATOR, Domain, as_libvirt_error
from launcher.machine.libvirt_root import SHARED_CACHE, LibvirtError, prepare_home, prepare_root
from launcher.machine.threads import ThreadError, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "EMULATOR",
    "BindingMissing",
    "Connection",
    "Domain",
    "DriverOpening",
    "LibvirtError",
    "LifecycleEvent",
    "connect",
    "preload",
    "require_binding",
]


class BindingMissing(LibvirtError):
    """libvirt's Python binding is not installed: nothing was changed."""

    exit_code = 2


class LifecycleEvent(Frozen):
    """A lifecycle event of a domain: virDomainEventType and the detail of that type."""

    event: int
    detail: int


class Connection:
    """An open connection; its callbacks run on the thread of libvirt's event loop."""

    def __init__(self, handle: Any, uri: str) -> None:
        self._handle = handle
        self.uri = uri

    def create(self, xml: str) -> Domain:
        """Start a transient domain; a daemon destroys it when this connection ends, also when this process is killed.

        The embedded driver cannot: there `launcher.container.init` kills what is left.
        """
        import libvirt

        flags = 0 if _is_embedded(self.uri) else libvirt.VIR_DOMAIN_START_AUTODESTROY
        with as_libvirt_error("start the domain"):
            return Domain(self._handle.createXML(xml, flags))

    def find(self, name: str) -> Domain | None:
        """The domain of that name, or None."""
        with as_libvirt_error(f"look up the domain {name}"):
            # A look-up by name would log an error in libvirt whenever there is none, which is the usual case.
            handles = [handle for handle in self._handle.listAllDomains(0) if handle.name() == name]
        return Domain(handles[0]) if handles else None

    def on_lifecycle(self, callback: Callable[[str, LifecycleEvent], None]) -> None:
        """Call `callback` with the domain's name at each lifecycle event; register before `create` to miss none."""
        import libvirt

        self.on_event(
            libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lambda name, details: callback(name, LifecycleEvent(*details))
        )

    def on_event(self, number: int, callback: Callable[[str, tuple[Any, ...]], None]) -> None:
        """Call `callback` with the domain's name, and what else libvirt tells of it, at each event of a kind."""

        def forward(_connection: Any, domain: Any, *details: Any) -> None:
            callback(str(domain.name()), details[:-1])  # the last one is registered with it

        with as_libvirt_error("register for the domain's events"):
            self._handle.domainEventRegisterAny(None, number, forward, None)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the daemon closes the connection; the embedded driver never does."""
        if _is_embedded(self.uri):
            return
        with as_libvirt_error("monitor the connection"):
            self._handle.registerCloseCallback(lambda _connection, _reason, _opaque: callback(), None)

    def examine_host(self) -> None:
        """Have libvirt read what it knows of QEMU and of this CPU: 17 ms of the first `create`.

        To ask for the capabilities of a domain would start swtpm three times as well.
        """
        import libvirt

        with contextlib.suppress(libvirt.libvirtError):  # `create` says what is wrong
            self._handle.compareHypervisorCPU(None, None, None, None, "<cpu/>")

    def close(self) -> None:
        """Close the connection, which ends the domains started through it. May be called again."""
        with contextlib.suppress(LibvirtError), as_libvirt_error("close the connection"):
            self._handle.close()


class DriverOpening:
    """The embedded driver, opened by a thread while the network is set up. One of `connection` or `discard` follows.

    It takes longer than the hook, and needs nothing of the pod.
    """

    def __init__(self, root: Path, cache: Path | None) -> None:
        """Arguments as of `connect`."""
        self._root = root
        self._made = [folder for folder in (root, root.parent) if not folder.exists()]
        self._connection: Connection | None = None
        self._error: LibvirtError | ThreadError | None = None
        self._thread: threading.Thread | None = None
        try:
            # Not in the thread: in Python both would wait for each other.
            uri = _prepare(None, root, cache)
            self._thread = start_thread("libvirt-open", self._open, uri)
        except (LibvirtError, ThreadError) as error:
            self._error = error

    def connection(self) -> Connection:
        """The open connection. Raises what `connect` raises; the folders stay, with libvirt's log."""
        self._wait()
        self._made.clear()
        if self._error is not None:
            raise self._error
        assert self._connection is not None
        return self._connection

    def discard(self) -> None:
        """Close the connection, and remove the folders that were made for it."""
        import shutil

        self._wait()
        if self._connection is not None:
            self._connection.close()
        if self._root in self._made:
            shutil.rmtree(self._root, ignore_errors=True)
        if self._root.parent in self._made:
            with contextlib.suppress(OSError):  # something else is in it
                self._root.parent.rmdir()

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _open(self, uri: str) -> None:
        try:
            self._connection = _open(uri)
            self._connection.examine_host()
        except LibvirtError as error:
            self._error = error


def require_binding() -> None:
    """Raise BindingMissing where Python has no module `libvirt`; one that cannot be loaded is `connect`'s to report."""
    if find_spec("libvirt") is None:
        raise BindingMissing(
            "libvirt's Python binding is not installed: pip install 'virt-launcher[run]', which needs a C compiler and "
            "libvirt-dev, or apt-get install python3-libvirt for Debian's own Python"
        )


def preload() -> None:
    """Have a thread map and link libvirt's library, 10 ms of `connect`; one that is missing is no error yet.

    By dlopen(3) as a foreign function, which unlike an import, and CDLL, leaves the interpreter to other threads.
    """
    dlopen = ctypes.CDLL(None).dlopen
    with contextlib.suppress(ThreadError):
        start_thread("libvirt-link", dlopen, b"libvirt.so.0", os.RTLD_NOW)


def connect(uri: str | None = None, *, root: Path, cache: Path | None = SHARED_CACHE) -> Connection:
    """Open `uri`, or, when it is None, the embedded driver with its files below `root`.

    `cache` is shared by all roots and makes every later start half a second shorter; None keeps it below `root`.
    Raises LibvirtError.
    """
    return _open(_prepare(uri, root, cache))


def _prepare(uri: str | None, root: Path, cache: Path | None) -> str:
    """Load libvirt, and start its event loop; the URI to open. Raises LibvirtError."""
    log = Path(os.devnull)
    if uri is None:
        prepare_root(root, cache)
        prepare_home(root)
        uri = f"qemu:///embed?root={quote(str(root))}"
        log = root / "libvirt.log"
    _load(log)
    with _event_loop_lock:
        _event_loop()
    return uri


def _open(uri: str) -> Connection:
    import libvirt

    with as_libvirt_error(f"connect to {uri}"):
        handle = libvirt.open(uri)
    connection = Connection(handle, uri)
    if not _is_embedded(uri):
        with as_libvirt_error("monitor the connection"):
            # A daemon that hangs is detected after 15 seconds.
            handle.setKeepAlive(5, 3)
    return connection


def _is_embedded(uri: str) -> bool:
    return ":///embed" in uri


def _load(log: Path) -> None:
    # Read when the library is loaded; without it libvirt would log its errors, and more, to standard error.
    os.environ.setdefault("LIBVIRT_LOG_OUTPUTS", f"3:file:{log}")
    try:
        import libvirt
    except (ImportError, SystemError) as error:
        reason = f"libvirt cannot be loaded: {error}; apt-get install libvirt0 libvirt-daemon"
        raise LibvirtError(reason) from None
    # The Python binding prints every error before it raises it.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)


_event_loop_lock = threading.Lock()


@functools.cache
def _event_loop() -> threading.Thread:
    """The thread of libvirt's event loop: one per process, registered before the first connection.

    Raises ThreadError.
    """
    import libvirt

    libvirt.virEventRegisterDefaultImpl()
    return start_thread("libvirt-events", _run_event_loop)


def _run_event_loop() -> None:
    import libvirt

    while True:
        with contextlib.suppress(libvirt.libvirtError):
            libvirt.virEventRunDefaultImpl()
