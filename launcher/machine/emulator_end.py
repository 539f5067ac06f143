"""How QEMU ended, where libvirt has seen no more than that: killed for memory, killed by somebody, or crashed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from dhcp.lean.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CGROUPS = "/sys/fs/cgroup"
OWN_CGROUPS = "/proc/self/cgroup"

BESIDES_MIB = 64
"""What launcher, DHCP server and libvirt's driver take besides QEMU and the guest's memory, rounded up: README."""

_UNLIMITED = 1 << 60
"""Version 1 of cgroups has the largest number of pages for no limit."""


class ContainerMemory(Frozen):
    """What the kernel counts of this container's memory."""

    kills: int
    """How many of its processes have been killed for memory, its own limit or the machine's."""
    limit: int | None
    """Octets, or None without a limit."""


def container_memory() -> ContainerMemory | None:
    """The counters of this process's cgroup, of either version (cgroups(7)); None where it has none to be read."""
    for folder, events, limit in _counters():
        try:
            with open(f"{folder}/{events}", encoding="utf-8") as file:
                counts = dict(line.split(None, 1) for line in file)
            return ContainerMemory(int(counts["oom_kill"]), _limit(f"{folder}/{limit}"))
        except (OSError, KeyError, ValueError):
            continue
    return None


def _counters() -> Iterator[tuple[str, str, str]]:
    """Folders where the counters may be, and the names of the files for kills and limit.

    A container sees its own cgroup at the top of the mount, or with the path that it has on the machine.
    """
    try:
        with open(OWN_CGROUPS, encoding="utf-8") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return
    for _, controllers, path in lines:
        if not controllers:
            for folder in (f"{CGROUPS}{path}", f"{CGROUPS}/unified{path}", CGROUPS):
                yield folder, "memory.events", "memory.max"
        elif "memory" in controllers.split(","):
            for folder in (f"{CGROUPS}/memory{path}", f"{CGROUPS}/memory"):
                yield folder, "memory.oom_control", "memory.limit_in_bytes"


def _limit(path: str) -> int | None:
    with open(path, encoding="utf-8") as file:
        text = file.read().strip()
    return int(text) if text != "max" and int(text) < _UNLIMITED else None


def emulator_pid(root: Path, name: str) -> int | None:
    """The pid of a domain of the embedded driver below `root`, as libvirt has written it down."""
    try:
        return int((root / "run/qemu" / f"{name}.pid").read_text())
    except (OSError, ValueError):
        return None


def how_it_ended(
    status: int | None, before: ContainerMemory | None, after: ContainerMemory | None, guest_memory: int
) -> tuple[bool, str]:
    """Whether QEMU was killed, and one line that says how it ended and what to do.

    `status` is its exit code, negative for a signal, None if nobody has waited for it; `guest_memory` in octets.
    """
    if before and after and after.kills > before.kills:
        limit = f" (limit {after.limit >> 20} MiB)" if after.limit else ""
        needed = (guest_memory >> 20) + BESIDES_MIB
        return True, (
            f"QEMU was killed: the container is short of memory{limit}; give it {needed} MiB for guest and launcher "
            "and what QEMU itself takes (docker, podman: --memory; Kubernetes: resources.limits.memory)"
        )
    if status == -signal.SIGKILL:
        return True, (
            "QEMU was killed by SIGKILL from outside: where the machine is short of memory its kernel's log says so "
            "(dmesg), and the container's limit or its neighbours are to be changed"
        )
    if status is None:
        return False, "QEMU ended by itself"
    if status < 0:
        return False, f"QEMU crashed ({signal.Signals(-status).name})"
    return False, f"QEMU ended by itself, with exit code {status}"
