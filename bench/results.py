"""All figures of one run, what they were measured on, and their form as JSON."""

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
    """Of what and on what the figures are."""

    date: str
    commit: str
    """Of this repository; with a + when its programs had changes that were not committed."""
    cores: int
    kernel: str
    python: str
    load: float
    """Of the machine, over the minute before the run."""
    versions: dict[str, str]
    """Of the other servers, by Debian package."""


@dataclass(slots=True)
class Results:
    """One run."""

    origin: Origin
    rounds: int
    disturbed: int = 0
    """Measurements that were kept although others used the machine meanwhile."""
    benches: dict[str, Samples] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """What was not measured because it is not installed, and the Debian package that has it."""
    failures: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """As JSON; raises OSError."""
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
        """Raises OSError, ValueError and KeyError for what `write` has not written."""
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
    """What there is to say about this machine and this checkout before a run."""
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
