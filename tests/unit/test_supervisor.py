"""The first process: real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from lab.waiting import PATIENCE, wait_until

PROLOGUE = """
import os, signal, subprocess, sys, time
from launcher.container.init import supervise
"""


def start(body: str) -> subprocess.Popen[str]:
    """A process that supervises `main`, which `body` defines."""
    script = PROLOGUE + textwrap.dedent(body) + "\nsys.exit(supervise(main))\n"
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def is_gone(pid: int, seconds: float) -> bool:
    """Whether the process, zombies included, is gone within that time."""
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return 0", 0),
        ("return 4", 4),
        ("sys.exit(7)", 7),
        ("sys.exit()", 0),
        ("sys.exit('a reason')", 1),
        ("raise ValueError('unforeseen')", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 139),
    ],
)
def test_exit_code(body: str, code: int) -> None:
    process = start(f"def main():\n    {body}")
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert ("unforeseen" in errors) is ("unforeseen" in body)


@pytest.mark.parametrize(
    ("ends", "code"), [("os._exit(3)", 3), ("os.kill(os.getpid(), signal.SIGKILL)", -9), ("time.sleep(60)", None)]
)
def test_how_an_orphan_has_ended_can_be_asked(ends: str, code: int | None) -> None:
    """It is the first process that waits for it; libvirt makes QEMU an orphan in the same way."""
    process = start(
        f"""
        from launcher.container.init import exit_code_of_orphan

        def main():
            read, write = os.pipe()
            middle = os.fork()
            if middle == 0:
                orphan = os.fork()
                if orphan == 0:
                    os.close(write)
                    {ends}
                os.write(write, str(orphan).encode())
                os._exit(0)
            os.waitpid(middle, 0)
            pid = int(os.read(read, 16))
            print(exit_code_of_orphan(pid, {"0.1" if code is None else "30"}))
            return 0
        """
    )
    assert process.communicate(timeout=PATIENCE)[0].strip() == str(code)


def test_output_is_not_lost() -> None:
    process = start("def main():\n    sys.stdout.write('a result')\n    return 0")
    assert process.communicate(timeout=PATIENCE)[0] == "a result"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_handed_on(number: signal.Signals) -> None:
    process = start(
        f"""
        def main():
            received = []
            signal.signal({int(number)}, lambda number, frame: received.append(number))
            print("ready", flush=True)
            while not received:
                time.sleep(0.01)
            return 40 + received[0]
        """
    )
    assert line(process) == "ready"
    process.send_signal(number)
    assert process.wait(PATIENCE) == 40 + number


def test_signal_that_nobody_handles_ends_both() -> None:
    process = start("def main():\n    print('ready', flush=True)\n    time.sleep(60)")
    assert line(process) == "ready"
    process.terminate()
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM


def test_signal_that_comes_when_all_is_done_changes_nothing() -> None:
    script = PROLOGUE + "status = supervise(lambda: 4)\nprint('done', flush=True)\ntime.sleep(0.3)\nsys.exit(status)\n"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert line(process) == "done"
    process.terminate()
    assert process.wait(PATIENCE) == 4


def test_orphans_are_reaped_at_once() -> None:
    """As QEMU is, which libvirt starts as a daemon and which ends later."""
    process = start(
        """
        def main():
            orphan = "import os,sys; p = os.fork(); print(p, flush=True) if p else sys.stdin.read()"
            child = subprocess.Popen(
                [sys.executable, "-c", orphan], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            print(child.stdout.readline().strip(), flush=True)
            child.wait()
            signal.sigwait({signal.SIGUSR1})
            return 0
        """
    )
    orphan = int(line(process))
    while Path(f"/proc/{orphan}/stat").read_text().rpartition(")")[2].split()[1] != str(process.pid):
        time.sleep(0.002)
    os.kill(orphan, signal.SIGKILL)
    assert is_gone(orphan, PATIENCE)
    process.kill()
    process.wait()


def test_children_of_the_launcher_stay_its_own() -> None:
    process = start(
        """
        def main():
            return sum(subprocess.run(["sh", "-c", "exit 1"]).returncode for _ in range(20))
        """
    )
    assert process.wait(PATIENCE) == 20


def test_what_a_killed_launcher_leaves_is_ended() -> None:
    process = start(
        """
        def main():
            child = subprocess.Popen(["setsid", "sleep", "60"])
            print(child.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    left = int(line(process))
    assert process.wait(PATIENCE) == 137
    assert is_gone(left, 0)


def test_launcher_is_told_when_the_first_process_dies() -> None:
    process = start(
        """
        def main():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            print(os.getpid(), flush=True)
            time.sleep(60)
        """
    )
    launcher = int(line(process))
    process.kill()
    process.wait()
    # Who inherits it may be slow to wait for it; that it has ended is what counts.
    wait_until(lambda: _is_dead(launcher))


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
