"""Programs of this machine in the small guest: what BusyBox has not got."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from launcher.demo import cpio
from launcher.demo.guest_image import GuestImage


def with_programs(image: GuestImage, directory: Path, *programs: str) -> GuestImage:
    """The image with programs, and the libraries that they need, in a second archive below `directory`.

    The kernel unpacks one after the other (Documentation/driver-api/early-userspace/buffer-format.rst).
    """
    files: set[Path] = set()
    for name in programs:
        program = shutil.which(name, path="/usr/sbin:/usr/bin")
        assert program, f"{name} is not installed"
        linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        files |= {Path(program), *map(Path, re.findall(r"(/\S+) \(0x", linked))}
    parents = {parent for path in files for parent in path.parents if parent != Path("/")}
    entries = [cpio.directory(str(path)[1:]) for path in sorted(parents)]
    entries += [cpio.file(str(path)[1:], path.read_bytes(), 0o755) for path in sorted(files)]
    initrd = directory / "initrd"
    initrd.write_bytes(image.initrd.read_bytes() + gzip.compress(cpio.archive(entries), compresslevel=1, mtime=0))
    return replace(image, initrd=initrd)
