"""The saved record: what the pod was before we changed it. Atomic, versioned, bound to one namespace of one boot."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netsetup.bridge import BridgeNetwork
from netsetup.model import RecordError

VERSION = 1
FILE = "network.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Record:
    """Networks as they were found, with where and when that was."""

    boot_id: str
    namespace_cookie: int
    networks: tuple[BridgeNetwork, ...]
    sysctls: tuple[tuple[str, str], ...] = ()
    """Settings of interfaces that are not the VM's, as they were."""
    version: int = VERSION


def boot_id() -> str:
    return BOOT_ID.read_text().strip()


def save(folder: Path, record: Record) -> None:
    """Write the record so that it is there whole or not at all, whenever the power goes (write, fsync, rename, fsync).

    Raises RecordError when the folder cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = folder / f"{FILE}.new"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(record, default=_fields).encode())
            file.flush()
            os.fsync(file.fileno())
        new.rename(folder / FILE)
        _sync_directory(folder)
    except OSError as error:
        raise RecordError(f"{folder}: cannot save the record: {error.strerror}; name another --state-dir") from None


def load(folder: Path, namespace_cookie: int) -> Record | None:
    """The record of this namespace, or None when there is none.

    A record of another boot or namespace is not ours and counts as none. Raises RecordError for one that cannot be
    read: corrupt, or of a newer version.
    """
    path = folder / FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}") from None
    import msgspec

    try:
        record = msgspec.json.decode(data, type=Record)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RecordError(f"{path}: not a record of version {VERSION}: {error}") from None
    if record.version != VERSION:
        raise RecordError(f"{path}: version {record.version}, but this program knows {VERSION}")
    if (record.boot_id, record.namespace_cookie) != (boot_id(), namespace_cookie):
        return None
    return record


def forget(folder: Path) -> None:
    """Remove the record; the folder goes too when nothing else is in it."""
    (folder / FILE).unlink(missing_ok=True)
    if folder.is_dir():
        _sync_directory(folder)


def _fields(data: Any) -> dict[str, object]:
    """A dataclass as the JSON object that msgspec reads back; writing alone is not worth the time to import it."""
    return {name: getattr(data, name) for name in data.__slots__}


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
