"""The guest's initial file system, its kernel command line, and how its reports are read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from launcher.demo import cpio
from launcher.demo.guest_image import GuestError, _in_load_order, build_guest, kernel_arguments, parse_reports


def test_archive_unpacks_as_it_was_made(tmp_path: Path) -> None:
    archive = cpio.archive(
        [
            cpio.directory("bin"),
            cpio.file("bin/tool", b"#!/bin/sh\n", 0o755),
            cpio.symlink("bin/sh", "tool"),
            cpio.file("empty", b""),
        ]
    )
    subprocess.run(["busybox", "cpio", "-i", "-d"], cwd=tmp_path, input=archive, check=True, capture_output=True)
    assert (tmp_path / "bin/tool").read_bytes() == b"#!/bin/sh\n"
    assert (tmp_path / "bin/tool").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "bin/sh").readlink() == Path("tool")
    assert (tmp_path / "empty").read_bytes() == b""


def test_device_node_and_alignment() -> None:
    archive = cpio.archive([cpio.character_device("dev/console", 5, 1)])
    assert archive.startswith(b"070701" + b"00000001" + b"00002180")
    assert b"00000005" + b"00000001" + b"0000000c" + b"00000000" + b"dev/console\0" in archive
    assert len(archive) % 4 == 0
    assert b"TRAILER!!!" in archive


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    def module(name: str, depends: str) -> Path:
        path = tmp_path / f"{name}.ko"
        path.write_bytes(b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0")
        return path

    paths = {
        "virtio_net": module("virtio_net", "net-failover,virtio"),
        "net_failover": module("net_failover", "failover"),
        "failover": module("failover", ""),
        "virtio": module("virtio", ""),
        "unneeded": module("unneeded", ""),
    }
    order = [name for name, _ in _in_load_order(["virtio-net", "virtio", "built_in"], paths)]
    assert order == ["failover", "net_failover", "virtio", "virtio_net"]


def test_kernel_arguments() -> None:
    assert kernel_arguments() == "console=ttyS0 quiet no_timer_check"
    assert kernel_arguments(ping=("10.0.0.1", "router"), then="poweroff", now="crash", button=False) == (
        "console=ttyS0 quiet no_timer_check guest.ping=10.0.0.1,router guest.then=poweroff guest.now=crash "
        "guest.button=off"
    )


def test_reports() -> None:
    console = (
        "[    0.1] guest of a kernel\r\n"
        "guest: up uptime=1.0\r\n"
        "guest: lease uptime=2.0 address=10.0.0.5/24 dns=10.0.0.1,10.0.0.2 search= "
        "routes='default via 10.0.0.1;10.0.0.0/24'\r\n"
        "guest: broken quote='\r\n"
        "guest: ping target=10.0.0"
    )
    up, lease = parse_reports(console)
    assert (up.event, up.fields) == ("up", {"uptime": "1.0"})
    assert lease.fields["address"] == "10.0.0.5/24"
    assert lease.list("dns") == ["10.0.0.1", "10.0.0.2"]
    assert lease.list("search") == []
    assert lease.list("routes") == ["default via 10.0.0.1", "10.0.0.0/24"]


def test_cache_that_cannot_be_used() -> None:
    with pytest.raises(GuestError, match="the cache /proc/guest cannot be used"):
        build_guest(Path("/proc/guest"))
