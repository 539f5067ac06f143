"""Chooses between hardware virtualisation (KVM) and QEMU's emulation (TCG).

That /dev/kvm opens, and that libvirt's capabilities list it, proves nothing: a host that is itself a paravirtual
guest offers a KVM under which firmware starts and every kernel hangs. Such a KVM is recognised by its CPUID, which
lacks what every x86-64 guest needs.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Literal

from dhcp.lean.frozen import Frozen

_KVM = "/dev/kvm"

# linux/kvm.h
_KVM_GET_API_VERSION = 0xAE00
_KVM_CREATE_VM = 0xAE01
_KVM_GET_SUPPORTED_CPUID = 0xC008AE05
_API_VERSION = 12

_CPUID_ENTRIES = 256
_CPUID_HEADER = struct.Struct("=II")
_CPUID_ENTRY = struct.Struct("=7I12x")
_FEATURES_LEAF = 1
_ECX_SSE3 = 1 << 0


class Accelerator(Frozen):
    """The accelerator that guests run on, and the reason in one line."""

    name: Literal["kvm", "tcg"]
    reason: str

    @property
    def domain_type(self) -> str:
        """The `type` attribute of libvirt's `<domain>`."""
        return "kvm" if self.name == "kvm" else "qemu"


def choose_accelerator(device: str = _KVM) -> Accelerator:
    """KVM where it can run a guest, else TCG."""
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return Accelerator("tcg", f"{device}: {error.strerror}")
    try:
        defect = _find_defect(descriptor)
    except OSError as error:
        defect = error.strerror or str(error)
    finally:
        os.close(descriptor)
    if defect is not None:
        return Accelerator("tcg", f"{device} cannot run a guest: {defect}")
    return Accelerator("kvm", f"{device} offers a CPU that guests can run on")


def _find_defect(descriptor: int) -> str | None:
    """Why no guest would run under this KVM, or None."""
    version = fcntl.ioctl(descriptor, _KVM_GET_API_VERSION)
    if version != _API_VERSION:
        return f"its API has version {version}, not {_API_VERSION}"
    buffer = bytearray(_CPUID_HEADER.size + _CPUID_ENTRY.size * _CPUID_ENTRIES)
    _CPUID_HEADER.pack_into(buffer, 0, _CPUID_ENTRIES, 0)
    fcntl.ioctl(descriptor, _KVM_GET_SUPPORTED_CPUID, buffer, True)
    if not _has_sse3(bytes(buffer)):
        return "the CPU that it offers lacks SSE3, as under a paravirtual host"
    os.close(fcntl.ioctl(descriptor, _KVM_CREATE_VM, 0))
    return None


def _has_sse3(supported: bytes) -> bool:
    """Whether a `struct kvm_cpuid2` lists SSE3, which every x86-64 CPU with virtualisation has."""
    count, _ = _CPUID_HEADER.unpack_from(supported)
    for index in range(count):
        offset = _CPUID_HEADER.size + _CPUID_ENTRY.size * index
        function, _, _, _, _, ecx, _ = _CPUID_ENTRY.unpack_from(supported, offset)
        if function == _FEATURES_LEAF:
            return bool(ecx & _ECX_SSE3)
    return False
