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
    "systemd-boot-efi",
    "systemd-resolved",
    "systemd-sysv",
    "systemd-ukify",
    "udev",
)
LABEL = "debian"
ARGUMENTS = f"root=LABEL={LABEL} rw console=ttyS0"
MIB = 1 << 20
ESP, ROOT = 192, 2048
"""Sizes of the partitions in MiB; the image has what is used of them."""
FOLDER = Path(__file__).parents[2] / ".cache" / "debian-efi-guest"


@dataclass(frozen=True)
class DebianGuest:
    """Kernel and initrd, and a folder of volumes: its volume `root` is the disk, as an image volume has it.

    The disk boots by itself under UEFI: the program that the firmware starts is kernel, initrd and arguments in one
    (UAPI Group, Unified Kernel Image).
    """

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
        unified = root / "boot" / "unified.efi"
        apt.write_bytes(_run("apt-config", "dump", "Acquire"))  # as this machine's is, with its mirror's settings
        without = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")]
        services = "systemctl enable systemd-networkd ssh qemu-guest-agent serial-getty@ttyS0"
        build = (
            'ukify build --linux="$(echo /boot/vmlinuz-*)" --initrd="$(echo /boot/initrd.img-*)"'
            f' --cmdline="{ARGUMENTS}" --output=/boot/{unified.name}'
        )
        hooks = [
            f"printf 'LABEL={LABEL} / ext4 defaults 0 1\\n' >\"$1/etc/fstab\"",
            f"chroot \"$1\" sh -c '{build}'",
            'rm -rf "$1/etc/hostname" "$1"/etc/ssh/ssh_host_* "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*',
            f'chroot "$1" {services}',
            # search lists, which networkd takes from DHCP only when it is told to
            'mkdir "$1/etc/systemd/networkd.conf.d"',
            "printf '[Network]\\nUseDomains=yes\\n' >\"$1/etc/systemd/networkd.conf.d/domains.conf\"",
        ]
        options = [f"--aptopt={apt}", *without, *(f"--customize-hook={hook}" for hook in hooks)]
        _run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", *options, RELEASE, root)
        _make_disk(root, unified, Path(scratch), image)
        for pattern, path in (("vmlinuz-*", guest.kernel), ("initrd.img-*", guest.initrd)):
            (found,) = (root / "boot").glob(pattern)
            found.rename(path)
        os.rename(image, guest.disk)  # last: what is there is whole


def _make_disk(root: Path, unified: Path, scratch: Path, image: Path) -> None:
    """A disk with the EFI system partition, where firmware looks on a disk that it does not know (UEFI 3.5.1.1), and
    the root file system."""
    esp, system = scratch / "esp", scratch / "system"
    _run("mkfs.vfat", "-F", "32", "-C", esp, str(ESP << 10))
    _run("mmd", "-i", esp, "::EFI", "::EFI/BOOT")
    _run("mcopy", "-i", esp, unified, "::EFI/BOOT/BOOTX64.EFI")
    unified.unlink()
    _run("mke2fs", "-q", "-t", "ext4", "-L", LABEL, "-d", root, system, f"{ROOT}M")
    with image.open("wb") as file:
        file.truncate((ESP + ROOT + 2) * MIB)
    table = f"label: gpt\nstart=1MiB, size={ESP}MiB, type=uefi\nsize={ROOT}MiB, type=linux\n"
    subprocess.run(["sfdisk", "--quiet", image], input=table, text=True, check=True)
    for part, start in ((esp, 1), (system, 1 + ESP)):
        _run("dd", "status=none", "bs=1M", "conv=notrunc,sparse", f"if={part}", f"of={image}", f"seek={start}")


def _run(*command: str | Path) -> bytes:
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
