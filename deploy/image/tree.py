#!/usr/bin/env python3
"""Copies installed Debian packages, and all that they depend on, to a directory that is to become an image.

What nothing there needs stays behind: `LEFT_OUT` packages, and `LEFT_OUT_FILES`. Each package's entry of dpkg's data
base goes to var/lib/dpkg/status.d, where scanners for known holes look for it in images without dpkg.
"""

from __future__ import annotations

import argparse
import fnmatch
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

DPKG = Path("/var/lib/dpkg")

LEFT_OUT = {
    # tools of packages' installation scripts
    *("adduser", "base-passwd", "debconf", "dpkg", "init-system-helpers", "mawk", "passwd", "tar"),
    # a machine's: libvirt's packages want them for its daemons, and for containers
    *("dbus", "logrotate", "systemd", "systemd-container", "systemd-sysv", "libvirt-daemon-log"),
    # virtiofsd wants it where it has no root
    "uidmap",
    # modules of Python that need them are never imported
    *("libdb5.3t64", "libreadline8t64", "libsqlite3-0", "media-types", "tzdata"),
}
LEFT_OUT_FILES = (
    "/etc/apparmor.d/*",
    "/etc/logrotate.d/*",
    "/usr/bin/c_rehash",
    "/usr/bin/elf2dmp",
    "/usr/bin/qemu-io",
    "/usr/bin/qemu-nbd",
    "/usr/bin/qemu-system-i386",
    "/usr/bin/qemu-system-x86_64-microvm",
    "/usr/lib/systemd/*",
    "/usr/lib/x86_64-linux-gnu/gconv/*",
    "/usr/share/apport/*",
    "/usr/share/bug/*",
    "/usr/share/doc/*/[!c]*",  # all but copyright
    "/usr/share/doc/*/changelog*",
    "/usr/share/lintian/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    # UEFI as one file, with other keys, or stricter
    "/usr/share/OVMF/*snakeoil*",
    "/usr/share/OVMF/*strictnx*",
    "/usr/share/ovmf/*",
    "/usr/share/qemu/OVMF.fd",
    # firmware of other processors than x86
    "/usr/share/qemu/hppa-*",
    "/usr/share/qemu/openbios-*",
    "/usr/share/qemu/opensbi-*",
    "/usr/share/qemu/palcode-*",
    "/usr/share/qemu/s390-*",
    "/usr/share/qemu/skiboot*",
    "/usr/share/qemu/slof*",
    "/usr/share/qemu/u-boot*",
)
MERGED = ("bin", "lib", "lib64", "sbin")
"""Links to the folders of the same names in usr."""


def installed() -> dict[str, dict[str, str]]:
    """The fields of each installed package, by its name; its whole entry as `entry`."""
    packages = {}
    for entry in (DPKG / "status").read_text().split("\n\n"):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", entry, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            packages[fields["Package"]] = fields | {"entry": entry}
    return packages


def closure(wanted: list[str]) -> dict[str, dict[str, str]]:
    """The wanted packages, and what they depend on; of alternatives the one that is installed."""
    packages = installed()
    provided = {
        name: package
        for package, fields in packages.items()
        for name in re.findall(r"(?:^|, )([^\s,]+)", fields.get("Provides", ""))
    }
    found: dict[str, dict[str, str]] = {}
    while wanted:
        name = wanted.pop()
        if name in found or name in LEFT_OUT:
            continue
        found[name] = packages[name]
        depends = ", ".join(packages[name].get(field, "") for field in ("Depends", "Pre-Depends"))
        for alternatives in filter(None, (group.strip() for group in depends.split(","))):
            names = [re.split("[ :(]", alternative.strip())[0] for alternative in alternatives.split("|")]
            present = [provided.get(each, each) for each in names if each in packages or each in provided]
            wanted.append(next((each for each in present if each in packages), present[0]))
    return found


def files_of(package: str, architecture: str) -> Iterator[str]:
    """What dpkg has unpacked of a package, but for what the image does without."""
    lists = (DPKG / f"info/{package}{suffix}.list" for suffix in ("", f":{architecture}"))
    for name in next(path for path in lists if path.exists()).read_text().splitlines():
        left_out = any(fnmatch.fnmatch(name, pattern) for pattern in LEFT_OUT_FILES)
        if not left_out and name.strip("/.") and name[1:] not in MERGED:
            yield name


def copy(names: list[str], destination: Path) -> None:
    """Copy files and folders with their owners and modes; each goes where it really is, below usr."""
    real = sorted({str(Path(name).parent.resolve() / Path(name).name)[1:] for name in names})
    present = "\0".join(name for name in real if Path("/", name).exists() or Path("/", name).is_symlink())
    pack = ("tar", "-C", "/", "--no-recursion", "--null", "-cf", "-", "-T", "-")
    packed = subprocess.run(pack, input=present.encode(), stdout=subprocess.PIPE, check=True)
    subprocess.run(("tar", "-C", destination, "-xpf", "-"), input=packed.stdout, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--on", type=Path, help="leave out the packages of this tree")
    parser.add_argument("destination", type=Path)
    parser.add_argument("package", nargs="+")
    options = parser.parse_args()
    tree, base = options.destination, options.on
    present = {path.name for path in (base / "var/lib/dpkg/status.d").iterdir()} if base else set()
    packages = {name: fields for name, fields in closure(options.package).items() if name not in present}
    tree.mkdir()
    for name in () if base else MERGED:
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    copy([file for name, fields in packages.items() for file in files_of(name, fields["Architecture"])], tree)
    status = tree / "var/lib/dpkg/status.d"
    status.mkdir(parents=True)
    for name, fields in packages.items():
        (status / name).write_text(fields["entry"] + "\n")
    print(f"{tree}: {len(packages)} packages: {' '.join(sorted(packages))}")


if __name__ == "__main__":
    main()
