"""The record: what the pod was before we changed it. Atomic, versioned, bound to one namespace of one boot.

It is the truth about a set-up: what is served, what is undone and what `status`, `doctor` and `probe` say comes from
it. It is kept twice: in a file, and as a copy in the kernel (in our nftables table) for when the files are gone.
"""

import binascii
import logging
import os
import re
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Final

from dhcp.lean.frozen import Frozen, as_dict, replace
from dhcp.lean.json import dumps, loads
from dhcp.lean.text import printable
from netsetup.errors import InvalidRequest, RecordError
from netsetup.kernel.capabilities import CAP_NET_ADMIN, has_capability
from netsetup.kernel.netns import state_directory
from netsetup.kernel.rtnetlink import Netlink
from netsetup.kernel.state_files import LARGEST, read_file, write_file
from netsetup.model.decode import decode
from netsetup.model.identity import as_named_now
from netsetup.model.kernel import Link
from netsetup.model.settings import settings_now
from netsetup.model.vm_network import VMNetwork
from netsetup.nft.tables import read_tables

log = logging.getLogger("netsetup")

VERSION: Final = 3
FILE: Final = "network.json"
UNFINISHED: Final = f"{FILE}.new"
"""A record that is being written."""
COPY: Final = "the copy of the record in nftables"
_SETTING: Final = r"net/(ipv[46]/(conf|neigh)/(?!\.\.?/)[^/\0]+/[a-z0-9_]+|bridge/bridge-nf-call-[a-z0-9]+)"
BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


class Record(Frozen):
    """Networks as they were found, with where and when that was."""

    boot_id: str
    namespace_cookie: int
    networks: dict[str, VMNetwork]
    """By their names, in the order in which they were set up."""
    sysctls: tuple[tuple[str, str], ...] = ()
    """Settings of interfaces that are not the VM's, as they were."""
    sysctl_interfaces: tuple[tuple[str, int], ...] = ()
    """The indexes of these interfaces by name. A record of an earlier release has none."""
    written: int = 0
    """When, in nanoseconds since the boot; 0 in a record of an earlier release."""
    left_out: tuple[str, ...] = ()
    """Interfaces that the VM's manifest asks for and that are not served, a line each."""
    version: int = VERSION


class NewerRecord(RecordError):
    """The record was written by a later version of this program."""

    def __init__(self, where: str, version: int) -> None:
        super().__init__(
            f"{where}: the record has version {version}, and this program reads {VERSION} at most; "
            "use the virt-launcher that set the pod up, or a newer one"
        )


def clock() -> int:
    """The present time as records have it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def rewritten(record: Record, changed: Record) -> Record:
    """The changed record with the present time; the same one if nothing is."""
    return record if changed == record else replace(changed, written=clock())


def boot_id() -> str:
    """The number of this boot. Raises RecordError."""
    try:
        with open(BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError as error:
        raise RecordError(f"read {BOOT_ID}: {error.strerror}") from None


def require_readable(record: Record) -> None:
    """Raises InvalidRequest, with the path of what is in the way, for a record that could not be read back as it is.

    To be called before the first change: without a record nothing can be undone.
    """
    try:
        data = _encode(record)
        if len(data) > LARGEST:
            raise ValueError(f"{len(data)} bytes are more than is read back ({LARGEST})")
        again = _record_of(loads(data))
        if again != record:
            raise ValueError(f"{_difference(record, again)}: cannot be written down and read back")
    except ValueError as error:
        raise InvalidRequest(f"the record of this set-up: {printable(str(error))}") from None


def _difference(one: object, other: object) -> str:
    """The path of the first value that differs, where some do."""
    if isinstance(one, Frozen) and isinstance(other, Frozen):
        one, other = as_dict(one), as_dict(other)
    if isinstance(one, dict) and isinstance(other, dict) and list(one) == list(other):
        step, pair = next((f"{name}.", (one[name], other[name])) for name in one if one[name] != other[name])
    elif isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        step, pair = next((f"{i}.", pair) for i, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1])
    else:
        return ""
    return f"{step}{_difference(*pair)}".removesuffix(".")


def save(folder: str, record: Record) -> None:
    """Write the record so that it is there whole or not at all, whenever the process is killed (write, rename).

    It need not outlive a power failure, which the namespace does not outlive either: so it is not synced to disk.
    Raises RecordError when the folder cannot be written.
    """
    try:
        write_file(folder, FILE, _encode(record))
    except OSError as error:
        raise RecordError(f"{folder}: cannot save the record: {error.strerror}; name another --state-dir") from None


def copy_of(record: Record) -> str:
    """The record as text for the kernel to keep: compressed, and in base64."""
    return binascii.b2a_base64(zlib.compress(_encode(record)), newline=False).decode()


def read_record(state_dir: str | os.PathLike[str] | None = None) -> Record | None:
    """The record of the current network namespace; None when nothing is set up. Raises as `find_record` does.

    Without CAP_NET_ADMIN there is its file alone.
    """
    with Netlink() as netlink:
        return find_record(state_directory(state_dir), netlink.namespace_cookie, _read_copy, netlink.links())


def _read_copy() -> str:
    return read_tables().copy if has_capability(CAP_NET_ADMIN) else ""


def find_record(
    folder: str, namespace_cookie: int, read_copy: Callable[[], str], links: Sequence[Link]
) -> Record | None:
    """The record of this namespace, from its file or the kernel's copy; None when there is neither.

    Where both are there and differ, as when the pod has been set up by way of another state directory since, the one
    that was written later counts, which is logged. Devices have the names in it that they have now among these `links`.

    A record of another boot or namespace is not ours and counts as none, and so does one that cannot be read, which is
    logged. One of an earlier version is migrated. Raises NewerRecord for one of a later version.
    """
    record = _find(folder, namespace_cookie, read_copy)
    if record is None:
        return None
    networks = {name: as_named_now(links, network) for name, network in record.networks.items()}
    sysctls, interfaces = settings_now(links, record.sysctls, record.sysctl_interfaces)
    return replace(record, networks=networks, sysctls=sysctls, sysctl_interfaces=interfaces)


def _find(folder: str, namespace_cookie: int, read_copy: Callable[[], str]) -> Record | None:
    path = f"{folder}/{FILE}"
    saved = None
    try:
        data = read_file(folder, FILE)
        saved = None if data is None else _decode(data, path, namespace_cookie)
    except NewerRecord:
        raise
    except (OSError, RecordError) as error:
        log.warning("%s cannot be used: %s", path, getattr(error, "strerror", None) or error)
    kept = _decode_copy(read_copy(), namespace_cookie)
    if saved is None or kept is None or kept == saved:
        return saved or kept
    later, where = (kept, COPY) if kept.written > saved.written else (saved, path)
    log.warning("%s and %s differ; %s is the later one, and holds", path, COPY, where)
    return later


def _decode_copy(copy: str, namespace_cookie: int) -> Record | None:
    try:
        return _decode(zlib.decompress(binascii.a2b_base64(copy)), COPY, namespace_cookie) if copy else None
    except NewerRecord:
        raise
    except (RecordError, ValueError, zlib.error) as error:
        log.warning("%s cannot be used: %s", COPY, error)
        return None


def is_saved(folder: str, record: Record) -> bool:
    """Whether the file holds just this, in the present form."""
    try:
        return read_file(folder, FILE) == _encode(record)
    except (OSError, RecordError):
        return False


def forget(folder: str) -> None:
    """Remove the record; no error if it is gone. Raises RecordError."""
    for name in (FILE, UNFINISHED):
        try:
            os.unlink(f"{folder}/{name}")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RecordError(f"{folder}/{name} cannot be removed: {error.strerror}; remove it") from None


def _encode(record: Record) -> bytes:
    return dumps(record, default=_plain_data).encode()


def _plain_data(value: object) -> dict[str, object]:
    if not isinstance(value, Frozen):
        raise ValueError(f"{value!r} is neither text nor a number, and cannot be written down")
    return as_dict(value)


def _decode(data: bytes, where: str, namespace_cookie: int) -> Record | None:
    """The record in present form; None when it is of another boot or namespace. Raises RecordError and NewerRecord."""
    try:
        content = loads(data)
        if (content["boot_id"], content["namespace_cookie"]) != (boot_id(), namespace_cookie):
            return None
        version = int(content["version"])
        if version > VERSION:
            raise NewerRecord(where, version)
        if version < VERSION:
            from netsetup.migration import migrate

            content = migrate(content)
        return _record_of(content)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RecordError(f"not a record: {error}") from None


def _record_of(content: object) -> Record:
    """Raises ValueError."""
    record = decode(Record, content)
    _require_settings(record)
    return record


def _require_settings(record: Record) -> None:
    """Raises ValueError for a path that leads to anything but a setting of an interface: it will be written to."""
    settings = [*record.sysctls]
    for network in record.networks.values():
        settings += [*network.pod.sysctls, *network.adopted_sysctls]
    for key, value in settings:
        if not re.fullmatch(_SETTING, key) or not re.fullmatch("-?[0-9a-f:.]{1,64}", value):
            raise ValueError(f"{key!a}={value!a} is no setting of an interface")
