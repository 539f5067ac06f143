"""The errors of `netsetup`. Each message is one line that names the object and what happened."""

import errno
import os
from typing import Final, Self

ADVICE: Final = {
    errno.ENOBUFS: "the kernel is short of memory: raise the container's limit, or try again",
    errno.ENOMEM: "the kernel is short of memory: raise the container's limit, or try again",
    errno.EMFILE: "too many files are open in this process: raise its limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine: raise fs.file-max",
    errno.ENOSPC: "make room there",
    errno.EINTR: "try again",
    errno.EAGAIN: "try again",
}
"""What to do about an error that is not about the object it happened with."""


class NetworkSetupError(Exception):
    """The pod's network could not be read, set up or put back; the message is one line for a person."""

    exit_code = 1


class InvalidRequest(NetworkSetupError):
    """The request cannot be met in this pod; nothing has been changed."""

    exit_code = 2


class InterfaceNotFound(InvalidRequest):
    """The pod has no interface of that name."""

    def __init__(self, name: str, present: list[str]) -> None:
        there = ", ".join(present) or "none"
        super().__init__(
            f"{name}: no such interface in this network namespace (there: {there}); "
            "name the pod's with --interface, or by podInterfaceName in the manifest's status"
        )


class DeviceConflict(InvalidRequest):
    """A device that is not ours stands where the plan needs to build."""


class UnsupportedInterface(InvalidRequest):
    """The pod interface is of a kind that cannot be handed to a VM this way."""


class UnsuitedInterface(UnsupportedInterface):
    """A binding cannot use a pod interface that another one may be able to use; `instead` are other ways out."""

    def __init__(self, interface: str, reason: str, *instead: str) -> None:
        ways_out = ", or ".join(instead)
        super().__init__(f"{interface}: {reason}{'; ' if ways_out else ''}{ways_out}")
        self._parts = (interface, reason, *instead)

    def or_instead(self, way_out: str) -> Self:
        """The same with one more way out."""
        return type(self)(*self._parts, way_out)


class NotPermitted(NetworkSetupError):
    """The kernel refused for want of a capability (capabilities(7)): before the first change, or `exit_code` is 1."""

    exit_code = 2

    def __init__(self, what: str, capability: str = "CAP_NET_ADMIN") -> None:
        super().__init__(f"{what}: not permitted; the container needs {capability}")


class KernelRefused(NetworkSetupError):
    """A system call failed: a netlink request, a write to /proc/sys, an open file; `errno` is the kernel's."""

    def __init__(self, what: str, code: int, detail: str = "") -> None:
        self.errno = code
        name = errno.errorcode.get(code, str(code))
        advice = f"; {ADVICE[code]}" if code in ADVICE and not detail else ""
        super().__init__(f"{what}: {detail or os.strerror(code)} ({name}){advice}")

    @classmethod
    def of(cls, what: str, error: OSError) -> "KernelRefused":
        """The failed system call that Python reports as `error`."""
        return cls(what, error.errno or errno.EIO)


class RulesetRefused(NetworkSetupError):
    """nft rejected our table; the message is its own first line."""


class MissingFeature(NetworkSetupError):
    """Kernel or container lack something that a set-up needs, as the first step at the latest finds."""

    exit_code = 2


class NotSetUp(NetworkSetupError):
    """There is no pod to follow: it was put back."""


class RecordError(NetworkSetupError):
    """The state directory, or the record in it, cannot be used; nothing has been changed."""

    exit_code = 2


class HookBusy(NetworkSetupError):
    """Another hook works on this namespace and did not finish in time; `holder` is how its lock names it."""

    def __init__(self, holder: str, seconds: float) -> None:
        self.holder = holder
        super().__init__(
            f"another hook ({holder}) has been at work in this network namespace for {seconds:.0f} s; try again"
        )


class NotRestored(NetworkSetupError):
    """Putting back stopped half-way; the message says what is left."""

    exit_code = 3
