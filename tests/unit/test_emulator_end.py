"""Killed for memory, killed by somebody, or crashed: from the kernel's counters and QEMU's exit code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from launcher.machine import emulator_end
from launcher.machine.emulator_end import ContainerMemory, container_memory, how_it_ended

MIB = 1 << 20
V1, V2 = "7:blkio:/a\n4:memory:/pods/box\n0::/\n", "0::/pods/box\n"
EVENTS = "low 0\nhigh 0\nmax 12\noom 1\noom_kill 3\noom_group_kill 0\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"


@pytest.mark.parametrize(
    ("own", "files", "memory"),
    [
        (V2, {"pods/box/memory.events": EVENTS, "pods/box/memory.max": "max"}, ContainerMemory(3, None)),
        (V2, {"memory.events": EVENTS, "memory.max": str(64 * MIB)}, ContainerMemory(3, 64 * MIB)),
        (
            V1,
            {
                "memory/pods/box/memory.oom_control": CONTROL,
                "memory/pods/box/memory.limit_in_bytes": "9223372036854771712",
            },
            ContainerMemory(3, None),
        ),
        (
            V1,
            {"memory/memory.oom_control": CONTROL, "memory/memory.limit_in_bytes": str(64 * MIB)},
            ContainerMemory(3, 64 * MIB),
        ),
        (V1, {"memory/memory.oom_control": "oom_kill_disable 0\n"}, None),
        (V2, {"memory.events": "oom_kill many\n"}, None),
        ("", {}, None),
    ],
    ids=["v2", "v2 own", "v1", "v1 own", "v1 before Linux 4.13", "nonsense", "none"],
)
def test_counters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str], memory: ContainerMemory | None
) -> None:
    """As a container sees them, with and without a cgroup namespace (cgroup_namespaces(7))."""
    for name, text in files.items():
        path = tmp_path / "mounted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(emulator_end, "CGROUPS", str(tmp_path / "mounted"))
    monkeypatch.setattr(emulator_end, "OWN_CGROUPS", str(tmp_path / "own"))
    assert container_memory() == memory


@pytest.mark.parametrize(
    ("status", "kills", "killed", "words"),
    [
        (-9, 1, True, r"short of memory \(limit 200 MiB\); give it 192 MiB for guest and launcher"),
        (None, 1, True, "short of memory"),
        (-9, 0, True, "SIGKILL from outside"),
        (-11, 0, False, r"crashed \(SIGSEGV\)"),
        (1, 0, False, "exit code 1"),
        (None, 0, False, "ended by itself"),
    ],
)
def test_how_it_ended(status: int | None, kills: int, killed: bool, words: str) -> None:
    before, after = (ContainerMemory(count, 200 * MIB) for count in (2, 2 + kills))
    was_killed, line = how_it_ended(status, before, after, 128 * MIB)
    assert was_killed is killed
    assert re.search(words, line), line
    assert how_it_ended(status, None, None, 128 * MIB)[0] is (status == -9)
