"""The log: one line each, bounded in rate and in size."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dhcp.io import log as log_module
from dhcp.io.log import LARGEST_LOG, LINES_AT_ONCE, LINES_PER_SECOND, Log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dhcp.log"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(log_module, "monotonic", lambda: now[0])
    return now


def opened(path: Path, mode: int = os.O_RDWR) -> int:
    return os.open(path, mode | os.O_CREAT | os.O_APPEND)


def test_text_lines_are_words_and_pairs(path: Path) -> None:
    Log(opened(path)).write("info", "dhcp", {"interface": "tap0", "reason": 'two "words"', "empty": "", "n": 3})
    time, rest = path.read_text().split(" ", 1)
    assert time.endswith("Z")
    assert rest == 'info dhcp interface=tap0 reason="two \\"words\\"" empty="" n=3\n'


def test_json_lines(path: Path) -> None:
    log = Log(opened(path), "json")
    log.write("warning", "flood", {"interface": "tap0", "reason": "too fast", "n": 3})
    log.write("info", "dhcp", {"interface": "tap0", "message": "DISCOVER", "answer": "OFFER", "reason": "its own"})
    log.fail("no socket")
    flood, transaction, failure = map(json.loads, path.read_text().splitlines())
    assert all(entry.pop("time").endswith("Z") and entry.pop("logger") == "dhcp" for entry in (flood, failure))
    assert flood == {
        "level": "warning",
        "message": "tap0: flood: too fast",
        "event": "flood",
        "data": {"interface": "tap0", "reason": "too fast", "n": 3},
    }
    assert transaction["message"] == "tap0: DISCOVER, answer OFFER: its own"
    assert failure == {"level": "error", "message": "no socket"}


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31m", "é", "\0"])
def test_a_value_cannot_break_out_of_its_line(path: Path, text: str) -> None:
    Log(opened(path)).write("info", "dhcp", {"reason": text})
    line = path.read_text()
    assert line.count("\n") == 1
    assert line.isascii()
    assert line[:-1].isprintable()


def test_the_rate_is_bounded_and_what_is_missing_is_said(path: Path, clock: list[float]) -> None:
    log = Log(opened(path))
    for _ in range(1000):
        log.write("info", "dhcp", {})
    assert len(path.read_text().splitlines()) == LINES_AT_ONCE
    clock[0] += 1
    for _ in range(1000):
        log.write("info", "dhcp", {})
    lines = path.read_text().splitlines()[LINES_AT_ONCE:]
    assert lines[0].endswith(f"suppressed lines={1000 - LINES_AT_ONCE}")
    assert len(lines) == 1 + LINES_PER_SECOND
    assert log.suppressed == 2000 - LINES_AT_ONCE - LINES_PER_SECOND


@pytest.mark.parametrize("mode", [os.O_RDWR, os.O_WRONLY])
def test_a_log_of_its_own_keeps_the_newer_half(path: Path, clock: list[float], mode: int) -> None:
    path.write_text("old\n" * (LARGEST_LOG // 4 - 10))
    log = Log(opened(path, mode), bounded=True)
    for number in range(2000):
        clock[0] += 1
        log.write("info", "dhcp", {"number": number, "filler": "x" * 1000})
        assert path.stat().st_size <= LARGEST_LOG
    lines = path.read_text().splitlines()
    numbers = [int(line.split("number=")[1].split()[0]) for line in lines]
    assert numbers == list(range(numbers[0], 2000))
    assert path.stat().st_size >= LARGEST_LOG // 4


def test_a_log_that_is_somebody_elses_is_never_cut(path: Path, clock: list[float]) -> None:
    log = Log(opened(path))
    for _ in range(1200):
        clock[0] += 1
        log.write("info", "dhcp", {"filler": "x" * 1000})
    assert len(path.read_text().splitlines()) == 1200


def test_a_log_that_cannot_be_written_stops_nobody() -> None:
    read, write = os.pipe()
    os.close(read)
    log = Log(write, bounded=True)
    log.write("info", "dhcp", {})
    os.close(write)
