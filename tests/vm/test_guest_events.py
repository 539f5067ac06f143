"""What a guest does, in the launcher's log; with Debian's guest agent in it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.pod import MakePod
from lab.waiting import wait_until

from launcher.demo.guest_image import GuestImage, default_cache, kernel_arguments

from .agent_guest import HANGING, with_agent
from .entrypoint import Entrypoint
from .machine import Segment, launch, manifest

pytestmark = [pytest.mark.vm, pytest.mark.root]

CACHE = default_cache().parent / "agent"


@pytest.fixture(scope="module")
def agent_guest(guest: GuestImage) -> GuestImage:
    return with_agent(guest, CACHE)


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        yield Path(directory)


def document(image: GuestImage, **settings: Any) -> dict[str, Any]:
    return manifest(image, kernel_arguments(**settings))


def events(machine: Entrypoint) -> list[str]:
    """The guest's, in their order."""
    ours = {"accelerator", "network", "started", "ended", "restored"}
    return [
        line["event"]
        for line in machine.log()
        if line["logger"] == "launcher" and line.get("event", "") not in ours | {""}
    ]


def await_events(machine: Entrypoint, *names: str) -> None:
    wait_until(lambda: set(names) <= set(events(machine)), log=machine.errors)


def test_boot_sleep_reboot_and_power_off(make_pod: MakePod, directory: Path, agent_guest: GuestImage) -> None:
    machine = Entrypoint(make_pod("calico", guest_port=False), directory, document(agent_guest))
    machine.await_report("lease")
    await_events(machine, "booted", "agent-connected", "lease-taken")
    machine.command("(sleep 0.1; echo mem >/sys/power/state) >/dev/null 2>&1 &")
    await_events(machine, "asleep", "woken")
    machine.command("(sleep 0.1; reboot -f) >/dev/null 2>&1 &")
    await_events(machine, "rebooted")
    machine.await_report("lease", 2)
    wait_until(lambda: events(machine).count("lease-taken") == 2, log=machine.errors)
    machine.terminate()
    assert machine.await_end() == 0
    assert machine.reports("agent-shutdown")
    assert not machine.reports("power-button")
    assert [name for name in events(machine) if name not in ("agent-connected", "agent-disconnected")] == [
        *("booted", "lease-taken", "asleep", "woken"),
        *("rebooted", "booted", "lease-taken", "powered-off"),
    ]


def test_panic(make_pod: MakePod, directory: Path, guest: GuestImage) -> None:
    machine = Entrypoint(make_pod("calico", guest_port=False), directory, document(guest, now="crash"))
    assert machine.await_end() == 5
    assert events(machine) == ["panicked"]


def test_an_agent_that_hangs_costs_its_head_start_alone(segment: Segment, state_dir: Path, guest: GuestImage) -> None:
    image = with_agent(guest, CACHE, HANGING)
    machine = launch(segment, state_dir, document(image))
    machine.await_report("agent")
    machine.await_report("lease")
    began = time.monotonic()
    machine.terminate()
    assert machine.await_end() == 0
    assert machine.result() == "shut down"
    assert machine.reports("power-button")
    assert time.monotonic() - began < 10
