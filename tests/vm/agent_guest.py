"""The guest with Debian's QEMU guest agent beside its init: its package's program, and this machine's libraries."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import lzma
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from launcher.demo import cpio
from launcher.demo.guest_image import GuestImage

PACKAGE = "qemu-guest-agent"
PRETTY_NAME = "Busybox of the tests"

_START = """#!/bin/sh
insmod /modules/virtio_console.ko
until name=$(grep -l guest_agent /sys/class/virtio-ports/*/name 2>/dev/null); do sleep 0.05; done
port=${name%/name}
port=/dev/${port##*/}
"""
_AGENT = 'mkdir -p /var/log\nexec qemu-ga -m virtio-serial -p "$port" -t /run >/dev/null 2>&1\n'
HANGING = 'exec 3<>"$port"\necho "guest: agent uptime=0" >/dev/ttyS0\nexec cat <&3 >/dev/null\n'
"""An agent that has its channel open, and answers nothing."""
_SHUTDOWN = b'#!/bin/sh\necho "guest: agent-shutdown uptime=0" >/dev/ttyS0\npoweroff -f\n'
"""What the agent runs to shut the guest down."""
_OS_RELEASE = f'ID=busybox\nNAME=Busybox\nPRETTY_NAME="{PRETTY_NAME}"\nVERSION_ID=1\n'.encode()


def with_agent(image: GuestImage, folder: Path, agent: str = _AGENT) -> GuestImage:
    """That guest with an agent, or with the end of a script in its place, which finds its channel's device in `$port`.

    Kept in `folder`, which the agent's package is downloaded to as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    initrd = folder / f"{image.initrd.stem}.{hashlib.sha256(agent.encode()).hexdigest()[:8]}.initrd"
    with (folder / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=folder) as scratch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _unpack(_package(folder), Path(scratch, "agent"))
        (kernel,) = image.kernel.parent.glob("linux-image-*.deb")
        _unpack(kernel, Path(scratch, "kernel"))
        files = _files(Path(scratch), f"{_START}{agent}".encode())
        more = gzip.compress(cpio.archive(files), compresslevel=1, mtime=0)
        # The kernel unpacks one archive after the other, each from a multiple of four octets on.
        first = image.initrd.read_bytes()
        initrd.write_bytes(first + b"\0" * (-len(first) % 4) + more)
    return GuestImage(image.kernel, initrd)


def _package(folder: Path) -> Path:
    if not (found := sorted(folder.glob(f"{PACKAGE}_*.deb"))):
        subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", PACKAGE], cwd=folder, check=True)
        found = sorted(folder.glob(f"{PACKAGE}_*.deb"))
    return found[-1]


def _unpack(package: Path, to: Path) -> None:
    subprocess.run(["dpkg-deb", "--extract", package, to], check=True)


def _files(scratch: Path, start: bytes) -> Iterator[cpio.Entry]:
    program = scratch / "agent/usr/sbin/qemu-ga"
    linked = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    libraries = [Path(path) for path in re.findall(r"(/\S+) \(0x", linked)]
    folders = {parent for library in libraries for parent in library.parents}
    for folder in sorted(folders | {Path("/etc"), Path("/sbin")}):
        if folder != Path("/"):
            yield cpio.directory(str(folder)[1:])
    for library in libraries:
        yield cpio.file(str(library)[1:], library.read_bytes(), 0o755)
    (module,) = (scratch / "kernel").rglob("virtio_console.ko*")
    driver = module.read_bytes()
    yield cpio.file("modules/virtio_console.ko", lzma.decompress(driver) if module.suffix == ".xz" else driver)
    yield cpio.file("bin/qemu-ga", program.read_bytes(), 0o755)
    yield cpio.file("more", start, 0o755)
    yield cpio.file("sbin/shutdown", _SHUTDOWN, 0o755)
    yield cpio.file("etc/os-release", _OS_RELEASE)
