"""Checks of single fields of a manifest. Each takes the field's path and raises ManifestError."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from launcher.vmi.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Collection

Word = TypeVar("Word", bound=str)

# Names become parts of device aliases, for which libvirt allows these characters.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
_PCI_ADDRESS = re.compile(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[01][0-9a-fA-F]\.[0-7]")


def check_match(path: str, value: str, pattern: re.Pattern[str], reason: str) -> None:
    if not pattern.fullmatch(value):
        raise ManifestError(path, f"{reason}, is `{value}`")


def check_length(path: str, value: str, at_most: int) -> None:
    if len(value) > at_most:
        raise ManifestError(path, f"must be at most {at_most} characters, has {len(value)}")


def check_name(path: str, name: str, taken: Collection[str]) -> None:
    """Check that `name` is valid in a device alias and differs from all of `taken`."""
    check_length(path, name, 63)
    check_match(path, name, _NAME, "must be letters, digits, `_` and `-`")
    if name in taken:
        raise ManifestError(path, f"`{name}` is used twice")


def check_positive(path: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise ManifestError(path, f"must be at least 1, is {value}")


def check_pci_address(path: str, address: str | None) -> str | None:
    """The address in lower case; None without one. QEMU has one domain, and at 00:00 of it the host bridge."""
    if not address:
        return None
    check_match(path, address, _PCI_ADDRESS, "must look like 0000:03:00.0")
    if not address.startswith("0000:"):
        raise ManifestError(path, f"must be in domain 0000, the only one of the machine, is `{address}`")
    if address.startswith("0000:00:00."):
        raise ManifestError(path, f"must not be the host bridge's slot, is `{address}`")
    return address.lower()


def check_distinct_pci_addresses(devices: Collection[tuple[str, str, str | None]]) -> None:
    """Check that no two devices, each with path, name and address, are at one PCI address."""
    taken: dict[str, str] = {}
    for path, name, address in devices:
        if address is None:
            continue
        if address in taken:
            raise ManifestError(path, f"`{name}` is at {address}, where `{taken[address]}` is")
        taken[address] = name


def choose(path: str, value: str, allowed: tuple[Word, ...]) -> Word:
    """`value`, checked to be one of `allowed`."""
    for word in allowed:
        if word == value:
            return word
    raise ManifestError(path, f"must be one of {', '.join(allowed)}, is `{value}`")
