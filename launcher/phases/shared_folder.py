"""The state directory of a pod whose phases run in containers of several users.

Whoever writes the record decides what `teardown` does, so the VM's user may read it and no more. In a folder below it
the VM's user may write: its console, and libvirt's files. That is by a group, because a group of its own is all that a
container without CAP_CHOWN can give a file to: that of the volume, which Kubernetes makes a group of every container of
the pod (`fsGroup`).
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from netsetup.errors import RecordError
from netsetup.kernel.state_files import opened
from netsetup.record import FILE

if TYPE_CHECKING:
    from netsetup.model.owner import Owner

DOMAIN_FOLDER = "vm"
"""What the VM's user writes."""
VM_LOCK = "vm.lock"
"""Held while a VM runs by somebody who has not the capability to lock the network namespace."""


def share(folder: str, owner: Owner | None) -> None:
    """Make the folder, if need be, and let the owner of the VM's tap device read the record. Raises RecordError."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with opened(folder) as directory:
            is_ours = owner is None or owner.uid == os.geteuid()
            if owner is not None and not is_ours:
                _give_to_group(directory, folder, owner.gid)
                _let_group_read(directory, FILE)
            _make_domain_folder(directory, 0o700 if is_ours else 0o2770)
            _make_lock(directory, 0o600 if is_ours else 0o660)
    except OSError as error:
        raise RecordError(f"{folder}: {error.strerror}; name another --state-dir") from None


def _give_to_group(directory: int, folder: str, group: int) -> None:
    """Files that are made in a directory with its set-group-ID bit are of its group (inode(7))."""
    status = os.fstat(directory)
    volumes = status.st_gid if status.st_gid in os.getgroups() and status.st_gid not in (0, os.getegid()) else None
    if stat.S_IMODE(status.st_mode) == 0o2750 and status.st_gid in (group, volumes):
        return
    # In this order: without CAP_FSETID the bit can be set only while the group is one of ours.
    os.fchown(directory, -1, os.getegid())
    os.fchmod(directory, 0o2750)
    for candidate in (group, volumes):
        if candidate is not None:
            with contextlib.suppress(PermissionError):
                os.fchown(directory, -1, candidate)
                return
    os.fchmod(directory, 0o700)
    raise RecordError(
        f"{folder}: may not be given to group {group}; the container needs CAP_CHOWN, or a volume whose group is one "
        "of the container's (Kubernetes: securityContext.fsGroup)"
    )


def _let_group_read(directory: int, name: str) -> None:
    """Of a record that was there before; one that is no file of ours is reported when it is read."""
    with contextlib.suppress(OSError):
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        try:
            os.fchown(file, -1, os.fstat(directory).st_gid)
            os.fchmod(file, 0o640)
        finally:
            os.close(file)


def _make_domain_folder(directory: int, mode: int) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(DOMAIN_FOLDER, 0o700, dir_fd=directory)
        os.chmod(DOMAIN_FOLDER, mode, dir_fd=directory)


def _make_lock(directory: int, mode: int) -> None:
    with contextlib.suppress(FileExistsError):
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        lock = os.open(VM_LOCK, flags, 0o600, dir_fd=directory)
        try:
            os.fchmod(lock, mode)
        finally:
            os.close(lock)
