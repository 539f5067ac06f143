"""The console's log does not grow without end."""

from __future__ import annotations

from pathlib import Path

from launcher.machine.console import ConsoleLog


def test_newest_part_is_kept(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "console.log", limit=10)
    with (tmp_path / "console.log").open("ab", buffering=0) as guest:
        guest.write(b"0123456789")
        log.trim()
        assert log.path.read_bytes() == b"0123456789"
        guest.write(b"abcdef")
        log.trim()
        guest.write(b"next")
    assert log.older.read_bytes() == b"6789abcdef"
    assert log.path.read_bytes() == b"next"


def test_begins_empty_and_ends(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "console.log")
    log.path.write_text("of another machine")
    log.older.write_text("of another machine")
    log.start()
    assert not log.path.exists()
    assert not log.older.exists()
    log.trim()
    log.stop()
