"""Detects CPU time used by processes other than the measured ones (proc_stat(5), getrusage(2))."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

# Of all cores' time; the kernel's own work after a measurement, such as removing namespaces, is less.
MOST_DISTURBANCE = 0.05
_LOOK_SECONDS = 0.25


class Watch:
    """Measures, from its construction on, the share of CPU time that other processes use."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy = _busy_seconds()
        self._own = _own_seconds()

    def disturbance(self) -> float:
        """Share of all cores' time used by processes other than this one and its children that have exited."""
        others = (_busy_seconds() - self._busy) - (_own_seconds() - self._own)
        return max(0.0, others / ((time.monotonic() - self._began) * (os.cpu_count() or 1)))


def wait_for_quiet(patience: float) -> None:
    """Wait until no other process uses the machine, at most `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        watch = Watch()
        time.sleep(_LOOK_SECONDS)
        if watch.disturbance() <= MOST_DISTURBANCE or time.monotonic() > until:
            return


def _busy_seconds() -> float:
    """Time that all cores were not idle; steal is the hypervisor's, and guest is counted in user already."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in found)
