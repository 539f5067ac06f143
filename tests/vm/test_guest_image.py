"""The guest's image is the same wherever it is built."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.demo.guest_image import GuestImage, build_guest

pytestmark = pytest.mark.vm


def test_same_inputs_same_bytes(guest: GuestImage, tmp_path: Path) -> None:
    (package,) = sorted(guest.kernel.parent.glob("linux-image-*.deb"))[-1:]
    os.symlink(package, tmp_path / package.name)
    again = build_guest(tmp_path)
    assert again.initrd.parent == tmp_path
    assert again.initrd.read_bytes() == guest.initrd.read_bytes()
    assert again.kernel.read_bytes() == guest.kernel.read_bytes()
    before = again.initrd.stat().st_mtime_ns
    assert build_guest(tmp_path) == again
    assert again.initrd.stat().st_mtime_ns == before
