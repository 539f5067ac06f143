"""This program's version."""

from __future__ import annotations


def program_version() -> str:
    """As it is installed; the module that says so takes some milliseconds to import."""
    from importlib.metadata import version

    return version("virt-launcher")
