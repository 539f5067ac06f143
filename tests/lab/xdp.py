"""An XDP program that passes every frame, attached to an interface (bpf(2), rtnetlink(7))."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator

from pyroute2 import IPRoute

from lab.namespace import Namespace

_BPF, _PROG_LOAD, _TYPE_XDP = 321, 5, 6
_PASS = struct.pack("=BBhi", 0xB7, 0, 0, 2) + struct.pack("=BBhi", 0x95, 0, 0, 0)  # r0 = XDP_PASS; exit
GENERIC = 1 << 1  # XDP_FLAGS_SKB_MODE
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def xdp_program(namespace: Namespace, interface: str, flags: int = 0) -> Iterator[int]:
    """The id of a program that is attached to an interface: by its driver, or with GENERIC by the kernel's core."""
    program = _load()
    try:
        with namespace.entered():
            route = IPRoute()
        try:
            (index,) = route.link_lookup(ifname=interface)
            xdp = {"attrs": [("IFLA_XDP_FD", program), ("IFLA_XDP_FLAGS", flags)]}
            route.link("set", index=index, IFLA_XDP=xdp)
        finally:
            route.close()
    finally:
        os.close(program)
    yield attached_xdp(namespace, interface)


def attached_xdp(namespace: Namespace, interface: str) -> int:
    """The id of the program that is attached to an interface; 0 for none."""
    found: int = namespace.link(interface).get("xdp", {}).get("prog", {}).get("id", 0)
    return found


def _load() -> int:
    licence = ctypes.create_string_buffer(b"GPL")
    code = ctypes.create_string_buffer(_PASS, len(_PASS))
    attributes = struct.pack("=IIQQ", _TYPE_XDP, len(_PASS) // 8, ctypes.addressof(code), ctypes.addressof(licence))
    buffer = ctypes.create_string_buffer(attributes + bytes(104), 128)
    program = _libc.syscall(_BPF, _PROG_LOAD, buffer, 128)
    if program < 0:
        code_of = ctypes.get_errno()
        raise OSError(code_of, os.strerror(code_of))
    return int(program)
