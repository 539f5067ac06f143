"""A disk that boots without an operating system."""

from __future__ import annotations

_PROGRAM = bytes.fromhex(
    "31c0 8ed8"  # xor ax,ax; mov ds,ax
    "be197c b90800 baf803"  # mov si,text; mov cx,8; mov dx,0x3f8: the serial console
    "ac ee e2fc"  # lodsb; out dx,al; loop
    "ba0406 b80020 ef f4"  # mov dx,0x604; mov ax,0x2000; out dx,ax; hlt: power off
)


def bootable_disk() -> bytes:
    """A raw image of a disk that prints `booted` on the serial console and powers off."""
    return ((_PROGRAM + b"booted\r\n").ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0")
