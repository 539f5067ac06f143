"""A machine from its first to its last moment, and what is left of it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from .conftest import Boot
from .machine import ADDRESS, DNS, MTU, ROUTER, SEARCH

pytestmark = [pytest.mark.vm, pytest.mark.root]


def test_guest_gets_its_lease_and_powers_off(boot: Boot) -> None:
    machine = boot(settings={"ping": ["router"], "then": "poweroff"})
    lease = machine.await_report("lease")
    assert lease.fields["address"] == ADDRESS
    assert lease.fields["router"] == ROUTER
    assert lease.fields["mtu"] == str(MTU)
    assert lease.list("dns") == [DNS]
    assert lease.list("search") == SEARCH
    ping = machine.await_report("ping")
    assert (ping.fields["target"], ping.fields["result"]) == (ROUTER, "ok")
    assert machine.await_end() == 0
    assert machine.result() == "powered off"
    assert machine.errors() == ""


def test_sigterm_shuts_the_guest_down(boot: Boot) -> None:
    machine = boot()
    machine.await_report("lease")
    begin = time.monotonic()
    machine.terminate()
    assert machine.await_end() == 0
    assert machine.result() == "shut down"
    assert machine.reports("power-button")
    assert time.monotonic() - begin < 10


def test_sigterm_before_the_guest_can_hear_it(boot: Boot) -> None:
    machine = boot()
    while not (machine.state_dir / "console.sock").exists():
        time.sleep(0.01)
    machine.terminate()
    assert machine.await_end() == 0
    assert machine.result() == "shut down"


def test_deaf_guest_is_destroyed_after_its_grace_period(boot: Boot) -> None:
    machine = boot(settings={"button": False}, terminationGracePeriodSeconds=1)
    machine.await_report("lease")
    begin = time.monotonic()
    machine.terminate()
    assert machine.await_end() == 4
    assert machine.result() == "destroyed"
    assert 1 <= time.monotonic() - begin < 3


def test_panic_is_a_crash(boot: Boot) -> None:
    machine = boot(settings={"now": "crash"})
    assert machine.await_end() == 5
    assert machine.result() == "crashed"


def test_emulator_that_dies_is_a_crash(boot: Boot) -> None:
    machine = boot()
    machine.await_report("up")
    emulator = machine.emulator()
    assert emulator is not None
    begin = time.monotonic()
    os.kill(emulator, signal.SIGKILL)
    assert machine.await_end() == 5
    # Reaped at once: libvirt would look for it for seconds.
    assert time.monotonic() - begin < 1


def test_reboot_of_the_guest_is_none_of_the_machine(boot: Boot) -> None:
    machine = boot()
    machine.await_report("lease")
    emulator = machine.emulator()
    machine.command("(sleep 0.1; reboot -f) >/dev/null 2>&1 &")
    assert machine.await_report("lease", 2).fields["address"] == ADDRESS
    assert machine.emulator() == emulator
    machine.terminate()
    assert machine.await_end() == 0


def test_killed_launcher_leaves_no_machine(boot: Boot) -> None:
    machine = boot()
    machine.await_report("up")
    emulator = machine.emulator()
    assert emulator is not None
    children = Path(f"/proc/{machine.process.pid}/task/{machine.process.pid}/children").read_text().split()
    (launcher,) = (int(pid) for pid in children if int(pid) != emulator)
    os.kill(launcher, signal.SIGKILL)
    assert machine.await_end() == 128 + signal.SIGKILL
    assert not Path(f"/proc/{emulator}").exists()


def test_next_launcher_ends_what_a_killed_one_left(boot: Boot) -> None:
    left = boot("--bare")
    left.await_report("up")
    emulator = left.emulator()
    assert emulator is not None
    left.process.kill()
    left.process.wait()
    assert Path(f"/proc/{emulator}").exists()

    machine = boot()
    machine.await_report("lease")
    assert machine.emulator() != emulator
    machine.terminate()
    assert machine.await_end() == 0
