"""The folder that an embedded libvirt has for its files: sockets, configuration, log and cache."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SHARED_CACHE = Path("/var/cache/virt-launcher/libvirt")
"""QEMU's capabilities, for which libvirt starts it a few times; the same for every VM of this host."""

# Paths of unix sockets end here; libvirt puts lib/qemu/domain-<id>-<20 characters of name>/monitor.sock below
# the root.
_SOCKET_PATH_MAXIMUM = 107
_LONGEST_SOCKET = len("/lib/qemu/domain-99999-12345678901234567890/monitor.sock")

# A driver for one VM inside a container: it writes its log files itself, and does not change owners, labels, cgroups
# and mount namespaces, which are the container's.
_QEMU_CONF = """\
stdio_handler = "file"
security_driver = "none"
dynamic_ownership = 0
remember_owner = 0
cgroup_controllers = []
namespaces = []
"""
_QEMU_CONF_ROOT = 'user = "root"\ngroup = "root"\nswtpm_user = "root"\nswtpm_group = "root"\n'


class LibvirtError(RuntimeError):
    """libvirt is missing or has failed; one line, with libvirt's own message."""


class UnusableRoot(LibvirtError):
    """The embedded driver cannot have its files there; nothing has been changed."""

    exit_code = 2


def check_root(root: Path) -> None:
    """Raise UnusableRoot for a folder whose name leaves no room for that of a unix socket."""
    excess = len(os.fsencode(root)) + _LONGEST_SOCKET - _SOCKET_PATH_MAXIMUM
    if excess > 0:
        raise UnusableRoot(
            f"{root}: too long for libvirt's sockets below it; name a --state-dir {excess} octets shorter"
        )


def prepare_root(root: Path, cache: Path | None) -> None:
    """Create the directories and the configuration of an embedded driver. Raises LibvirtError."""
    check_root(root)
    try:
        root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (root / "etc").mkdir(parents=True, exist_ok=True)
        configuration = _QEMU_CONF + (_QEMU_CONF_ROOT if os.geteuid() == 0 else "")
        (root / "etc/qemu.conf").write_text(configuration)
    except OSError as error:
        raise LibvirtError(f"libvirt's directory {root} cannot be created: {error.strerror}") from None
    link = root / "cache"
    if cache is None or link.exists():
        return
    with contextlib.suppress(OSError):
        # Where it cannot be shared, libvirt creates its own.
        cache.mkdir(parents=True, exist_ok=True)
        if os.access(cache, os.W_OK | os.X_OK):
            link.unlink(missing_ok=True)
            link.symlink_to(cache)


def prepare_home(root: Path) -> None:
    """A user other than root, whose files libvirt would look for, has them below the root where it has no home."""
    if os.geteuid() and not os.access(os.environ.get("HOME", ""), os.W_OK):
        os.environ["HOME"] = str(root)
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
            os.environ.pop(name, None)
