"""The network of a launcher that runs: one change at a time, and none that has failed is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from dhcp.lean.frozen import replace
from launcher import prestart
from launcher.container.pod_setup import PodSetup, Settings, ShuttingDown
from launcher.phases.result import PodNetwork
from launcher.request import SetupRequest
from netsetup.errors import InvalidRequest

ONE = SetupRequest.default()
OTHER = replace(ONE, hostname="other")
SETTINGS = Settings("/state", "/etc/resolv.conf", None, "text", False, None)


def pod_setup(monkeypatch: pytest.MonkeyPatch, set_up: Callable[..., object]) -> PodSetup:
    def done(*arguments: object, **more: object) -> PodNetwork:
        set_up(*arguments, **more)
        return PodNetwork({}, None, {}, (), ())

    monkeypatch.setattr(prestart, "setup_pod_network", done)
    return PodSetup(ONE, SETTINGS)


def test_a_change_is_kept_once_it_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[SetupRequest] = []
    pod = pod_setup(monkeypatch, lambda request, **_: seen.append(request))
    pod.converge()
    pod.converge(lambda request: replace(request, hostname="other"))
    pod.converge()
    assert seen == [ONE, OTHER, OTHER]


def test_a_change_that_fails_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(request: SetupRequest, **_: object) -> None:
        if request != ONE:
            raise InvalidRequest("no")

    pod = pod_setup(monkeypatch, refuse)
    with pytest.raises(InvalidRequest):
        pod.converge(lambda request: OTHER)
    assert pod.request == ONE
    pod.converge()


def test_the_end_waits_for_a_change_and_lets_no_other_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def set_up(request: SetupRequest, **_: object) -> None:
        began.set()
        assert may_end.wait(10)
        ended.set()

    pod = pod_setup(monkeypatch, set_up)
    changing = threading.Thread(target=pod.converge)
    changing.start()
    assert began.wait(10)
    closing = threading.Thread(target=pod.close)
    closing.start()
    may_end.set()
    closing.join(10)
    assert ended.is_set()
    changing.join(10)
    with pytest.raises(ShuttingDown):
        pod.converge()


def test_a_change_that_hangs_does_not_keep_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.container.pod_setup.CHANGE_SECONDS", 0.05)
    began, may_end = threading.Event(), threading.Event()

    def set_up(request: SetupRequest, **_: object) -> None:
        began.set()
        may_end.wait(10)

    pod = pod_setup(monkeypatch, set_up)
    changing = threading.Thread(target=pod.converge)
    changing.start()
    assert began.wait(10)
    pod.close()
    may_end.set()
    changing.join(10)
