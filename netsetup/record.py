"""The saved record: what the pod was before we changed it. Atomic, versioned, bound to one namespace of one boot.

It is kept twice: in a file, and as a copy in the kernel (in our nftables table) for the day when the files are gone.
"""

import binascii
import json
import logging
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netsetup.errors import RecordError
from netsetup.model.vm_network import VMNetwork

log = logging.getLogger("netsetup")

VERSION = 2
FILE = "network.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Record:
    """Networks as they were found, with where and when that was."""

    boot_id: str
    namespace_cookie: int
    networks: tuple[VMNetwork, ...]
    sysctls: tuple[tuple[str, str], ...] = ()
    """Settings of interfaces that are not the VM's, as they were."""
    version: int = VERSION


def boot_id() -> str:
    return BOOT_ID.read_text().strip()


def save(folder: Path, record: Record) -> None:
    """Write the record so that it is there whole or not at all, whenever the process is killed (write, rename).

    It need not outlive a power failure, which the namespace does not outlive either: so nobody waits for the disk.
    Raises RecordError when the folder cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = folder / f"{FILE}.new"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_encode(record))
        new.rename(folder / FILE)
    except OSError as error:
        raise RecordError(f"{folder}: cannot save the record: {error.strerror}; name another --state-dir") from None


def copy_of(record: Record) -> str:
    """The record as text for the kernel to keep: compressed, and in base64."""
    return binascii.b2a_base64(zlib.compress(_encode(record)), newline=False).decode()


def find(folder: Path, namespace_cookie: int, copy: str) -> Record | None:
    """The record of this namespace, from its file or else from the kernel's copy; None when there is neither.

    A record of another boot or namespace is not ours and counts as none, and so does one that cannot be read: corrupt,
    or of another version. That is said in the log.
    """
    try:
        record = _decode((folder / FILE).read_bytes())
        if _is_of(record, namespace_cookie):
            return record
    except FileNotFoundError:
        pass
    except (OSError, RecordError) as error:
        log.warning("%s cannot be used: %s", folder / FILE, error)
    if not copy:
        return None
    try:
        record = _decode(zlib.decompress(binascii.a2b_base64(copy)))
    except (RecordError, ValueError, zlib.error) as error:
        log.warning("the copy of the record in nftables cannot be used: %s", error)
        return None
    return record if _is_of(record, namespace_cookie) else None


def is_saved(folder: Path) -> bool:
    return (folder / FILE).exists()


def forget(folder: Path) -> None:
    """Remove the record; no error if it is gone."""
    (folder / FILE).unlink(missing_ok=True)


def _encode(record: Record) -> bytes:
    return json.dumps(record, default=_fields).encode()


def _decode(data: bytes) -> Record:
    import msgspec

    try:
        record = msgspec.json.decode(data, type=Record)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RecordError(f"not a record of version {VERSION}: {error}") from None
    if record.version != VERSION:
        raise RecordError(f"version {record.version}, but this program knows {VERSION}")
    return record


def _is_of(record: Record, namespace_cookie: int) -> bool:
    return (record.boot_id, record.namespace_cookie) == (boot_id(), namespace_cookie)


def _fields(data: Any) -> dict[str, object]:
    """A dataclass as the JSON object that msgspec reads back; writing alone is not worth the time to import it."""
    return {name: getattr(data, name) for name in data.__slots__}
