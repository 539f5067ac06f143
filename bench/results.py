"""The figures of one run and where they were measured, with their JSON form."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.samples import Samples

_PACKAGES = ("dhcp", "launcher", "netsetup", "bench")


@dataclass(frozen=True, slots=True)
class Origin:
    """The commit, host and software that were measured."""

    date: str
    commit: str
    """Of this repository; with a + when the packages had uncommitted changes."""
    cores: int
    kernel: str
    python: str
    load: float
    """The host's load average over the minute before the run."""
    versions: dict[str, str]
    """Of the other servers, by Debian package."""


@dataclass(slots=True)
class Results:
    """The results of one run."""

    origin: Origin
    rounds: int
    disturbed: int = 0
    """Number of measurements that were kept although other processes used the machine."""
    benches: dict[str, Samples] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Servers that were not measured because they are not installed, each with its Debian package."""
    failures: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write the results as JSON. Raises OSError."""
        data = {
            "origin": asdict(self.origin),
            "rounds": self.rounds,
            "disturbed": self.disturbed,
            "benches": {name: samples.as_json() for name, samples in self.benches.items()},
            "missing": self.missing,
            "failures": self.failures,
        }
        path.write_text(json.dumps(data, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read a file of `write`. Raises OSError, and ValueError or KeyError for any other file."""
        data = json.loads(path.read_text())
        return cls(
            Origin(**data["origin"]),
            data["rounds"],
            data["disturbed"],
            {name: Samples.from_json(samples) for name, samples in data["benches"].items()},
            data["missing"],
            data["failures"],
        )


def origin(repository: Path, packages: list[str]) -> Origin:
    """Describe this host and this checkout before a run."""
    import datetime

    commit = _output("git", "-C", str(repository), "rev-parse", "--short=12", "HEAD") or "unknown"
    changed = _output("git", "-C", str(repository), "status", "--porcelain", "--", *_PACKAGES)
    versions = {package: _output("dpkg-query", "-W", "-f", "${Version}", package) for package in packages}
    return Origin(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        commit=commit + ("+" if changed else ""),
        cores=len(os.sched_getaffinity(0)),
        kernel=".".join(platform.release().split(".")[:2]),
        python=platform.python_version(),
        load=round(os.getloadavg()[0], 2),
        versions={package: version for package, version in versions.items() if version},
    )


def _output(*words: str) -> str:
    try:
        return subprocess.run(words, check=False, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
