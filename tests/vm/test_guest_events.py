"""What a guest does, in the launcher's log; with Debian's guest agent in it."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.agent import Agent
from lab.pod import MakePod
from lab.waiting import wait_until

from launcher.demo.guest_image import GuestImage, default_cache, kernel_arguments
from launcher.guest.agent import NO_ANSWER

from .agent_guest import HANGING, PRETTY_NAME, with_agent
from .entrypoint import Entrypoint
from .machine import manifest

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


def assert_agent_is_heard(machine: Entrypoint) -> None:
    """`status` and `doctor` have what the guest says, and what it has otherwise than served."""
    guest = asked(machine, "status")["guest"]
    (network,) = guest["served"]
    (nic,) = (nic for nic in guest["interfaces"] if nic["mac"] == network["mac"])
    assert (guest["hostname"], guest["system"], nic["name"]) == ("testvm", PRETTY_NAME, "eth0")
    assert (guest["differences"], guest["problem"]) == ([], "")
    assert network["addresses"][0] in nic["addresses"]
    assert agents_hop(machine)["ok"] is True
    machine.command("ip address add 10.9.9.9/24 dev eth0")
    (difference,) = asked(machine, "status")["guest"]["differences"]
    found = agents_hop(machine)
    assert "has also 10.9.9.9/24" in difference["what"]
    assert (found["ok"], found["finding"], bool(found["advice"])) == (False, difference["what"], True)


def agents_hop(machine: Entrypoint) -> dict[str, Any]:
    (check,) = (check for check in asked(machine, "doctor")["checks"] if check["hop"] == "guest agent")
    return check


def asked(machine: Entrypoint, verb: str) -> Any:
    """What a verb prints."""
    command = [Agent.program(), verb, "--state-dir", machine.state_dir, "--output", "json"]
    return json.loads(machine.pod.pod.run(command, check=False).stdout)


def test_boot_sleep_reboot_and_power_off(make_pod: MakePod, directory: Path, agent_guest: GuestImage) -> None:
    machine = Entrypoint(make_pod("calico", guest_port=False), directory, document(agent_guest))
    machine.await_report("lease")
    await_events(machine, "booted", "agent-connected", "lease-taken")
    assert_agent_is_heard(machine)
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


def test_an_agent_that_hangs_delays_neither_status_nor_the_end(
    make_pod: MakePod, directory: Path, guest: GuestImage
) -> None:
    image = with_agent(guest, CACHE, HANGING)
    machine = Entrypoint(make_pod("calico", guest_port=False), directory, document(image))
    machine.await_report("agent")
    machine.await_report("lease")
    await_events(machine, "agent-connected")
    began = time.monotonic()
    assert asked(machine, "status")["guest"]["problem"].startswith(NO_ANSWER)
    machine.terminate()
    assert machine.await_end() == 0
    assert machine.event("ended") == {"how": "shut down"}
    assert machine.reports("power-button")
    assert time.monotonic() - began < 14, "its grace period is 15"
