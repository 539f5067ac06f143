"""Fixtures of the tests that run containers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.podman import Podman, build_images


@pytest.fixture(scope="session")
def images() -> None:
    """The images of this tree."""
    build_images()


@pytest.fixture(scope="module")
def podman(images: None) -> Iterator[Podman]:
    """podman on a node of its own, with two dual-stack networks and one of IPv4."""
    with Podman() as podman:
        podman.network("blue", "10.89.7.0/24", "fd00:89:7::/64")
        podman.network("green", "10.89.8.0/24", "fd00:89:8::/64")
        podman.network("grey", "10.89.9.0/24")
        yield podman
