"""Whose VM this pod has: `run` holds this lock of the network namespace for as long as it lives.

A second VM's launcher would find the first one's network set up, take it for its own, and put it back at its end. So it
is refused, and so is a teardown under a running VM. The kernel frees the lock when its holder ends in whatever way.

Where the phases run in containers of their own, the one with the VM may not lock the namespace: it locks a file of the
state directory (F_OFD_SETLK, fcntl(2)), which the phase `network` has made for it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from typing import TYPE_CHECKING

from dhcp.lean.text import printable
from launcher.phases.shared_folder import VM_LOCK
from netsetup.errors import HookBusy, InvalidRequest, NotPermitted, RecordError
from netsetup.kernel.capabilities import CAP_NET_ADMIN, has_capability
from netsetup.kernel.lock import NamespaceLock, description, lock_holder
from netsetup.kernel.state_files import open_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.vmi.model import VirtualMachineInstance

LOCK = "vm"
_LONGEST_DESCRIPTION = 300
_WHOLE_FILE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
"""struct flock of a write lock."""


class VMRuns(InvalidRequest):
    """The pod has a VM, whose launcher runs; the message names its pid and its state directory."""


@contextlib.contextmanager
def vm_lock(state_dir: str, way_out: str) -> Iterator[None]:
    """Hold the lock. Raises what the lock does; and VMRuns, which says what can be done, while another has it."""
    lock = NamespaceLock(LOCK, wait_seconds=0, note=f"state directory {state_dir}")
    try:
        lock.__enter__()
    except HookBusy as busy:
        raise VMRuns(f"a VM runs in this pod ({busy.holder}); {way_out}") from None
    try:
        with contextlib.ExitStack() as held:
            if os.path.exists(f"{state_dir}/{VM_LOCK}"):
                held.enter_context(vm_file_lock(state_dir, way_out))
            yield
    finally:
        lock.__exit__()


@contextlib.contextmanager
def lock_pod(vmi: VirtualMachineInstance, state_dir: str, resolver_path: str) -> Iterator[None]:
    """Hold the lock for a VM that is to run; where that is not permitted, all that the container lacks is named."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(vm_lock(state_dir, "stop that one first"))
        except NotPermitted as failure:
            from launcher.phases.requirements import naming_all
            from launcher.request import SetupRequest

            raise naming_all(failure, SetupRequest.from_vmi(vmi), state_dir, resolver_path, serves=True) from None
        yield


@contextlib.contextmanager
def vm_file_lock(state_dir: str, way_out: str) -> Iterator[None]:
    """Hold the lock of a state directory that the phase `network` has made.

    Raises VMRuns as `vm_lock` does, RecordError and FileNotFoundError.
    """
    with file_lock(state_dir, VM_LOCK, "a VM runs in this pod", way_out):
        yield


@contextlib.contextmanager
def file_lock(folder: str, name: str, what: str, way_out: str, *, make: bool = False) -> Iterator[None]:
    """Hold the lock of a file; `make` it if need be. Raises VMRuns, which says `what` is so, and RecordError."""
    try:
        descriptor = open_lock(folder, name, make=make)
    except PermissionError as error:
        raise RecordError(f"{folder}/{name}: {error.strerror}") from None
    try:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE_FILE)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise VMRuns(f"{what} ({_description(descriptor)}); {way_out}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, description(f"state directory {folder}").encode(errors="backslashreplace"), 0)
        yield
    finally:
        os.close(descriptor)


def vm_holder(state_dir: str) -> str | None:
    """How the lock names who holds it; empty for nobody, None where that is unknown. Takes nothing."""
    of_file = _file_holder(state_dir)
    if holder := lock_holder(LOCK) or of_file:
        return holder
    return "" if has_capability(CAP_NET_ADMIN) and of_file is not None else None


def _file_holder(state_dir: str) -> str | None:
    try:
        descriptor = open_lock(state_dir, VM_LOCK)
    except FileNotFoundError:
        return ""
    except (OSError, RecordError):
        return None
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _WHOLE_FILE)
        return "" if struct.unpack_from("h", found)[0] == fcntl.F_UNLCK else _description(descriptor)
    finally:
        os.close(descriptor)


def _description(descriptor: int) -> str:
    """What the file's holder has written there, which is the VM's user."""
    return printable(os.pread(descriptor, _LONGEST_DESCRIPTION, 0).decode(errors="replace"))
