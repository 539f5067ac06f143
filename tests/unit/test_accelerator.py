"""Which KVM is believed."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from launcher.machine.accelerator import _has_sse3, choose_accelerator


def cpuid(*entries: tuple[int, int]) -> bytes:
    """A `struct kvm_cpuid2` with (function, ecx) entries."""
    packed = b"".join(struct.pack("=10I", function, 0, 0, 0, 0, ecx, 0, 0, 0, 0) for function, ecx in entries)
    return struct.pack("=II", len(entries), 0) + packed


@pytest.mark.parametrize(
    ("supported", "complete"),
    [
        (cpuid((0, 0), (1, 0x81202001)), True),
        (cpuid((0, 1), (1, 0x81202000)), False),
        (cpuid((7, 1)), False),
        (cpuid(), False),
    ],
)
def test_processor_without_sse3_is_none(supported: bytes, complete: bool) -> None:
    assert _has_sse3(supported) is complete


def test_without_a_device(tmp_path: Path) -> None:
    accelerator = choose_accelerator(str(tmp_path / "kvm"))
    assert accelerator.domain_type == "qemu"
    assert accelerator.reason.endswith("kvm: No such file or directory")


def test_what_is_no_kvm(tmp_path: Path) -> None:
    (tmp_path / "kvm").write_bytes(b"")
    accelerator = choose_accelerator(str(tmp_path / "kvm"))
    assert accelerator.name == "tcg"
    assert "cannot run a guest: Inappropriate ioctl" in accelerator.reason
