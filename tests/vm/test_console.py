"""`virt-launcher console`: the guest's serial console in a terminal, for as many as look at it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import termios
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from lab.agent import Agent
from lab.waiting import PATIENCE, wait_until

from .conftest import Boot
from .machine import BOOT_SECONDS

pytestmark = [pytest.mark.root, pytest.mark.vm]

LEAVE = b"\x1d"


class Terminal:
    """The console in a terminal of its own; a context manager that ends it."""

    def __init__(self, state_dir: Path) -> None:
        self._screen, self._terminal = pty.openpty()
        self.before = termios.tcgetattr(self._terminal)
        command = [Agent.program(), "console", "--state-dir", str(state_dir)]
        self.process = subprocess.Popen(command, stdin=self._terminal, stdout=self._terminal, stderr=subprocess.DEVNULL)
        self.seen = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._screen)
        os.close(self._terminal)

    def type(self, text: bytes) -> None:
        os.write(self._screen, text)

    def shows(self, text: str) -> bool:
        while select.select([self._screen], [], [], 0)[0]:
            self.seen += os.read(self._screen, 65536).decode(errors="replace")
        return text in self.seen

    def settings(self) -> list[object]:
        return termios.tcgetattr(self._terminal)


def test_the_console_of_a_running_vm(boot: Boot) -> None:
    machine = boot()
    machine.await_report("up")
    with Terminal(machine.state_dir) as one, Terminal(machine.state_dir) as other:
        for terminal in (one, other):
            wait_until(lambda terminal=terminal: terminal.shows("guest: "), log=lambda t=terminal: t.seen)  # type: ignore[misc]
        assert one.settings() != one.before, "every key is the guest's"
        one.type(b"echo typed-$((40 + 2))\n")
        for terminal in (one, other):
            wait_until(lambda terminal=terminal: terminal.shows("typed-42"), log=lambda t=terminal: t.seen)  # type: ignore[misc]
        assert machine.command("echo of another client") == "of another client", "the socket is free again"
        wait_until(lambda: other.shows("of another client"))
        one.type(LEAVE)
        assert one.process.wait(PATIENCE) == 0
        assert one.settings() == one.before
        machine.command("(sleep 0.1; poweroff -f) >/dev/null 2>&1 &")
        assert machine.await_end() == 0
        assert other.process.wait(BOOT_SECONDS) == 0, "the VM has ended, and its console with it"


def test_no_vm_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [Agent.program(), "console", "--state-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"virt-launcher: error: {tmp_path}: no VM with a serial console runs here; name its --state-dir, and leave out "
        "autoattachSerialConsole in its manifest\n"
    )
