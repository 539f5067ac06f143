"""What `status` and `doctor` make of a launcher's answer about its guest, or of none."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from lab.scenes import eth0
from lab.vmnetworks import bridged

from launcher.control.client import LauncherError, NoLauncher
from launcher.guest import asking
from launcher.guest.answers import GuestInterface, GuestWord
from launcher.guest.asking import GuestStatus, guest_status
from netsetup.model.kernel import AF_INET, Address
from netsetup.model.pod_interface import PodInterface
from netsetup.record import Record

NETWORK = bridged(PodInterface(eth0(), (Address(AF_INET, "10.0.0.5", 24),)))
RECORD = Record("", 0, {NETWORK.name: NETWORK})


def status(monkeypatch: pytest.MonkeyPatch, answer: Any) -> GuestStatus | None:
    def ask(_state_dir: str | None, name: str, *, seconds: float) -> Any:
        assert name == "guest"
        if isinstance(answer, Exception):
            raise answer
        return {"ok": True, **answer}

    monkeypatch.setattr(asking, "ask", ask)
    return guest_status(None, RECORD)


@pytest.mark.parametrize(
    "answer",
    [
        NoLauncher("no launcher has a VM running there"),
        LauncherError("unknown request `guest`: this launcher has networks", 2),
        {},
        {"guest": None},
        {"guest": "word"},
        {"guest": {"interfaces": [7]}},
    ],
    ids=str,
)
def test_without_a_launcher_that_tells_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    assert status(monkeypatch, answer) is None


def test_the_guests_word_is_compared_with_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    word = GuestWord("front", "Debian", "6.1", (GuestInterface("eth0", NETWORK.mac, ("10.0.0.9/24",)),))
    found = status(monkeypatch, {"guest": dataclasses.asdict(word)})  # type: ignore[call-overload]
    assert found is not None
    assert (found.hostname, found.interfaces, found.routes) == ("front", word.interfaces, None)
    assert [one.addresses for one in found.served] == [("10.0.0.5/32",)]
    assert ["10.0.0.5/32 but 10.0.0.9/24" in one.what for one in found.differences] == [True]
