"""What a process may do: its users, groups and capabilities (proc(5))."""

from __future__ import annotations

import subprocess
from pathlib import Path

OWN_IDS = range(0x70000000, 0x80000000)
"""Where a server's user and group are, in the user namespace that the machine began with."""
_CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_LINES = ("Uid", "Gid", "Groups", "NoNewPrivs", *_CAPABILITY_SETS)


def rights_of(pid: int) -> dict[str, list[str]]:
    """The words of each line of /proc/PID/status that is about rights."""
    lines = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: value.split() for name, _, value in lines if name in _LINES}


def assert_no_capability(pid: int, *, bounding: bool = False) -> None:
    """Assert that a process has no capability, and no way to one.

    Args:
        bounding: whether its bounding set may be left: to empty it takes CAP_SETPCAP, and with no_new_privs it is moot.
    """
    __tracebackhide__ = True
    rights = rights_of(pid)
    empty = [name for name in _CAPABILITY_SETS if name != "CapBnd" or not bounding]
    assert {name: rights[name] for name in empty} == {name: ["0" * 16] for name in empty}
    assert rights["NoNewPrivs"] == ["1"]


def assert_own_user(pid: int) -> None:
    """Assert that a process is of a user and a group that are no account's, and of no other group."""
    __tracebackhide__ = True
    rights = rights_of(pid)
    for name in ("Uid", "Gid"):
        (number,) = set(rights[name])
        assert int(number) in OWN_IDS
    assert rights["Groups"] == []


def assert_closed(pid: int) -> None:
    """Assert that a process of the same user, without a capability, cannot look into it (PR_SET_DUMPABLE, prctl(2))."""
    __tracebackhide__ = True
    rights = rights_of(pid)
    same = ["setpriv", f"--reuid={rights['Uid'][0]}", f"--regid={rights['Gid'][0]}", "--clear-groups"]
    none = ["--bounding-set=-all", "--inh-caps=-all"]
    looked = subprocess.run([*same, *none, "cat", f"/proc/{pid}/environ"], capture_output=True, text=True)
    assert (looked.returncode, looked.stdout) == (1, "")
