"""One libvirt domain, and libvirt's errors as LibvirtError."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from launcher.machine.libvirt_root import LibvirtError

if TYPE_CHECKING:
    from collections.abc import Iterator

EMULATOR = "qemu-system-x86_64"


class Domain:
    """One libvirt domain."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @property
    def handle(self) -> Any:
        """libvirt's own object."""
        return self._handle

    @property
    def uuid(self) -> str:
        return str(self._handle.UUIDString())

    def is_active(self) -> bool:
        """Whether the domain runs; False for one that libvirt no longer has."""
        import libvirt

        with as_libvirt_error("query the domain's state"):
            try:
                return bool(self._handle.isActive())
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                return False

    def xml(self) -> str:
        with as_libvirt_error("read the domain's XML"):
            return str(self._handle.XMLDesc(0))

    def press_power_button(self) -> None:
        """Press the ACPI power button: a request to the guest to shut down."""
        import libvirt

        with as_libvirt_error("shut the domain down"):
            self._handle.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

    def destroy(self) -> None:
        """Destroy the domain at once; one that has already ended is no error."""
        import libvirt

        with as_libvirt_error("destroy the domain"):
            try:
                self._handle.destroy()
            except libvirt.libvirtError as error:
                if error.get_error_code() not in (
                    libvirt.VIR_ERR_OPERATION_INVALID,
                    libvirt.VIR_ERR_NO_DOMAIN,
                ):
                    raise

    def attach_device(self, xml: str) -> None:
        """Plug a device into the machine that runs."""
        import libvirt

        with as_libvirt_error("plug the device in"):
            self._handle.attachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def update_device(self, xml: str) -> None:
        """Change what can be changed of a device while it is plugged in."""
        import libvirt

        with as_libvirt_error("change the device"):
            self._handle.updateDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def request_removal(self, alias: str) -> None:
        """Have the guest asked to release a device; an event says when it has (`Connection.on_device_removed`)."""
        import libvirt

        with as_libvirt_error("unplug the device"):
            self._handle.detachDeviceAlias(alias, libvirt.VIR_DOMAIN_AFFECT_LIVE)


@contextlib.contextmanager
def as_libvirt_error(action: str) -> Iterator[None]:
    """Raise libvirt's errors as LibvirtError: the action that failed, libvirt's message, a hint if there is one."""
    import libvirt

    try:
        yield
    except libvirt.libvirtError as error:
        message = " ".join(str(error.get_error_message() or error).split())
        hint = ""
        if "Failed to parse user" in message or "Failed to parse group" in message:
            # Debian's libvirt requires its user to exist, also where QEMU runs as another.
            hint = "; useradd --system --user-group libvirt-qemu"
        elif error.get_error_code() in (libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN):
            hint = "; apt-get install libvirt-daemon-driver-qemu"
        elif "tap device" in message and "resource busy" in message:
            hint = "; another process has it open, such as another VM's QEMU: end that"
        elif _is_missing(EMULATOR):
            hint = f"; there is no {EMULATOR}: apt-get install qemu-system-x86"
        raise LibvirtError(f"libvirt cannot {action}: {message}{hint}") from None


def _is_missing(program: str) -> bool:
    import shutil

    return shutil.which(program) is None
