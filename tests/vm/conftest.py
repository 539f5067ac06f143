"""Fixtures of the tests that boot a machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.demo.guest_image import GuestImage, build_guest, kernel_arguments

from .machine import Machine, Segment, launch, manifest

Boot = Callable[..., Machine]


@pytest.fixture(scope="session")
def guest() -> GuestImage:
    return build_guest()


@pytest.fixture
def segment(state_dir: Path) -> Iterator[Segment]:
    """Made after the directory, so that its processes have ended when the directory is removed."""
    with Segment() as segment:
        yield segment


@pytest.fixture
def state_dir() -> Iterator[Path]:
    # Sockets are made below it, so its path is short, which pytest's own are not.
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        yield Path(directory)


@pytest.fixture
def boot(segment: Segment, state_dir: Path, guest: GuestImage) -> Boot:
    """Start a machine: the guest's settings, then changes of the manifest; all is ended with the test."""

    def start(
        *options: str,
        settings: dict[str, Any] | None = None,
        taps: tuple[str, ...] | None = None,
        **changes: Any,
    ) -> Machine:
        document = manifest(guest, kernel_arguments(**(settings or {})), **changes)
        more = {} if taps is None else {"taps": taps}
        return launch(segment, state_dir, document, *options, **more)

    return start
