"""The adapter to libvirt: a driver inside this process by default, any other libvirt by its URI.

`qemu:///embed` runs libvirt's QEMU driver in the process that opens it, below a root directory of its own: no
daemon, no socket, several side by side. All of libvirt's errors leave this module as LibvirtError.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dhcp.lean.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHARED_CACHE = Path("/var/cache/virt-launcher/libvirt")
"""What libvirt finds out about QEMU by starting it a few times; true for every machine of this host."""

EMULATOR = "qemu-system-x86_64"

# Paths of unix sockets end here; libvirt puts lib/qemu/domain-<id>-<20 characters of name>/monitor.sock below
# the root.
_SOCKET_PATH_MAXIMUM = 107
_LONGEST_SOCKET = len("/lib/qemu/domain-99999-12345678901234567890/monitor.sock")

# A driver for one machine inside a container: it writes its log files itself, and leaves owners, labels, cgroups
# and mount namespaces alone, which are the container's.
_QEMU_CONF = """\
stdio_handler = "file"
security_driver = "none"
dynamic_ownership = 0
remember_owner = 0
cgroup_controllers = []
namespaces = []
"""
_QEMU_CONF_ROOT = 'user = "root"\ngroup = "root"\n'


class LibvirtError(RuntimeError):
    """libvirt is missing or has refused; one line, with libvirt's own words."""


class LifecycleEvent(Frozen):
    """A change of a domain's state, in libvirt's numbers (virDomainEventType and its details)."""

    event: int
    detail: int


class Domain:
    """One running machine."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @property
    def uuid(self) -> str:
        return str(self._handle.UUIDString())

    def is_active(self) -> bool:
        """Whether the machine runs; one that libvirt knows no more does not."""
        import libvirt

        with _translated("ask for the machine's state"):
            try:
                return bool(self._handle.isActive())
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                return False

    def xml(self) -> str:
        with _translated("read the machine's description"):
            return str(self._handle.XMLDesc(0))

    def press_power_button(self) -> None:
        """Ask the guest to shut down (ACPI)."""
        import libvirt

        with _translated("shut the machine down"):
            self._handle.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

    def destroy(self) -> None:
        """End the machine now; one that has already ended is no error."""
        import libvirt

        with _translated("destroy the machine"):
            try:
                self._handle.destroy()
            except libvirt.libvirtError as error:
                if error.get_error_code() not in (
                    libvirt.VIR_ERR_OPERATION_INVALID,
                    libvirt.VIR_ERR_NO_DOMAIN,
                ):
                    raise


class Connection:
    """An open connection; every event of its domains arrives on the thread of the event loop."""

    def __init__(self, handle: Any, uri: str) -> None:
        self._handle = handle
        self.uri = uri

    def create(self, xml: str) -> Domain:
        """Start the machine; under a daemon it ends with this connection, also when this process is killed.

        The driver in this process cannot promise that: there `launcher.container.init` ends what is left.
        """
        import libvirt

        flags = 0 if _is_embedded(self.uri) else libvirt.VIR_DOMAIN_START_AUTODESTROY
        with _translated("start the machine"):
            return Domain(self._handle.createXML(xml, flags))

    def find(self, name: str) -> Domain | None:
        """The machine of that name, or None."""
        with _translated(f"look for the machine {name}"):
            # Asking for it by name would leave an error in libvirt's log every time that all is well.
            handles = [handle for handle in self._handle.listAllDomains(0) if handle.name() == name]
        return Domain(handles[0]) if handles else None

    def on_lifecycle(self, callback: Callable[[str, LifecycleEvent], None]) -> None:
        """Call `callback` with the name of the domain at every change; before `create`, so that none is missed."""
        import libvirt

        def forward(_connection: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
            callback(str(domain.name()), LifecycleEvent(event, detail))

        with _translated("follow the machine's events"):
            self._handle.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, forward, None)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the other side goes away; a driver in this process never does."""
        if _is_embedded(self.uri):
            return
        with _translated("watch the connection"):
            self._handle.registerCloseCallback(lambda _connection, _reason, _opaque: callback(), None)

    def close(self) -> None:
        """Close; machines that were started through this connection end. May be called again."""
        with contextlib.suppress(LibvirtError), _translated("close the connection"):
            self._handle.close()


def preload() -> None:
    """Have libvirt's library mapped and linked, 10 ms of `connect`; one that is missing is no error yet."""
    with contextlib.suppress(OSError):
        ctypes.CDLL("libvirt.so.0")


def connect(uri: str | None = None, *, root: Path, cache: Path | None = SHARED_CACHE) -> Connection:
    """Open `uri`, or the driver in this process with its files below `root` when it is None.

    `cache` is shared by all roots and saves a second start half a second; None keeps it below `root`. Raises
    LibvirtError.
    """
    log = Path(os.devnull)
    if uri is None:
        _prepare_root(root, cache)
        uri = f"qemu:///embed?root={quote(str(root))}"
        log = root / "libvirt.log"
    libvirt = _load(log)
    with _event_loop_lock:
        _event_loop()
    with _translated(f"connect to {uri}"):
        handle = libvirt.open(uri)
    connection = Connection(handle, uri)
    if not _is_embedded(uri):
        with _translated("watch the connection"):
            # A daemon that hangs is noticed after 15 seconds.
            handle.setKeepAlive(5, 3)
    return connection


def _is_embedded(uri: str) -> bool:
    return ":///embed" in uri


def _load(log: Path) -> Any:
    # Read when the library is loaded; it would write what it raises, and more, to standard error.
    os.environ.setdefault("LIBVIRT_LOG_OUTPUTS", f"3:file:{log}")
    try:
        import libvirt
    except (ImportError, SystemError) as error:
        reason = f"libvirt cannot be loaded: {error}; apt-get install libvirt0 libvirt-daemon"
        raise LibvirtError(reason) from None
    # The binding prints every error before it raises it.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    return libvirt


@contextlib.contextmanager
def _translated(action: str) -> Iterator[None]:
    """Turn what libvirt raises into LibvirtError: what was tried, libvirt's words, and a hint where one is due."""
    import libvirt

    try:
        yield
    except libvirt.libvirtError as error:
        words = " ".join(str(error.get_error_message() or error).split())
        hint = ""
        if "Failed to parse user" in words or "Failed to parse group" in words:
            # Debian's libvirt wants its user to exist, also where QEMU runs as another.
            hint = "; useradd --system --user-group libvirt-qemu"
        elif error.get_error_code() in (libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN):
            hint = "; apt-get install libvirt-daemon-driver-qemu"
        elif _is_missing(EMULATOR):
            hint = f"; there is no {EMULATOR}: apt-get install qemu-system-x86"
        raise LibvirtError(f"libvirt cannot {action}: {words}{hint}") from None


def _is_missing(program: str) -> bool:
    import shutil

    return shutil.which(program) is None


def _prepare_root(root: Path, cache: Path | None) -> None:
    """Make the directories and the configuration of an embedded driver."""
    if len(os.fsencode(root)) + _LONGEST_SOCKET > _SOCKET_PATH_MAXIMUM:
        limit = _SOCKET_PATH_MAXIMUM - _LONGEST_SOCKET
        raise LibvirtError(f"{root} is too long for the sockets that libvirt makes there: {limit} characters fit")
    try:
        (root / "etc").mkdir(parents=True, exist_ok=True)
        configuration = _QEMU_CONF + (_QEMU_CONF_ROOT if os.geteuid() == 0 else "")
        (root / "etc/qemu.conf").write_text(configuration)
    except OSError as error:
        raise LibvirtError(f"libvirt's directory {root} cannot be made: {error.strerror}") from None
    link = root / "cache"
    if cache is None or link.exists():
        return
    with contextlib.suppress(OSError):
        # Where it cannot be shared, libvirt makes its own.
        cache.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(cache)


_event_loop_lock = threading.Lock()


@functools.cache
def _event_loop() -> threading.Thread:
    """libvirt's event loop in a thread; there is one per process, registered before the first connection."""
    import libvirt

    libvirt.virEventRegisterDefaultImpl()
    thread = threading.Thread(target=_run_event_loop, name="libvirt-events", daemon=True)
    thread.start()
    return thread


def _run_event_loop() -> None:
    import libvirt

    while True:
        with contextlib.suppress(libvirt.libvirtError):
            libvirt.virEventRunDefaultImpl()
