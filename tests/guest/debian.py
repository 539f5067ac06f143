"""A Debian 13 guest with cloud-init, networkd, OpenSSH and the QEMU guest agent: made once, and kept below .cache."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

RELEASE = "trixie"
PACKAGES = (
    "ca-certificates",
    "cloud-init",
    "dbus",
    "initramfs-tools",
    "iproute2",
    "linux-image-cloud-amd64",
    "netbase",
    "openssh-server",
    "qemu-guest-agent",
    "systemd-resolved",
    "systemd-sysv",
    "udev",
)
SIZE = "2G"
"""Of the root file system, of which the image has what is used."""
FOLDER = Path(__file__).parents[2] / ".cache" / "debian-guest"


@dataclass(frozen=True)
class DebianGuest:
    """Kernel and initrd, and a folder of volumes: its volume `root` is the disk, as an image volume has it."""

    kernel: Path
    initrd: Path
    volumes: Path

    @property
    def disk(self) -> Path:
        return self.volumes / "root" / "disk" / "debian.img"


def debian_guest() -> DebianGuest:
    """The guest, made now if it is not there."""
    guest = DebianGuest(FOLDER / "vmlinuz", FOLDER / "initrd.img", FOLDER / "volumes")
    guest.disk.parent.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not guest.disk.exists():
            _make(guest)
    return guest


def _make(guest: DebianGuest) -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        root, image, apt = Path(scratch, "root"), Path(scratch, "image"), Path(scratch, "apt")
        apt.write_bytes(_run("apt-config", "dump", "Acquire"))  # as this machine's is, with its mirror's settings
        without = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")]
        services = "systemctl enable systemd-networkd ssh qemu-guest-agent serial-getty@ttyS0"
        hooks = [
            "printf '/dev/vda / ext4 defaults 0 1\\n' >\"$1/etc/fstab\"",
            'rm -rf "$1/etc/hostname" "$1"/etc/ssh/ssh_host_* "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*',
            f'chroot "$1" {services}',
            # search lists, which networkd takes from DHCP only when it is told to
            'mkdir "$1/etc/systemd/networkd.conf.d"',
            "printf '[Network]\\nUseDomains=yes\\n' >\"$1/etc/systemd/networkd.conf.d/domains.conf\"",
        ]
        options = [f"--aptopt={apt}", *without, *(f"--customize-hook={hook}" for hook in hooks)]
        _run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", *options, RELEASE, root)
        _run("mke2fs", "-q", "-t", "ext4", "-d", root, image, SIZE)
        for pattern, path in (("vmlinuz-*", guest.kernel), ("initrd.img-*", guest.initrd)):
            (found,) = (root / "boot").glob(pattern)
            found.rename(path)
        os.rename(image, guest.disk)  # last: what is there is whole


def _run(*command: str | Path) -> bytes:
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
