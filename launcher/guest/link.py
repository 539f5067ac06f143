"""What libvirt, and QEMU through it, lets a launcher ask and tell a running guest. Raises LibvirtError."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from dhcp.lean.json import dumps, loads
from launcher.machine.libvirt_root import LibvirtError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.machine.libvirt_driver import Domain

LEFT_SHIFT: Final = 42
"""KEY_LEFTSHIFT of linux/input-event-codes.h."""
_LINUX_KEYS: Final = 0
"""VIR_KEYCODE_SET_LINUX."""
_BY_AGENT: Final = 2
"""VIR_DOMAIN_SHUTDOWN_GUEST_AGENT."""


class GuestLink:
    """One running domain's guest."""

    def __init__(self, domain: Domain) -> None:
        self._handle = domain.handle

    def ask_agent(self, command: str, seconds: int) -> str:
        """The JSON text with which the guest's agent answers one."""
        with _as_libvirt_error():
            import libvirt_qemu

            return str(libvirt_qemu.qemuAgentCommand(self._handle, command, seconds, 0))

    def limit_agent(self, seconds: int) -> None:
        """Have libvirt wait no longer for an agent that does not answer at all."""
        with _as_libvirt_error():
            self._handle.agentSetResponseTimeout(seconds, 0)

    def shut_down_by_agent(self) -> None:
        """Ask the guest's agent to shut the guest down; returns after a minute where the agent hangs."""
        with _as_libvirt_error():
            self._handle.shutdownFlags(_BY_AGENT)

    def press_shift(self) -> None:
        with _as_libvirt_error():
            self._handle.sendKey(_LINUX_KEYS, 0, [LEFT_SHIFT], 1, 0)

    def are_in_use(self) -> bool:
        """Whether the guest drives any virtio device: it has set a status that is not reset (virtio 1.2, 2.1)."""
        paths = [device["path"] for device in self._monitor("x-query-virtio", {})]
        return any(self._monitor("x-query-virtio-status", {"path": path})["status"]["statuses"] for path in paths)

    def _monitor(self, command: str, arguments: dict[str, str]) -> Any:
        text = dumps({"execute": command, "arguments": arguments})
        with _as_libvirt_error():
            import libvirt_qemu

            answer = loads(libvirt_qemu.qemuMonitorCommand(self._handle, text, 0))
        if "return" not in answer:
            raise LibvirtError(f"QEMU does not answer {command}")
        return answer["return"]


@contextlib.contextmanager
def _as_libvirt_error() -> Iterator[None]:
    import libvirt

    try:
        yield
    except ImportError as error:
        raise LibvirtError(f"libvirt's binding lacks a part: {error}") from None
    except libvirt.libvirtError as error:
        raise LibvirtError(" ".join(str(error.get_error_message() or error).split())) from None
