"""A cgroup with a memory limit, as a container has one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

_MOUNTED = """
set -e
mount -t tmpfs none /sys/fs/cgroup
mkdir /sys/fs/cgroup/memory
mount -t cgroup -o memory none /sys/fs/cgroup/memory
cd /sys/fs/cgroup/memory
"""
_MOUNTED_V2 = """
set -e
mount -t cgroup2 none /sys/fs/cgroup
cd /sys/fs/cgroup
echo +memory >cgroup.subtree_control
"""
_ENTER = """
limit=$1; name=$2; shift 2
mkdir $name
echo $limit >$name/{limit}
echo $$ >$name/cgroup.procs
cd /
exec "$@"
"""


class MemoryLimit:
    """What starts a program in such a cgroup (`prefix`); a context manager that removes it.

    The program has a mount namespace of its own, with the cgroups in their usual place (cgroups(7), either version).
    """

    def __init__(self, octets: int) -> None:
        self._name = f"vltest-{os.getpid()}"
        first = _memory_is_of_version_1()
        self._mounted = _MOUNTED if first else _MOUNTED_V2
        enter = _ENTER.format(limit="memory.limit_in_bytes" if first else "memory.max")
        self.prefix = ("unshare", "-m", "sh", "-c", self._mounted + enter, "sh", str(octets), self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        remove = f"{self._mounted}rmdir {self._name}"
        subprocess.run(["unshare", "-m", "sh", "-c", remove], check=error is None)


def _memory_is_of_version_1() -> bool:
    """Whether the memory controller is in a hierarchy of its own (cgroups(7))."""
    lines = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()]
    return any(name == "memory" and hierarchy != "0" for name, hierarchy, *_ in lines)
