"""Files of the state directory, which others may be able to reach: none of theirs is followed, waited for, or read
without an end, and none of the directory's is believed unless nobody else can write there."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import Final

from netsetup.errors import RecordError

LARGEST: Final = 16 << 20
"""Octets of a file that is read; the record of 5,000 routes has a tenth of it."""
_CAREFULLY: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_file(folder: str, name: str) -> bytes | None:
    """A whole file; None when there is none. Raises RecordError for one that is not to be believed, and OSError."""
    try:
        with opened(folder) as directory:
            descriptor = _open(directory, f"{folder}/{name}", os.O_RDONLY, 0)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise RecordError(f"{folder}/{name}: is larger than {LARGEST} bytes")
    return data


def write_file(folder: str, name: str, data: bytes) -> None:
    """Write a file whole or not at all, by way of `name`.new; readable for a group that may read the folder.

    Raises RecordError and OSError.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    new = f"{name}.new"
    with opened(folder) as directory:
        _unlink(directory, new)
        try:
            descriptor = _open(directory, f"{folder}/{new}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                if os.fstat(directory).st_mode & stat.S_IRGRP:
                    os.fchmod(descriptor, 0o640)
                file.write(data)
            os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(OSError):
                _unlink(directory, new)
            raise


def open_log(folder: str, name: str) -> int:
    """A file to be appended to, made if need be. Raises RecordError and OSError."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with opened(folder) as directory:
        return _open(directory, f"{folder}/{name}", os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)


def open_lock(folder: str, name: str, *, make: bool = False) -> int:
    """A file to be locked (flock(2)). Raises RecordError, and OSError where there is none and it is not to be made."""
    flags = os.O_RDWR | (os.O_CREAT if make else 0)
    with opened(folder) as directory:
        return _open(directory, f"{folder}/{name}", flags, 0o600)


@contextlib.contextmanager
def opened(folder: str) -> Iterator[int]:
    """The directory. Raises RecordError unless it belongs to this user or root, and to nobody else to write in.

    A group of this process's may: that of a volume that the pod's security context gives it (fsGroup).
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        _require_ours(status, folder)
        if status.st_mode & stat.S_IWOTH:
            raise RecordError(f"{folder}: anybody may write there; name another --state-dir, such as a new one in it")
        if status.st_mode & stat.S_IWGRP and status.st_gid not in (0, os.getegid(), *os.getgroups()):
            raise RecordError(f"{folder}: group {status.st_gid} may write there; name another --state-dir")
        yield descriptor
    finally:
        os.close(descriptor)


def _open(directory: int, path: str, flags: int, mode: int) -> int:
    try:
        descriptor = os.open(os.path.basename(path), flags | _CAREFULLY, mode, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RecordError(f"{path}: is a symbolic link; remove it") from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RecordError(f"{path}: is no regular file; remove it")
        _require_ours(status, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_ours(status: os.stat_result, path: str) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise RecordError(
            f"{path}: belongs to user {status.st_uid}, who could put anything there; name another --state-dir"
        )


def _unlink(directory: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
