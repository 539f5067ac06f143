"""Builds the guest of the demo and the tests: Debian's cloud kernel, and an initramfs with busybox.

The kernel package is downloaded and unpacked, never installed; kernel and initramfs are cached, so that a second build
takes no time and needs no network. The guest's init is `guest-init.sh`.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import lzma
import os
import platform
import re
import shlex
import shutil
import struct
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.demo import cpio

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

KERNEL_PACKAGE = "linux-image-cloud-amd64"
MODULES = (
    "virtio_net",
    "virtio_pci",
    "virtio_blk",
    "virtio-rng",
    "button",
    "evdev",
    "pvpanic-mmio",
    "isofs",
    "virtiofs",
)
"""Drivers that are not built into the kernel: network, PCI transport, disk, random numbers, power button, the device
that reports a panic, and the file systems of seed images and of shared folders. Their dependencies are found in the
package."""

_BUSYBOX = Path("/bin/busybox")
_HERE = Path(__file__).parent
_REPORT = re.compile(r"guest: (?P<event>[a-z-]+)(?: (?P<fields>.*))?")


class GuestError(RuntimeError):
    """The guest cannot be built; the message says what is missing and how to get it."""


@dataclass(frozen=True, slots=True)
class GuestImage:
    """Paths of a kernel and its initramfs."""

    kernel: Path
    initrd: Path


@dataclass(frozen=True, slots=True)
class GuestReport:
    """One line that the guest printed on its console."""

    event: str
    """`up`, `nic`, `nic-gone`, `lease`, `ping`, `nak`, `leasefail`, `command`, `power-button`, …"""
    fields: dict[str, str]

    def list(self, name: str) -> list[str]:
        """The field's values; lists are separated by commas, routes by semicolons."""
        return [value for value in re.split("[,;]", self.fields.get(name, "")) if value]


def kernel_arguments(
    *, ping: Sequence[str] = (), then: str | None = None, now: str | None = None, button: bool = True
) -> str:
    """The kernel command line: addresses to ping after the first lease, and what to do `then` or `now`.

    An action is `poweroff`, `reboot` or `crash`. With `button=False` the guest ignores its power button.
    """
    # Without KVM on a busy machine the kernel misses its timer's test, and hangs ("MP-BIOS bug: 8254 timer").
    words = ["console=ttyS0", "quiet", "no_timer_check"]
    if ping:
        words.append(f"guest.ping={','.join(ping)}")
    if then:
        words.append(f"guest.then={then}")
    if now:
        words.append(f"guest.now={now}")
    if not button:
        words.append("guest.button=off")
    return " ".join(words)


def parse_reports(console: str) -> Iterator[GuestReport]:
    """Parse the reports in the console's text, oldest first; an incomplete last line is left out."""
    for line in console.splitlines(keepends=True):
        match = _REPORT.search(line.rstrip("\r\n"))
        if match is None or not line.endswith("\n"):
            continue
        try:
            words = shlex.split(match["fields"] or "")
        except ValueError:
            continue
        pairs = (word.partition("=") for word in words)
        yield GuestReport(match["event"], {name: value for name, _, value in pairs})


def default_cache() -> Path:
    """`.cache/guest` in a checkout, else /var/cache/virt-launcher/guest."""
    checkout = _HERE.parent.parent
    if (checkout / "setup.cfg").exists():
        return checkout / ".cache" / "guest"
    return Path("/var/cache/virt-launcher/guest")


def build_guest(cache: Path | None = None) -> GuestImage:
    """The guest's image, from the cache or built now (in about a second, after a download the first time).

    Raises GuestError.
    """
    if platform.machine() != "x86_64":
        raise GuestError(f"the guest is built for x86_64, this machine is {platform.machine()}")
    cache = cache or default_cache()
    with _locked(cache):
        package = _kernel_package(cache)
        image = GuestImage(cache / f"{package.stem}.vmlinuz", cache / f"{package.stem}.{_recipe()}.initrd")
        if not (image.kernel.exists() and image.initrd.exists()):
            _build(package, image)
    return image


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(cache / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise GuestError(f"the cache {cache} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _recipe() -> str:
    """A short hash of all that the initramfs is built from besides the kernel package."""
    digest = hashlib.sha256()
    for path in (_HERE / "guest-init.sh", _HERE / "guest-dhcp.sh", _busybox(), Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _busybox() -> Path:
    try:
        content = _BUSYBOX.read_bytes()
    except FileNotFoundError:
        content = b""
    if not content.startswith(b"\x7fELF") or _is_dynamic(content):
        raise GuestError(f"{_BUSYBOX} is missing or needs shared libraries: apt-get install busybox-static")
    return _BUSYBOX


def _is_dynamic(elf: bytes) -> bool:
    """Whether a 64-bit ELF file has an interpreter (PT_INTERP), as dynamically linked programs have."""
    (offset,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    return any(struct.unpack_from("<I", elf, offset + size * index)[0] == 3 for index in range(count))


def _kernel_package(cache: Path) -> Path:
    """The newest kernel package in the cache, else one downloaded now."""
    cached = sorted(cache.glob("linux-image-*.deb"), key=lambda path: path.stat().st_mtime)
    if cached:
        return cached[-1]
    missing = f"apt has no package {KERNEL_PACKAGE}: run apt-get update"
    depends = _run(["apt-cache", "depends", KERNEL_PACKAGE], missing)
    names = re.findall(r"Depends: (linux-image-\S+)", depends)
    if not names:
        raise GuestError(missing)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        _run(
            ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", names[0]],
            f"the package {names[0]} cannot be downloaded",
            scratch,
        )
        (package,) = Path(scratch).glob("*.deb")
        return package.rename(cache / package.name)


def _run(command: Sequence[str], failure: str, directory: str | Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise GuestError(f"{failure}: {command[0]} is not installed") from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines()
        raise GuestError(f"{failure} ({lines[-1] if lines else f'status {error.returncode}'})") from None
    return done.stdout


def _build(package: Path, image: GuestImage) -> None:
    with tempfile.TemporaryDirectory(dir=package.parent) as scratch:
        root = Path(scratch)
        _run(["dpkg-deb", "--extract", str(package), scratch], f"{package} cannot be unpacked")
        modules = _in_load_order(MODULES, _find_modules(root))
        content = gzip.compress(cpio.archive(_files(modules)), compresslevel=1, mtime=0)
        (kernel,) = (root / "boot").glob("vmlinuz-*")
        # Renamed into place, so that an interrupted build leaves no incomplete file.
        new = root / "initrd"
        new.write_bytes(content)
        new.rename(image.initrd)
        shutil.move(kernel, image.kernel)


def _files(modules: Iterable[tuple[str, bytes]]) -> Iterator[cpio.Entry]:
    modules = list(modules)
    for path in ("bin", "dev", "modules"):
        yield cpio.directory(path)
    yield cpio.character_device("dev/console", 5, 1)
    yield cpio.file("bin/busybox", _busybox().read_bytes(), 0o755)
    yield cpio.symlink("bin/sh", "busybox")
    yield cpio.file("init", (_HERE / "guest-init.sh").read_bytes(), 0o755)
    yield cpio.file("dhcp", (_HERE / "guest-dhcp.sh").read_bytes(), 0o755)
    yield cpio.file("modules/order", "".join(f"{name}.ko\n" for name, _ in modules).encode())
    for name, content in modules:
        yield cpio.file(f"modules/{name}.ko", content)


def _find_modules(root: Path) -> dict[str, Path]:
    """The paths of all modules below `root` by name."""
    return {path.name.split(".")[0]: path for path in root.rglob("*.ko*")}


def _in_load_order(names: Iterable[str], paths: dict[str, Path]) -> list[tuple[str, bytes]]:
    """The modules `names` and their dependencies, each after those that it depends on.

    A module that is not in the package is built into the kernel.
    """
    ordered: dict[str, bytes] = {}
    by_symbol = {name.replace("-", "_"): name for name in paths}

    def load(symbol: str) -> None:
        name = by_symbol.get(symbol)
        if name is None or name in ordered:
            return
        content = paths[name].read_bytes()
        if paths[name].suffix == ".xz":
            content = lzma.decompress(content)
        # Section .modinfo holds strings that end in NUL; depmod reads the dependencies from "depends".
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for needed in (depends[1].decode() if depends else "").split(","):
            load(needed.replace("-", "_"))
        ordered[name] = content

    for name in names:
        load(name.replace("-", "_"))
    return list(ordered.items())
